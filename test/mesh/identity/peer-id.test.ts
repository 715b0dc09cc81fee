import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signerFromSeed } from '../../../src/adapters/node/cryptography.ts';
import { type NodeId, parseNodeId } from '../../../src/kernel/ids.ts';
import { nodeIdFromPublicKey, publicKeyOf } from '../../../src/mesh/identity/peer-id.ts';

const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex');

describe('node ids', () => {
  it('hold any public key and give it back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
        const id = nodeIdFromPublicKey(key);
        expect(parseNodeId(id)).toBe(id);
        expect(hex(publicKeyOf(id))).toBe(hex(key));
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('are the PeerIds that libp2p makes of the same seeds', async () => {
    for (const fill of [0, 1, 127, 255]) {
      const seed = new Uint8Array(32).fill(fill);
      const expected = peerIdFromPrivateKey(await generateKeyPairFromSeed('Ed25519', seed)).toString();
      expect(nodeIdFromPublicKey(signerFromSeed(seed).publicKey)).toBe(expected);
    }
  });

  it('of the right shape but without a key inside give none (S55)', () => {
    const good = nodeIdFromPublicKey(new Uint8Array(32).fill(255));
    const shaped = `12D3KooW${'z'.repeat(44)}`;
    expect(parseNodeId(shaped)).toBe(shaped);
    expect(publicKeyOf(shaped as NodeId)).toBeUndefined();
    expect(publicKeyOf(good)).toHaveLength(32);
    expect(publicKeyOf('0OIl' as NodeId)).toBeUndefined();
  });

  it.each([0, 31, 33])('a key of %i bytes is none', (length) => {
    expect(() => nodeIdFromPublicKey(new Uint8Array(length))).toThrow(RangeError);
  });
});
