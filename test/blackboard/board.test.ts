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
