import { describe, expect, it } from 'vitest';
import { giveBack } from '../../../src/adapters/libp2p/spent.ts';

describe('spent memory', () => {
  it('is given back where the bytes are all of it', () => {
    const bytes = new Uint8Array(65_536);
    giveBack(bytes);
    expect(bytes.length).toBe(0);
    expect(bytes.buffer.byteLength).toBe(0);
  });

  it.each([
    ['a part of its memory', () => new Uint8Array(65_536).subarray(1)],
    ['small', () => new Uint8Array(100)],
    ['of a pool', () => Buffer.from('x'.repeat(3_000))],
    ['shared between threads', () => new Uint8Array(new SharedArrayBuffer(65_536))],
  ])('stays where it is %s', (_what, make) => {
    const bytes = make();
    const { length } = bytes;
    giveBack(bytes);
    expect(bytes.length).toBe(length);
  });
});
