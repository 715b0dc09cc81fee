/** Stores that were founded anew, and lack what they had. */
import { expect, it } from 'vitest';
import { type AccountId, accountOf, rowKey } from '../../src/budget/names.ts';
import { ALL_BUDGETS, entryKey } from '../../src/budget/reserve-register.ts';
import { Told } from '../quorum/register/support.ts';
import { nodeIdOf } from './support.ts';
import { AGENT, BudgetWorld, type WorldNode } from './world.ts';

function spending(): BudgetWorld {
  const world = new BudgetWorld(3);
  world.one.call({ op: 'create', budget: 'team', limit: 1_000 });
  world.pass(10);
  for (const [index, node] of world.nodes.entries())
    node.call({ op: 'request', budget: 'team', amount: 100 * (index + 1) });
  world.one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 60 });
  world.pass(2_000);
  expect(world.one.status()).toMatchObject({ limit: 1_000, reserve: 400, allocated: 600 });
  return world;
}

it.each([0, 5_000])(
  'a store that lost everything is told budgets and grants by the nodes, also where it cannot be asked for %i ms',
  (awayMs) => {
    const world = spending();
    world.store = new Told();
    world.isStoreUp = awayMs === 0;
    for (const node of world.nodes) world.read(node);
    world.pass(awayMs);
    world.isStoreUp = true;
    world.pass(20_000);
    for (const node of world.nodes)
      expect(node.status()).toMatchObject({
        limit: 1_000,
        reserve: 400,
        allocated: 600,
        spent: 60,
        problems: [],
      });
    const lost = world.one.marks.filter(({ name }) => name === 'budget.definitionLost');
    expect(lost).toHaveLength(1);
  },
);

it('grants that a lost store had are not granted again, whoever asks first', () => {
  const world = spending();
  world.store = new Told();
  for (const node of world.nodes) world.read(node);
  const asked = world.nodes.map((node) => node.ask({ op: 'request', budget: 'team', amount: 1_000 }));
  world.pass(30_000);
  expect(asked.every((id, index) => world.nodes[index]!.answers.has(id))).toBe(true);
  const { rights, spent } = world.nodes.reduce(
    (sum, node) => {
      const own = [...node.budgets.ledger.purses.values()][0];
      return { rights: sum.rights + (own?.rights ?? 0), spent: sum.spent + (own?.spent ?? 0) };
    },
    { rights: 0, spent: 0 },
  );
  expect(rights + spent).toBeLessThanOrEqual(1_000);
  expect(world.one.status()).toMatchObject({ limit: 1_000, owed: 0, problems: [] });
});

it.each([true, false])(
  'a budget that another took the place of is told of, once (an empty copy came between: %s)',
  (isEmptyFirst) => {
    const world = spending();
    const other = new BudgetWorld(1);
    other.one.call({ op: 'create', budget: 'team', limit: 50 });
    const epoch = world.one.budgets.ledger.definitions.values().next().value?.epoch;
    world.store = other.store;
    world.isStoreUp = !isEmptyFirst;
    if (isEmptyFirst) world.one.tell({ kind: 'storeRead', revision: 1, entries: [] });
    world.pass(100);
    world.isStoreUp = true;
    for (let reading = 0; reading < 2; reading++) world.read(world.one);
    world.pass(20_000);
    world.read(world.one);
    world.pass(20_000);
    expect(world.one.marks.filter(({ name }) => name === 'budget.replaced')).toMatchObject([
      { level: 'warn', fields: { budget: 'team', epoch, limit: 1_000, spent: 60 } },
    ]);
    expect(world.one.marks.filter(({ name }) => name.endsWith('Lost'))).toEqual([]);
  },
);

it('a budget that was made anew under the name keeps its own money', () => {
  const world = spending();
  world.store = new Told();
  world.isStoreUp = false;
  for (const node of world.nodes) world.read(node);
  const other = new BudgetWorld(1);
  other.one.call({ op: 'create', budget: 'team', limit: 50 });
  const made = other.store.register.range({ from: 'budget/team', to: 'budget/team0' }, 10).found;
  world.isStoreUp = true;
  world.transact({
    compares: [],
    then: made.map(({ key, value }) => ({ op: 'put', key, value })),
    otherwise: [],
  });
  for (const node of world.nodes) world.read(node);
  world.pass(20_000);
  expect(world.one.status()).toMatchObject({ limit: 50, allocated: 0 });
});

it('a row that claims more than the whole limit is not told to a store that has forgotten grants; one that claims what there is, is', () => {
  const world = spending();
  const zero = { returned: 0, spent: 0, held: 0, overrun: 0, covered: 0, received: [], sent: [] };
  const claim = (index: number, granted: number): AccountId => {
    const owner = nodeIdOf(index);
    const account = accountOf(owner, 7);
    const body = { sequence: 1, granted, ...zero };
    world.one.tell({ kind: 'rowHeard', owner, key: rowKey(world.purse, account), version: 1, body });
    return account;
  };
  const [liar, gone] = [claim(8, 1_001), claim(9, 300)];
  world.store = new Told();
  for (const node of world.nodes) world.read(node);
  world.pass(20_000);
  expect(world.store.register.get(entryKey(world.purse, liar))).toBeUndefined();
  expect(world.store.register.get(entryKey(world.purse, gone))).toBeDefined();
  expect(world.one.status()).toMatchObject({ limit: 1_000, reserve: 100, owed: 0 });
});

it.each([true, false])(
  'an account that was written off stays so in a store that has forgotten that: what was granted of it is not spent twice (forgot only that: %s; B13)',
  (isOnlyThat) => {
    const world = spending();
    const [one, two, three] = world.nodes as [WorldNode, WorldNode, WorldNode];
    const former = three.budgets.ledger.account;
    const kept = world.store.register.range(ALL_BUDGETS, 1_000).found;
    world.kill(three);
    const written = one.call({ op: 'writeOff', budget: 'team', account: three.self });
    expect(written).toEqual({ ok: true, value: { writtenOff: 300, lost: 0 } });
    expect(two.call({ op: 'request', budget: 'team', amount: 650 })).toMatchObject({ ok: true });
    const before = one.status();
    expect(before).toMatchObject({ reserve: 50, owed: 0, stranded: 0 });

    world.store = new Told();
    if (isOnlyThat) {
      const then = kept.map(({ key, value }) => ({ op: 'put', key, value }) as const);
      world.store.transact({ compares: [], then, otherwise: [] });
    }
    for (const node of world.nodes) world.read(node);
    world.pass(30_000);
    three.boot();
    world.connect(three);
    world.pass(20_000);
    expect(three.budgets.ledger.account).not.toBe(former);
    for (const node of world.nodes)
      expect(node.status()).toMatchObject({ limit: 1_000, reserve: 50, owed: 0, stranded: 0, problems: [] });
    expect(three.reserve(890).ok).toBe(true);
    expect(three.reserve(51)).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
    const marks = [one, two].flatMap(({ marks: told }) =>
      told.filter(({ name }) => name === 'budget.writeOffLost'),
    );
    expect(marks[0]?.fields).toMatchObject({ account: former, writtenOff: 300 });
  },
);
