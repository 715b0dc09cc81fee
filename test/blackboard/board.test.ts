/** Overwrites are taken in one step where an item and the delete of what it supersedes come together. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Board, type OwnChange } from '../../src/blackboard/board.ts';
import { KIND, readEntryHead } from '../../src/blackboard/entry.ts';
import type { LaneUpdate } from '../../src/blackboard/lane-update.ts';
import { ByteReader } from '../../src/kernel/bytes.ts';
import { limits } from '../../src/kernel/limits.ts';
import { MAIN } from './network.ts';

const OWN = 7;
const OTHER = 9;
const KEYS = ['a', 'b', 'c'];

function hash(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}

function board(): Board {
  return new Board(MAIN, undefined, () => false);
}

/** A board with a running lane of its own. */
function writer(incarnation = OWN): Board {
  const made = board();
  const lane = made.lane(incarnation);
  lane.own = lane.running = true;
  return made;
}

function take(on: Board, update: LaneUpdate, bytes: Uint8Array): void {
  const lane = on.lane(update.client);
  const heads = [];
  for (let at = 0; at < update.structs.length; at += 3) {
    const offset = update.structs[at + 1]!;
    if (offset < 0 || update.structs[at]! < lane.clock) continue;
    heads.push(readEntryHead(new ByteReader(bytes, offset, offset + update.structs[at + 2]!))!);
  }
  on.apply(lane, update, bytes, heads);
}

/** The items first, what they supersede leaves later. */
function takeInTwo(on: Board, { read, update }: OwnChange): void {
  if (read.structs.length > 0) take(on, { ...read, deletes: [] }, update);
  if (read.deletes.length > 0) take(on, { ...read, fromClock: 0, toClock: 0, structs: [] }, update);
}

function shown(on: Board) {
  return {
    keys: on.view.keys,
    bytes: on.bytes,
    newest: KEYS.map((key) => on.view.newest(key)?.revision),
    states: KEYS.map((key) => on.view.get(key) === on.view.alone(key)),
    items: KEYS.map((key) => {
      const item = on.view.alone(key);
      return item === undefined ? undefined : [...item.bytes()];
    }),
    roots: [OWN, OTHER].map((incarnation) => on.lanes.get(incarnation)?.root(hash)),
    changed: [...new Set(on.takeChanged())].sort(),
  };
}

describe('board: overwrites', () => {
  it('K01 come out the same in one step, in two, and at their author (n=300)', () => {
    const write = fc.record({
      kind: fc.constantFrom(KIND.set, KIND.set, KIND.set, KIND.delete, KIND.append),
      key: fc.constantFrom(...KEYS),
      // Writes of another lane come between, above or below.
      isOther: fc.boolean(),
      ahead: fc.integer({ min: -2, max: 2 }),
    });
    const turns = fc.array(fc.array(write, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(turns, (all) => {
        const author = writer();
        const other = writer(OTHER);
        const [whole, split] = [board(), board()];
        let revision = 1_000 * 4_096;
        for (const writes of all) {
          for (const { kind, key, isOther, ahead } of writes) {
            revision += 10;
            const on = isOther ? other : author;
            const value = kind === KIND.delete ? '' : JSON.stringify(`${revision}`);
            on.write(on.lane(isOther ? OTHER : OWN), {
              kind,
              revision: revision + 10 * ahead,
              key,
              author: 'alice',
              value,
            });
          }
          for (const change of [author, other].flatMap((on) => on.takeOwnChanges(limits.repairBytes))) {
            take(whole, change.read, change.update);
            takeInTwo(split, change);
          }
          expect(shown(whole)).toEqual(shown(split));
          for (const lane of [author.lane(OWN), other.lane(OTHER)])
            if (lane.clock > 0) expect(whole.lane(lane.incarnation).root(hash)).toEqual(lane.root(hash));
        }
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  it('leave nothing behind: a key written 10,000 times is one item at its author and its reader', () => {
    const author = writer();
    const reader = board();
    const lane = author.lane(OWN);
    for (let index = 0; index < 10_000; index++) {
      author.write(lane, {
        kind: KIND.set,
        revision: (1_000 + index) * 4_096,
        key: 'plan',
        author: 'alice',
        value: `${index}`,
      });
      if (index % 10 > 0) continue;
      for (const change of author.takeOwnChanges(limits.repairBytes)) {
        take(reader, change.read, change.update);
      }
    }
    for (const change of author.takeOwnChanges(limits.repairBytes)) take(reader, change.read, change.update);
    for (const on of [author, reader]) {
      const item = on.view.alone('plan')!;
      expect(on.lanes.get(OWN)!.liveItems).toBe(1);
      expect(on.bytes).toBe(item.length);
      expect(item.page.bytes.length).toBeLessThan(16 * 1024);
    }
  });
});

describe('board: what lanes rely on', () => {
  it('K01 a reader never loses a key or sees an older value, in whatever order lanes arrive that trimmed what others superseded (n=3000)', () => {
    const incarnations = [1, 2, 3];
    const step = fc.oneof(
      fc.record({ kind: fc.constant('write' as const), by: fc.nat(2) }),
      fc.record({ kind: fc.constant('hear' as const), by: fc.nat(2), of: fc.nat(2) }),
      fc.record({ kind: fc.constant('read' as const), of: fc.nat(2), isRepair: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 4, maxLength: 40 }), (steps) => {
        const authors = incarnations.map((incarnation) => writer(incarnation));
        const reader = board();
        const told: OwnChange[][] = [[], [], []];
        const heard = new Map<Board, number[]>([...authors, reader].map((on) => [on, [0, 0, 0]]));
        const hear = (on: Board, of: number): void => {
          const next = told[of]![heard.get(on)![of]!];
          if (next === undefined || on === authors[of]) return;
          heard.get(on)![of]!++;
          on.addDeps(on.lane(next.lane.incarnation), next.deps);
          take(on, next.read, next.update);
        };
        /** All that is missing, as it stands by now: what was trimmed meanwhile never comes. */
        const repair = (of: number): void => {
          const lane = authors[of]!.lane(incarnations[of]!);
          const { clock } = reader.lane(lane.incarnation);
          const { read, bytes } = lane.encodeRead(clock, limits.repairBytes, lane.deletedRanges(0, clock));
          heard.get(reader)![of] = told[of]!.length;
          reader.addDeps(reader.lane(lane.incarnation), lane.deps);
          take(reader, read, bytes.slice());
        };
        let revision = 1_000 * 4_096;
        let newest = 0;
        const look = (): void => {
          const shown = reader.view.newest('a')?.revision ?? 0;
          expect(shown).toBeGreaterThanOrEqual(newest);
          newest = shown;
        };
        for (const each of steps) {
          if (each.kind === 'read') each.isRepair ? repair(each.of) : hear(reader, each.of);
          else {
            const author = authors[each.by]!;
            if (each.kind === 'hear') hear(author, each.of);
            else {
              const entry = { kind: KIND.set, key: 'a', author: 'alice', value: `${++revision}` } as const;
              author.write(author.lane(incarnations[each.by]!), { ...entry, revision });
            }
            author.trim();
            told[each.by]!.push(...author.takeOwnChanges(limits.repairBytes));
          }
          look();
        }
        for (const of of [0, 1, 2]) {
          while (heard.get(reader)![of]! < told[of]!.length) {
            hear(reader, of);
            look();
          }
        }
        expect([newest, reader.view.ghostBytes]).toEqual([newest === 0 ? 0 : revision, 0]);
      }),
      { numRuns: 3_000, seed: 7 },
    );
  });

  it('K01 a lane that goes away leaves what it relied on to those that relied on it', () => {
    const reader = board();
    const [first, second, third] = [1, 2, 3].map((incarnation) => reader.lane(incarnation));
    const write = { kind: KIND.set, revision: 4_096_000, key: 'a', author: 'alice', value: '1' } as const;
    reader.write(second!, write);
    reader.addDeps(second!, new Map([[3, 1]]));
    reader.addDeps(first!, new Map([[2, 1]]));
    reader.drop(second!);
    expect(reader.settled(first!)).toBe(false);
    reader.write(third!, { ...write, revision: 4_096_001 });
    expect(reader.settled(first!)).toBe(true);
  });
});
