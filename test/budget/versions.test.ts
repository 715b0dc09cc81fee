/** Machines of two versions of the program side by side (B31): what the newer one wrote and the older does not know. */
import { describe, expect, it } from 'vitest';
import { accountOf, rowKey } from '../../src/budget/names.ts';
import { ALL_BUDGETS, definitionKey } from '../../src/budget/reserve-register.ts';
import { decode, encode } from '../../src/kernel/codec.ts';
import { nodeIdOf } from './support.ts';
import { AGENT, type BudgetWorld, worldWith } from './world.ts';

const LATER = { addedLater: { of: ['any', 'shape'], also: 7 } };

function stored(world: BudgetWorld): ReadonlyMap<string, Readonly<Record<string, unknown>>> {
  const { found } = world.store.register.range(ALL_BUDGETS, 100);
  return new Map(found.map(({ key, value }) => [key, decode(value.slice()) as Record<string, unknown>]));
}

/** As a machine of a later version writes it. */
function write(world: BudgetWorld, key: string, value: object): void {
  const put = { op: 'put', key, value: encode(value).slice() } as const;
  world.transact({ compares: [], then: [put], otherwise: [] });
  world.pass(10);
}

describe('budgets: two versions side by side (B31)', () => {
  it('what a later version added to the store is there still, whatever this one writes', () => {
    const world = worldWith(3);
    const [one, two, three] = world.nodes as [
      (typeof world)['one'],
      (typeof world)['one'],
      (typeof world)['one'],
    ];
    for (const node of world.nodes) expect(node.reserve(100)).toMatchObject({ ok: true });
    world.pass(2_000);
    const before = stored(world);
    for (const [key, value] of before) write(world, key, { ...value, ...LATER });

    // A grant, a new limit, a return, and a write-off with its fence: each writes what it read.
    expect(one.reserve(300)).toMatchObject({ ok: true });
    expect(one.call({ op: 'setLimit', budget: 'team', limit: 900 })).toMatchObject({ ok: true });
    const { account } = three.budgets.ledger;
    world.kill(three);
    expect(two.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({ ok: true });
    world.pass(2_000);

    const after = stored(world);
    const changed = [...before.keys()].filter(
      (key) => JSON.stringify({ ...before.get(key), ...LATER }) !== JSON.stringify(after.get(key)),
    );
    expect(changed.length).toBeGreaterThanOrEqual(4);
    for (const key of before.keys()) expect(after.get(key), key).toMatchObject(LATER);
    expect(one.status()).toMatchObject({ limit: 900, problems: [] });
    expect(two.status()).toMatchObject({ limit: 900, problems: [] });
  });

  /** Of what the store has now, by a later version. */
  function unreadable(world: BudgetWorld) {
    const key = definitionKey('team' as never);
    const later = { ...stored(world).get(key), window: 'fortnight' };
    write(world, key, later);
    return { key, later };
  }

  it('a budget that it could never read is refused, said why, and left as it is', () => {
    const world = worldWith(2);
    const { one } = world;
    const { key, later } = unreadable(world);
    one.journal = [];
    one.boot();
    world.connect(one);
    world.pass(1_000);
    const refused = {
      ok: false,
      error: { code: 'UNSUPPORTED', hint: expect.stringMatching(/upgrade/i), retryable: false },
    };
    expect(one.budgets.status('team', one.now)).toMatchObject(refused);
    for (const call of [
      { op: 'setLimit', budget: 'team', limit: 5 },
      { op: 'request', budget: 'team', amount: 5 },
      { op: 'reserve', budget: 'team', agent: AGENT, amount: 5 },
      { op: 'report', budget: 'team', agent: AGENT, amount: 5 },
      { op: 'rebalance', budget: 'team' },
    ] as const)
      expect(one.call(call), call.op).toMatchObject(refused);
    expect(one.call({ op: 'create', budget: 'part', limit: 5, parent: 'team' })).toMatchObject(refused);
    expect(one.call({ op: 'create', budget: 'team', limit: 5 })).toMatchObject({
      error: { hint: expect.stringMatching(/upgrade/i) },
    });
    expect(stored(world).get(key)).toEqual(later);
  });

  it('one that it knew before is spent from what it has, and changed no more', () => {
    const world = worldWith(2);
    const { one } = world;
    one.call({ op: 'request', budget: 'team', amount: 50 });
    const { key, later } = unreadable(world);
    expect(one.reserve(50)).toMatchObject({ ok: true });
    expect(one.call({ op: 'setLimit', budget: 'team', limit: 5 })).toMatchObject({
      error: { hint: expect.stringMatching(/upgrade/i) },
    });
    expect(one.reserve(100)).toMatchObject({ ok: false });
    expect(stored(world).get(key)).toEqual(later);
  });

  it('a row of a later version counts by what is known of it', () => {
    const world = worldWith(1);
    const owner = nodeIdOf(9);
    world.one.tell({ kind: 'memberChanged', member: owner, state: 'alive' });
    const row = { granted: 0, returned: 0, received: [], sent: [], spent: 0, held: 0, covered: 0 };
    world.one.tell({
      kind: 'rowHeard',
      owner,
      key: rowKey(world.purse, accountOf(owner, 5)),
      version: 1,
      body: { ...row, sequence: 1, overrun: 300, ...LATER },
    });
    expect(world.one.status()).toMatchObject({ overrun: 300 });
    expect(world.one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 5 })).toMatchObject({
      ok: true,
    });
  });
});
