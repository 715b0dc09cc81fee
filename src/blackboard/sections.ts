/**
 * What a delta between nodes, and a journal record of the blackboard, is made of: sections, one after the other.
 *
 *     lane      board, flags, deps (with flag 1), update: what the lane's author did
 *     relay     the same, brought by somebody else: taken only with proof or where the author is away
 *     document  board, document, update
 *     head      board, incarnation, what its author signed of it
 *     compare   board, incarnation, clock, root, answered: "at this clock my copy of the lane has this root"
 *     proof     board, incarnation, buckets: index and hash of each, whose root a head has signed
 *     part      board, document, hash, total, offset, bytes: a piece of an update that is larger than a frame
 *     documents board, hashes by bucket: "my documents differ from yours"
 *     deleted   board, document, state vector: all that lies below it is deleted
 *     short     lane, clock, deletes, items: of `lane` what its receiver cannot know, see `short.ts`; the last of a delta
 *
 * Only in the journal: `reset` and `own` (incarnation), `copy` (a document's whole, in place of what was there).
 */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import { type BoardName, parseBoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { HASH_BYTES } from './lane.ts';

export const SECTION = {
  lane: 1,
  relay: 2,
  document: 3,
  head: 4,
  compare: 5,
  proof: 6,
  documents: 7,
  part: 8,
  deleted: 9,
  short: 10,
  reset: 16,
  own: 17,
  ghost: 18,
  copy: 19,
} as const;

const HAS_DEPS = 1;
const HOLD = 2;
export const SIGNATURE_BYTES = 64;
export const DOCUMENT_NAME_BYTES = 256;
export const PART_HASH_BYTES = 8;
const BUCKET_HASH_BYTES = 8;

export interface LaneSection {
  readonly kind: 'lane' | 'relay';
  readonly board: BoardName;
  readonly deps: ReadonlyMap<number, number>;
  readonly hold: boolean;
  /** A Yjs update. */
  readonly update: Uint8Array;
}
export interface DocumentSection {
  readonly kind: 'document' | 'copy';
  readonly board: BoardName;
  readonly document: string;
  readonly update: Uint8Array;
}
/** What an author signs of its lane. */
export interface Head {
  readonly board: BoardName;
  readonly incarnation: number;
  readonly clock: number;
  /** Living items. It only falls while the clock stands, so clock and this name one state of an honest author's lane. */
  readonly live: number;
  readonly root: Uint8Array;
  /** Wall clock of the author. */
  readonly atMs: number;
  readonly deps: ReadonlyMap<number, number>;
  readonly signature: Uint8Array;
}
interface HeadSection {
  readonly kind: 'head';
  readonly board: BoardName;
  readonly head: Head;
}
export interface CompareSection {
  readonly kind: 'compare';
  readonly board: BoardName;
  readonly incarnation: number;
  readonly clock: number;
  readonly root: Uint8Array;
  /** Where the buckets in a digest were compared: the root that the asker's copy had in it. */
  readonly answered: Uint8Array | undefined;
}
export interface ProofSection {
  readonly kind: 'proof';
  readonly board: BoardName;
  readonly incarnation: number;
  readonly buckets: readonly { readonly index: number; readonly hash: Uint8Array }[];
}
interface MarkerSection {
  readonly kind: 'reset' | 'own';
  readonly board: BoardName;
  readonly incarnation: number;
}
export interface DocumentsSection {
  readonly kind: 'documents';
  readonly board: BoardName;
  /** Hashes of the sender's documents, by bucket. */
  readonly buckets: ReadonlyMap<number, Uint8Array>;
}
/** A document was deleted. */
export interface DeletedSection {
  readonly kind: 'deleted';
  readonly board: BoardName;
  readonly document: string;
  /** By Yjs client: what lies below is deleted. */
  readonly clocks: ReadonlyMap<number, number>;
}
/** A piece of a document's update. */
export interface PartSection {
  readonly kind: 'part';
  readonly board: BoardName;
  readonly document: string;
  /** Of the whole update. */
  readonly hash: Uint8Array;
  readonly total: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}
/** The sender's running lane goes on; reaches to the end of the delta. */
export interface ShortSection {
  readonly kind: 'short';
  readonly tag: number;
  /** Where the lane must stand. */
  readonly clock: number;
  readonly body: Uint8Array;
}
interface GhostSection {
  readonly kind: 'ghost';
  readonly board: BoardName;
  readonly incarnation: number;
  readonly clock: number;
  readonly bytes: Uint8Array;
}

export type Section = (
  | LaneSection
  | DocumentSection
  | HeadSection
  | CompareSection
  | ProofSection
  | MarkerSection
  | DocumentsSection
  | DeletedSection
  | GhostSection
  | PartSection
  | ShortSection
) & {
  /** The section's own bytes within the delta. */
  readonly raw: Uint8Array;
};

/** No honest document has had more units of one client than this. */
const MOST_DOCUMENT_CLOCK = 2 ** 32;

/** Most sections in one delta. */
const MOST_SECTIONS = 16_384;

/** All sections, or `undefined` where any is malformed. */
export function readSections(bytes: Uint8Array): readonly Section[] | undefined {
  const reader = new ByteReader(bytes);
  const sections: Section[] = [];
  while (reader.remaining > 0) {
    const from = reader.at;
    const section = readSection(reader);
    if (section === undefined || reader.failed || sections.length === MOST_SECTIONS) return undefined;
    sections.push({ ...section, raw: bytes.subarray(from, reader.at) } as Section);
  }
  return sections;
}

type Bare = Section extends infer Each ? (Each extends Section ? Omit<Each, 'raw'> : never) : never;

function readSection(reader: ByteReader): Bare | undefined {
  const kind = reader.byte();
  if (kind === SECTION.short) {
    const tag = reader.uint32();
    const clock = reader.varuint();
    return { kind: 'short', tag, clock, body: reader.raw(reader.remaining) };
  }
  const board = parseBoardName(reader.text(64));
  if (board === undefined) return undefined;
  switch (kind) {
    case SECTION.lane:
    case SECTION.relay:
      return readLane(reader, board, kind === SECTION.lane ? 'lane' : 'relay');
    case SECTION.document:
    case SECTION.copy: {
      const document = reader.text(DOCUMENT_NAME_BYTES);
      return { kind: kind === SECTION.copy ? 'copy' : 'document', board, document, update: reader.sized() };
    }
    case SECTION.head:
      return { kind: 'head', board, head: readHead(reader, board) };
    case SECTION.compare: {
      const incarnation = reader.varuint();
      const clock = reader.varuint();
      const root = reader.raw(HASH_BYTES);
      const answered = reader.byte() === 1 ? reader.raw(HASH_BYTES) : undefined;
      return { kind: 'compare', board, incarnation, clock, root, answered };
    }
    case SECTION.proof:
      return readProof(reader, board);
    case SECTION.documents:
      return { kind: 'documents', board, buckets: readBuckets(reader) };
    case SECTION.deleted: {
      const document = reader.text(DOCUMENT_NAME_BYTES);
      return { kind: 'deleted', board, document, clocks: readVector(reader) };
    }
    case SECTION.part:
      return {
        kind: 'part',
        board,
        document: reader.text(DOCUMENT_NAME_BYTES),
        hash: reader.raw(PART_HASH_BYTES),
        total: reader.varuint(),
        offset: reader.varuint(),
        bytes: reader.sized(),
      };
    case SECTION.reset:
      return { kind: 'reset', board, incarnation: reader.varuint() };
    case SECTION.own:
      return { kind: 'own', board, incarnation: reader.varuint() };
    case SECTION.ghost: {
      const incarnation = reader.varuint();
      return { kind: 'ghost', board, incarnation, clock: reader.varuint(), bytes: reader.sized() };
    }
    default:
      return undefined;
  }
}

function readLane(reader: ByteReader, board: BoardName, kind: 'lane' | 'relay'): LaneSection | undefined {
  const flags = reader.byte();
  if (flags > (HAS_DEPS | HOLD)) return undefined;
  const deps = flags & HAS_DEPS ? readClocks(reader) : NO_CLOCKS;
  return { kind, board, deps, hold: (flags & HOLD) !== 0, update: reader.sized() };
}

function readHead(reader: ByteReader, board: BoardName): Head {
  return {
    board,
    incarnation: reader.varuint(),
    clock: reader.varuint(),
    live: reader.varuint(),
    root: reader.raw(HASH_BYTES).slice(),
    atMs: reader.varuint(),
    deps: readClocks(reader),
    signature: reader.raw(SIGNATURE_BYTES).slice(),
  };
}

function readProof(reader: ByteReader, board: BoardName): ProofSection | undefined {
  const incarnation = reader.varuint();
  const count = reader.varuint();
  if (count * (HASH_BYTES + 1) > reader.remaining) return undefined;
  const buckets: { index: number; hash: Uint8Array }[] = [];
  let index = -1;
  for (let at = 0; at < count; at++) {
    index += reader.varuint() + 1;
    buckets.push({ index, hash: reader.raw(HASH_BYTES).slice() });
  }
  return { kind: 'proof', board, incarnation, buckets };
}

function readBuckets(reader: ByteReader): ReadonlyMap<number, Uint8Array> {
  const buckets = new Map<number, Uint8Array>();
  const count = reader.varuint();
  if (count * (BUCKET_HASH_BYTES + 1) > reader.remaining) reader.fail();
  for (let at = 0; at < count && !reader.failed; at++)
    buckets.set(reader.byte(), reader.raw(BUCKET_HASH_BYTES));
  return buckets;
}

/** A state vector of a document. No clock of zero is among them. */
export function readVector(reader: ByteReader): ReadonlyMap<number, number> {
  const clocks = new Map<number, number>();
  const count = reader.varuint();
  if (count * 2 > reader.remaining || count > limits.documentClients * limits.quotaSlack) reader.fail();
  for (let at = 0; at < count && !reader.failed; at++) {
    const client = reader.varuint();
    const clock = reader.varuint();
    if (clock === 0 || clock > MOST_DOCUMENT_CLOCK) reader.fail();
    clocks.set(client, clock);
  }
  return clocks;
}

export const NO_CLOCKS: ReadonlyMap<number, number> = new Map();

function readClocks(reader: ByteReader): ReadonlyMap<number, number> {
  const count = reader.varuint();
  if (count === 0) return NO_CLOCKS;
  const clocks = new Map<number, number>();
  if (count > limits.boardLanes || count * 2 > reader.remaining) {
    reader.fail();
    return NO_CLOCKS;
  }
  for (let at = 0; at < count; at++) clocks.set(reader.varuint(), reader.varuint());
  return clocks;
}

function writeClocks(writer: ByteWriter, clocks: ReadonlyMap<number, number>): void {
  writer.varuint(clocks.size);
  for (const [incarnation, clock] of clocks) {
    writer.varuint(incarnation);
    writer.varuint(clock);
  }
}

export function writeLaneSection(writer: ByteWriter, section: Omit<LaneSection, 'raw'>): void {
  const { kind, board, deps, hold, update } = section;
  writer.byte(SECTION[kind]);
  writer.text(board);
  writer.byte((deps.size > 0 ? HAS_DEPS : 0) | (hold ? HOLD : 0));
  if (deps.size > 0) writeClocks(writer, deps);
  writer.sized(update);
}

/** A section of the journal that is about a document. */
export function isOfDocument(section: Uint8Array): boolean {
  const [kind] = section;
  return kind === SECTION.document || kind === SECTION.copy || kind === SECTION.deleted;
}

export function writeDocumentSection(
  writer: ByteWriter,
  board: BoardName,
  document: string,
  update: Uint8Array,
): void {
  writer.byte(SECTION.document);
  writer.text(board);
  writer.text(document);
  writer.sized(update);
}

export function documentSection(
  kind: DocumentSection['kind'],
  board: BoardName,
  document: string,
  update: Uint8Array,
): Uint8Array {
  const writer = new ByteWriter(update.length + 512);
  writer.byte(SECTION[kind]);
  writer.text(board);
  writer.text(document);
  writer.sized(update);
  return writer.take();
}

export function writeDeleted(
  writer: ByteWriter,
  board: BoardName,
  document: string,
  stateVector: Uint8Array,
): void {
  writer.byte(SECTION.deleted);
  writer.text(board);
  writer.text(document);
  writer.raw(stateVector);
}

export function writeDocuments(
  writer: ByteWriter,
  board: BoardName,
  buckets: ReadonlyMap<number, Uint8Array>,
): void {
  writer.byte(SECTION.documents);
  writer.text(board);
  writer.varuint(buckets.size);
  for (const [bucket, hash] of buckets) {
    writer.byte(bucket);
    writer.raw(hash.subarray(0, BUCKET_HASH_BYTES));
  }
}

export function writePart(writer: ByteWriter, part: Omit<PartSection, 'kind'>): void {
  writer.byte(SECTION.part);
  writer.text(part.board);
  writer.text(part.document);
  writer.raw(part.hash);
  writer.varuint(part.total);
  writer.varuint(part.offset);
  writer.sized(part.bytes);
}

/** What the author signs, and with the signature behind it, a head's section. */
export function writeHead(writer: ByteWriter, head: Omit<Head, 'signature'>): void {
  writer.varuint(head.incarnation);
  writer.varuint(head.clock);
  writer.varuint(head.live);
  writer.raw(head.root);
  writer.varuint(head.atMs);
  writeClocks(writer, head.deps);
}

export function writeHeadSection(writer: ByteWriter, head: Head): void {
  writer.byte(SECTION.head);
  writer.text(head.board);
  writeHead(writer, head);
  writer.raw(head.signature);
}

export function writeCompare(writer: ByteWriter, section: Omit<CompareSection, 'raw' | 'kind'>): void {
  writer.byte(SECTION.compare);
  writer.text(section.board);
  writer.varuint(section.incarnation);
  writer.varuint(section.clock);
  writer.raw(section.root);
  writer.byte(section.answered === undefined ? 0 : 1);
  if (section.answered !== undefined) writer.raw(section.answered);
}

export function writeProof(
  writer: ByteWriter,
  board: BoardName,
  incarnation: number,
  buckets: ProofSection['buckets'],
): void {
  writer.byte(SECTION.proof);
  writer.text(board);
  writer.varuint(incarnation);
  writer.varuint(buckets.length);
  let before = -1;
  for (const { index, hash } of buckets) {
    writer.varuint(index - before - 1);
    writer.raw(hash);
    before = index;
  }
}

export function markerSection(kind: 'reset' | 'own', board: BoardName, incarnation: number): Uint8Array {
  const writer = new ByteWriter(32);
  writer.byte(SECTION[kind]);
  writer.text(board);
  writer.varuint(incarnation);
  return writer.take();
}

export function writeGhost(
  writer: ByteWriter,
  board: BoardName,
  incarnation: number,
  clock: number,
  bytes: Uint8Array,
): void {
  writer.byte(SECTION.ghost);
  writer.text(board);
  writer.varuint(incarnation);
  writer.varuint(clock);
  writer.sized(bytes);
}
