import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../src/kernel/limits.ts';
import { decodeFrame, encodeFrame, FRAME_HEADER_BYTES, type Frame } from '../../src/replication/frames.ts';
import { framesOf, Mesh } from './mesh.ts';
import { nodeId } from './network.ts';

const MINUTE_MS = 60_000;

describe('frames', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const payload = fc.uint8Array({ minLength: 1, maxLength: 64 });
  const request = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const frame: fc.Arbitrary<Frame> = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), delta: payload }),
    fc.record({ kind: fc.constant('root' as const), pulled: fc.boolean(), root: bytes(16) }),
    fc.record({
      kind: fc.constant('digest' as const),
      request,
      frames: fc.integer({ min: 1, max: limits.repairFrames }),
      digest: payload,
    }),
    fc.record({
      kind: fc.constant('grant' as const),
      request,
      frames: fc.integer({ min: 1, max: limits.repairFrames }),
    }),
    fc.record({
      kind: fc.constant('delta' as const),
      request,
      more: fc.boolean(),
      follows: fc.boolean(),
      root: bytes(16),
      delta: payload,
    }),
  );

  it('read back as they were written, behind a bounded header', () => {
    fc.assert(
      fc.property(frame, (original) => {
        const written = encodeFrame(original);
        // Of what it read, the header may be written over.
        const room = original.kind === 'delta' ? { room: 22 } : {};
        expect(decodeFrame(written)).toEqual({ ...original, ...room });
        const size = 'delta' in original ? original.delta.length : 0;
        expect(written.length).toBeLessThanOrEqual(
          size + FRAME_HEADER_BYTES + ('digest' in original ? 64 : 0),
        );
      }),
    );
  });

  it('never throw for bytes of a stranger', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => void decodeFrame(noise)));
    expect(decodeFrame(new Uint8Array(0))).toBeUndefined();
    expect(decodeFrame(new Uint8Array(limits.frameBytes + 1).fill(1))).toBeUndefined();
    expect(decodeFrame(new Uint8Array(limits.frameBytes).fill(3))).toBeUndefined();
  });

  it('pins the codes of the frame types', () => {
    const root = new Uint8Array(16).fill(7);
    expect([...encodeFrame({ kind: 'push', delta: Uint8Array.of(9) })]).toEqual([1, 9]);
    expect([...encodeFrame({ kind: 'root', pulled: true, root })]).toEqual([2, 1, ...root]);
    const digest = { kind: 'digest', request: 258, frames: 5, digest: Uint8Array.of(9) } as const;
    expect([...encodeFrame(digest)]).toEqual([3, 0, 0, 1, 2, 5, 9]);
    const delta = { kind: 'delta', request: 1, more: true, follows: false, root } as const;
    expect([...encodeFrame({ ...delta, delta: Uint8Array.of(9) })]).toEqual([4, 0, 0, 0, 1, 1, ...root, 9]);
    expect(encodeFrame({ ...delta, follows: true, delta: Uint8Array.of(9) })[5]).toBe(3);
    expect([...encodeFrame({ kind: 'grant', request: 258, frames: 16 })]).toEqual([5, 0, 0, 1, 2, 16]);
  });

  it.each([
    ['none', [5, 0, 0, 0, 1, 0]],
    ['more than a window', [5, 0, 0, 0, 1, limits.repairFrames + 1]],
    ['a byte too many', [5, 0, 0, 0, 1, 1, 0]],
    ['a byte too few', [5, 0, 0, 0, 1]],
  ])('a grant of %s is malformed', (_what, bytes) => {
    expect(decodeFrame(Uint8Array.from(bytes))).toBeUndefined();
  });
});

describe('anti-entropy: hostile and stubborn neighbours', () => {
  it('blames a neighbour for malformed frames, and ignores who is no neighbour', () => {
    const mesh = new Mesh(2, 1);
    mesh.connectAll();
    mesh.tell(mesh.id(0), { kind: 'received', from: mesh.id(1), bytes: Uint8Array.of(99) });
    expect(mesh.effects[0]).toEqual({
      node: mesh.id(0),
      effect: { kind: 'penalise', peer: mesh.id(1), reason: 'board: malformed frame' },
    });
    mesh.effects.length = 0;
    mesh.tell(mesh.id(0), { kind: 'received', from: nodeId(77), bytes: Uint8Array.of(99) });
    expect(mesh.effects).toEqual([]);
  });

  it('no noise makes it throw', () => {
    const mesh = new Mesh(2, 1);
    mesh.connectAll();
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.uint8Array({ maxLength: 64 }), (type, noise) => {
        mesh.tell(mesh.id(0), { kind: 'received', from: mesh.id(1), bytes: Uint8Array.of(type, ...noise) });
      }),
    );
  });

  it('two of which one refuses what the other holds do not play ping-pong (10 min: under 20 pulls, all else flows)', () => {
    const mesh = new Mesh(2, 1);
    mesh.lattice(1).refuses.add('poison');
    mesh.lattice(0).lists.set('poison', ['drop']);
    mesh.connectAll();
    mesh.run(10 * MINUTE_MS);
    expect(framesOf(mesh, 'digest')).toBeLessThan(2 * 20 + 200);
    const refusals = mesh.effects.filter(({ effect }) => effect.kind === 'penalise');
    expect(refusals.length).toBeGreaterThan(0);
    expect(refusals.length).toBeLessThan(20);
    expect(mesh.machine(1).repairing).toBe(false);
    mesh.write(0, 'fine');
    expect(mesh.run(10, () => mesh.lattice(1).lists.has(mesh.id(0)))).toBe(true);
  });

  it('K04: replicas with equal digests and different contents are reported, and cost little', () => {
    const mesh = new Mesh(2, 1);
    mesh.lattice(0).lists.set('liar', ['one thing']);
    mesh.lattice(1).lists.set('liar', ['another']);
    mesh.connectAll();
    mesh.run(10 * MINUTE_MS);
    expect(mesh.effects.map(({ effect }) => effect)).toContainEqual(
      expect.objectContaining({ name: 'replication.diverged' }),
    );
    expect(mesh.sent.length).toBeLessThan(10 * 60 * 3);
  });

  it('a neighbour that promises more for ever without giving anything new is left alone', () => {
    const mesh = new Mesh(1, 1);
    const liar = nodeId(66);
    mesh.tell(mesh.id(0), { kind: 'peerUp', peer: liar });
    const root = new Uint8Array(16).fill(1);
    const delta = Uint8Array.of(0x90); // an empty list: nothing new
    const say = (frame: Frame) => {
      mesh.tell(mesh.id(0), { kind: 'received', from: liar, bytes: encodeFrame(frame) });
    };
    let answered = 0;
    for (let second = 0; second < 600; second++) {
      say({ kind: 'root', pulled: false, root });
      for (let seen = 0; seen < mesh.sent.length; seen++) {
        const frame = decodeFrame(mesh.sent[seen]!.bytes);
        if (frame?.kind === 'digest') {
          answered++;
          say({ kind: 'delta', request: frame.request, more: true, follows: false, root, delta });
        }
      }
      mesh.sent.length = 0;
      mesh.run(1_000);
    }
    expect(answered).toBeGreaterThan(2);
    expect(answered).toBeLessThan(60);
  });

  it('a neighbour that floods with digests is blamed and not served', () => {
    const mesh = new Mesh(2, 1);
    mesh.connectAll();
    mesh.run(1_000);
    mesh.write(0, 'x');
    mesh.run(100);
    const before = mesh.sent.length;
    const bytes = encodeFrame({ kind: 'digest', request: 1, frames: 1, digest: mesh.lattice(1).digest() });
    for (let digest = 0; digest < 5_000; digest++)
      mesh.tell(mesh.id(0), { kind: 'received', from: mesh.id(1), bytes });
    expect(framesOf(mesh, 'delta', before)).toBe(1_000);
    expect(mesh.count('penalise')).toBe(4_000);
  });

  it('a silent neighbour does not keep others from being asked', () => {
    const mesh = new Mesh(2, 1);
    const silent = [nodeId(50), nodeId(51), nodeId(52)];
    for (const peer of silent) {
      mesh.tell(mesh.id(0), { kind: 'peerUp', peer });
      const root = new Uint8Array(16).fill(1);
      mesh.tell(mesh.id(0), {
        kind: 'received',
        from: peer,
        bytes: encodeFrame({ kind: 'root', pulled: false, root }),
      });
    }
    mesh.lattice(1).add('real');
    mesh.lattice(1).takePushes();
    mesh.connectAll();
    expect(mesh.run(4_000, () => mesh.equal)).toBe(true);
  });
});
