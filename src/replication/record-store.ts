/**
 * The records that one replica holds: a join of signed facts, without signatures' checks and without the network.
 *
 * Of every owner, kind and key (a *slot*) the highest sequence stays. Under one sequence there should be one body;
 * where an owner signed several, the two with the greatest hashes stay, the greater being the visible one: so all
 * replicas agree on what they show and on the proof, in whatever order the bodies came.
 */

import { equalBytes } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { SignedRecord } from './record.ts';

export interface Held {
  readonly record: SignedRecord;
  /** 16 bytes over all that is signed. */
  readonly hash: Uint8Array;
  /** The decoded body; `undefined` for a tombstone. */
  readonly value: unknown;
}

interface Slot {
  newest: Held;
  rival: Held | undefined;
}

export interface Owner {
  readonly id: NodeId;
  /** First 8 bytes of the hash of the id: the owner's name in digests. */
  readonly tag: Uint8Array;
  readonly slots: Map<string, Slot>;
  readonly sum: HashSum;
  bytes: number;
  tombstones: number;
}

/** How a record relates to what is held. */
type Standing =
  /** Superseded, or an expired tombstone. */
  | 'old'
  | 'known'
  | 'newer'
  /** Another body under the sequence that is held. */
  | 'rival';

/** What an encoded record costs beyond its body. */
const OVERHEAD_BYTES = 256;

export class RecordStore {
  readonly #owners = new Map<NodeId, Owner>();
  readonly #sum = new HashSum();
  /** Of all but those that ride along. */
  readonly #lastingSum = new HashSum();
  readonly #tagOf: (owner: NodeId) => Uint8Array;
  readonly #rides: ReadonlySet<string>;
  #bytes = 0;
  /** Tombstones below this sequence are gone. */
  #buriedBelow = 0;

  /** `rides`: kinds whose records are left out of `lastingRoot`. */
  constructor(tagOf: (owner: NodeId) => Uint8Array, rides: ReadonlySet<string> = new Set()) {
    this.#tagOf = tagOf;
    this.#rides = rides;
  }

  /** Most recently changed first. */
  get owners(): readonly Owner[] {
    return [...this.#owners.values()].reverse();
  }

  owner(id: NodeId): Owner | undefined {
    return this.#owners.get(id);
  }

  held(owner: NodeId, kind: string, key: string): Held | undefined {
    return this.#owners.get(owner)?.slots.get(slotName(kind, key))?.newest;
  }

  root(): Uint8Array {
    return this.#sum.bytes();
  }

  lastingRoot(): Uint8Array {
    return this.#lastingSum.bytes();
  }

  standing(record: SignedRecord): Standing {
    const slot = this.#slot(record);
    if (slot === undefined) {
      return isTombstone(record) && record.sequence < this.#buriedBelow ? 'old' : 'newer';
    }
    const { sequence } = slot.newest.record;
    if (record.sequence !== sequence) return record.sequence > sequence ? 'newer' : 'old';
    const known = [slot.newest, slot.rival].some(
      (held) => held !== undefined && equalBytes(held.record.body, record.body),
    );
    return known ? 'known' : 'rival';
  }

  /** Whether there is room; a full owner may still bury its records. */
  hasRoom({ record }: Held): boolean {
    const owner = this.#owners.get(record.owner);
    if (owner === undefined)
      return this.#owners.size < limits.members && this.#bytes < limits.recordStoreBytes;
    const slot = this.#slot(record);
    if (slot === undefined && owner.slots.size >= limits.recordsPerOwner && owner.tombstones === 0)
      return false;
    const grows = cost(record) - (slot === undefined ? 0 : cost(slot.newest.record));
    return (
      grows <= 0 ||
      (owner.bytes + grows <= limits.ownerBytes && this.#bytes + grows <= limits.recordStoreBytes)
    );
  }

  /** Takes in a record that stands `newer` or `rival`; the rival pair where it made one. */
  put(held: Held): { readonly visible: boolean; readonly pair: readonly [Held, Held] | undefined } {
    const owner = this.#ownerOf(held.record.owner);
    const name = slotName(held.record.kind, held.record.key);
    const slot = owner.slots.get(name);
    if (slot === undefined || held.record.sequence > slot.newest.record.sequence) {
      if (slot !== undefined) this.#remove(owner, name, slot);
      this.#insert(owner, name, { newest: held, rival: undefined });
      this.#evict(owner);
      return { visible: true, pair: undefined };
    }
    const bodies = [slot.newest, ...(slot.rival === undefined ? [] : [slot.rival]), held];
    const [first, second] = bodies.toSorted((left, right) => compareBytes(right.hash, left.hash));
    if (first === undefined || second === undefined) return { visible: false, pair: undefined };
    const visible = first !== slot.newest;
    this.#remove(owner, name, slot);
    this.#insert(owner, name, { newest: first, rival: second });
    return { visible, pair: [first, second] };
  }

  /** Drops tombstones with a sequence below `below`, and takes in none of them until the next call. */
  bury(below: number): void {
    this.#buriedBelow = below;
    for (const owner of this.#owners.values()) {
      if (owner.tombstones === 0) continue;
      for (const [name, slot] of owner.slots) {
        const { record } = slot.newest;
        if (isTombstone(record) && record.sequence < below) this.#remove(owner, name, slot);
      }
      if (owner.slots.size === 0) this.#owners.delete(owner.id);
    }
  }

  /** Every record, rivals included, in no particular order. */
  *all(): Generator<Held> {
    for (const owner of this.#owners.values()) yield* heldBy(owner);
  }

  #slot(record: SignedRecord): Slot | undefined {
    return this.#owners.get(record.owner)?.slots.get(slotName(record.kind, record.key));
  }

  #ownerOf(id: NodeId): Owner {
    let owner = this.#owners.get(id);
    if (owner === undefined) {
      owner = { id, tag: this.#tagOf(id), slots: new Map(), sum: new HashSum(), bytes: 0, tombstones: 0 };
    }
    this.#owners.delete(id);
    this.#owners.set(id, owner);
    return owner;
  }

  /** Too many slots: the tombstone with the lowest sequence goes, everywhere the same one. */
  #evict(owner: Owner): void {
    if (owner.slots.size <= limits.recordsPerOwner) return;
    let lowest: [string, Slot] | undefined;
    for (const entry of owner.slots) {
      const { record } = entry[1].newest;
      if (!isTombstone(record)) continue;
      if (lowest === undefined || record.sequence < lowest[1].newest.record.sequence) lowest = entry;
    }
    if (lowest !== undefined) this.#remove(owner, ...lowest);
  }

  #insert(owner: Owner, name: string, slot: Slot): void {
    owner.slots.set(name, slot);
    this.#account(owner, slot, 1);
  }

  #remove(owner: Owner, name: string, slot: Slot): void {
    owner.slots.delete(name);
    this.#account(owner, slot, -1);
  }

  #account(owner: Owner, slot: Slot, sign: 1 | -1): void {
    if (isTombstone(slot.newest.record)) owner.tombstones += sign;
    for (const held of slot.rival === undefined ? [slot.newest] : [slot.newest, slot.rival]) {
      owner.sum.add(held.hash, sign);
      this.#sum.add(held.hash, sign);
      if (!this.#rides.has(held.record.kind)) this.#lastingSum.add(held.hash, sign);
      owner.bytes += sign * cost(held.record);
      this.#bytes += sign * cost(held.record);
    }
  }
}

/** The owner's descriptor first: what else it says is believed only once that is known. */
export function* heldBy(owner: Owner): Generator<Held> {
  const first = owner.slots.get(slotName('node', ''));
  if (first !== undefined) yield* both(first);
  for (const slot of owner.slots.values()) if (slot !== first) yield* both(slot);
}

function* both(slot: Slot): Generator<Held> {
  yield slot.newest;
  if (slot.rival !== undefined) yield slot.rival;
}

export function isTombstone(record: SignedRecord): boolean {
  return record.body.length === 0;
}

function slotName(kind: string, key: string): string {
  return `${kind} ${key}`;
}

function cost(record: SignedRecord): number {
  return record.body.length + OVERHEAD_BYTES;
}

function compareBytes(left: Uint8Array, right: Uint8Array): number {
  for (let at = 0; at < left.length; at++) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * A hash of a set that is kept up to date by adding and taking away: four sums modulo 2^32. A member that can sign
 * could search for sets of its own records with equal sums; all it gains is that they are not repaired.
 */
class HashSum {
  readonly #lanes = new Uint32Array(4);

  add(hash: Uint8Array, sign: 1 | -1): void {
    const view = new DataView(hash.buffer, hash.byteOffset, hash.byteLength);
    for (let lane = 0; lane < 4; lane++) {
      this.#lanes[lane] = (this.#lanes[lane] ?? 0) + sign * view.getUint32(lane * 4);
    }
  }

  /** 16 bytes. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    this.#lanes.forEach((lane, index) => {
      view.setUint32(index * 4, lane);
    });
    return bytes;
  }
}
