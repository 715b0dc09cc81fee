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
