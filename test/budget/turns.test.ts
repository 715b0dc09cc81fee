/** What calls of one turn of the host's loop share: a record of the journal, and nothing of what they promise. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JournalReader } from '../../src/budget/journal.ts';
import type { BudgetEffect } from '../../src/budget/messages.ts';
import { Recent } from '../../src/budget/recent.ts';
import { decode, encode } from '../../src/kernel/codec.ts';
import { definitionOf, hostWith, purseOf, reserveCall, Store } from './support.ts';
import { AGENT, worldWith } from './world.ts';

const PURSE = purseOf(definitionOf());

/** A node with rights, whose effects are collected instead of carried out. */
function quietNode() {
  const world = worldWith(1);
  const { one } = world;
  one.call({ op: 'request', budget: 'team', amount: 500 });
  world.pass(5_000);
  let id = 1_000;
  const ask = (call: Parameters<typeof one.ask>[0]): readonly BudgetEffect[] =>
    one.budgets.handle({ kind: 'budgetRequested', id: ++id, call }, world.now);
  return { world, one, ask };
}
const reserve = (amount: number, id: string) =>
  ({ op: 'reserve', budget: 'team', agent: AGENT, amount, id }) as const;
const kinds = (effects: readonly BudgetEffect[]) => effects.map(({ kind }) => kind);

describe('budgets: calls of one turn', () => {
  it('share one record, and are answered behind it, in their order (I3, B07)', () => {
    const { world, one, ask } = quietNode();
    for (let call = 0; call < 5; call++) expect(ask(reserve(10, `r${call}`))).toEqual([]);
    for (let call = 0; call < 5; call++) expect(ask({ op: 'settle', id: `r${call}`, amount: 3 })).toEqual([]);
    expect(ask(reserve(0, 'none'))).toMatchObject([{ kind: 'answer', result: { ok: false } }]);
    expect(one.budgets.deadline()?.atMs).toBeLessThanOrEqual(world.now.monoMs);
    const effects = one.budgets.expire(world.now);
    expect(kinds(effects).slice(0, 11)).toEqual(['persist', ...Array(10).fill('answer')]);
    expect(effects[0]).toMatchObject({ durable: true, stream: 'budget', records: [expect.any(Uint8Array)] });
    const answers = effects.filter((effect) => effect.kind === 'answer').map(({ result }) => result);
    expect(answers.map((result) => result.ok && (result.value as { amount: number }).amount)).toEqual([
      ...[10, 10, 10, 10, 10],
      ...[3, 3, 3, 3, 3],
    ]);
    expect(one.budgets.deadline()?.atMs).toBeGreaterThan(world.now.monoMs);
  });

  it('go in front of whatever the node orders next, whoever asked for that', () => {
    for (const next of ['a frame', 'a request', 'a stop', 'a disk that fails'] as const) {
      const { world, one, ask } = quietNode();
      ask(reserve(10, 'r'));
      const effects =
        next === 'a frame'
          ? one.budgets.handle({ kind: 'peerUp', peer: one.self }, world.now)
          : next === 'a request'
            ? ask({ op: 'request', budget: 'team', amount: 5 })
            : next === 'a stop'
              ? one.budgets.stop(world.now)
              : one.budgets.handle({ kind: 'diskFailed', reason: 'full' }, world.now);
      expect(effects[0]).toMatchObject({ kind: 'persist', durable: true });
      expect(kinds(effects)).toContain('answer');
    }
  });

  it('a row that is told in the middle of a turn has a number that stands for nothing else (I5)', () => {
    const store = new Store([definitionOf()]);
    const [host, other] = [hostWith(store, 0, 100), hostWith(store, 1)];
    const bodies: { sequence: number; held: number }[] = [];
    for (let round = 0; round < 3; round++) {
      host.ledger.perform(reserveCall(`a${round}`, 1) as never, host.now);
      const to = other.ledger.account;
      host.ledger.perform({ op: 'transfer', purse: PURSE, to, amount: 1, above: round }, host.now);
      host.ledger.perform(reserveCall(`b${round}`, 1) as never, host.now);
      for (const effect of host.ledger.take())
        if (effect.kind === 'publishRow') bodies.push(effect.body as (typeof bodies)[number]);
    }
    expect(bodies.map(({ held }) => held)).toEqual([1, 3, 5]);
    expect(new Set(bodies.map(({ sequence }) => sequence)).size).toBe(3);
    expect(host.row(PURSE)!.sequence).toBeGreaterThan(bodies.at(-1)!.sequence);
  });

  it('a checkpoint in the middle of a turn leaves nothing out and counts nothing twice (B09)', () => {
    const store = new Store([definitionOf()]);
    const host = hostWith(store, 0, 100);
    host.ledger.perform(reserveCall('a', 10) as never, host.now);
    const checkpoint = [...host.ledger.checkpoint()];
    host.ledger.perform(reserveCall('b', 20) as never, host.now);
    host.ledger.perform({ op: 'settle', id: 'a', amount: 4 }, host.now);
    const behind = host.ledger.take().flatMap((effect) => (effect.kind === 'persist' ? effect.records : []));
    expect(behind).toHaveLength(2);
    host.journal = [...checkpoint, ...behind];
    host.synced = host.journal.length;
    const before = host.row(PURSE);
    host.crash();
    expect(host.row(PURSE)).toEqual(before);
    expect(host.row(PURSE)).toMatchObject({ held: 20, spent: 4 });
  });

  it('more than a thousand of them take several records, which are read back', () => {
    const store = new Store([definitionOf({ limit: 100_000 })]);
    const host = hostWith(store, 0, 50_000);
    for (let call = 0; call < 2_500; call++) {
      host.ledger.perform(reserveCall(`r${call}`, 2) as never, host.now);
      if (call % 2 === 0) host.ledger.perform({ op: 'settle', id: `r${call}`, amount: 1 }, host.now);
    }
    const records = host.ledger.take().flatMap((effect) => (effect.kind === 'persist' ? effect.records : []));
    expect(records).toHaveLength(4);
    host.journal.push(...records);
    host.synced = host.journal.length;
    const before = host.row(PURSE);
    host.crash();
    expect(host.row(PURSE)).toEqual(before);
  });
});

describe('the record of a turn', () => {
  const store = new Store([definitionOf()]);
  const host = hostWith(store, 0, 100);
  host.reserve('a', 10);
  host.settle('a', 12);
  host.report('b', 2);
  const [state, ...records] = host.journal.map((record) => record.subarray(1));
  const read = (changed: readonly Uint8Array[]) => {
    const reader = new JournalReader();
    for (const record of changed) reader.take(record);
    return reader;
  };

  it('cut, lengthened or with any field of another kind or size it is damaged, and nothing is thrown (B09)', () => {
    expect(read([state!, ...records]).damaged).toBe(false);
    const last = records.length - 1;
    const whole = decode(records[last - 1]!) as unknown[];
    const odd = fc.oneof(
      fc.constantFrom(null, undefined, -1, 0.5, 99, 1e300, Number.NaN, '', 'x', [], {}, true),
      fc.array(fc.integer({ min: -3, max: 9 }), { maxLength: 9 }),
    );
    fc.assert(
      fc.property(fc.nat(40), odd, fc.constantFrom('put', 'cut', 'add', 'words'), (where, value, how) => {
        const [kind, sequence, words, fields] = structuredClone(whole) as [
          number,
          number,
          string[],
          unknown[],
        ];
        const at = where % (how === 'words' ? words.length : fields.length);
        if (how === 'put') fields[at] = value;
        else if (how === 'cut') fields.splice(at);
        else if (how === 'add') fields.push(value);
        else words[at] = value as string;
        const before = read([state!, ...records.slice(0, last - 1)]);
        const after = read([
          ...[state!, ...records.slice(0, last - 1)],
          encode([kind, sequence, words, fields]),
        ]);
        const isSame = encode([words, fields]).join() === encode(whole.slice(2)).join();
        // An empty record is one, and an amount may be another one: nothing else is taken in.
        if (!after.damaged && !isSame) expect(after.sequence).toBe(before.sequence + 1);
      }),
      { numRuns: 2_000, seed: 1 },
    );
  });
});

describe('the last so many', () => {
  it.each([1, 2, 5])('of %i the oldest makes room, one set again keeps its place', (most) => {
    const recent = new Recent<number>(most);
    const model = new Map<string, number>();
    for (let step = 0; step < 50; step++) {
      const key = `k${(step * 7) % (most * 2 + 1)}`;
      recent.set(key, step);
      const isNew = !model.has(key);
      model.set(key, step);
      if (isNew && model.size > most) model.delete(model.keys().next().value!);
      expect([...recent.values()]).toEqual([...model.values()]);
      expect(recent.size).toBe(model.size);
      for (const [known, value] of model) expect(recent.get(known)).toBe(value);
    }
  });
});
