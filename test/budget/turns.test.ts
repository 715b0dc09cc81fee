/** What calls of one turn of the host's loop share: a record of the journal, and nothing of what they promise. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAmount } from '../../src/budget/amount.ts';
import { parsePart } from '../../src/budget/change.ts';
import { JournalReader } from '../../src/budget/journal.ts';
import type { BudgetEffect } from '../../src/budget/messages.ts';
import { parsePurseKey } from '../../src/budget/names.ts';
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

  it('asked again while the disk fails under the first answer, nothing is said to be done (I3, B29)', () => {
    const { world, one, ask } = quietNode();
    ask(reserve(10, 'r'));
    one.budgets.expire(world.now);
    // The record of the first is being written when it is asked again.
    expect(ask(reserve(10, 'r'))).toEqual([]);
    const effects = one.budgets.handle({ kind: 'diskFailed', reason: 'full' }, world.now);
    expect(effects).toMatchObject([
      { kind: 'answer', result: { ok: false, error: { details: { outcome: 'unknown' } } } },
    ]);
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

  it.each([0, 1, 3])(
    'a checkpoint in the middle of a turn leaves nothing out and counts nothing twice, though the account goes on after its first %i records (B09)',
    (pieces) => {
      const store = new Store([definitionOf()]);
      const host = hostWith(store, 0, 100);
      host.reserve('x', 3);
      host.settle('x', 3);
      host.sync();
      host.ledger.perform(reserveCall('a', 10) as never, host.now);
      const records = host.ledger.checkpoint()[Symbol.iterator]();
      const checkpoint: Uint8Array[] = [];
      for (let piece = 0; piece < pieces; piece++) checkpoint.push(records.next().value as Uint8Array);
      host.ledger.perform(reserveCall('b', 20) as never, host.now);
      host.ledger.perform({ op: 'settle', id: 'a', amount: 4 }, host.now);
      for (let record = records.next(); !record.done; record = records.next()) checkpoint.push(record.value);
      const behind = host.ledger
        .take()
        .flatMap((effect) => (effect.kind === 'persist' ? effect.records : []));
      expect(behind).toHaveLength(2);
      host.journal = [...checkpoint, ...behind];
      host.synced = host.journal.length;
      const before = host.row(PURSE);
      host.crash();
      expect(host.row(PURSE)).toEqual(before);
      expect(host.row(PURSE)).toMatchObject({ held: 20, spent: 7 });
    },
  );

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
  const host = hostWith(new Store([definitionOf()]), 0, 100);
  host.reserve('a', 10);
  host.settle('a', 7);
  host.reserve('b', 5);
  host.settle('b', 6);
  host.report('c', 2);
  host.reserve('d', 3);
  host.sync();
  const journal = host.journal.map((record) => record.subarray(1));
  const state = [...host.ledger.checkpoint()].map((record) => record.subarray(1));
  const odd = fc.oneof(
    fc.constantFrom(null, undefined, -1, 0.5, 99, 1e300, Number.NaN, '', 'x', [], {}, true),
    fc.array(fc.integer({ min: -3, max: 9 }), { maxLength: 9 }),
    fc.array(fc.constantFrom('reserved', 'settled', 'plain', 'hold', 'paid', 1, 'all'), { maxLength: 6 }),
  );
  const read = (changed: readonly Uint8Array[]) => {
    const reader = new JournalReader();
    for (const record of changed) reader.take(record);
    return reader;
  };
  /** One of the lists anywhere in it, with something else in one place. */
  const spoilt = (record: Uint8Array, pick: number, where: number, value: unknown): Uint8Array => {
    const content = decode(record);
    const lists: unknown[][] = [];
    const collect = (part: unknown): void => {
      if (Array.isArray(part)) lists.push(part);
      if (typeof part === 'object' && part !== null) Object.values(part).forEach(collect);
    };
    collect(content);
    const list = lists[pick % lists.length]!;
    if (where % 5 === 0) list.splice(where % (list.length + 1));
    else if (where % 5 === 1) list.push(value);
    else list[where % (list.length + 1)] = value;
    return encode(content);
  };

  it('and that of a state are read back as they were', () => {
    expect(read(journal).damaged).toBe(false);
    const [one, other] = [read(journal).state!, read(state).state!];
    expect([...one.holds.values()]).toMatchObject([...other.holds.values()]);
    expect([...one.finished.values()]).toEqual([...other.finished.values()]);
    expect([...one.finished.values()].map(({ amount, reserved }) => [amount, reserved])).toEqual([
      [7, 10],
      [6, 5],
      [2, 0],
    ]);
    expect(one.purses.get(PURSE)?.row).toEqual(other.purses.get(PURSE)?.row);
  });

  it('with anything of another kind in any place never throw, and hold no amount that is none (B09)', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(), odd, (record, pick, where, value) => {
        for (const records of [journal, state]) {
          const at = record % records.length;
          const { damaged, state: known } = read(
            records.map((each, index) => (index === at ? spoilt(each, pick, where, value) : each)),
          );
          if (damaged || known === undefined) continue;
          for (const { amount, ttlMs, purses } of known.holds.values()) {
            expect([amount, ttlMs].map((number) => parseAmount(number))).toEqual([amount, ttlMs]);
            expect(purses.every((purse) => parsePurseKey(purse) !== undefined)).toBe(true);
          }
          for (const { amount, parts } of known.finished.values()) {
            expect(parseAmount(amount)).toBe(amount);
            for (const part of parts) expect(parsePart(part)).toEqual(part);
          }
        }
      }),
      { numRuns: 1_000, seed: 1 },
    );
  });
});

describe('the last so many', () => {
  it.each([1, 2, 5, 40])(
    'of %i the oldest make room, an eighth of them at a time; one set again keeps its place',
    (most) => {
      const recent = new Recent<number>(most);
      const model = new Map<string, number>();
      for (let step = 0; step < 4 * most + 50; step++) {
        const key = `k${(step * 7) % (most * 2 + 1)}`;
        const wasKnown = recent.get(key) !== undefined;
        recent.set(key, step);
        if (!wasKnown) model.delete(key);
        model.set(key, step);
        const kept = [...model].slice(-recent.size);
        expect([...recent.values()]).toEqual(kept.map(([, value]) => value));
        expect(recent.size).toBeGreaterThanOrEqual(Math.min(most, model.size));
        expect(recent.size).toBeLessThanOrEqual(most + Math.ceil(most / 8) - 1);
        for (const [known, value] of kept) expect(recent.get(known)).toBe(value);
      }
    },
  );
});
