import { describe, expect, it } from 'vitest';
import { AGENT, worldWith } from './world.ts';

describe('budget status: the whole is the sum of its machines', () => {
  it('what a write-off charged for open reservations stands at the machine that held them', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'report', budget: 'team', agent: AGENT, amount: 50 });
    two.reserve(300);
    world.pass(2_000);
    world.kill(two);
    const account = two.budgets.ledger.account;
    expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({ value: { lost: 300 } });
    world.pass(1_000);
    const { machines, reserve, ...whole } = one.status();
    expect(machines.find(({ nodeId }) => nodeId === two.self)).toMatchObject({
      allocated: 350,
      spent: 350,
      held: 0,
      stranded: 0,
    });
    for (const figure of ['allocated', 'spent', 'held', 'overrun'] as const)
      expect(machines.reduce((sum, machine) => sum + machine[figure], 0)).toBe(whole[figure]);
    expect(whole).toMatchObject({ spent: 350, allocated: 1_000 - reserve });
  });
});

describe('budget status: what remains is without what debts will take (I7)', () => {
  it('a limit raised beyond a debt leaves what is above it, at once and once it is paid', () => {
    const world = worldWith(1);
    const { one } = world;
    expect(one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 4_090 })).toMatchObject({
      value: { overrun: 3_090 },
    });
    const raised = one.call({ op: 'setLimit', budget: 'team', limit: 5_000 });
    expect(raised).toMatchObject({ value: { remaining: 910 } });
    world.pass(5_000);
    expect(one.status()).toMatchObject({ overrun: 0, spent: 4_090, remaining: 910 });
  });

  it('also where the debt is another machine’s, as long as that can be reached', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'report', budget: 'team', agent: AGENT, amount: 1_300 });
    world.pass(2_000);
    world.isStoreUp = false;
    expect(one.status()).toMatchObject({ overrun: 300, remaining: 0 });
    world.isStoreUp = true;
    expect(one.call({ op: 'setLimit', budget: 'team', limit: 2_000 })).toMatchObject({
      value: { remaining: 700 },
    });
  });
});

describe('budget status: a part promises no more than those that it is a part of can give (I7)', () => {
  function tree() {
    const world = worldWith(2, { limit: 1_000 });
    const { one } = world;
    one.call({ op: 'create', budget: 'task', limit: 900, parent: 'team' });
    one.call({ op: 'create', budget: 'step', limit: 800, parent: 'task' });
    return world;
  }

  it('and says which of them has the least', () => {
    const { one } = tree();
    expect(one.status('step')).toMatchObject({ remaining: 800, limitedBy: undefined });
    expect(one.reserve(300, { budget: 'task' })).toMatchObject({ ok: true });
    expect(one.status('step')).toMatchObject({ remaining: 600, limitedBy: 'task' });
    expect(one.reserve(650)).toMatchObject({ ok: true });
    expect(one.status('step')).toMatchObject({ remaining: 50, limitedBy: 'team' });
    expect(one.status('task')).toMatchObject({ remaining: 50, limitedBy: 'team' });
    expect(one.status('team')).toMatchObject({ remaining: 50, limitedBy: undefined });
  });

  it('which is what can be had, to the last', () => {
    const world = tree();
    const { one, two } = world;
    expect(two.reserve(870)).toMatchObject({ ok: true });
    world.pass(3_000);
    const { remaining } = one.status('step');
    expect(remaining).toBe(130);
    expect(one.reserve(remaining + 1, { budget: 'step' })).toMatchObject({
      error: { code: 'BUDGET_EXHAUSTED' },
    });
    expect(one.reserve(remaining, { budget: 'step' })).toMatchObject({ ok: true });
  });

  it('nor does a refusal for the part’s own lack', () => {
    const { one } = tree();
    expect(one.reserve(950)).toMatchObject({ ok: true });
    expect(one.reserve(850, { budget: 'step' })).toMatchObject({
      error: { code: 'BUDGET_EXHAUSTED', details: { budget: 'step', remaining: 50 } },
    });
  });

  it('at the pace of the whole it ends with the whole', () => {
    const world = tree();
    const { one } = world;
    one.call({ op: 'report', budget: 'step', agent: AGENT, amount: 10 });
    for (let at = 0; at < 10; at++) {
      one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 60 });
      world.pass(3_000);
    }
    const whole = one.status('team').projectedEnd;
    expect(whole).toBeDefined();
    expect(one.status('step').projectedEnd).toBe(whole);
  });
});
