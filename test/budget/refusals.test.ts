import { describe, expect, it } from 'vitest';
import { accountOf, rowKey } from '../../src/budget/names.ts';
import { nodeIdOf } from './support.ts';
import { AGENT, type BudgetWorld, worldWith } from './world.ts';

const HOUR_MS = 3_600_000;

describe('budgets: a refused reservation says when to try again', () => {
  it('at the end of the period, where the next one has as much', () => {
    const { one } = worldWith(1, { window: 'hour' });
    expect(one.reserve(600)).toMatchObject({ ok: true });
    expect(one.reserve(1_000)).toMatchObject({
      ok: false,
      error: { code: 'BUDGET_EXHAUSTED', retryable: true, hint: expect.stringContaining('600 is held') },
    });
    one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 100 });
    const refused = one.reserve(950);
    expect(refused).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED', retryable: true } });
    expect(refused.ok ? 0 : refused.error.retryAfterMs).toBeGreaterThan(0);
    expect(refused.ok ? 0 : refused.error.retryAfterMs).toBeLessThanOrEqual(HOUR_MS);
  });

  it.each(['hour', 'none'] as const)(
    'never, where it is more than the limit itself (window %s)',
    (window) => {
      const { one } = worldWith(1, { window });
      expect(one.reserve(600)).toMatchObject({ ok: true });
      const refused = one.reserve(1_001);
      expect(refused).toMatchObject({
        ok: false,
        error: {
          code: 'BUDGET_EXHAUSTED',
          retryable: false,
          hint: expect.stringContaining('raise the limit'),
        },
      });
      expect(refused).not.toHaveProperty('error.retryAfterMs');
    },
  );
});

describe('budgets: what a refusal says remains is without what debts will take, as in the status', () => {
  /** A machine that owes 300, and that nobody hears paying. */
  function debtor(world: BudgetWorld): void {
    const owner = nodeIdOf(9);
    const row = { granted: 0, returned: 0, received: [], sent: [], spent: 0, held: 0, covered: 0 };
    world.one.tell({ kind: 'memberChanged', member: owner, state: 'alive' });
    const key = rowKey(world.purse, accountOf(owner, 5));
    world.one.tell({ kind: 'rowHeard', owner, key, version: 1, body: { ...row, sequence: 1, overrun: 300 } });
  }

  it('with a quorum', () => {
    const world = worldWith(1);
    debtor(world);
    expect(world.one.status().remaining).toBe(700);
    expect(world.one.reserve(1_001)).toMatchObject({
      ok: false,
      error: {
        code: 'BUDGET_EXHAUSTED',
        message: expect.stringContaining(' 700 can be had'),
        details: { remaining: 700, reserve: 1_000 },
      },
    });
  });

  it.each([
    { rights: 400, remaining: 100 },
    { rights: 200, remaining: 0 },
  ])('without one, where $rights are at hand', ({ rights, remaining }) => {
    const world = worldWith(1);
    world.one.call({ op: 'request', budget: 'team', amount: rights });
    debtor(world);
    world.isStoreUp = false;
    expect(world.one.reserve(500)).toMatchObject({
      ok: false,
      error: { code: 'QUORUM_UNAVAILABLE', details: { remaining } },
    });
  });
});
