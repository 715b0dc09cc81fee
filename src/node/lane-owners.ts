import { fromHex, toHex, utf8 } from '../kernel/codec.ts';
import type { Incarnation, NodeId } from '../kernel/ids.ts';
import { parseIncarnation } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { LanesBody } from '../replication/record.ts';

export const NONCE_BYTES = 8;

/** `NONCE_BYTES` random bytes that bind an incarnation to its node. */
export type BootNonce = Uint8Array;

/**
 * The incarnation that belongs to a node and a nonce: the first 53 bits of SHA-256 over both. A member can
 * therefore register no incarnation that another node has, whether by chance or to write into its lanes.
 */
export function incarnationOf(cryptography: Cryptography, node: NodeId, nonce: BootNonce): Incarnation {
  const digest = cryptography.hash(utf8(`skein/incarnation/1 ${node} ${toHex(nonce)}`));
  let value = 0;
  for (let at = 0; at < 6; at++) value = value * 256 + (digest[at] ?? 0);
  const incarnation = parseIncarnation(value * 32 + ((digest[6] ?? 0) >> 3));
  if (incarnation === undefined)
    throw new RangeError('incarnationOf: the digest gave zero; take another nonce');
  return incarnation;
}

/** A record of kind `lanes` whose key is an incarnation: the proof of whose it is. */
interface ProofBody {
  readonly nonce: string;
}

/** A record to publish; `undefined` withdraws it. */
interface LanesRecord {
  readonly key: string;
  readonly body: LanesBody | ProofBody | undefined;
}

/** More than a node can name: boards times incarnations that are folded into, and those that were folded away. */
const MOST_FOLDED = 4_096;

/**
 * Who owns which incarnation, from signed records of kind `lanes`. Each incarnation has a record of its own, which proves
 * its owner and stays when the node loses its disk and starts with an empty list; the record with the empty key
 * lists which are in use and which were folded away. An unproven claim counts for nothing.
 */
export class LaneOwners {
  readonly #cryptography: Cryptography;
  readonly #owners = new Map<Incarnation, NodeId>();
  readonly #bodies = new Map<NodeId, LanesBody>();

  constructor(cryptography: Cryptography) {
    this.#cryptography = cryptography;
  }

  ownerOf(incarnation: number): NodeId | undefined {
    return this.#owners.get(incarnation as Incarnation);
  }

  of(node: NodeId): LanesBody | undefined {
    return this.#bodies.get(node);
  }

  /** What to publish for this node's list: the proof of the running incarnation first, and no proof longer than it is needed. */
  recordsFor(
    self: NodeId,
    body: LanesBody,
    running: { id: Incarnation; nonce: BootNonce },
  ): readonly LanesRecord[] {
    const named = namedIn(body);
    const before = this.#bodies.get(self);
    const outlived =
      before === undefined ? [] : [...namedIn(before)].filter((incarnation) => !named.has(incarnation));
    return [
      { key: String(running.id), body: { nonce: toHex(running.nonce) } },
      { key: '', body },
      ...outlived.map((incarnation) => ({ key: String(incarnation), body: undefined })),
    ];
  }

  /** Takes in a record that the store has verified; `undefined` is a withdrawal. False where it is malformed or claims what is another's. */
  learn(owner: NodeId, key: string, body: unknown): boolean {
    return key === '' ? this.#learnList(owner, body) : this.#learnProof(owner, Number(key), body);
  }

  #learnProof(owner: NodeId, value: number, body: unknown): boolean {
    const incarnation = parseIncarnation(value);
    if (incarnation === undefined) return false;
    if (body === undefined) {
      if (this.#owners.get(incarnation) === owner) this.#owners.delete(incarnation);
      return true;
    }
    const { nonce } = (body ?? {}) as Partial<ProofBody>;
    const bytes = typeof nonce === 'string' ? fromHex(nonce) : undefined;
    if (bytes?.length !== NONCE_BYTES) return false;
    if (incarnationOf(this.#cryptography, owner, bytes) !== incarnation) return false;
    this.#owners.set(incarnation, owner);
    return true;
  }

  #learnList(owner: NodeId, body: unknown): boolean {
    const { incarnations, folded } = (body ?? {}) as Partial<LanesBody>;
    if (!Array.isArray(incarnations) || incarnations.length > 4 * limits.incarnations) return false;
    if (incarnations.some((value) => parseIncarnation(value) === undefined)) return false;
    if (typeof folded !== 'object' || folded === null) return false;
    const clocks = Object.entries(folded as Record<string, unknown>);
    if (clocks.length > MOST_FOLDED || clocks.some(([, clock]) => !Number.isSafeInteger(clock))) return false;
    this.#bodies.set(owner, { incarnations, folded: folded as Record<string, number> });
    return true;
  }
}

/** Incarnations that a list still needs proof for: in use, or folded away but named for those who were away. */
function namedIn(body: LanesBody): ReadonlySet<number> {
  const folded = Object.keys(body.folded).map((key) => Number(key.slice(key.indexOf('@') + 1)));
  return new Set([...body.incarnations, ...folded]);
}
