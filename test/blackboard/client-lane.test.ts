/** What Yjs clients write into the entries: read from their updates, and kept under the identity that they gave it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as Y from 'yjs';
import { readClientUpdate } from '../../src/blackboard/client-lane.ts';
import { KIND, writeEntry } from '../../src/blackboard/entry.ts';
import { stampOf, wallMsOf } from '../../src/blackboard/hlc.ts';
import { ByteWriter } from '../../src/kernel/bytes.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { expectOk, MAIN, Network, START_MS } from './network.ts';

const CLIENT = 4_242;

function item(key: string, value: unknown, atMs = START_MS): Uint8Array {
  const writer = new ByteWriter();
  const text = JSON.stringify(value);
  writeEntry(writer, { kind: KIND.set, revision: stampOf(atMs), key, author: '', value: text });
  return writer.take();
}

function clientDoc(client = CLIENT): { readonly doc: Y.Doc; readonly lane: Y.Array<Uint8Array> } {
  const doc = new Y.Doc();
  doc.clientID = client;
  return { doc, lane: doc.getArray(`lane:${client}`) };
}

const read = (update: Uint8Array, lane?: number, node: 'kept' | 'folded' | undefined = undefined) =>
  readClientUpdate(update, lane, undefined, () => node);

describe('client lane: reading', () => {
  it('finds the items of the lane behind those that were answered, whatever part of it is sent', () => {
    const { doc, lane } = clientDoc();
    lane.push([item('a', 1), item('b', 2), item('c', 3)]);
    lane.delete(0, 2);
    const before = Y.encodeStateVector(doc);
    lane.push([item('d', { deep: ['x'] })]);
    const keys = (update: Uint8Array) => read(update)?.writes.map(({ clock, entry }) => [clock, entry?.key]);
    expect(keys(Y.encodeStateAsUpdate(doc))).toEqual([
      [2, 'c'],
      [3, 'd'],
    ]);
    expect(keys(Y.encodeStateAsUpdate(doc, before))).toEqual([[3, 'd']]);
    expect(read(Y.encodeStateAsUpdate(doc))).toMatchObject({ lane: CLIENT, foreign: false });
  });

  it('takes the one lane of the connection, and tells of every other', () => {
    const { doc, lane } = clientDoc();
    lane.push([item('a', 1)]);
    const other = clientDoc(77);
    other.lane.push([item('b', 2)]);
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(other.doc));
    const update = Y.encodeStateAsUpdate(doc);
    for (const [own, key] of [
      [CLIENT, 'a'],
      [77, 'b'],
    ] as const) {
      const result = read(update, own);
      expect(result?.writes.map(({ entry }) => entry?.key)).toEqual([key]);
      expect(result?.foreign).toBe(true);
    }
    expect(read(update, 1)).toMatchObject({ writes: [], foreign: true });
  });

  it('passes over lanes that were folded away and over what is deleted; lanes of nodes are never a client’s', () => {
    const { doc, lane } = clientDoc();
    lane.push([item('a', 1), item('b', 1)]);
    const update = Y.encodeStateAsUpdate(doc);
    expect(read(update, undefined, 'folded')).toEqual({ lane: undefined, writes: [], foreign: false });
    expect(read(update, undefined, 'kept')).toEqual({ lane: undefined, writes: [], foreign: true });
    lane.delete(0, 2);
    expect(read(Y.encodeStateAsUpdate(doc))).toEqual({ lane: undefined, writes: [], foreign: false });
  });

  it('never throws, and gives nothing of what is cut short (all prefixes, 2,000 damaged updates)', () => {
    const { doc, lane } = clientDoc();
    lane.push([item('a', 'text'), item('b', [1, { c: null }])]);
    doc.getMap('other').set('k', ['v', 1, { n: 2 }]);
    const whole = Y.encodeStateAsUpdate(doc);
    for (let length = 0; length < whole.length; length++)
      expect(read(whole.slice(0, length))).toBeUndefined();
    const rng = seededRng(5);
    for (let round = 0; round < 2_000; round++) {
      const damaged = whole.slice();
      for (let count = 0; count <= rng.below(3); count++) damaged[rng.below(whole.length)] = rng.below(256);
      const result = read(damaged);
      for (const { entry } of result?.writes ?? []) if (entry !== undefined) expect(entry.key).not.toBe('');
    }
  });
});

describe('client lane: on nodes', () => {
  const stamp = (atMs: number) => ({ revision: stampOf(START_MS + atMs), lane: CLIENT });

  it('brought twice to one node, or to two, is one write (restart between)', () => {
    const network = new Network(1, ['a', 'b']);
    const call = { value: 'once', stamp: stamp(100) };
    const first = network.write('a', 'k', 'once', call);
    const clock = () => network.node('a').boards.stateVector(MAIN, undefined);
    const before = clock();
    expect(network.write('a', 'k', 'once', call).revision).toBe(first.revision);
    expect(clock()).toEqual(before);
    network.restart('a');
    network.write('a', 'k', 'once', call);
    network.write('b', 'k', 'once', call);
    network.run(2_000);
    network.converge();
    network.write('b', 'k', 'later');
    network.write('a', 'k', 'once', call);
    network.run(2_000);
    expect([network.read('a', 'k'), network.read('b', 'k')]).toEqual(['later', 'later']);
  });

  it('two contents under one identity come to one of them on every node (cuts, restarts, folding)', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const rng = seededRng(seed);
        const names = ['a', 'b', 'c'];
        const network = new Network(seed, names);
        for (let step = 0; step < 60; step++) {
          const name = rng.pick(names);
          const key = `k${rng.below(2)}`;
          const die = rng.float();
          const twin = { stamp: stamp(rng.below(3)) };
          if (die < 0.5) network.write(name, key, rng.below(3), twin);
          else if (die < 0.6) network.call(name, { op: 'delete', board: MAIN, key, ...twin });
          else if (die < 0.65) network.write(name, key, 'plain');
          else if (die < 0.75) network.cut(name, rng.pick(names.filter((other) => other !== name)));
          else if (die < 0.82) network.heal();
          else if (die < 0.88) network.restart(name);
          else network.run(rng.below(3_000));
        }
        network.heal();
        network.run(5_000);
        network.converge();
        for (const name of names) network.restart(name);
        network.run(5_000);
        network.converge();
      }),
      { numRuns: 40 },
    );
  });

  it('a stamp ahead of the node’s clock is refused with the node’s time, unless it only follows what is there', () => {
    const network = new Network(3, ['a', 'b']);
    const ahead = network.call('a', {
      op: 'write',
      board: MAIN,
      key: 'k',
      value: 1,
      stamp: stamp(network.nowMs + 60_000),
    });
    expect(ahead).toMatchObject({ ok: false, error: { details: { nodeWallMs: network.now().wallMs } } });
    network.node('b').clockOffsetMs = 30_000;
    const { revision } = network.write('b', 'k', 'theirs');
    network.run(500);
    expect(wallMsOf(revision) - network.now().wallMs).toBeGreaterThan(20_000);
    network.write('a', 'k', 'mine', { stamp: { revision: revision + 1, lane: CLIENT } });
    expect(network.read('a', 'k')).toBe('mine');
  });

  it('deletes what this node has not heard of yet', () => {
    const network = new Network(4, ['a', 'b']);
    network.cut('a', 'b');
    const { revision } = network.write('b', 'k', 'seen elsewhere');
    const call = {
      op: 'delete',
      board: MAIN,
      key: 'k',
      stamp: { revision: revision + 1, lane: CLIENT },
    } as const;
    expectOk(network.call('a', call));
    network.heal();
    network.run(2_000);
    expect([network.read('a', 'k'), network.read('b', 'k')]).toEqual([undefined, undefined]);
  });
});
