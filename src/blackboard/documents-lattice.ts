/** Free documents in the lattice: their part of the digest, of deltas, and of what is merged. */

import { ByteReader, type ByteWriter } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import type { BoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Board } from './board.ts';
import { type BoardDigest, type DocumentDigest, SHORT_HASH_BYTES } from './digest.ts';
import { checkDocumentUpdate } from './document-gate.ts';
import { bucketOf, DocumentShelf } from './document-shelf.ts';
import {
  compareBytes,
  type FreeDocument,
  type Full,
  type Gone,
  type Merge,
  type Room,
  type Accepted as TakenIn,
} from './documents.ts';
import { HASH_BYTES, type Hash } from './lane.ts';
import {
  type DeletedSection,
  type DocumentSection,
  type DocumentsSection,
  PART_HASH_BYTES,
  type PartSection,
  readVector,
  writeDeleted,
  writeDocumentSection,
  writeDocuments,
  writePart,
} from './sections.ts';

export type MergeOutcome =
  | {
      readonly kind: 'merged';
      readonly changed: boolean;
      /** The update that was taken in, where it came in parts or was not taken in as a whole. */
      readonly update?: Uint8Array;
      /** The copy here gave way to this one: two contents stood under equal clocks. */
      readonly replaced?: FreeDocument;
      /** There was no room for it, here; nobody is to blame. */
      readonly full?: Full['of'] | 'documents';
    }
  | { readonly kind: 'behind' }
  | { readonly kind: 'refused'; readonly reason: string };

export type Accepted =
  | { readonly kind: 'behind' }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'full'; readonly of: Full['of'] | 'documents' }
  | Gone
  | TakenIn;

type Inspected = Exclude<MergeOutcome, { readonly kind: 'merged' }> | { readonly kind: 'fits' };

const FITS: Inspected = { kind: 'fits' };
const KNOWN = { kind: 'merged', changed: false } as const;
const NOTHING = new Uint8Array(HASH_BYTES);
/** Of a digest, what documents named one by one may take; and what those of one bucket may. */
const DIGEST_BYTES = 128 * 1024;
const BUCKET_BYTES = 256 * 1024;
/** Updates above this travel in parts of this size. */
const PART_BYTES = 640 * 1024;
/** An update larger than this is none of a document within its bounds. */
const MOST_BYTES = 3 * limits.documentBytes;
/** Updates taken over in parts at a time, on one board. */
const PARTIALS = 4;

/** Room in a digest for documents of all boards. */
interface DigestRoom {
  bytes: number;
}

export function digestRoom(): DigestRoom {
  return { bytes: DIGEST_BYTES };
}

export class DocumentsLattice {
  readonly #client: number;
  readonly #hash: Hash;
  readonly #shelves = new Map<BoardName, DocumentShelf>();
  /** Grows with every change of any document. */
  version = 0;

  constructor(client: number, hash: Hash) {
    this.#client = client;
    this.#hash = hash;
  }

  find(board: BoardName, name: string): FreeDocument | undefined {
    return this.#shelves.get(board)?.documents.get(name);
  }

  /** Made on demand, for a caller of this node to change; `undefined` where the board has too many. */
  document(board: BoardName, name: string): FreeDocument | undefined {
    const shelf = this.shelf(board);
    const document = shelf.document(name, 1);
    if (document === undefined || shelf.hasPlace(document, 1)) return document;
    shelf.forgetNew(name);
    return undefined;
  }

  /** For what the disk held. */
  restored(board: BoardName, name: string): FreeDocument | undefined {
    return this.shelf(board).document(name, limits.quotaSlack);
  }

  /** The document was changed, or was not: counts it again, or lets it go where nothing came into it. */
  settle(board: BoardName, document: FreeDocument): void {
    const shelf = this.shelf(board);
    if (document.isNew) {
      shelf.forgetNew(document.name);
      return;
    }
    shelf.changed(document);
    this.version++;
  }

  /** Every document of a board with something in it, by name. */
  of(board: BoardName): readonly FreeDocument[] {
    const documents = [...(this.#shelves.get(board)?.documents.values() ?? [])];
    return documents
      .filter((document) => !document.isNew)
      .sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** The first `most` names of documents that are not deleted. */
  names(board: BoardName, most: number): readonly string[] {
    const names: string[] = [];
    for (const { name, isDeleted } of this.of(board)) {
      if (names.length === most) break;
      if (!isDeleted) names.push(name);
    }
    return names;
  }

  bytes(board: BoardName): number {
    return this.#shelves.get(board)?.bytes ?? 0;
  }

  /** Bytes that a caller of this node, or with the slack of quotas a peer, may add to the documents of a board. */
  room(board: Board, slack = 1): number {
    return board.quotaBytes * slack - board.bytes - this.bytes(board.name);
  }

  root(board: Board): Uint8Array | undefined {
    return this.#shelves.get(board.name)?.root();
  }

  digest(board: Board, room: DigestRoom): Pick<BoardDigest, 'documentsRoot' | 'documents'> {
    const documentsRoot = this.root(board) ?? NOTHING;
    const shelf = this.#shelves.get(board.name);
    if (shelf === undefined || shelf.differing.size === 0 || room.bytes <= 0) {
      return { documentsRoot, documents: undefined };
    }
    const buckets: number[] = [];
    const named: DocumentDigest[] = [];
    for (const bucket of [...shelf.differing].sort((left, right) => left - right)) {
      if (room.bytes <= 0) break;
      buckets.push(bucket);
      let left = BUCKET_BYTES;
      for (const document of shelf.inBucket(bucket)) {
        const { name, stateVector } = document;
        const bytes = name.length * 3 + stateVector.length + 2 * SHORT_HASH_BYTES;
        left -= bytes;
        if (left < 0) break;
        room.bytes -= bytes;
        named.push({ name, hash: document.hash(), stateVector, partial: shelf.partial.get(name) });
      }
    }
    shelf.differing.clear();
    return { documentsRoot, documents: { buckets, named } };
  }

  /** Writes what they lack; true where another round will find more. */
  offer(writer: ByteWriter, board: Board, theirs: BoardDigest | undefined, room: number): boolean {
    const shelf = this.#shelves.get(board.name);
    const root = shelf?.root();
    if (shelf === undefined || root === undefined) return false;
    if (theirs !== undefined && equalBytes(root, theirs.documentsRoot)) return false;
    const hasNothing = theirs === undefined || equalBytes(theirs.documentsRoot, NOTHING);
    if (theirs?.documents === undefined && !hasNothing) {
      writeDocuments(writer, board.name, shelf.buckets());
      return true;
    }
    const known = new Map(theirs?.documents?.named.map((document) => [document.name, document]));
    const buckets = theirs?.documents?.buckets ?? shelf.buckets().keys();
    let left = room;
    for (const bucket of buckets) {
      for (const document of shelf.inBucket(bucket)) {
        const other = known.get(document.name);
        if (document.isNew || (other !== undefined && document.equals(other.hash))) continue;
        const bytes =
          left > 0 ? this.#offerOne(writer, board.name, document, other, left === room) : undefined;
        if (bytes === undefined) {
          // So that the next digest names what is there by then.
          writeDocuments(writer, board.name, shelf.buckets());
          return true;
        }
        left -= bytes;
      }
    }
    return theirs?.documents !== undefined && left < room;
  }

  /** Bytes written; `undefined` where there is no room for it now, or for a part of it only. */
  #offerOne(
    writer: ByteWriter,
    board: BoardName,
    document: FreeDocument,
    other: DocumentDigest | undefined,
    isFirst: boolean,
  ): number | undefined {
    const before = writer.length;
    if (document.isDeleted) {
      writeDeleted(writer, board, document.name, document.stateVector);
      return writer.length - before;
    }
    const update = document.encode(isReplaced(document, other) ? undefined : other?.stateVector);
    if (isEmpty(update)) return 0;
    if (update.length > PART_BYTES) {
      if (isFirst) this.#writePart(writer, board, document.name, update, other?.partial);
      return undefined;
    }
    writeDocumentSection(writer, board, document.name, update);
    return writer.length - before;
  }

  /** Of a section for a document that is not here yet: whether it may be taken in, before anything is made for it. */
  inspect(section: DocumentSection | PartSection | DeletedSection): Inspected {
    const { board, document: name } = section;
    if (name === '') return { kind: 'refused', reason: 'a document without a name' };
    if (section.kind === 'deleted') {
      const own = this.find(board, name)?.clockOf(this.#client) ?? 0;
      return (section.clocks.get(this.#client) ?? 0) > own
        ? { kind: 'refused', reason: 'a deletion under the client id of this node' }
        : FITS;
    }
    if (this.find(board, name) !== undefined) return FITS;
    if (section.kind !== 'part') {
      const verdict = checkDocumentUpdate(section.update, () => 0, this.#client);
      return verdict.kind === 'gap' ? { kind: 'behind' } : verdict;
    }
    if (isOutside(section)) return { kind: 'refused', reason: 'a part outside its update' };
    const isBegun = this.#shelves.get(board)?.partial.has(name) ?? false;
    return isBegun || section.offset === 0 ? FITS : { kind: 'behind' };
  }

  /** `large`: it came in parts. */
  merge(board: Board, name: string, update: Uint8Array, large = false): MergeOutcome {
    const shelf = this.shelf(board.name);
    const document = shelf.document(name, limits.quotaSlack);
    if (document === undefined) return { ...KNOWN, full: 'documents' };
    const room: Room = {
      bytes: shelf.hasPlace(document, limits.quotaSlack) ? this.room(board, limits.quotaSlack) : 0,
      slack: 2,
    };
    const outcome = document.merge(update, room, large);
    return this.#merged(shelf, document, outcome);
  }

  #merged(shelf: DocumentShelf, document: FreeDocument, outcome: Merge): MergeOutcome {
    if (document.isNew) shelf.forgetNew(document.name);
    // Also where Yjs gave up half-way.
    else if (outcome.kind === 'refused') shelf.changed(document);
    switch (outcome.kind) {
      case 'gap':
        return { kind: 'behind' };
      case 'refused':
        return outcome;
      case 'full':
        return { ...KNOWN, full: outcome.of };
      case 'merged': {
        const { changed, replaced, partly } = outcome;
        if (!changed) return KNOWN;
        shelf.changed(document);
        this.version++;
        if (partly !== undefined) return { kind: 'merged', changed, update: partly };
        return replaced ? { kind: 'merged', changed, replaced: document } : { kind: 'merged', changed };
      }
    }
  }

  /** A peer deleted a document. */
  mergeDeleted(board: Board, { document: name, clocks }: DeletedSection): MergeOutcome {
    const shelf = this.shelf(board.name);
    const document = shelf.document(name, limits.quotaSlack);
    if (document === undefined) return { ...KNOWN, full: 'documents' };
    const changed = document.deleteUpTo(clocks);
    return this.#merged(shelf, document, { kind: 'merged', changed });
  }

  /** An update of one of this node's own Yjs clients; `updates` are what to pass on for it. */
  accept(board: Board, name: string, update: Uint8Array): Accepted {
    const shelf = this.shelf(board.name);
    const document = shelf.document(name, 1);
    if (document === undefined) return { kind: 'full', of: 'documents' };
    const hasPlace = shelf.hasPlace(document, 1);
    const outcome = document.accept(update, { bytes: hasPlace ? this.room(board) : 0, slack: 1 });
    this.settle(board.name, document);
    if (outcome.kind === 'gap') return { kind: 'behind' };
    return outcome.kind === 'full' && outcome.of === 'board' && !hasPlace
      ? { kind: 'full', of: 'documents' }
      : outcome;
  }

  /** A piece of a large update; `update` in the outcome once it is whole and taken in. */
  part(board: Board, section: PartSection): MergeOutcome {
    const { document: name, hash, total, offset, bytes } = section;
    const shelf = this.shelf(board.name);
    const { partial } = shelf;
    if (isOutside(section)) return { kind: 'refused', reason: 'a part outside its update' };
    shelf.differing.add(bucketOf(name));
    let known = partial.get(name);
    if (known === undefined || !equalBytes(known.hash, hash) || known.bytes.length !== total) {
      if (offset !== 0) return KNOWN;
      // The one that has waited longest for its next part makes room: a transfer that stalls must not block others.
      const [stalled] = partial.keys();
      if (known === undefined && partial.size >= PARTIALS && stalled !== undefined) {
        partial.delete(stalled);
        shelf.forgetNew(stalled);
      }
      // Digests name documents that are here, and with them how far this one has come.
      if (shelf.document(name, limits.quotaSlack) === undefined) return { ...KNOWN, full: 'documents' };
      known = { hash: hash.slice(), bytes: new Uint8Array(total), have: 0 };
      partial.set(name, known);
    }
    if (offset !== known.have) return KNOWN;
    known.bytes.set(bytes, offset);
    known.have += bytes.length;
    partial.delete(name);
    partial.set(name, known);
    this.version++;
    if (known.have < total) return { kind: 'merged', changed: true };
    partial.delete(name);
    if (!equalBytes(this.#hash(known.bytes).subarray(0, PART_HASH_BYTES), hash)) {
      shelf.forgetNew(name);
      return { kind: 'refused', reason: 'parts of different updates' };
    }
    const outcome = this.merge(board, name, known.bytes, true);
    return outcome.kind === 'merged' && outcome.changed ? { update: known.bytes, ...outcome } : outcome;
  }

  #writePart(
    writer: ByteWriter,
    board: BoardName,
    document: string,
    update: Uint8Array,
    partial: { readonly hash: Uint8Array; readonly have: number } | undefined,
  ): void {
    const hash = this.#hash(update).slice(0, PART_HASH_BYTES);
    const offset = partial !== undefined && equalBytes(partial.hash, hash) ? partial.have : 0;
    const bytes = update.subarray(offset, offset + PART_BYTES);
    writePart(writer, { board, document, hash, total: update.length, offset, bytes });
  }

  /** A neighbour's documents differ from those here. */
  compare(board: Board, section: DocumentsSection): void {
    this.shelf(board.name).compare(section.buckets);
  }

  shelf(board: BoardName): DocumentShelf {
    let shelf = this.#shelves.get(board);
    if (shelf === undefined) {
      shelf = new DocumentShelf(this.#client, this.#hash);
      this.#shelves.set(board, shelf);
    }
    return shelf;
  }
}

/** True where the other's copy has equal clocks and must give way: it is sent the whole. */
function isReplaced(document: FreeDocument, other: DocumentDigest | undefined): boolean {
  if (other === undefined || compareBytes(document.hash().subarray(0, SHORT_HASH_BYTES), other.hash) >= 0) {
    return false;
  }
  const reader = new ByteReader(other.stateVector);
  const theirs = readVector(reader);
  const { clocks } = document;
  if (!reader.done || theirs.size !== clocks.size) return false;
  for (const [client, clock] of clocks) if (theirs.get(client) !== clock) return false;
  return true;
}

function isOutside({ total, offset, bytes }: Pick<PartSection, 'total' | 'offset' | 'bytes'>): boolean {
  return total > MOST_BYTES || offset + bytes.length > total;
}

function isEmpty(update: Uint8Array): boolean {
  return update.length === 2 && update[0] === 0 && update[1] === 0;
}
