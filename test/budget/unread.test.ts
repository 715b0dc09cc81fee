import { describe, expect, it } from 'vitest';
import type { BudgetCall } from '../../src/budget/api.ts';
import { Budgets } from '../../src/budget/budgets.ts';
import { definitionKey } from '../../src/budget/reserve-register.ts';
import { encode } from '../../src/kernel/codec.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { definitionOf, freshNumber, nodeIdOf } from './support.ts';
import { AGENT } from './world.ts';

const NOW = { monoMs: 0, wallMs: 1_000 };
const TEAM = definitionOf({ limit: 100 });

function unread(): Budgets {
  const self = nodeIdOf(0);
  const budgets = new Budgets({ self, fresh: freshNumber, place: 'here', rng: seededRng(1), now: NOW });
  budgets.load([], NOW);
  return budgets;
}

function answerTo(budgets: Budgets, call: BudgetCall): unknown {
  const effects = [...budgets.handle({ kind: 'budgetRequested', id: 1, call }, NOW), ...budgets.expire(NOW)];
  const answer = effects.find((effect) => effect.kind === 'answer');
  return answer?.kind === 'answer' ? answer.result : undefined;
}

const spending = { budget: 'team', agent: AGENT, amount: 5 } as const;
const calls: readonly BudgetCall[] = [
  { op: 'report', ...spending },
  { op: 'reserve', ...spending },
  { op: 'request', budget: 'team', amount: 5 },
  { op: 'setLimit', budget: 'team', limit: 5 },
  { op: 'create', budget: 'child', limit: 5, parent: 'team' },
];

describe('a node that has not read the quorum store says nothing of which budgets there are', () => {
  const notRead = {
    code: 'QUORUM_UNAVAILABLE',
    retryable: true,
    retryAfterMs: expect.any(Number),
    hint: expect.not.stringContaining('budget create'),
    details: { outcome: 'not-done' },
  };

  it.each(calls)('$op can be tried again', (call) => {
    expect(answerTo(unread(), call)).toMatchObject({ ok: false, error: notRead });
  });

  it('nor do the status and the list', () => {
    const budgets = unread();
    expect(budgets.status('team', NOW)).toMatchObject({ ok: false, error: notRead });
    expect(budgets.notRead).toMatchObject(notRead);
  });

  it.each(calls)('$op can be tried again where only a copy was read that may be behind', (call) => {
    const budgets = unread();
    budgets.handle({ kind: 'storeRead', revision: 1, entries: [], isBehind: true }, NOW);
    expect(answerTo(budgets, call)).toMatchObject({ ok: false, error: notRead });
    expect(budgets.status('team', NOW)).toMatchObject({ ok: false, error: notRead });
  });

  it.each([
    { what: 'it was read', news: [{}] },
    { what: 'its copy was read, and proved', news: [{ isBehind: true }, 'storeProved'] },
    { what: 'its copy was read, and then what the store had', news: [{ isBehind: true }, {}] },
  ] as const)('once $what, a budget that is not in it is not found', ({ news }) => {
    const budgets = unread();
    for (const each of news)
      if (each === 'storeProved') budgets.handle({ kind: each }, NOW);
      else budgets.handle({ kind: 'storeRead', revision: 2, entries: [], ...each }, NOW);
    expect(budgets.notRead).toBeUndefined();
    expect(budgets.status('team', NOW)).toMatchObject({ error: { code: 'NOT_FOUND', retryable: false } });
    for (const call of calls) expect(answerTo(budgets, call)).toMatchObject({ error: { code: 'NOT_FOUND' } });
  });

  it('once it was read, what is spent is counted', () => {
    const budgets = unread();
    const value = encode({ ...TEAM, parent: null }).slice();
    const entry = { key: definitionKey(TEAM.name), value, createRevision: 2, modRevision: 2, version: 1 };
    budgets.handle({ kind: 'storeRead', revision: 2, entries: [{ ...entry, lease: 0 }] }, NOW);
    budgets.handle({ kind: 'budgetRequested', id: 1, call: { op: 'report', ...spending } }, NOW);
    budgets.handle({ kind: 'budgetCancelled', id: 1 }, NOW);
    expect(budgets.status('team', NOW)).toMatchObject({ value: { overrun: 5 } });
  });
});
