import { fromHex, toHex, utf8 } from '../kernel/codec.ts';
import type { Incarnation, NodeId } from '../kernel/ids.ts';
import { parseIncarnation } from '../kernel/ids.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { LanesBody } from '../replication/record.ts';

/** 8 random bytes that bind an incarnation to its node. */
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

/** What the `lanes` record carries on the wire: the machine's body, and the nonce of each incarnation. */
interface LanesRecord {
  readonly incarnations: readonly { readonly id: Incarnation; readonly nonce: string }[];
  readonly folded: Readonly<Record<string, number>>;
}

/** Who owns which incarnation, from the signed `lanes` records; an unproven claim counts for nothing. */
export class LaneOwners {
  readonly #cryptography: Cryptography;
  readonly #owners = new Map<Incarnation, NodeId>();
  readonly #records = new Map<NodeId, LanesRecord>();
  readonly #bodies = new Map<NodeId, LanesBody>();
  readonly #ownNonces = new Map<Incarnation, string>();

  constructor(cryptography: Cryptography) {
    this.#cryptography = cryptography;
  }

  ownerOf(incarnation: Incarnation): NodeId | undefined {
    return this.#owners.get(incarnation);
  }

  of(node: NodeId): LanesBody | undefined {
    return this.#bodies.get(node);
  }

  /** The record body to publish for lanes that this node lists; nonces are known from its start or its older record. */
  bodyToPublish(self: NodeId, lanes: LanesBody, running: { id: Incarnation; nonce: BootNonce }): LanesRecord {
    this.#ownNonces.set(running.id, toHex(running.nonce));
    for (const { id, nonce } of this.#records.get(self)?.incarnations ?? []) this.#ownNonces.set(id, nonce);
    const incarnations = lanes.incarnations.flatMap((value) => {
      const id = parseIncarnation(value);
      const nonce = id === undefined ? undefined : this.#ownNonces.get(id);
      return id === undefined || nonce === undefined ? [] : [{ id, nonce }];
    });
    return { incarnations, folded: lanes.folded };
  }

  /** Takes in a `lanes` record that the record store has verified; false where it is malformed or claims another's incarnation. */
  learn(owner: NodeId, body: unknown): boolean {
    const record = this.#checked(owner, body);
    if (record === undefined) return false;
    for (const { id } of this.#records.get(owner)?.incarnations ?? []) this.#owners.delete(id);
    for (const { id } of record.incarnations) this.#owners.set(id, owner);
    this.#records.set(owner, record);
    this.#bodies.set(owner, { incarnations: record.incarnations.map(({ id }) => id), folded: record.folded });
    return true;
  }

  #checked(owner: NodeId, body: unknown): LanesRecord | undefined {
    if (typeof body !== 'object' || body === null) return undefined;
    const { incarnations, folded } = body as { incarnations?: unknown; folded?: unknown };
    if (!Array.isArray(incarnations) || incarnations.length > 64) return undefined;
    const checked: { id: Incarnation; nonce: string }[] = [];
    for (const entry of incarnations as unknown[]) {
      const { id: rawId, nonce } = (entry ?? {}) as { id?: unknown; nonce?: unknown };
      const id = parseIncarnation(rawId);
      const bytes = typeof nonce === 'string' ? fromHex(nonce) : undefined;
      if (id === undefined || bytes?.length !== 8) return undefined;
      if (incarnationOf(this.#cryptography, owner, bytes) !== id) return undefined;
      checked.push({ id, nonce: toHex(bytes) });
    }
    if (typeof folded !== 'object' || folded === null) return undefined;
    const clocks = Object.entries(folded as Record<string, unknown>);
    if (clocks.length > 256 || clocks.some(([, clock]) => !Number.isSafeInteger(clock))) return undefined;
    return { incarnations: checked, folded: folded as Record<string, number> };
  }
}
