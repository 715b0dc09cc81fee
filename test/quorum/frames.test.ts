/** Frames of the channel `quorum`: what is sent is what arrives, and nothing that arrives does harm. */
import { describe, expect, it } from 'vitest';
import { ByteReader, ByteWriter } from '../../src/kernel/bytes.ts';
import { limits } from '../../src/kernel/limits.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import {
  decodeFrame,
  encodeFrame,
  encodeGreeting,
  type Greeting,
  type StoreFrame,
} from '../../src/quorum/frames.ts';
import {
  readConfiguration,
  readEntries,
  readMessage,
  readNumbers,
  readServers,
} from '../../src/quorum/message-codec.ts';
import type { LogEntry, RaftMessage } from '../../src/quorum/raft/types.ts';
import { NEWEST_FORMAT } from '../../src/quorum/register/format.ts';
import type { StorageId } from '../../src/quorum/server.ts';
import { nodeNumber, serverNumber, storeNumber } from './names.ts';

const SENDER = nodeNumber(1);
const SELF = nodeNumber(2);
const FROM = serverNumber(1);
const TO = serverNumber(2);
const [FROM_STORAGE, TO_STORAGE] = [2 as StorageId, 3 as StorageId];

function number(rng: Rng): number {
  return rng.pick([0, 1, 127, 128, 2 ** 31, 2 ** 32, 2 ** 53 - 1, rng.uint32()]);
}

function positive(rng: Rng): number {
  return 1 + Math.floor(rng.float() * (2 ** 53 - 2));
}

function bytes(rng: Rng): Uint8Array {
  return Uint8Array.from({ length: rng.below(300) }, () => rng.below(256));
}

function some<T>(rng: Rng, most: number, make: (at: number) => T): T[] {
  return Array.from({ length: rng.below(most + 1) }, (_, at) => make(at));
}

function greeting(rng: Rng): Greeting {
  const isCarrying = rng.chance(0.7);
  return {
    kind: 'greeting',
    format: { newest: rng.below(2), store: number(rng) },
    version: number(rng),
    heard: number(rng),
    store: isCarrying ? storeNumber(positive(rng)) : undefined,
    storage: isCarrying ? (positive(rng) as StorageId) : undefined,
    hasData: rng.chance(0.5),
    mayFound: rng.chance(0.5),
    mayVote: rng.chance(0.5),
    boot: positive(rng),
    claim: { term: number(rng), lastIndex: number(rng) },
    doubted: rng.chance(0.3) ? (positive(rng) as StorageId) : undefined,
    dissolved: some(rng, 16, () => storeNumber(positive(rng))),
    replaced: some(rng, 16, () => storeNumber(positive(rng))),
    voters: some(rng, 9, (at) => serverNumber(at)),
  };
}

function entries(rng: Rng): readonly LogEntry[] {
  const first = 1 + rng.below(1_000_000);
  return some(rng, 20, (at): LogEntry => {
    const head = { index: first + at, term: number(rng) };
    const kind = rng.pick(['command', 'configuration', 'blank'] as const);
    if (kind === 'command') return { kind, ...head, command: bytes(rng) };
    if (kind === 'blank') return { kind, ...head };
    const servers = () => some(rng, 9, (server) => serverNumber(server));
    return { kind, ...head, configuration: { incoming: servers(), outgoing: servers() } };
  });
}

function message(rng: Rng): RaftMessage {
  const head = { from: FROM, to: TO, term: number(rng) };
  const flag = () => rng.chance(0.5);
  const reads = some(rng, 100, () => number(rng));
  const index = number(rng);
  return rng.pick<RaftMessage>([
    { ...head, kind: 'voteRequest', isPreVote: flag(), isTransfer: flag(), lastIndex: index, lastTerm: 3 },
    { ...head, kind: 'voteAnswer', isPreVote: flag(), granted: flag() },
    {
      ...head,
      kind: 'append',
      previousIndex: index,
      previousTerm: number(rng),
      commit: number(rng),
      round: number(rng),
      stable: number(rng),
      entries: entries(rng),
    },
    { ...head, kind: 'appendAnswer', ok: flag(), index, conflictTerm: number(rng), round: number(rng) },
    { ...head, kind: 'timeoutNow' },
    { ...head, kind: 'readRequest', reads },
    { ...head, kind: 'readAnswer', ok: flag(), index, reads },
  ]);
}

function frame(rng: Rng): StoreFrame {
  const configuration = { incoming: [serverNumber(1)], outgoing: some(rng, 9, (at) => serverNumber(at)) };
  return rng.pick<StoreFrame>([
    { kind: 'raft', message: message(rng) },
    {
      kind: 'propose',
      requests: some(rng, 20, () => ({ sequence: number(rng), command: bytes(rng) })),
    },
    { kind: 'refuse', reason: rng.pick(['busy', 'notLeader']), sequences: some(rng, 50, () => number(rng)) },
    {
      kind: 'snapshot',
      transfer: number(rng),
      term: number(rng),
      point: { index: number(rng), term: number(rng), configuration },
      piece: number(rng),
      isLast: rng.chance(0.5),
      bytes: bytes(rng),
    },
    {
      kind: 'outdated',
      index: number(rng),
      client: number(rng),
      sequences: some(rng, 50, () => number(rng)),
    },
    { kind: 'promise', promised: { term: number(rng), lastIndex: number(rng) } },
    { kind: 'snapshotAnswer', transfer: number(rng), next: number(rng), ok: rng.chance(0.5) },
  ]);
}

function encoded(rng: Rng): Uint8Array {
  return rng.chance(0.2)
    ? encodeGreeting(greeting(rng))
    : encodeFrame(storeNumber(9), FROM_STORAGE, TO_STORAGE, frame(rng));
}

describe('frames of the quorum store', () => {
  it('arrive as they were sent (1,000 of all kinds)', () => {
    const rng = seededRng(1);
    for (let count = 0; count < 1_000; count++) {
      const [greet, sent] = [greeting(rng), frame(rng)];
      expect(decodeFrame(encodeGreeting(greet), SENDER, SELF)).toEqual(greet);
      const whole = encodeFrame(storeNumber(9), FROM_STORAGE, TO_STORAGE, sent);
      const addressed = { kind: 'addressed', store: 9, from: FROM, to: TO, frame: sent };
      expect(decodeFrame(whole, SENDER, SELF)).toEqual(addressed);
    }
  });

  it('cut short anywhere, or with a byte too many, are no frames', () => {
    const rng = seededRng(2);
    for (let count = 0; count < 60; count++) {
      const whole = encoded(rng);
      const lengths = Array.from(whole, (_, length) => length);
      expect(lengths.filter((length) => decodeFrame(whole.subarray(0, length), SENDER, SELF))).toEqual([]);
      expect(decodeFrame(Uint8Array.from([...whole, 0]), SENDER, SELF)).toBeUndefined();
    }
  });

  it('changed in a few bytes, or random, never throw (10,000)', () => {
    const rng = seededRng(3);
    for (let count = 0; count < 5_000; count++) {
      const changed = encoded(rng).slice();
      for (let change = rng.below(4); change >= 0; change--)
        changed[rng.below(changed.length)] = rng.below(256);
      decodeFrame(changed, SENDER, SELF);
      const random = bytes(rng);
      if (random.length > 0) random[0] = rng.below(7);
      decodeFrame(random, SENDER, SELF);
    }
  });

  it('keep no frame in memory for a command or a piece of it', () => {
    const command = new Uint8Array(10);
    const sent: StoreFrame[] = [
      { kind: 'propose', requests: [{ sequence: 1, command }] },
      {
        kind: 'snapshot',
        transfer: 1,
        term: 1,
        point: { index: 1, term: 1, configuration: { incoming: [], outgoing: [] } },
        piece: 0,
        isLast: true,
        bytes: command,
      },
      {
        kind: 'raft',
        message: {
          from: FROM,
          to: TO,
          kind: 'append',
          term: 1,
          previousIndex: 0,
          previousTerm: 0,
          commit: 0,
          round: 0,
          stable: 0,
          entries: [{ kind: 'command', index: 1, term: 1, command }],
        },
      },
    ];
    for (const one of sent) {
      const whole = new Uint8Array(100_000);
      const short = encodeFrame(storeNumber(9), FROM_STORAGE, TO_STORAGE, one);
      whole.set(short);
      const decoded = decodeFrame(whole.subarray(0, short.length), SENDER, SELF);
      expect(buffersOf(decoded)).toEqual([10]);
    }
  });

  it.each([
    ['numbers', readNumbers],
    ['servers', readServers],
    ['entries', readEntries],
    ['a configuration', (input: ByteReader) => readConfiguration(input).incoming],
  ])('twelve bytes that announce many make no more than twelve of %s', (_, read) => {
    for (const count of [13, 1_000, 65_536, 2 ** 32, 2 ** 53 - 1]) {
      const out = new ByteWriter();
      out.varuint(count);
      while (out.length < 12) out.byte(0);
      const input = new ByteReader(out.take());
      expect(read(input).length).toBeLessThanOrEqual(12);
      expect(input.failed).toBe(true);
    }
  });

  it.each([2, 5, 6])('a frame of a few bytes (message kind %i) that announces 2^53 parts is none', (kind) => {
    const out = new ByteWriter();
    out.byte(2);
    for (const id of [9, 2, 3]) out.uint56(id);
    out.varuint(2 ** 53 - 1);
    expect(decodeFrame(out.take(), SENDER, SELF)).toBeUndefined();
    out.byte(kind);
    for (let count = 0; count < 6; count++) out.varuint(2 ** 53 - 1);
    expect(readMessage(new ByteReader(out.take()), FROM, TO)).toBeUndefined();
  });

  it.each([
    [NEWEST_FORMAT + 1, true],
    [NEWEST_FORMAT, false],
  ])(
    'a greeting of who understands format %i may go on with fields that are not known here: %s',
    (newest, may) => {
      const greet = { ...greeting(seededRng(5)), format: { newest, store: 1 } };
      const longer = Uint8Array.from([...encodeGreeting(greet), 1, 2, 3]);
      expect(decodeFrame(longer, SENDER, SELF)).toEqual(may ? greet : undefined);
    },
  );

  it.each([
    ['a store without a storage', { store: storeNumber(5), storage: undefined }],
    ['a storage without a store', { store: undefined, storage: 5 as StorageId }],
    ['65 stores that are gone', { dissolved: Array.from({ length: 65 }, (_, at) => storeNumber(at + 1)) }],
    ['33 voters', { voters: Array.from({ length: 33 }, (_, at) => serverNumber(at)) }],
  ])('a greeting with %s is none', (_, part) => {
    const whole = { ...greeting(seededRng(4)), store: storeNumber(1), storage: 1 as StorageId, ...part };
    expect(decodeFrame(encodeGreeting(whole), SENDER, SELF)).toBeUndefined();
  });

  it('the largest command fits a frame, alone and in an append', () => {
    const command = new Uint8Array(limits.quorumTransactionBytes + 4_096);
    const entry: LogEntry = { kind: 'command', index: 1, term: 1, command };
    const append = {
      from: FROM,
      to: TO,
      kind: 'append',
      term: 1,
      previousIndex: 0,
      previousTerm: 0,
      commit: 0,
      round: 0,
      stable: 0,
      entries: [entry],
    } as const;
    const sent: StoreFrame[] = [
      { kind: 'raft', message: append },
      { kind: 'propose', requests: [{ sequence: 1, command }] },
    ];
    for (const one of sent)
      expect(encodeFrame(storeNumber(9), FROM_STORAGE, TO_STORAGE, one).length).toBeLessThan(
        limits.frameBytes,
      );
  });
});

/** Sizes of the buffers behind all bytes in it. */
function buffersOf(value: unknown): number[] {
  if (value instanceof Uint8Array) return [value.buffer.byteLength];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(buffersOf);
}
