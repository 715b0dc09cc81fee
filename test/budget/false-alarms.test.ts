/** A member whose copy of the quorum store is behind takes nothing for lost. */
import { describe, expect, it } from 'vitest';
import { Told } from '../quorum/register/support.ts';
import { type BudgetWorld, type WorldNode, worldWith } from './world.ts';

const ALARMS = ['budget.notConserved', 'budget.definitionLost', 'budget.grantsLost', 'budget.closingLost'];

function alarmsOf(node: WorldNode): readonly string[] {
  return node.marks.map(({ name }) => name).filter((name) => ALARMS.includes(name));
}

/** The second was told nothing of what the first was granted, but has its row. */
function behind(): BudgetWorld {
  const world = worldWith(2);
  const { one, two } = world;
  two.call({ op: 'request', budget: 'team', amount: 100 });
  world.pass(2_000);
  world.behind.add(two);
  expect(one.call({ op: 'request', budget: 'team', amount: 500 })).toMatchObject({ ok: true });
  return world;
}

describe('budgets: no alarm on a copy of the store that is behind', () => {
  it.each([true, false])('books that do not add up there (the store can be asked: %s)', (isStoreUp) => {
    const world = behind();
    world.isStoreUp = isStoreUp;
    world.pass(90_000);
    expect(alarmsOf(world.two)).toEqual([]);
    expect(world.two.status().problems).toEqual([]);
    world.isStoreUp = true;
    world.behind.clear();
    world.read(world.two);
    world.pass(60_000);
    expect(alarmsOf(world.two)).toEqual([]);
  });

  it.each([true, false])(
    'a store that is read anew from an empty copy (it can be asked: %s)',
    (isStoreUp) => {
      const world = behind();
      const { two } = world;
      world.isStoreUp = isStoreUp;
      two.tell({ kind: 'storeRead', revision: 1, entries: [] });
      world.pass(10_000);
      world.isStoreUp = true;
      world.behind.clear();
      world.read(two);
      world.pass(60_000);
      expect(alarmsOf(two)).toEqual([]);
      expect(two.status()).toMatchObject({ reserve: 400, problems: [] });
    },
  );

  it('what the store itself lost is told', () => {
    const world = worldWith(1);
    world.one.call({ op: 'request', budget: 'team', amount: 500 });
    world.store = new Told();
    world.read(world.one);
    world.pass(20_000);
    expect(new Set(alarmsOf(world.one))).toEqual(new Set(['budget.definitionLost', 'budget.grantsLost']));
  });
});
