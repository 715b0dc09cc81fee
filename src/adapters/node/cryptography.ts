/** Hashes and Ed25519 by Node's own OpenSSL: about three times the speed of a JavaScript implementation. */
import {
  createPrivateKey,
  createPublicKey,
  sign as cryptoSign,
  verify as cryptoVerify,
  hash,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import type { NodeId } from '../../kernel/ids.ts';
import type { Cryptography, Signer } from '../../kernel/ports.ts';
import { publicKeyOf } from '../../mesh/identity/peer-id.ts';

/** Key objects kept: importing a key costs as much as half a verification. */
const CACHED_KEYS = 2_048;
const SEED_BYTES = 32;
/** DER of a PKCS#8 private key and of an SPKI public key for Ed25519, up to the 32 bytes of the key (RFC 8410). */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** `undefined` stands for an id or key that is none, so that hostile ones are not parsed again and again. */
const keys = new Map<string, KeyObject | undefined>();

function cached(name: string, make: () => KeyObject | undefined): KeyObject | undefined {
  if (keys.has(name)) return keys.get(name);
  const key = make();
  if (keys.size >= CACHED_KEYS) {
    const oldest = keys.keys().next();
    if (!oldest.done) keys.delete(oldest.value);
  }
  keys.set(name, key);
  return key;
}

function importPublic(raw: Uint8Array | undefined): KeyObject | undefined {
  if (raw?.length !== SEED_BYTES) return undefined;
  try {
    return createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, raw]), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

function verifyWith(key: KeyObject | undefined, message: Uint8Array, signature: Uint8Array): boolean {
  if (key === undefined || signature.length !== 64) return false;
  try {
    return cryptoVerify(null, message, key, signature);
  } catch {
    return false;
  }
}

export const nodeCryptography: Cryptography = {
  hash: (bytes) => new Uint8Array(hash('sha256', bytes, 'buffer')),
  verifyNode: (signer: NodeId, message, signature) =>
    verifyWith(
      cached(signer, () => importPublic(publicKeyOf(signer))),
      message,
      signature,
    ),
  verify: (publicKey, message, signature) =>
    verifyWith(
      cached(Buffer.from(publicKey).toString('hex'), () => importPublic(publicKey)),
      message,
      signature,
    ),
};

/** The Ed25519 key pair of a seed (RFC 8032). Throws `RangeError` unless it has 32 bytes. */
export function signerFromSeed(seed: Uint8Array): Signer {
  if (seed.length !== SEED_BYTES) throw new RangeError('the seed of an Ed25519 key has 32 bytes');
  const key = createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, seed]), format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return {
    publicKey: new Uint8Array(spki.subarray(PUBLIC_PREFIX.length)),
    sign: (message) => new Uint8Array(cryptoSign(null, message, key)),
  };
}

/** HKDF with SHA-256 and an empty salt (RFC 5869). */
export function hkdf(secret: Uint8Array, info: string, length: number): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, new Uint8Array(0), info, length));
}
