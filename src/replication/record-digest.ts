/**
 * What a replica of the records holds, in few bytes, and what the holder of such a digest lacks.
 *
 * A digest names every owner with a hash of all it said (16 bytes an owner), and lists the single records (8 bytes
 * each) of those owners that changed last, and of those that the last answer asked about (*hints*). So a change
 * is usually found in one round trip, an old hole in two, and a digest of 1,000 owners stays under 40 KB.
 *
 * Layout: owner count (32 bits), then tag and hash of each; then, for each owner in detail, its tag, a count
 * (32 bits) and the record hashes.
 */
import { limits } from '../kernel/limits.ts';
import type { Delta } from './lattice.ts';
import type { SignedRecord } from './record.ts';
import { encodeDelta } from './record-codec.ts';
import { type Held, heldBy, type Owner, type RecordStore } from './record-store.ts';

/** Detail given unasked. */
const UNASKED_BYTES = 16 * 1024;
const ENTRY_BYTES = 8;
/** Signature, sequence, kind and msgpack's own bytes. */
const RECORD_OVERHEAD_BYTES = 128;

export type Tag = bigint;

export function tagNumber(bytes: Uint8Array): Tag {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0);
}

export function encodeDigest(store: RecordStore, hinted: ReadonlySet<Tag>): Uint8Array {
  const owners = store.owners;
  const parts: Uint8Array[] = [uint32(owners.length)];
  for (const { tag, sum } of owners) parts.push(tag, sum.bytes().subarray(0, ENTRY_BYTES));
  let bytes = 4 + owners.length * 2 * ENTRY_BYTES;
  let unasked = 0;
  const describe = (owner: Owner): void => {
    const hashes = [...heldBy(owner)].map(({ hash }) => hash.subarray(0, ENTRY_BYTES));
    parts.push(owner.tag, uint32(hashes.length), ...hashes);
    bytes += detailBytes(hashes.length);
  };
  for (const owner of owners) {
    // With its rivals an owner may hold twice as many records as slots.
    const size = detailBytes(owner.slots.size * 2);
    if (hinted.has(tagNumber(owner.tag))) {
      if (bytes + size <= limits.frameBytes / 2) describe(owner);
    } else if (unasked + size <= UNASKED_BYTES && bytes + size <= limits.frameBytes / 2) {
      unasked += size;
      describe(owner);
    }
  }
  return join(parts, bytes);
}

interface Digest {
  readonly owners: ReadonlyMap<Tag, bigint>;
  readonly details: ReadonlyMap<Tag, ReadonlySet<bigint>>;
}

function parseDigest(bytes: Uint8Array): Digest | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4) return undefined;
  const count = view.getUint32(0);
  let at = 4 + count * 2 * ENTRY_BYTES;
  if (count > limits.members || at > bytes.length) return undefined;
  const owners = new Map<Tag, bigint>();
  for (let offset = 4; offset < at; offset += 2 * ENTRY_BYTES) {
    owners.set(view.getBigUint64(offset), view.getBigUint64(offset + ENTRY_BYTES));
  }
  const details = new Map<Tag, ReadonlySet<bigint>>();
  while (at < bytes.length) {
    if (at + detailBytes(0) > bytes.length) return undefined;
    const tag = view.getBigUint64(at);
    const length = view.getUint32(at + ENTRY_BYTES);
    at += detailBytes(0);
    if (at + length * ENTRY_BYTES > bytes.length) return undefined;
    const hashes = new Set<bigint>();
    for (let item = 0; item < length; item++, at += ENTRY_BYTES) hashes.add(view.getBigUint64(at));
    details.set(tag, hashes);
  }
  return { owners, details };
}

/** See `Lattice.delta`. */
export function deltaFor(
  store: RecordStore,
  theirs: Uint8Array,
  maxBytes: number,
): Delta | undefined | 'malformed' {
  const digest = parseDigest(theirs);
  if (digest === undefined) return 'malformed';
  const records: SignedRecord[] = [];
  const hints: Uint8Array[] = [];
  let bytes = 0;
  let more = false;
  const isFull = (): boolean => bytes >= maxBytes || records.length >= limits.recordsPerFrame;
  for (const owner of store.owners) {
    const lacking = lackingOf(owner, digest);
    if (lacking === 'unknown') hints.push(owner.tag);
    else {
      for (const { record } of lacking) {
        if (isFull()) {
          more = true;
          hints.push(owner.tag);
          break;
        }
        records.push(record);
        bytes += record.body.length + record.key.length + RECORD_OVERHEAD_BYTES;
      }
    }
    if (more) break;
  }
  if (records.length === 0 && hints.length === 0) return undefined;
  return { bytes: encodeDelta({ records, hints }), more: more || hints.length > 0 };
}

function lackingOf(owner: Owner, { owners, details }: Digest): readonly Held[] | 'unknown' {
  const tag = tagNumber(owner.tag);
  const theirs = owners.get(tag);
  if (theirs === tagNumber(owner.sum.bytes())) return [];
  const detail = details.get(tag);
  if (detail !== undefined) return [...heldBy(owner)].filter(({ hash }) => !detail.has(tagNumber(hash)));
  return theirs === undefined ? [...heldBy(owner)] : 'unknown';
}

function detailBytes(entries: number): number {
  return ENTRY_BYTES + 4 + entries * ENTRY_BYTES;
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
