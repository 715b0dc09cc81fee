import { describe, expect, it } from 'vitest';
import { planAgreeing, planClosing, planSaying } from '../../src/budget/closing-plans.ts';
import { type Definition, isClosedIn, parseDefinition } from '../../src/budget/definition.ts';
import { Mirror } from '../../src/budget/mirror.ts';
import { accountOf, purseKey } from '../../src/budget/names.ts';
import type { Period } from '../../src/budget/period.ts';
import {
  definitionKey,
  type Plan,
  planGrant,
  planLimit,
  planRecovery,
  planReturn,
  planWriteOff,
  type View,
} from '../../src/budget/reserve-register.ts';
import { encode } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { definitionOf, nodeIdOf } from './support.ts';

const [ONE, TWO] = [nodeIdOf(1), nodeIdOf(2)];
const at = (hour: number) => `2026-01-01T${String(hour).padStart(2, '0')}` as Period;
const hourly = (given: Partial<Definition> = {}): Definition => ({
  ...definitionOf(),
  window: 'hour',
  closed: undefined,
  over: undefined,
  ...given,
});

/** Of the store as it has this definition, and of a purse of this hour. */
function viewOf(definition: Definition, hour: number, epoch = definition.epoch): View {
  const mirror = new Mirror();
  const { name, closed, over, parent, ...rest } = definition;
  const body = { name, ...rest, parent: parent ?? null, ...(closed && { closed }), ...(over && { over }) };
  const revisions = { modRevision: 5, createRevision: 1, version: 1, lease: 0 };
  mirror.replace([{ key: definitionKey(name), value: encode(body).slice(), ...revisions }]);
  return mirror.view(name, purseKey({ budget: name, epoch, period: at(hour) }), accountOf(ONE, 7));
}

const planned = (plan: Result<Plan<Definition>>) => {
  if (!plan.ok) return plan.error.code;
  return plan.value.kind === 'done'
    ? 'done'
    : { closed: plan.value.value.closed, over: plan.value.value.over };
};

describe('closing a period in the store (B28)', () => {
  it('one node says that it is over, which closes nothing, and takes nothing back of what is closed', () => {
    const said = planSaying(viewOf(hourly({ closed: at(3) }), 5), ONE, undefined);
    expect(planned(said)).toEqual({ closed: at(3), over: { period: at(5), by: ONE } });
    expect(planned(planSaying(viewOf(hourly({ closed: at(5) }), 5), ONE, undefined))).toBe('done');
    expect(planned(planSaying(viewOf(hourly(), 5, 99), ONE, undefined))).toBe('NOT_FOUND');
  });

  it('what another has said meanwhile is not written over unseen', () => {
    const over = { period: at(5), by: TWO };
    expect(planned(planSaying(viewOf(hourly({ over }), 6), ONE, undefined))).toBe('done');
    expect(planned(planSaying(viewOf(hourly({ over }), 4), ONE, over))).toEqual({
      closed: undefined,
      over: { period: at(4), by: ONE },
    });
  });

  it('another node agrees to the very period that was said, and never one with itself', () => {
    const view = viewOf(hourly({ over: { period: at(5), by: ONE } }), 5);
    expect(planned(planAgreeing(view, ONE))).toBe('done');
    expect(planned(planAgreeing(view, TWO))).toEqual({ closed: at(5), over: undefined });
    const other = viewOf(hourly({ over: { period: at(5), by: ONE } }), 4);
    expect(planned(planAgreeing(other, TWO))).toBe('done');
    expect(planned(planAgreeing(viewOf(hourly(), 5), TWO))).toBe('done');
  });

  it('what is closed only grows, and every step compares the definition that it was made out of', () => {
    expect(planned(planClosing(viewOf(hourly({ closed: at(6) }), 5)))).toBe('done');
    const later = { period: at(9), by: ONE };
    const plan = planClosing(viewOf(hourly({ closed: at(4), over: later }), 5));
    expect(planned(plan)).toEqual({ closed: at(5), over: later });
    expect(plan).toMatchObject({
      value: { transaction: { compares: [{ key: 'budget/team', target: 'modRevision', is: '=', than: 5 }] } },
    });
  });

  it.each([
    [
      'granted',
      (view: View) => planGrant(view, { amount: 1 as never, atLeast: 1 as never, above: 0 as never }),
    ],
    ['limited', (view: View) => planLimit(view, 5 as never)],
    ['granted again', (view: View) => planRecovery(view, 5 as never)],
  ])('in a closed period nothing is %s, and in the next it is', (_what, plan) => {
    const account = { nonce: 5, fenced: false };
    const of = (hour: number): View => {
      const view = viewOf(hourly({ closed: at(5) }), hour);
      return { ...view, account: { ...view.account, revision: 2, value: account } };
    };
    expect(plan(of(5))).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    expect(plan(of(6))).toMatchObject({ ok: true, value: { kind: 'transact' } });
  });

  it.each([
    ['comes back', (view: View) => planReturn(view, 5 as never)],
    ['is written off', (view: View) => planWriteOff(view, undefined, 0 as never, 0 as never)],
  ])('of a closed period whose entries are still there nothing %s', (_what, plan) => {
    const view = viewOf(hourly({ closed: at(5) }), 5);
    const reserve = { limit: 10, reserve: 5, owed: 0 } as never;
    const there = { ...view, reserve: { ...view.reserve, revision: 3, value: reserve } };
    expect(plan(there)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
  });
});

describe('what a definition says of periods', () => {
  it.each([
    ['of another window', { closed: '2026-01-01' }],
    ['of no window', { closed: 'all' }],
    ['that is none', { closed: '2026-13-01T00' }],
    ['without who says so', { over: { period: at(5) } }],
    ['said of another window', { over: { period: '2026-01', by: nodeIdOf(1) } }],
    ['that is no object', { over: 5 }],
  ])('is refused where it is of a period %s', (_what, given) => {
    expect(parseDefinition({ ...hourly(), ...given })).toMatchObject({ ok: false });
  });

  it('counts for purses of its own name and epoch only', () => {
    const definition = hourly({ closed: at(5) });
    const { name: budget, epoch } = definition;
    expect(isClosedIn(definition, purseKey({ budget, epoch, period: at(5) }))).toBe(true);
    expect(isClosedIn(definition, purseKey({ budget, epoch, period: at(6) }))).toBe(false);
    expect(isClosedIn(definition, purseKey({ budget, epoch: epoch + 1, period: at(5) }))).toBe(false);
    expect(isClosedIn(definition, purseKey({ budget, epoch, period: '2025-01-01' as Period }))).toBe(false);
  });
});
