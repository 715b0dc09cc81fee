import { randomBytes } from 'node:crypto';
import { defaultCrypto } from '@libp2p/noise/crypto';
import fc from 'fast-check';
// libp2p hands lists to a cipher; the class is its own.
import { Uint8ArrayList } from 'uint8arraylist';
import { describe, expect, it } from 'vitest';
import { NoiseFrames, noiseCrypto, sealParts } from '../../../src/adapters/libp2p/noise-crypto.ts';

const SIZES = [0, 1, 100, 495, 496, 511, 512, 513, 1_199, 1_200, 1_201, 16_384, 65_519];

function hex(bytes: { subarray(): Uint8Array }): string {
  return Buffer.from(bytes.subarray()).toString('hex');
}

/** The same bytes as Noise hands them over: at once, or in pieces. */
function formsOf(bytes: Uint8Array): (Uint8Array | Uint8ArrayList)[] {
  const third = Math.floor(bytes.length / 3);
  return [
    bytes,
    new Uint8ArrayList(bytes),
    new Uint8ArrayList(bytes.subarray(0, 12), bytes.subarray(12, third + 12), bytes.subarray(third + 12)),
  ];
}

describe('the cipher under Noise', () => {
  it.each(SIZES)('seals %i bytes exactly as libp2p does, in pieces or not', (size) => {
    const key = randomBytes(32);
    const nonce = randomBytes(12);
    for (const ad of [new Uint8Array(0), randomBytes(32)]) {
      const text = randomBytes(size);
      const expected = hex(defaultCrypto.chaCha20Poly1305Encrypt(text, nonce, ad, key));
      for (const form of formsOf(text)) {
        expect(hex(noiseCrypto.chaCha20Poly1305Encrypt(form, nonce, ad, key))).toBe(expected);
      }
    }
  });

  it.each([
    [15, 0],
    [15, 1],
    [15, 20_000],
    [12, 65_507],
  ])('seals %i and %i bytes as one frame, exactly as libp2p would', (first, second) => {
    const [key, nonce] = [randomBytes(32), randomBytes(12)];
    const [head, body] = [randomBytes(first), randomBytes(second)];
    const encrypt = (plain: Uint8Array) =>
      noiseCrypto.chaCha20Poly1305Encrypt(plain, nonce, new Uint8Array(0), key);
    const parts = sealParts(encrypt, head, body);
    const text = Buffer.concat([head, body]);
    const sealed = defaultCrypto.chaCha20Poly1305Encrypt(text, nonce, new Uint8Array(0), key).subarray();
    const length = Buffer.of(sealed.length >>> 8, sealed.length & 0xff);
    expect(hex(Buffer.concat([parts.head, parts.body, parts.tag]))).toBe(
      hex(Buffer.concat([length, sealed])),
    );
  });

  it.each(SIZES)('opens what libp2p sealed of %i bytes, and libp2p what it sealed', (size) => {
    const key = randomBytes(32);
    const nonce = randomBytes(12);
    for (const ad of [new Uint8Array(0), randomBytes(32)]) {
      const text = randomBytes(size);
      for (const [sealing, opening] of [
        [defaultCrypto, noiseCrypto],
        [noiseCrypto, defaultCrypto],
        [noiseCrypto, noiseCrypto],
      ] as const) {
        const sealed = sealing.chaCha20Poly1305Encrypt(text, nonce, ad, key).subarray();
        for (const form of formsOf(sealed)) {
          expect(hex(opening.chaCha20Poly1305Decrypt(form, nonce, ad, key))).toBe(hex(text));
        }
        const inPlace = Buffer.from(sealed);
        const into = inPlace.subarray(0, size);
        expect(hex(opening.chaCha20Poly1305Decrypt(inPlace, nonce, ad, key, into))).toBe(hex(text));
      }
    }
  });

  it.each(SIZES)('refuses %i bytes of which one was changed on the way', (size) => {
    const key = randomBytes(32);
    const nonce = randomBytes(12);
    const ad = new Uint8Array(0);
    const sealed = Buffer.from(
      noiseCrypto.chaCha20Poly1305Encrypt(randomBytes(size), nonce, ad, key).subarray(),
    );
    for (const at of [0, sealed.length >> 1, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] as number) ^ 1;
      expect(() => noiseCrypto.chaCha20Poly1305Decrypt(changed, nonce, ad, key)).toThrow();
    }
  });

  it('seals with the key it is given, however many take turns', () => {
    const keys = [randomBytes(32), randomBytes(32), randomBytes(32)];
    const nonce = new Uint8Array(12);
    const ad = new Uint8Array(0);
    for (let turn = 0; turn < 6; turn++) {
      const key = keys[turn % 3]!;
      nonce[4] = turn;
      const text = randomBytes(2_000);
      const sealed = noiseCrypto.chaCha20Poly1305Encrypt(text, nonce, ad, key);
      expect(hex(sealed)).toBe(hex(defaultCrypto.chaCha20Poly1305Encrypt(text, nonce, ad, key)));
    }
  });
});

describe('frames of Noise', () => {
  it('come out as they went in, however the stream is cut up', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(1, 16, 17, 300, 527, 528, 529, 5_000, 65_535), { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 30 }),
        fc.boolean(),
        (lengths, cuts, asLists) => {
          const frames = lengths.map((length) => randomBytes(length));
          const bytes = Buffer.concat(
            frames.flatMap((frame) => [Buffer.of(frame.length >> 8, frame.length & 0xff), frame]),
          );
          const reader = new NoiseFrames();
          const seen: string[] = [];
          for (let at = 0, cut = 0; at < bytes.length; cut++) {
            const chunk = bytes.subarray(at, at + (cuts[cut % cuts.length] as number));
            at += chunk.length;
            const half = chunk.length >> 1;
            const data = asLists ? new Uint8ArrayList(chunk.subarray(0, half), chunk.subarray(half)) : chunk;
            for (const frame of reader.decode(data)) seen.push(Buffer.from(frame).toString('base64'));
          }
          expect(seen).toEqual(frames.map((frame) => frame.toString('base64')));
        },
      ),
      { numRuns: 200, seed: 3 },
    );
  });

  it('that are decrypted in place are not written over by the next', () => {
    const reader = new NoiseFrames();
    const kept: Uint8Array[] = [];
    for (const fill of [1, 2, 3]) {
      const frame = new Uint8Array(400).fill(fill);
      for (const piece of [Uint8Array.of(1, 144), frame.subarray(0, 7), frame.subarray(7)])
        kept.push(...reader.decode(piece));
    }
    expect(kept.map((frame) => new Set(frame))).toEqual([new Set([1]), new Set([2]), new Set([3])]);
  });
});
