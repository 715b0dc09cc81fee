/** Random histories of a federated budget against one naive counter: what a provider served, and what the money adds up to. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { definitionOf, purseOf } from '../budget/support.ts';
import { OPERATIONS, type Step, World } from './budget-world.ts';

const LIMIT = 1_000;
const TEAM = definitionOf({ limit: LIMIT });
const NESTED = [
  definitionOf({ limit: LIMIT, parent: 'org' }),
  definitionOf({ name: 'org', epoch: 9, limit: LIMIT }),
];

const step: fc.Arbitrary<Step> = fc.record({
  op: fc.constantFrom(...OPERATIONS),
  host: fc.nat({ max: 5 }),
  other: fc.nat({ max: 5 }),
  amount: fc.integer({ min: 1, max: 250 }),
  pick: fc.nat({ max: 60 }),
});

function check(world: World): void {
  for (const budget of world.budgets) {
    const { balance, problems } = world.balance(budget);
    expect(problems).toEqual([]);
    // The naive counter: nothing was served that is not counted, and what is counted is within the limit.
    const counted = balance.spent + balance.held + balance.overrun + balance.lost;
    expect(world.served).toBeLessThanOrEqual(counted);
    expect(balance.spent + balance.held).toBeLessThanOrEqual(balance.limit + balance.owed);
  }
}

function checkHealed(world: World): void {
  for (const budget of world.budgets) {
    const purse = purseOf(budget);
    const host = world.gather(budget);
    check(world);
    const living = new Set(world.hosts.map(({ ledger }) => ledger.account));
    for (const { account, row, entry } of world.positions(budget)) {
      if (!living.has(account)) continue;
      expect(row?.granted ?? 0, 'granted and known').toBe(entry?.granted ?? 0);
      expect(row?.returned ?? 0, 'returned and credited').toBe(entry?.returned ?? 0);
      expect(row?.held ?? 0, 'nothing waits for ever').toBe(0);
    }
    for (const other of world.hosts) if (other !== host) expect(other.rights(purse)).toBe(0);
    expect(world.store.reserve(budget).reserve).toBe(0);
  }
}

describe.each([
  ['one budget', [TEAM], 4242, 160],
  ['a budget in a budget', NESTED, 77, 80],
] as const)('%s', (_, budgets, seed, numRuns) => {
  const seen = { served: 0, replaced: 0, overrun: 0, lost: 0, received: 0, owed: 0 };

  it(`never spends more than its limit, and loses nothing, whatever fails in whatever order (I1-I6, I8, I9; B01-B12, B17-B22, B26, B29; ${numRuns} histories)`, () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 6 }),
        fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }),
        (hosts, steps) => {
          const world = new World(budgets, hosts);
          for (const each of steps) {
            world.step(each);
            check(world);
          }
          world.heal();
          check(world);
          checkHealed(world);
          seen.served += world.served;
          seen.replaced += world.gone.size;
          for (const budget of budgets) {
            const { balance } = world.balance(budget);
            seen.overrun += balance.overrun;
            seen.lost += balance.lost;
            seen.owed += balance.owed;
            for (const host of world.hosts) seen.received += host.row(purseOf(budget))?.received.size ?? 0;
          }
        },
      ),
      { numRuns, seed },
    );
    // The histories reached what they are about.
    expect(seen.served).toBeGreaterThan(1_000);
    expect(seen.replaced).toBeGreaterThan(50);
    expect(seen.received).toBeGreaterThan(50);
    expect(seen.overrun).toBeGreaterThan(0);
    expect(seen.lost).toBeGreaterThan(0);
    expect(seen.owed).toBeGreaterThan(0);
  }, 60_000);
});
