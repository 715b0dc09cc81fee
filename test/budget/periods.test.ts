import { describe, expect, it } from 'vitest';
import { Paces } from '../../src/budget/orchestrator/paces.ts';
import { decode } from '../../src/kernel/codec.ts';
import { limits } from '../../src/kernel/limits.ts';
import { AGENT, worldWith } from './world.ts';

const HOUR_MS = 3_600_000;

describe('budgets: periods', () => {
  it('what an agent overran in an hour that is over keeps it from no money of the next', () => {
    const world = worldWith(1, { window: 'hour' });
    const { one } = world;
    one.call({ op: 'request', budget: 'team', amount: 1_000 });
    const reported = one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 1_200 });
    expect(reported).toMatchObject({ ok: true, value: { overrun: 200 } });
    expect(one.reserve(1)).toMatchObject({ ok: false, error: { code: 'DENIED', details: { debt: 200 } } });
    world.pass(HOUR_MS);
    expect(one.reserve(1)).toMatchObject({ ok: true });
  });

  it('what others had in a period long over is forgotten, also where this node had nothing of it', () => {
    const world = worldWith(2, { window: 'hour' });
    world.two.call({ op: 'report', budget: 'team', agent: AGENT, amount: 5 });
    world.pass(2_000);
    const [purse] = [...world.two.budgets.ledger.purses.keys()];
    expect([...world.one.budgets.ledger.rows.of(purse!)]).toHaveLength(1);
    world.pass(HOUR_MS + limits.budgetGraceMs - 120_000);
    expect([...world.one.budgets.ledger.rows.of(purse!)]).toHaveLength(1);
    world.pass(limits.budgetSureOfTimeMs + 240_000);
    expect(world.two.budgets.ledger.purses.size).toBe(0);
    expect([...world.one.budgets.ledger.rows.of(purse!)]).toHaveLength(0);
    // The store's entry of it, read anew, does not bring it back.
    world.read(world.one);
    expect([...world.one.budgets.ledger.rows.of(purse!)]).toHaveLength(0);
  });

  it('a node that is started every day forgets periods long over as well', () => {
    const world = worldWith(1, { window: 'hour' });
    world.one.call({ op: 'request', budget: 'team', amount: 5 });
    for (let day = 0; day < 4; day++) {
      world.pass(24 * HOUR_MS);
      world.one.boot();
    }
    world.pass(limits.budgetSureOfTimeMs + HOUR_MS);
    expect(world.one.budgets.ledger.purses.size).toBe(0);
  });

  it('how fast was spent in a period is forgotten with it', () => {
    const world = worldWith(1, { window: 'hour' });
    const { ledger } = world.one.budgets;
    const paces = new Paces(ledger);
    for (let hour = 0; hour < 72; hour++) {
      world.one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 5 });
      for (const purse of ledger.purses.keys()) paces.perMs(purse, ledger.account, world.now);
      world.pass(HOUR_MS);
    }
    const kept = (limits.budgetGraceMs + limits.budgetSureOfTimeMs) / HOUR_MS + 2;
    expect(ledger.purses.size).toBeLessThanOrEqual(kept);
    expect(paces.size).toBeLessThanOrEqual(kept);
  });

  it.each(['is away', 'is away, and the node starts anew meanwhile'])(
    'what is left of a period goes back to its reserve, though the store %s when it is over (I8)',
    (what) => {
      const world = worldWith(1, { window: 'hour' });
      const { one } = world;
      one.call({ op: 'request', budget: 'team', amount: 500 });
      const [purse] = [...one.budgets.ledger.purses.keys()];
      world.isStoreUp = false;
      world.pass(HOUR_MS + 120_000);
      expect(one.budgets.ledger.purses.get(purse!)).toMatchObject({ rights: 0, returned: 500 });
      if (what.includes('starts')) one.boot();
      world.pass(10_000);
      world.isStoreUp = true;
      world.pass(10_000);
      const { register } = world.store;
      const entries = register.range({ from: `budget/${purse}`, to: `budget/${purse}~` }, 10).found;
      const [reserve, entry] = entries.map(({ value }) => decode(value));
      expect(reserve).toMatchObject({ reserve: 1_000, owed: 0 });
      expect(entry).toMatchObject({ granted: 500, returned: 500 });
    },
  );
});
