/** Ids that no other run of any node makes: 53 bits of a hash over what is random for this run, and a count. */
import type { Cryptography } from '../../kernel/ports.ts';

/** Safe integers above 0. `nonce` is random for this run. */
export function freshIds(cryptography: Cryptography, nonce: Uint8Array): () => number {
  let count = 0;
  return () => {
    const seed = new Uint8Array(nonce.length + 4);
    seed.set(nonce);
    new DataView(seed.buffer).setUint32(nonce.length, ++count);
    const hash = new DataView(cryptography.hash(seed).slice(0, 8).buffer);
    return (hash.getUint32(0) >>> 11) * 2 ** 32 + hash.getUint32(4) || 1;
  };
}
