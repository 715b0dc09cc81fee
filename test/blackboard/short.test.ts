/** Pushes that leave out what their receiver knows: as good as the long form, and much smaller. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KIND } from '../../src/blackboard/entry.ts';
import { stampOf } from '../../src/blackboard/hlc.ts';
import { readLaneUpdate } from '../../src/blackboard/lane-update.ts';
import { readSections, SECTION, writeLaneSection } from '../../src/blackboard/sections.ts';
import { Shorts, tagOf } from '../../src/blackboard/short.ts';
import { BoardStore } from '../../src/blackboard/store.ts';
import { ByteReader, ByteWriter } from '../../src/kernel/bytes.ts';
import type { BoardName, NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { MAIN, Network, START_MS } from './network.ts';

const AUTHOR = 'author' as NodeId;
const READER = 'reader' as NodeId;
const INCARNATION = 4_519_035_800_053_031;
const LANES = {
  ownerOf: (incarnation: number) => (incarnation === INCARNATION ? AUTHOR : undefined),
  of: (node: NodeId) => (node === AUTHOR ? { incarnations: [7, INCARNATION], folded: {} } : undefined),
};

/** The author's store and the reader's, and what the latter sees of pushes. */
class Pair {
  readonly author: BoardStore;
  readonly reader = new BoardStore(READER, 99, [], LANES);
  readonly #writes: Shorts;
  readonly #reads: Shorts;

  constructor(boards: readonly string[] = ['main']) {
    const config = boards.map((name) => ({ name, mode: 'crdt' as const }));
    this.author = new BoardStore(AUTHOR, INCARNATION, config, LANES);
    this.author.own.add(INCARNATION);
    for (const name of boards) for (const store of [this.author, this.reader]) store.board(name as BoardName);
    this.#writes = new Shorts(this.author);
    this.#reads = new Shorts(this.reader);
  }

  write(entries: readonly Partial<Entry>[], board = MAIN): void {
    const on = this.author.board(board)!;
    const lane = this.author.lane(on, INCARNATION);
    for (const { ms = 1, count = 0, key = 'key', author = 'alice', value = '1', ttlSeconds } of entries) {
      const revision = stampOf(START_MS) + ms * 4_096 + count;
      on.write(lane, { kind: KIND.set, revision, key, author, value, ttlSeconds });
    }
  }

  /** What the author pushes for what it wrote since the last call: long and, where there is one, short. */
  pushes(board = MAIN): { long: Uint8Array; short: Uint8Array | undefined }[] {
    const on = this.author.board(board)!;
    return on.takeOwnChanges(limits.repairBytes).map((change) => {
      const writer = new ByteWriter();
      writeLaneSection(writer, { kind: 'lane', ...change });
      return { long: writer.take(), short: this.#writes.shorten(on, change) };
    });
  }

  expand(short: Uint8Array, from = AUTHOR): ReturnType<Shorts['expand']> {
    const section = readSections(short)![0]!;
    if (section.kind !== 'short') throw new Error(`a section ${section.kind}`);
    return this.#reads.expand(section, from);
  }

  /** The reader takes in the long form. */
  take(long: Uint8Array): void {
    const section = readSections(long)![0]!;
    if (section.kind !== 'lane') throw new Error(`a section ${section.kind}`);
    const board = this.reader.board(section.board)!;
    const update = readLaneUpdate(new ByteReader(section.update))!;
    const lane = this.reader.lane(board, update.client);
    const heads = Array.from({ length: update.structs.length / 3 }, (_, at) => {
      const revision = stampOf(START_MS) + at;
      return { kind: KIND.set, revision, key: `${update.fromClock + at}`, origin: 0, expiresMs: 0 };
    });
    board.apply(lane, update, section.update, heads);
    this.#reads.seen(lane, update, section.update);
  }
}

interface Entry {
  ms: number;
  count: number;
  key: string;
  author: string;
  value: string;
  ttlSeconds: number;
}

function expanded(result: ReturnType<Shorts['expand']>): Exclude<ReturnType<Shorts['expand']>, string> {
  if (typeof result === 'string') throw new Error(result);
  return result;
}

describe('short sections', () => {
  it('expand to the very bytes of the long form (n=300)', () => {
    const entry = fc.record(
      {
        ms: fc.integer({ min: 0, max: 10_000_000 }),
        count: fc.integer({ min: 0, max: 4_095 }),
        key: fc.constantFrom('plan', 'a', 'schlüssel', 'k'.repeat(100)),
        author: fc.constantFrom('alice', 'bob', ''),
        value: fc.string({ minLength: 1, maxLength: 300 }).map((text) => JSON.stringify(text)),
        ttlSeconds: fc.integer({ min: 1, max: limits.ttlSeconds }),
      },
      { requiredKeys: [] },
    );
    const turns = fc.array(fc.array(entry, { minLength: 1, maxLength: 5 }), { minLength: 2, maxLength: 8 });
    let shortened = 0;
    fc.assert(
      fc.property(turns, (all) => {
        const pair = new Pair();
        let ms = 0;
        for (const entries of all) {
          const later = entries.map((each) => {
            ms += 1 + (each.ms ?? 0);
            return { ...each, ms };
          });
          pair.write(later);
          for (const { long, short } of pair.pushes()) {
            if (short !== undefined) {
              shortened++;
              const { section, update } = expanded(pair.expand(short));
              expect({ ...section, raw: section.raw.slice() }).toEqual(readSections(long)![0]);
              expect(update).toEqual(readLaneUpdate(new ByteReader(section.update)));
              expect(short.length).toBeLessThan(long.length);
            }
            pair.take(long);
          }
        }
      }),
      { numRuns: 300, seed: 7 },
    );
    expect(shortened).toBeGreaterThan(300);
  });

  it('nothing is taken in by a reader that stands elsewhere, has not seen the item before, or knows no lanes', () => {
    const pair = new Pair();
    const [one, two, three] = [1, 2, 3].map((ms) => {
      pair.write([{ ms, key: `${ms}` }]);
      return pair.pushes()[0]!;
    });
    expect(pair.expand(two!.short!)).toBe('behind');
    pair.take(one!.long);
    expect(pair.expand(three!.short!)).toBe('behind');
    expect(expanded(pair.expand(two!.short!)).section.raw).toEqual(two!.long);
    expect(pair.expand(two!.short!, 'stranger' as NodeId)).toBe('unknown');
    pair.take(two!.long);
    // Once more: nothing but its deletes, of which there are none.
    const again = expanded(pair.expand(two!.short!));
    expect([...again.section.update]).toEqual([0, 0]);
    expect(again.update).toEqual(readLaneUpdate(new ByteReader(again.section.update)));
  });

  it('boards whose lanes would have the same name keep the long form', () => {
    const seen = new Map<number, string>();
    let twins: readonly string[] = [];
    for (let index = 0; twins.length === 0; index++) {
      const name = `board-${index}`;
      const tag = tagOf(name as BoardName, INCARNATION);
      const other = seen.get(tag);
      if (other !== undefined) twins = [other, name];
      seen.set(tag, name);
    }
    const pair = new Pair(['main', ...twins]);
    for (const name of ['main', ...twins] as BoardName[]) {
      pair.write([{ ms: 1 }], name);
      pair.pushes(name);
      pair.write([{ ms: 2 }], name);
      expect(pair.pushes(name)[0]!.short === undefined).toBe(name !== 'main');
    }
  });

  it('no bytes make it throw, or believe what is cut short (S82)', () => {
    const pair = new Pair();
    pair.write([{ ms: 1 }]);
    pair.take(pair.pushes()[0]!.long);
    pair.write([{ ms: 2, ttlSeconds: 9, author: 'bob', value: '"x"' }]);
    const short = pair.pushes()[0]!.short!;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (noise) => {
        pair.expand(Uint8Array.of(...short.subarray(0, 6), ...noise));
      }),
      { numRuns: 2_000, seed: 7 },
    );
    for (let length = 6; length < short.length - 3; length++) {
      expect(pair.expand(short.subarray(0, length))).toBe('malformed');
    }
  });

  it('a write of 32 B under a key of 7 costs a push of at most 62 B, be it one of 100,000', () => {
    const pair = new Pair();
    const value = JSON.stringify('x'.repeat(32));
    for (let index = 0; index < 100_000; index++)
      pair.write([{ ms: index, key: `key-${index % 1000}`, value }]);
    pair.pushes();
    pair.write([{ ms: 100_005, key: 'key-617', author: 'bench', value }]);
    pair.pushes();
    pair.write([{ ms: 100_010, key: 'key-618', author: 'bench', value }]);
    expect(1 + pair.pushes()[0]!.short!.length).toBeLessThanOrEqual(62);
  });
});

describe('boards: short pushes', () => {
  it('K01 are what neighbours get, and what was lost on the way is pulled', () => {
    const net = new Network(5, ['a', 'b', 'c']);
    let shorts = 0;
    net.onFrame = (_, __, bytes) => {
      if (bytes[0] === 1 && bytes[1] === SECTION.short) shorts++;
    };
    net.faults.loss = 0.3;
    net.faults.duplication = 0.3;
    net.faults.jitterMs = 50;
    for (let index = 0; index < 200; index++) {
      net.write(['a', 'b', 'c'][index % 3]!, `${index % 20}`, index);
      net.run(20);
    }
    net.faults.loss = net.faults.duplication = net.faults.jitterMs = 0;
    net.converge();
    expect(shorts).toBeGreaterThan(100);
    for (const node of net.nodes.values()) {
      expect(node.penalties).toEqual([]);
      expect(node.marks.filter(({ level }) => level === 'error')).toEqual([]);
    }
  });
});
