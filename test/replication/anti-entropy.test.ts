import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/kernel/limits.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { decodeFrame, encodeFrame } from '../../src/replication/frames.ts';
import { FRAME, framesOf, Mesh } from './mesh.ts';
import { CALM, nodeId } from './network.ts';

const MINUTE_MS = 60_000;

describe('anti-entropy: push', () => {
  it('sends one frame for all changes of one tick, to all neighbours', () => {
    const mesh = new Mesh(5, 1);
    mesh.connectAll();
    mesh.run(10_000);
    const before = mesh.sent.length;
    for (let item = 0; item < 100; item++) mesh.write(0, `item ${item}`);
    expect(mesh.run(2, () => mesh.equal)).toBe(true);
    expect(framesOf(mesh, 'push', before)).toBe(4);
  });

  it('does not send to the wire what no frame can hold', () => {
    const mesh = new Mesh(2, 1);
    mesh.connectAll();
    mesh.write(0, 'x'.repeat(limits.frameBytes));
    mesh.run(100);
    expect(mesh.effects.map(({ effect }) => effect)).toContainEqual(
      expect.objectContaining({ kind: 'mark', name: 'replication.pushTooLarge' }),
    );
    expect(framesOf(mesh, 'push')).toBe(0);
  });
});

describe('anti-entropy: convergence', () => {
  it('K01 K02: converges within 5 s of healing (loss, duplicates, reordering; any connected topology)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 }), fc.integer({ min: 2, max: 7 }), (seed, size) => {
        const rng = seededRng(seed);
        const mesh = new Mesh(size, seed);
        for (let index = 1; index < size; index++) mesh.link(index, rng.below(index));
        for (let extra = rng.below(size); extra > 0; extra--) {
          const [left, right] = rng.shuffled(mesh.ids);
          mesh.connect(left!, right!);
        }
        mesh.faults = { loss: 0.3, duplicate: 0.5, minDelayMs: 0.1, maxDelayMs: 200 };
        for (let round = 0; round < 40; round++) {
          mesh.write(rng.below(size), `${round}`);
          mesh.run(rng.below(200));
        }
        mesh.faults = CALM;
        expect(mesh.run(5_000, () => mesh.equal)).toBe(true);
        expect(mesh.lattice(0).size).toBe(40);
        expect(mesh.count('penalise')).toBe(0);
      }),
      { numRuns: 60, seed: 7 },
    );
  });

  it('K03: two halves that write apart are equal within a second of meeting', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
        const mesh = new Mesh(6, seed);
        mesh.connectAll();
        for (const left of [0, 1, 2])
          for (const right of [3, 4, 5]) mesh.disconnect(mesh.id(left), mesh.id(right));
        for (let index = 0; index < 6; index++)
          mesh.write(index, ...Array.from({ length: 50 }, (_, item) => `${item}`));
        mesh.run(2_000);
        expect(mesh.equal).toBe(false);
        mesh.connectAll();
        expect(mesh.run(1_000, () => mesh.equal)).toBe(true);
      }),
      { numRuns: 20, seed: 7 },
    );
  });

  it.each([
    { name: 'a chain of 6', size: 6, links: (mesh: Mesh) => chain(mesh), withinMs: 1_500 },
    { name: 'a star of 50 leaves', size: 51, links: (mesh: Mesh) => star(mesh), withinMs: 1_500 },
  ])('a change crosses $name within $withinMs ms', ({ size, links, withinMs }) => {
    const mesh = new Mesh(size, 3);
    links(mesh);
    mesh.run(10_000);
    mesh.write(size - 1, 'news');
    expect(mesh.run(withinMs, () => mesh.equal)).toBe(true);
  });

  it('K05: frames lost without notice are found by the next roots', () => {
    const mesh = new Mesh(2, 5);
    mesh.connectAll();
    mesh.run(1_000);
    mesh.faults = { ...CALM, loss: 1 };
    mesh.write(0, 'lost');
    mesh.run(10_000);
    expect(mesh.equal).toBe(false);
    mesh.faults = CALM;
    expect(mesh.run(4_000, () => mesh.equal)).toBe(true);
  });

  it('a neighbour to which the wire lost frames is told the root soon', () => {
    const mesh = new Mesh(2, 5);
    mesh.connectAll();
    mesh.run(30_000);
    mesh.faults = { ...CALM, loss: 1 };
    mesh.write(0, 'lost');
    mesh.run(1);
    mesh.faults = CALM;
    mesh.tell(mesh.id(0), { kind: 'dropped', peer: mesh.id(1) });
    expect(mesh.run(300, () => mesh.equal)).toBe(true);
  });

  it('a push that finds its predecessor missing is answered by a pull', () => {
    const mesh = new Mesh(2, 5);
    mesh.connectAll();
    mesh.run(30_000);
    mesh.faults = { ...CALM, loss: 1 };
    mesh.write(0, 'one');
    mesh.run(1);
    mesh.faults = CALM;
    mesh.write(0, 'two');
    expect(mesh.run(10, () => mesh.equal)).toBe(true);
  });

  it('what an owner knows to lack is pulled at once, from a given neighbour or any', () => {
    for (const peer of [nodeId(1), undefined]) {
      const mesh = new Mesh(2, 5);
      mesh.connectAll();
      mesh.run(30_000);
      mesh.lattice(0).add('unannounced');
      mesh.tell(mesh.id(1), { kind: 'lacking', ...(peer === undefined ? {} : { peer }) });
      expect(mesh.machine(1).repairing).toBe(true);
      expect(mesh.run(10, () => mesh.equal)).toBe(true);
      expect(mesh.machine(1).repairing).toBe(false);
    }
  });

  it('the same seed sends the same frames, byte for byte', () => {
    const story = (seed: number) => {
      const mesh = new Mesh(5, seed);
      mesh.faults = { loss: 0.2, duplicate: 0.2, minDelayMs: 1, maxDelayMs: 100 };
      mesh.connectAll();
      for (let round = 0; round < 30; round++) {
        mesh.write(round % 5, `${round}`);
        mesh.run(100);
      }
      return mesh.sent.map(({ from, to, bytes }) => `${from} ${to} ${Buffer.from(bytes).toString('hex')}`);
    };
    expect(story(9)).toEqual(story(9));
    expect(story(9)).not.toEqual(story(10));
  });
});

function chain(mesh: Mesh): void {
  for (let index = 1; index < mesh.ids.length; index++) mesh.link(index - 1, index);
}

function star(mesh: Mesh): void {
  for (let index = 1; index < mesh.ids.length; index++) mesh.link(0, index);
}

/** Two nodes that are not linked; the first holds 100,000 items, the other nothing. */
function lagging(seed = 1, thousands = 100): Mesh {
  const mesh = new Mesh(2, seed);
  for (let index = 0; index < thousands; index++) {
    const items = Array.from({ length: 1_000 }, (_, item) => `${index * 1_000 + item}`.padStart(40, '.'));
    mesh.lattice(0).add(...items);
  }
  mesh.lattice(0).takePushes();
  return mesh;
}

describe('anti-entropy: cost', () => {
  it('equal replicas exchange one root of 18 bytes every few seconds and nothing else (n=10, 5 min)', () => {
    const mesh = new Mesh(10, 1);
    mesh.connectAll();
    mesh.write(0, 'something');
    mesh.run(MINUTE_MS);
    const before = mesh.sent.length;
    mesh.run(5 * MINUTE_MS);
    const frames = mesh.sent.slice(before);
    expect(frames.every(({ bytes }) => bytes[0] === FRAME.root && bytes.length === 18)).toBe(true);
    expect(frames.length).toBeGreaterThan((10 * 300) / 3.75 / 1.1);
    expect(frames.length).toBeLessThan((10 * 300) / 2.25);
  });

  it('in a full mesh without loss rumours become rare (a write a second, n=10: below one root a node and second)', () => {
    const mesh = new Mesh(10, 1);
    mesh.connectAll();
    const writeFor = (seconds: number) => {
      for (let second = 0; second < seconds; second++) {
        mesh.write(second % 10, `${mesh.nowMs}`);
        mesh.run(1_000);
      }
    };
    writeFor(60);
    const before = mesh.sent.length;
    writeFor(60);
    expect(framesOf(mesh, 'digest', before)).toBe(0);
    expect(framesOf(mesh, 'root', before)).toBeLessThan(10 * 60);
  });

  it('K05: a lag of 100,000 items is served in bounded frames, and few digests', { timeout: 60_000 }, () => {
    const mesh = lagging();
    mesh.connectAll();
    expect(mesh.run(10_000, () => mesh.equal)).toBe(true);
    const deltas = mesh.sent.filter(({ bytes }) => bytes[0] === FRAME.delta);
    expect(deltas.length).toBeGreaterThan(30);
    expect(deltas.length).toBeLessThan(60);
    expect(Math.max(...deltas.map(({ bytes }) => bytes.length))).toBeLessThan(limits.repairBytes * 1.1);
    expect(framesOf(mesh, 'digest')).toBeLessThan(10);
    expect(mesh.machine(1).repairing).toBe(false);
  });

  it('K05: a lag of 20,000 items is served over a link that loses, doubles and reorders frames (n=10 seeds)', () => {
    for (let seed = 0; seed < 10; seed++) {
      const mesh = lagging(seed, 20);
      mesh.faults = { loss: 0.2, duplicate: 0.2, minDelayMs: 1, maxDelayMs: 50 };
      mesh.connectAll();
      expect(mesh.run(60_000, () => mesh.equal)).toBe(true);
      expect(mesh.count('penalise')).toBe(0);
    }
  });

  it('a digest is answered by as many frames as it asks for, a few in a turn, and no longer once another comes', () => {
    const mesh = lagging();
    const asker = nodeId(9);
    mesh.tell(mesh.id(0), { kind: 'peerUp', peer: asker });
    const ask = (request: number, frames: number) => {
      const digest = mesh.lattice(1).digest();
      const bytes = encodeFrame({ kind: 'digest', request, frames, digest });
      mesh.tell(mesh.id(0), { kind: 'received', from: asker, bytes });
    };
    const answers = () => mesh.sent.map(({ bytes }) => decodeFrame(bytes)).filter((f) => f?.kind === 'delta');
    ask(1, 8);
    expect(answers().length).toBe(1);
    ask(2, 8);
    mesh.run(1);
    expect(answers().map(({ request }) => request)).toEqual([1, ...new Array(8).fill(2)]);
    expect(answers().map(({ follows }) => follows)).toEqual([...new Array(8).fill(true), false]);
    ask(3, 32);
    mesh.tell(mesh.id(0), { kind: 'peerDown', peer: asker, reason: 'test' });
    mesh.run(1);
    expect(answers().length).toBe(10);
  });

  it('a grant lets the answer under way go on, up to a window; for any other answer it is void', () => {
    const mesh = lagging();
    const asker = nodeId(9);
    mesh.tell(mesh.id(0), { kind: 'peerUp', peer: asker });
    const say = (frame: Parameters<typeof encodeFrame>[0]) =>
      mesh.tell(mesh.id(0), { kind: 'received', from: asker, bytes: encodeFrame(frame) });
    const answers = () => mesh.sent.map(({ bytes }) => decodeFrame(bytes)).filter((f) => f?.kind === 'delta');
    const digest = mesh.lattice(1).digest();
    say({ kind: 'digest', request: 1, frames: 2, digest });
    say({ kind: 'grant', request: 1, frames: 3 });
    say({ kind: 'grant', request: 7, frames: 9 });
    mesh.run(1);
    expect(answers().map(({ follows }) => follows)).toEqual([true, true, true, true, false]);
    say({ kind: 'grant', request: 1, frames: 3 });
    mesh.run(1);
    expect(answers().length).toBe(5);
    say({ kind: 'digest', request: 2, frames: limits.repairFrames, digest });
    for (let count = 0; count < 9; count++) say({ kind: 'grant', request: 2, frames: limits.repairFrames });
    mesh.run(1);
    expect(answers().length).toBe(5 + 1 + limits.repairFrames);
    expect(mesh.count('penalise')).toBe(0);
  });

  it('a lag that takes many windows is granted, not asked for again, and the giver never has more than a window to give', () => {
    const mesh = lagging(1, 200);
    mesh.connectAll();
    expect(mesh.run(10_000, () => mesh.equal)).toBe(true);
    expect(framesOf(mesh, 'delta')).toBeGreaterThan(2 * limits.repairFrames);
    expect(framesOf(mesh, 'digest')).toBeLessThan(6);
    expect(framesOf(mesh, 'grant')).toBeGreaterThan(1);
    let left = 0;
    for (const { bytes } of mesh.sent) {
      const frame = decodeFrame(bytes);
      if (frame?.kind === 'digest') left = frame.frames;
      else if (frame?.kind === 'grant') left += frame.frames;
      else if (frame?.kind === 'delta') left--;
      expect(left).toBeLessThanOrEqual(limits.repairFrames);
    }
  });

  it.each([
    ['does not fit', () => ({ kind: 'behind' as const })],
    ['brings nothing new', () => ({ kind: 'merged' as const, changed: false })],
  ])('an answer that %s is granted nothing more', (_what, merge) => {
    const mesh = lagging(1, 200);
    let merges = 0;
    const { merge: honest } = mesh.lattice(1);
    mesh.lattice(1).merge = (...call) => (++merges < 4 ? honest.call(mesh.lattice(1), ...call) : merge());
    mesh.connectAll();
    mesh.run(400);
    expect(merges).toBeGreaterThan(4);
    expect(framesOf(mesh, 'grant')).toBeLessThanOrEqual(1);
  });

  it('who asks on a slow link asks for little at a time', () => {
    const mesh = lagging();
    mesh.faults = { ...CALM, minDelayMs: 200, maxDelayMs: 200 };
    mesh.connectAll();
    expect(mesh.run(60_000, () => mesh.equal)).toBe(true);
    const asked = mesh.sent.map(({ bytes }) => decodeFrame(bytes)).filter((f) => f?.kind === 'digest');
    expect(Math.max(...asked.map(({ frames }) => frames))).toBe(1);
  });

  it('a newcomer takes a big board over from one of ten neighbours, not from each (at most 1.3 times the bytes)', () => {
    const mesh = new Mesh(11, 1);
    const items = Array.from({ length: 20_000 }, (_, item) => `${item}`.padStart(100, '.'));
    mesh.lattice(0).add(...items);
    mesh.lattice(0).takePushes();
    for (let index = 1; index < 10; index++) mesh.lattice(index).lists.set(mesh.id(0), [...items]);
    for (let index = 0; index < 10; index++) mesh.link(index, 10);
    expect(mesh.run(10_000, () => mesh.equal)).toBe(true);
    mesh.run(5_000);
    const bytes = mesh.sent
      .filter(({ to, bytes }) => to === mesh.id(10) && bytes[0] === FRAME.delta)
      .reduce((sum, frame) => sum + frame.bytes.length, 0);
    expect(bytes).toBeLessThan(1.3 * items.length * 102);
  });

  it('goes on with another neighbour when the one it pulls from is gone', () => {
    const mesh = new Mesh(3, 1);
    const items = Array.from({ length: 20_000 }, (_, item) => `${item}`.padStart(100, '.'));
    for (const index of [0, 1]) mesh.lattice(index).lists.set(mesh.id(0), [...items]);
    mesh.link(0, 2);
    mesh.link(1, 2);
    expect(mesh.run(5_000, () => mesh.lattice(2).size > 5_000)).toBe(true);
    const source = mesh.sent.findLast(({ to, bytes }) => to === mesh.id(2) && bytes[0] === FRAME.delta)!.from;
    mesh.disconnect(source, mesh.id(2));
    expect(mesh.run(5_000, () => mesh.lattice(2).size === 20_000)).toBe(true);
  });
});
