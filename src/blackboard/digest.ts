/** What a replica tells of itself to get what it lacks. */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import { type BoardName, type NodeId, parseBoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { HASH_BYTES } from './lane.ts';
import { DOCUMENT_NAME_BYTES, PART_HASH_BYTES } from './sections.ts';

/** Bytes of a bucket's hash in a digest: enough to find what differs; what is taken in is verified by the whole. */
export const SHORT_HASH_BYTES = 8;

export interface LaneDigest {
  readonly incarnation: number;
  readonly clock: number;
  readonly root: Uint8Array;
  /** By index, where the sender wants the lane compared. */
  readonly buckets: ReadonlyMap<number, Uint8Array> | undefined;
}

export interface DocumentDigest {
  readonly name: string;
  readonly hash: Uint8Array;
  readonly stateVector: Uint8Array;
  /** Where an update larger than a frame is being taken over: which one, and how much of it is here. */
  readonly partial: { readonly hash: Uint8Array; readonly have: number } | undefined;
}

/** Documents that the sender wants compared one by one. */
interface DocumentsDigest {
  /** Those of which all that the sender has is named. */
  readonly buckets: readonly number[];
  readonly named: readonly DocumentDigest[];
}

export interface BoardDigest {
  readonly board: BoardName;
  readonly lanes: readonly LaneDigest[];
  readonly documentsRoot: Uint8Array;
  readonly documents: DocumentsDigest | undefined;
}

export interface Digest {
  /** Hashes of the nodes that the sender is linked to: their own lanes it has from themselves. */
  readonly linked: ReadonlySet<number>;
  readonly boards: readonly BoardDigest[];
}

export function encodeDigest(digest: Digest): Uint8Array {
  const writer = new ByteWriter(4096);
  writer.varuint(digest.linked.size);
  for (const peer of digest.linked) writer.uint32(peer);
  writer.varuint(digest.boards.length);
  for (const board of digest.boards) {
    writer.text(board.board);
    writer.varuint(board.lanes.length);
    for (const lane of board.lanes) {
      writer.varuint(lane.incarnation);
      writer.varuint(lane.clock);
      writer.raw(lane.root);
      writer.varuint(lane.buckets === undefined ? 0 : lane.buckets.size + 1);
      let before = -1;
      for (const [index, hash] of lane.buckets ?? []) {
        writer.varuint(index - before - 1);
        writer.raw(hash.subarray(0, SHORT_HASH_BYTES));
        before = index;
      }
    }
    writer.raw(board.documentsRoot);
    const { buckets = [], named = [] } = board.documents ?? {};
    writer.varuint(board.documents === undefined ? 0 : named.length + 1);
    if (board.documents === undefined) continue;
    writer.varuint(buckets.length);
    for (const bucket of buckets) writer.byte(bucket);
    for (const document of named) {
      writer.text(document.name);
      writer.raw(document.hash.subarray(0, SHORT_HASH_BYTES));
      writer.sized(document.stateVector);
      writer.varuint(document.partial?.have ?? 0);
      if (document.partial !== undefined) writer.raw(document.partial.hash);
    }
  }
  return writer.take();
}

export function decodeDigest(bytes: Uint8Array): Digest | undefined {
  const reader = new ByteReader(bytes);
  const links = reader.varuint();
  if (links * 4 > reader.remaining) return undefined;
  const linked = new Set<number>();
  for (let index = 0; index < links; index++) linked.add(reader.uint32());
  const count = reader.varuint();
  if (count > limits.boards) return undefined;
  const boards: BoardDigest[] = [];
  for (let index = 0; index < count && !reader.failed; index++) {
    const board = decodeBoard(reader);
    if (board === undefined) return undefined;
    boards.push(board);
  }
  return reader.done ? { linked, boards } : undefined;
}

function decodeBoard(reader: ByteReader): BoardDigest | undefined {
  const board = parseBoardName(reader.text(64));
  const laneCount = reader.varuint();
  if (board === undefined || laneCount * (HASH_BYTES + 3) > reader.remaining) return undefined;
  const lanes: LaneDigest[] = [];
  for (let at = 0; at < laneCount && !reader.failed; at++) {
    const incarnation = reader.varuint();
    const clock = reader.varuint();
    const root = reader.raw(HASH_BYTES);
    const buckets = decodeBuckets(reader);
    lanes.push({ incarnation, clock, root, buckets });
  }
  const documentsRoot = reader.raw(HASH_BYTES);
  const documentCount = reader.varuint();
  if (reader.failed || documentCount * (SHORT_HASH_BYTES + 2) > reader.remaining + 10) return undefined;
  if (documentCount === 0) return { board, lanes, documentsRoot, documents: undefined };
  const buckets = [...reader.raw(reader.varuint())];
  const named: DocumentDigest[] = [];
  for (let at = 1; at < documentCount && !reader.failed; at++) {
    const name = reader.text(DOCUMENT_NAME_BYTES);
    const hash = reader.raw(SHORT_HASH_BYTES);
    const stateVector = reader.sized();
    const have = reader.varuint();
    const partial = have === 0 ? undefined : { hash: reader.raw(PART_HASH_BYTES), have };
    named.push({ name, hash, stateVector, partial });
  }
  return { board, lanes, documentsRoot, documents: { buckets, named } };
}

function decodeBuckets(reader: ByteReader): ReadonlyMap<number, Uint8Array> | undefined {
  const count = reader.varuint();
  if (count === 0) return undefined;
  const buckets = new Map<number, Uint8Array>();
  if ((count - 1) * (SHORT_HASH_BYTES + 1) > reader.remaining) {
    reader.fail();
    return undefined;
  }
  let index = -1;
  for (let at = 1; at < count; at++) {
    index += reader.varuint() + 1;
    buckets.set(index, reader.raw(SHORT_HASH_BYTES));
  }
  return buckets;
}

/** Short name of a node in a digest (FNV-1a); a collision costs a repair by another way. */
export function shortOf(node: NodeId): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < node.length; at++) hash = Math.imul(hash ^ node.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
