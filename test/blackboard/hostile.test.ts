/** Members that break the rules: each attempt is refused quickly, and leaves every honest node as it was. */
import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { KIND, writeEntry } from '../../src/blackboard/entry.ts';
import { stampOf } from '../../src/blackboard/hlc.ts';
import { LaneUpdateWriter } from '../../src/blackboard/lane-update.ts';
import {
  type Head,
  SECTION,
  writeDocumentSection,
  writeHead,
  writeHeadSection,
  writeLaneSection,
} from '../../src/blackboard/sections.ts';
import { ByteWriter } from '../../src/kernel/bytes.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import type { BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { cpuMs, MAIN, Network, START_MS, signatureOf } from './network.ts';

const PUSH = 1;

interface Forged {
  key?: string;
  value?: string;
  aheadMs?: number;
  origin?: number;
}

function entry(net: Network, { key = 'evil', value = '"EVIL"', aheadMs = 0 }: Forged = {}): Uint8Array {
  const writer = new ByteWriter();
  const revision = stampOf(START_MS + net.nowMs + aheadMs);
  writeEntry(writer, { kind: KIND.set, revision, key, author: 'mallory', value });
  return writer.take();
}

function update(
  client: number,
  fromClock: number,
  items: readonly Uint8Array[],
  deletes: readonly number[] = [],
) {
  const writer = new LaneUpdateWriter();
  writer.begin(client, fromClock);
  for (const item of items) writer.item(item, 0, item.length);
  return writer.finish(deletes);
}

function frame(bytes: Uint8Array, kind: 'lane' | 'relay' = 'lane', board = MAIN): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(PUSH);
  writeLaneSection(writer, { kind, board, deps: new Map(), hold: false, update: bytes });
  return writer.take();
}

function document(board: BoardName, bytes: Uint8Array): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(PUSH);
  writeDocumentSection(writer, board, 'doc', bytes);
  return writer.take();
}

function varuints(...numbers: number[]): Uint8Array {
  const writer = new ByteWriter();
  for (const number of numbers) writer.varuint(number);
  return writer.take();
}

/** `m` is a member that speaks the protocol and has written two entries of its own. */
function scene() {
  const net = new Network(11, ['a', 'b', 'm']);
  net.write('a', 'x', 'real');
  net.write('m', 'own', 1);
  net.write('m', 'own2', 2);
  net.converge();
  net.run(2_000);
  const a = net.node('a').incarnation;
  const b = net.node('b').incarnation;
  const m = net.node('m').incarnation;
  return { net, a, b, m };
}

type Scene = ReturnType<typeof scene>;
const clockOf = ({ net }: Scene, client: number) =>
  Y.decodeStateVector(net.node('b').boards.stateVector(MAIN, undefined)).get(client) ?? 0;

function nested(depth: number): string {
  return `${'['.repeat(depth)}${']'.repeat(depth)}`;
}

const attacks: [string, (scene: Scene) => Uint8Array][] = [
  ['S70 33 million structs announced in a few bytes', ({ m }) => frame(varuints(1, 33_000_000, m, 2, 0))],
  ['S70 33 million clients announced', () => frame(varuints(33_000_000, 1, 1, 1))],
  ['S70 33 million delete ranges announced', ({ m }) => frame(varuints(0, 1, m, 33_000_000, 0, 1))],
  ['S73 a write into the lane of another', (s) => frame(update(s.a, clockOf(s, s.a), [entry(s.net)]))],
  ['S73 a write into the lane of the receiver', (s) => frame(update(s.b, clockOf(s, s.b), [entry(s.net)]))],
  ['S73 the same, said to be relayed', (s) => frame(update(s.b, clockOf(s, s.b), [entry(s.net)]), 'relay')],
  ['S75 a GC struct of 2^40 clocks for another', ({ a }) => frame(varuints(1, 1, a, 0, 0, 2 ** 40, 0))],
  [
    'S76 nesting of 100,000',
    (s) => frame(update(s.m, clockOf(s, s.m), [entry(s.net, { value: nested(100_000) })])),
  ],
  ['S77 the key __proto__', (s) => frame(update(s.m, clockOf(s, s.m), [entry(s.net, { key: '__proto__' })]))],
  [
    'S77 __proto__ inside the value',
    (s) => frame(update(s.m, clockOf(s, s.m), [entry(s.net, { value: '{"__proto__":{"isAdmin":true}}' })])),
  ],
  ['S80 deleting the items of another', ({ a }) => frame(update(a, 0, [], [0, 1]))],
  [
    "S80 deleting another's items beside an own write",
    (s) => {
      const own = update(s.m, clockOf(s, s.m), [entry(s.net)]);
      return frame(Buffer.concat([own.subarray(0, own.length - 1), varuints(1, s.a, 1, 0, 1)]));
    },
  ],
  ['S82 a V2 update', () => frame(Y.encodeStateAsUpdateV2(new Y.Doc({ guid: 'x' })))],
  [
    'S82 trailing bytes',
    (s) => frame(Buffer.concat([update(s.m, clockOf(s, s.m), [entry(s.net)]), Uint8Array.of(0)])),
  ],
  ['S82 a truncated update', (s) => frame(update(s.m, clockOf(s, s.m), [entry(s.net)]).subarray(0, 30))],
  ['a value that is no JSON', (s) => frame(update(s.m, clockOf(s, s.m), [entry(s.net, { value: '{nope' })]))],
  [
    'a value that is no UTF-8',
    (s) => {
      const bytes = entry(s.net);
      bytes[bytes.length - 2] = 0xff;
      return frame(update(s.m, clockOf(s, s.m), [bytes]));
    },
  ],
  ['an entry that is no entry', (s) => frame(update(s.m, clockOf(s, s.m), [Uint8Array.of(255, 1, 2)]))],
  [
    'a Y.Map in place of the lane',
    (s) => {
      const doc = new Y.Doc();
      doc.clientID = s.m;
      doc.getMap('lane').set('k', 1);
      return frame(Y.encodeStateAsUpdate(doc));
    },
  ],
  [
    'a section that only journals have',
    ({ m }) => Uint8Array.of(PUSH, SECTION.reset, 4, ...Buffer.from('main'), ...varuints(m)),
  ],
  ['an unknown section', () => Uint8Array.of(PUSH, 99, 4, ...Buffer.from('main'))],
];

describe('boards: hostile members', () => {
  it.each(attacks)('%s: refused within 50 ms, nothing changed, the sender blamed', (_title, attack) => {
    const s = scene();
    const bytes = attack(s);
    const before = s.net.hashes();
    const vector = [...s.net.node('b').boards.stateVector(MAIN, undefined)];
    const startMs = cpuMs();
    s.net.inject('m', 'b', bytes);
    expect(cpuMs() - startMs).toBeLessThan(50);
    expect(s.net.hashes()).toEqual(before);
    expect([...s.net.node('b').boards.stateVector(MAIN, undefined)]).toEqual(vector);
    expect(s.net.node('b').penalties.map((penalty) => penalty.peer)).toEqual(['m']);
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined();
  });

  it('S75 a stamp an hour ahead: not taken in, and nobody blamed, since an honest clock may have been wrong once', () => {
    const s = scene();
    const before = s.net.hashes();
    s.net.inject('m', 'b', frame(update(s.m, clockOf(s, s.m), [entry(s.net, { aheadMs: 3_600_000 })])));
    expect(s.net.hashes()).toEqual(before);
    expect(s.net.node('b').penalties).toEqual([]);
  });

  it('S71 2,000 updates whose predecessor is withheld: bounded memory, no time, and honest writes go on', () => {
    const s = scene();
    const bytes = Array.from({ length: 2_000 }, (_, index) =>
      frame(
        update(s.m, 1_000 + index, [entry(s.net, { key: `k${index}`, value: `"${'x'.repeat(20_000)}"` })]),
      ),
    );
    const before = s.net.hashes();
    const startMs = cpuMs();
    for (const each of bytes) s.net.inject('m', 'b', each);
    expect(cpuMs() - startMs).toBeLessThan(5_000);
    expect(s.net.hashes()).toEqual(before);
    s.net.write('a', 'x', 'still fine');
    s.net.until(() => s.net.read('b', 'x') === 'still fine', 100);
    s.net.run(2 * limits.heldMs);
  });

  it.each([2 ** 32 - 1, 2 ** 53 - 1])('S74 client id %d that belongs to nobody: never shown', (client) => {
    const { net } = scene();
    const before = net.hashes();
    net.inject('m', 'b', frame(update(client, 0, [entry(net)])));
    net.run(2 * limits.heldMs);
    expect(net.hashes()).toEqual(before);
  });

  it('S73 a forged tail of a lane whose author is away: no present stamp passes, with or without a forged head', () => {
    const s = scene();
    s.net.crash('a');
    s.net.run(10_000);
    const before = s.net.hashes();
    const tail = update(s.a, clockOf(s, s.a), [entry(s.net, { key: 'x' })]);
    s.net.inject('m', 'b', frame(tail, 'relay'));
    const head: Head = {
      board: MAIN,
      incarnation: s.a,
      clock: clockOf(s, s.a) + 1,
      live: 2,
      root: new Uint8Array(16),
      atMs: START_MS + s.net.nowMs,
      deps: new Map(),
      signature: Buffer.concat([signatureOf('m', new Uint8Array(1))]),
    };
    const writer = new ByteWriter();
    writer.byte(PUSH);
    writeHeadSection(writer, head);
    writeLaneSection(writer, { kind: 'relay', board: MAIN, deps: new Map(), hold: false, update: tail });
    s.net.inject('m', 'b', writer.take());
    expect(s.net.hashes()).toEqual(before);
    expect(s.net.node('b').penalties).not.toEqual([]);
  });

  it('S81 what an author signed of one board is no proof on another, and its lane is not taken there', () => {
    const other = 'other' as BoardName;
    const boards = [MAIN, other].map((name) => ({ name, mode: 'crdt' as const }));
    const signedOf = (signed: BoardName) => {
      const net = new Network(12, ['a', 'b', 'm'], boards);
      net.write('a', 'x', 'real');
      net.converge();
      net.run(2_000);
      const before = net.hashes();
      const { incarnation } = net.node('a');
      const unsigned = {
        incarnation,
        clock: 1,
        live: 1,
        root: new Uint8Array(16),
        atMs: START_MS + net.nowMs,
        deps: new Map(),
      };
      const message = new ByteWriter();
      message.raw(utf8('skein/lane-head/1'));
      message.text(signed);
      writeHead(message, { board: signed, ...unsigned });
      const writer = new ByteWriter();
      writer.byte(PUSH);
      writeHeadSection(writer, { board: other, ...unsigned, signature: signatureOf('a', message.take()) });
      net.inject('m', 'b', writer.take());
      const blamed = net.node('b').penalties.length > 0;
      net.inject('m', 'b', frame(update(incarnation, 0, [entry(net)]), 'lane', other));
      net.inject('m', 'b', frame(update(incarnation, 0, [entry(net)]), 'relay', other));
      net.run(2_000);
      const read = net.call('b', { op: 'read', board: other, key: 'evil' });
      expect(read).toMatchObject({ ok: true, value: { found: false } });
      expect(net.hashes()).toEqual(before);
      return blamed;
    };
    expect(signedOf(MAIN)).toBe(true);
    // The same, signed for that very board, is believed: it is the board that tells.
    expect(signedOf(other)).toBe(false);
  });

  it.each([
    ['overwrites its keys', (at: number) => ({ key: `k${at % 50}` })],
    ['writes one key again and again under one stamp', (at: number) => ({ key: 'k', value: `${at}` })],
  ])('S52 a member that %s without end: bounded work, no blame, others are heard', (_title, forge) => {
    const { net, m } = scene();
    let clock = clockOf({ net, a: 0, b: 0, m }, m);
    const taken = () => net.node('b').effects.filter(({ kind }) => kind === 'yjsUpdated').length;
    const before = taken();
    const startMs = cpuMs();
    for (let ms = 0; ms < 1_000; ms += 20) {
      const entries = Array.from({ length: 8_000 }, (_, at) => entry(net, forge(at)));
      net.inject('m', 'b', frame(update(m, clock, entries)));
      clock += entries.length;
      if (ms % 200 === 0) {
        net.write('a', 'x', ms);
        net.until(() => net.read('b', 'x') === ms, 10);
      }
      net.run(20);
    }
    expect(cpuMs() - startMs).toBeLessThan(15_000);
    expect(taken() - before).toBeLessThan(48);
    expect(net.node('b').penalties).toEqual([]);
    expect(net.node('b').marks.map(({ name }) => name)).toContain('replication.overBudget');
  });

  it('S79 a member whose lane relies on ever new others is stopped at as many as a board can have', () => {
    const { net, m } = scene();
    let clock = clockOf({ net, a: 0, b: 0, m }, m);
    let taken = 0;
    for (let round = 0; round < 8; round++) {
      const writer = new ByteWriter();
      writer.byte(PUSH);
      const deps = new Map(Array.from({ length: 1_000 }, (_, at) => [10_000_000 + round * 1_000 + at, 1]));
      const bytes = update(m, clock, [entry(net, { key: `k${round}` })]);
      writeLaneSection(writer, { kind: 'lane', board: MAIN, deps, hold: false, update: bytes });
      net.inject('m', 'b', writer.take());
      if (clockOf({ net, a: 0, b: 0, m }, m) > clock) taken++;
      clock = clockOf({ net, a: 0, b: 0, m }, m);
    }
    expect(taken).toBe(4);
    expect(net.node('b').penalties[0]?.reason).toContain('relies on too many lanes');
    expect(net.node('a').penalties).toEqual([]);
  });

  it('S79 a member that floods a board is stopped at a multiple of its quota', () => {
    const net = new Network(
      12,
      ['a', 'm'],
      [{ name: 'main', mode: 'crdt', quotaKeys: 50, quotaBytes: 10_000 }],
    );
    const m = net.node('m').incarnation;
    for (let index = 0; index < 500; index++) {
      net.inject(
        'm',
        'a',
        frame(update(m, index, [entry(net, { key: `k${index}`, value: `"${'x'.repeat(300)}"` })])),
      );
    }
    const [info] = net.node('a').boards.boards();
    expect(info?.keys).toBeLessThanOrEqual(50 * limits.quotaSlack + 1);
    expect(info?.bytes).toBeLessThanOrEqual(10_000 * limits.quotaSlack + 400);
  });

  it('made-up boards: those without an owner, or that fail the gate, are not kept; of one member at most a part', () => {
    const s = scene();
    const board = (index: number) => `made-up-${index}` as BoardName;
    const kept = () => s.net.node('b').boards.boards().length;
    for (let index = 0; index < 300; index++) {
      s.net.inject('m', 'b', frame(update(123_456, 0, [entry(s.net)]), 'lane', board(index)));
      s.net.inject('m', 'b', frame(update(s.m, 7, [entry(s.net)]), 'lane', board(index)));
      s.net.inject('m', 'b', frame(update(s.a, 0, [entry(s.net)]), 'lane', board(index)));
      s.net.inject('m', 'b', document(board(index), Uint8Array.of(1, 1, 9, 5, 4, 1, 1, 116, 1, 120, 0)));
    }
    expect(kept()).toBe(1);
    for (let index = 0; index < 300; index++) {
      s.net.inject('m', 'b', frame(update(s.m, 0, [entry(s.net)]), 'lane', board(index)));
    }
    expect(kept()).toBe(1 + limits.boardsPerOwner);
    const doc = new Y.Doc();
    doc.getText('text').insert(0, 'x');
    const state = Y.encodeStateAsUpdate(doc);
    for (let index = 300; index < 600; index++) s.net.inject('m', 'b', document(board(index), state));
    expect(kept()).toBe(1 + limits.boardsPerOwner);
    const marks = s.net.node('b').marks.filter((mark) => mark.name === 'board.noRoom');
    expect(marks.length).toBeLessThanOrEqual(16);
    expect(s.net.node('b').boards.withoutRoom.size).toBe(16);
    const honest = frame(update(s.a, 0, [entry(s.net, { key: 'honest' })]), 'lane', 'of-a' as BoardName);
    const before = s.net.node('b').penalties.length;
    s.net.inject('a', 'b', honest);
    expect(kept()).toBe(2 + limits.boardsPerOwner);
    expect(s.net.node('b').penalties.length).toBe(before);
  });

  it('where the table of boards is full, an honest sender is not blamed, and declared boards go on', () => {
    const names = ['a', 'b', 'm0', 'm1', 'm2', 'm3', 'm4'];
    const net = new Network(13, names);
    for (let index = 0; index < limits.boards; index++) {
      const sender = `m${index % 5}`;
      const made = update(net.node(sender).incarnation, 0, [entry(net)]);
      net.inject(sender, 'b', frame(made, 'lane', `made-up-${index}` as BoardName));
    }
    const { boards } = net.node('b');
    expect(boards.boards().length).toBe(limits.boards);
    const honest = update(net.node('a').incarnation, 0, [entry(net)]);
    net.inject('a', 'b', frame(honest, 'lane', 'of-a' as BoardName));
    expect(net.node('b').penalties).toEqual([]);
    expect([...boards.withoutRoom]).toEqual([
      [`made-up-${limits.boards - 1}`, 'm0'],
      ['of-a', 'a'],
    ]);
    net.write('a', 'x', 'goes on');
    net.until(() => net.read('b', 'x') === 'goes on', 1_000);
    net.restart('b');
    expect(net.node('b').boards.boards().length).toBe(limits.boards);
  });

  it('K04 S72 two contents under one clock: detected, reported, and healed to what the author says', () => {
    const s = scene();
    const real = update(s.m, clockOf(s, s.m), [entry(s.net, { key: 'split', value: '"for b"' })]);
    const other = update(s.m, clockOf(s, s.m), [entry(s.net, { key: 'split', value: '"for a"' })]);
    s.net.write('m', 'split', 'for all');
    // What `m` said to `a` and `b` before its own push arrives:
    s.net.inject('m', 'b', frame(real));
    s.net.inject('m', 'a', frame(other));
    expect(s.net.read('a', 'split')).toBe('for a');
    expect(s.net.read('b', 'split')).toBe('for b');
    s.net.until(() => s.net.converged, 20_000);
    expect(s.net.read('a', 'split')).toBe('for all');
    const marks = [...s.net.node('a').marks, ...s.net.node('b').marks].filter(
      (mark) => mark.level === 'error',
    );
    expect(marks.map((mark) => mark.name)).toContain('board.laneReset');
  });

  it('K04 an author that signs two contents under one head is reported', () => {
    const s = scene();
    const clock = clockOf(s, s.m);
    for (const root of [1, 2]) {
      const head: Head = {
        board: MAIN,
        incarnation: s.m,
        clock: clock + 5,
        live: 3,
        root: new Uint8Array(16).fill(root),
        atMs: START_MS,
        deps: new Map(),
        signature: new Uint8Array(64),
      };
      const message = new ByteWriter();
      message.raw(Buffer.from('skein/lane-head/1'));
      message.text(MAIN);
      message.varuint(head.incarnation);
      message.varuint(head.clock);
      message.varuint(head.live);
      message.raw(head.root);
      message.varuint(head.atMs);
      message.varuint(0);
      const writer = new ByteWriter();
      writer.byte(PUSH);
      writeHeadSection(writer, { ...head, signature: signatureOf('m', message.take()) });
      s.net.inject('m', 'b', writer.take());
    }
    expect(s.net.node('b').marks.map((mark) => mark.name)).toContain('board.equivocation');
  });

  it('any single flipped bit of an honest push never throws, and never changes the lane of another', () => {
    const s = scene();
    const honest = frame(update(s.m, clockOf(s, s.m), [entry(s.net, { key: 'k' })], [0, 1]));
    for (let bit = 0; bit < honest.length * 8; bit++) {
      const damaged = honest.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const s2net = s.net;
      s2net.inject('m', 'b', damaged);
    }
    s.net.run(10_000);
    expect(s.net.read('b', 'x')).toBe('real');
    expect(s.net.read('a', 'x')).toBe('real');
  });
});
