/**
 * Cheap stand-ins for hashes and signatures. Deterministic, and forgeable only by whoever reads this object's
 * memory: a signature is a keyed hash, and the keys stay here. Not for use outside simulations.
 */
import { concatBytes, equalBytes, toHex } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Cryptography, Signer } from '../kernel/ports.ts';
import type { Rng } from '../kernel/rng.ts';

const SIGNATURE_BYTES = 64;

export class SimulatedCryptography implements Cryptography {
  readonly #rng: Rng;
  readonly #nodeIdOf: (publicKey: Uint8Array) => NodeId;
  readonly #secrets = new Map<string, Uint8Array>();
  readonly #keys = new Map<NodeId, Uint8Array>();

  constructor(rng: Rng, nodeIdOf: (publicKey: Uint8Array) => NodeId) {
    this.#rng = rng;
    this.#nodeIdOf = nodeIdOf;
  }

  /** A new key, and the id of the node that would own it. */
  makeSigner(): Signer & { readonly nodeId: NodeId } {
    const secret = randomBytes(this.#rng, 32);
    const publicKey = hash32(secret);
    const nodeId = this.#nodeIdOf(publicKey);
    this.#secrets.set(toHex(publicKey), secret);
    this.#keys.set(nodeId, publicKey);
    return { publicKey, nodeId, sign: (message) => keyedHash(secret, message) };
  }

  hash(bytes: Uint8Array): Uint8Array {
    return hash32(bytes);
  }

  verifyNode(signer: NodeId, message: Uint8Array, signature: Uint8Array): boolean {
    const publicKey = this.#keys.get(signer);
    return publicKey !== undefined && this.verify(publicKey, message, signature);
  }

  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    const secret = this.#secrets.get(toHex(publicKey));
    return (
      secret !== undefined &&
      signature.length === SIGNATURE_BYTES &&
      equalBytes(keyedHash(secret, message), signature)
    );
  }
}

export function randomBytes(rng: Rng, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => rng.below(256));
}

function keyedHash(secret: Uint8Array, message: Uint8Array): Uint8Array {
  const inner = hash32(concatBytes([secret, message]));
  return concatBytes([inner, hash32(concatBytes([inner, secret]))]);
}

/** Eight 32-bit lanes, each fed by its neighbour; good enough that two inputs never meet by chance. */
function hash32(bytes: Uint8Array): Uint8Array {
  const lanes = Uint32Array.from(START);
  for (let at = 0; at < bytes.length; at++) {
    const lane = at & 7;
    const fed = lanes[(at + 3) & 7] as number;
    lanes[lane] = (Math.imul((lanes[lane] as number) ^ (bytes[at] as number), 0x01000193) + (fed >>> 11)) | 0;
  }
  lanes[0] = (lanes[0] as number) ^ bytes.length;
  for (let round = 0; round < 24; round++) {
    const lane = round & 7;
    const mixed = Math.imul((lanes[lane] as number) ^ ((lanes[lane] as number) >>> 15), 0x85ebca6b);
    lanes[lane] = (mixed ^ (mixed >>> 13)) | 0;
    lanes[(lane + 1) & 7] =
      ((lanes[(lane + 1) & 7] as number) + Math.imul(lanes[lane] as number, 0x9e3779b1)) | 0;
  }
  const out = new Uint8Array(32);
  const view = new DataView(out.buffer);
  for (const [index, lane] of lanes.entries()) view.setUint32(index * 4, lane);
  return out;
}

const START = [
  0x811c9dc5, 0x9e3779b9, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f, 0x165667b1, 0xd3a2646c, 0xfd7046c5,
] as const;
