import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader, framedBytes, joinFrames, joinShared } from '../../../src/adapters/libp2p/frames.ts';

const LIMIT = 1024 * 1024;

function read(chunks: readonly Uint8Array[], limit = LIMIT): { frames: Uint8Array[]; ok: boolean } {
  const frames: Uint8Array[] = [];
  const reader = new FrameReader(limit, (frame) => frames.push(frame));
  return { ok: chunks.every((chunk) => reader.read(chunk)), frames };
}

function join(frames: readonly Uint8Array[]): Uint8Array {
  return joinFrames(
    frames,
    frames.reduce((sum, frame) => sum + framedBytes(frame), 0),
  );
}

describe('frames on a stream', () => {
  it('come out as they went in, however the stream is cut up', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 50 }),
        (frames, cuts) => {
          const bytes = join(frames);
          const chunks: Uint8Array[] = [];
          for (let at = 0, cut = 0; at < bytes.length; cut++) {
            const length = cuts[cut % cuts.length]!;
            chunks.push(bytes.subarray(at, at + length));
            at += length;
          }
          const result = read(chunks);
          expect(result.ok).toBe(true);
          expect(result.frames.map((frame) => Buffer.from(frame).toString('hex'))).toEqual(
            frames.map((frame) => Buffer.from(frame).toString('hex')),
          );
        },
      ),
      { numRuns: 300, seed: 7 },
    );
  });

  it('says whether a frame of the last chunk is a view of it', () => {
    const kept: Uint8Array[] = [];
    const reader = new FrameReader(LIMIT, (frame) => kept.push(frame));
    const bytes = join([new Uint8Array(100).fill(1), new Uint8Array(100).fill(2), new Uint8Array(0)]);
    const lent = [
      bytes.subarray(0, 50),
      bytes.subarray(50, 110),
      bytes.subarray(110, 202),
      bytes.subarray(202),
    ].map((chunk) => reader.read(chunk) && reader.lent);
    expect(lent).toEqual([false, false, false, false]);
    reader.read(bytes);
    expect(reader.lent).toBe(true);
    expect(kept).toHaveLength(6);
    expect(new Set(kept.map((frame) => frame.buffer)).size).toBeGreaterThan(2);
  });

  it('joined for one peer are not joined again for the next, and never mistaken for others', () => {
    const [one, other] = [Uint8Array.of(1, 2), Uint8Array.of(1, 2)] as const;
    const first = joinShared([one, other], 6);
    expect(joinShared([one, other], 6)).toBe(first);
    for (const frames of [[other, one], [one], [one, one], [], [one, other, one]]) {
      expect(joinShared(frames, 3 * frames.length)).toEqual(join(frames));
    }
    expect(first).toEqual(join([one, other]));
  });

  it.each([0x80, 0x4000, 200_000])('a frame of %i bytes arrives whole, byte by byte', (length) => {
    const frame = new Uint8Array(length).fill(5);
    const result = read(Array.from(join([frame]), (byte) => Uint8Array.of(byte)));
    expect(result.ok).toBe(true);
    expect(result.frames).toHaveLength(1);
    expect(Buffer.compare(result.frames[0]!, frame)).toBe(0);
  });

  it.each([
    ['one byte more than allowed', [0x81, 0x80, 0x40]],
    ['2^32 (S54)', [0x80, 0x80, 0x80, 0x80, 0x10]],
    ['a length without end', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
  ])('an announcement of %s is refused as soon as it is read', (_what, bytes) => {
    expect(read([Uint8Array.from(bytes)])).toEqual({ ok: false, frames: [] });
    expect(read(bytes.map((byte) => Uint8Array.of(byte)))).toEqual({ ok: false, frames: [] });
  });

  it('an announced megabyte of which one byte came costs no megabyte (S54)', () => {
    const readers: FrameReader[] = [];
    const before = process.memoryUsage().arrayBuffers;
    for (let count = 0; count < 200; count++) {
      const reader = new FrameReader(LIMIT, () => undefined);
      reader.read(Uint8Array.of(0x80, 0x80, 0x40, 1));
      readers.push(reader);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(200 * 4_096);
    expect(readers).toHaveLength(200);
  });
});
