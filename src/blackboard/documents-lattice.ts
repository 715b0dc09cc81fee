/** Free documents in the lattice: their part of the digest, of deltas, and of what is merged. */
import { equalBytes } from '../kernel/codec.ts';
import type { BoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Board } from './board.ts';
import { ByteWriter } from './bytes.ts';
import { type BoardDigest, type DocumentDigest, SHORT_HASH_BYTES } from './digest.ts';
import { checkDocumentUpdate } from './document-gate.ts';
import { FreeDocument } from './documents.ts';
import { HASH_BYTES, type Hash } from './lane.ts';
import {
  type DocumentSection,
  markerSection,
  PART_HASH_BYTES,
  type PartSection,
  writeDocumentSection,
  writePart,
} from './sections.ts';

type MergeOutcome =
  | { readonly kind: 'merged'; readonly changed: boolean }
  | { readonly kind: 'behind' }
  | { readonly kind: 'refused'; readonly reason: string };

type Accepted =
  | Exclude<MergeOutcome, { readonly kind: 'merged' }>
  | { readonly kind: 'merged'; readonly updates: readonly Uint8Array[] };

type Inspected = Exclude<MergeOutcome, { readonly kind: 'merged' }> | { readonly kind: 'fits' };

const FITS: Inspected = { kind: 'fits' };
/** Too many documents: who brings one cannot know what is held here, and is not blamed. */
const FULL: MergeOutcome = { kind: 'merged', changed: false };
const NOTHING = new Uint8Array(HASH_BYTES);
/** Of a digest, what documents named one by one may take. */
const DIGEST_BYTES = 128 * 1024;
/** Updates above this travel in parts of this size. */
const PART_BYTES = 640 * 1024;
/** Updates taken over in parts at a time, on one board. */
const PARTIALS = 4;

interface Partial {
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
  have: number;
}

interface Shelf {
  readonly documents: Map<string, FreeDocument>;
  /** Something differs from a neighbour's: the next digest names the documents. */
  compare: boolean;
  /** Updates larger than a frame, as far as they have come, by document. */
  readonly partial: Map<string, Partial>;
}

export class DocumentsLattice {
  readonly #client: number;
  readonly #hash: Hash;
  readonly #shelves = new Map<BoardName, Shelf>();
  /** Grows with every change of any document. */
  version = 0;

  constructor(client: number, hash: Hash) {
    this.#client = client;
    this.#hash = hash;
  }

  find(board: BoardName, name: string): FreeDocument | undefined {
    return this.#shelves.get(board)?.documents.get(name);
  }

  /** Made on demand; `undefined` where the board has too many. */
  document(board: BoardName, name: string): FreeDocument | undefined {
    const shelf = this.#shelf(board);
    let document = shelf.documents.get(name);
    if (document === undefined && shelf.documents.size < limits.documents) {
      document = new FreeDocument(name, this.#client);
      shelf.documents.set(name, document);
    }
    return document;
  }

  /** Lets go of a document into which nothing came: a refused edit or update must not use up a place. */
  forgetEmpty(board: BoardName, name: string): void {
    const shelf = this.#shelves.get(board);
    const document = shelf?.documents.get(name);
    if (document !== undefined && document.stateVector.length === 1 && !shelf?.partial.has(name)) {
      shelf?.documents.delete(name);
    }
  }

  /** Every document of a board, by name. */
  of(board: BoardName): readonly FreeDocument[] {
    const documents = this.#shelves.get(board)?.documents.values() ?? [];
    return [...documents].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  boards(): readonly BoardName[] {
    return [...this.#shelves.keys()];
  }

  bytes(board: BoardName): number {
    let sum = 0;
    for (const document of this.#shelves.get(board)?.documents.values() ?? []) sum += document.bytes();
    return sum;
  }

  root(board: Board): Uint8Array | undefined {
    const documents = this.of(board.name).filter((document) => document.revision > 0);
    if (documents.length === 0) return undefined;
    const writer = new ByteWriter(1024);
    for (const document of documents) {
      writer.sized(new TextEncoder().encode(document.name));
      writer.raw(document.hash(this.#hash));
    }
    // What has come of a large update counts as progress.
    for (const partial of this.#shelves.get(board.name)?.partial.values() ?? []) writer.varuint(partial.have);
    return this.#hash(writer.view()).slice(0, HASH_BYTES);
  }

  digest(board: Board): Pick<BoardDigest, 'documentsRoot' | 'documents'> {
    const documentsRoot = this.root(board) ?? NOTHING;
    const shelf = this.#shelves.get(board.name);
    if (shelf === undefined || !shelf.compare) return { documentsRoot, documents: undefined };
    const all = this.of(board.name);
    const named: DocumentDigest[] = [];
    let bytes = 0;
    for (const document of all) {
      const { name, stateVector } = document;
      bytes += name.length * 3 + stateVector.length + SHORT_HASH_BYTES;
      if (bytes > DIGEST_BYTES) break;
      named.push({ name, hash: document.hash(this.#hash), stateVector, partial: shelf.partial.get(name) });
    }
    shelf.compare = false;
    return { documentsRoot, documents: named };
  }

  /** Writes what they lack; true where another round will find more. */
  offer(writer: ByteWriter, board: Board, theirs: BoardDigest | undefined, room: number): boolean {
    const root = this.root(board);
    if (root === undefined || (theirs !== undefined && equalBytes(root, theirs.documentsRoot))) return false;
    if (
      theirs !== undefined &&
      theirs.documents === undefined &&
      !equalBytes(theirs.documentsRoot, NOTHING)
    ) {
      writer.raw(markerSection('documents', board.name));
      return true;
    }
    const known = new Map(theirs?.documents?.map((document) => [document.name, document]));
    let left = room;
    for (const document of this.of(board.name)) {
      if (document.revision === 0) continue;
      const other = known.get(document.name);
      if (other !== undefined && document.equals(other.hash, this.#hash)) continue;
      if (left <= 0) return true;
      const update = document.encode(other?.stateVector);
      if (isEmpty(update)) continue;
      if (update.length > PART_BYTES) {
        if (left < room) return true;
        this.#writePart(writer, board.name, document.name, update, other?.partial);
        return true;
      }
      writeDocumentSection(writer, board.name, document.name, update);
      left -= update.length;
    }
    return false;
  }

  /** Of a section for a document that is not here yet: whether it may be taken in, before anything is made for it. */
  inspect({ board, document: name, ...section }: DocumentSection | PartSection): Inspected {
    if (this.find(board, name) !== undefined) return FITS;
    if (name === '') return { kind: 'refused', reason: 'a document without a name' };
    if (section.kind === 'document') {
      const verdict = checkDocumentUpdate(section.update, () => 0, this.#client);
      return verdict.kind === 'gap' ? { kind: 'behind' } : verdict;
    }
    if (isOutside(section)) return { kind: 'refused', reason: 'a part outside its update' };
    const isBegun = this.#shelves.get(board)?.partial.has(name) ?? false;
    return isBegun || section.offset === 0 ? FITS : { kind: 'behind' };
  }

  /** `large`: it came in parts. */
  merge(board: Board, name: string, update: Uint8Array, large = false): MergeOutcome {
    if (name === '') return { kind: 'refused', reason: 'a document without a name' };
    const document = this.document(board.name, name);
    if (document === undefined) return FULL;
    const outcome = document.merge(update, large);
    if (outcome.kind === 'refused') this.forgetEmpty(board.name, name);
    if (outcome.kind === 'gap') return { kind: 'behind' };
    if (outcome.kind === 'merged' && outcome.changed) this.version++;
    return outcome;
  }

  /** An update of one of this node's own Yjs clients; `updates` are what to pass on for it. */
  accept(board: BoardName, name: string, update: Uint8Array): Accepted {
    const document = this.document(board, name);
    if (document === undefined) return { kind: 'refused', reason: 'too many documents' };
    const outcome = document.accept(update);
    if (outcome.kind === 'refused') this.forgetEmpty(board, name);
    return outcome.kind === 'gap' ? { kind: 'behind' } : outcome;
  }

  /** A piece of a large update; `update` in the outcome once it is whole and taken in. */
  part(board: Board, section: PartSection): MergeOutcome & { readonly update?: Uint8Array } {
    const { document: name, hash, total, offset, bytes } = section;
    const { partial } = this.#shelf(board.name);
    if (isOutside(section)) return { kind: 'refused', reason: 'a part outside its update' };
    this.compare(board);
    let known = partial.get(name);
    if (known === undefined || !equalBytes(known.hash, hash) || known.bytes.length !== total) {
      if (offset !== 0) return { kind: 'merged', changed: false };
      // The one that has waited longest for its next part makes room: a transfer that stalls must not block others.
      const [stalled] = partial.keys();
      if (known === undefined && partial.size >= PARTIALS && stalled !== undefined) partial.delete(stalled);
      // Digests name documents that are here, and with them how far this one has come.
      if (this.document(board.name, name) === undefined) return FULL;
      known = { hash: hash.slice(), bytes: new Uint8Array(total), have: 0 };
      partial.set(name, known);
    }
    if (offset !== known.have) return { kind: 'merged', changed: false };
    known.bytes.set(bytes, offset);
    known.have += bytes.length;
    partial.delete(name);
    partial.set(name, known);
    this.version++;
    if (known.have < total) return { kind: 'merged', changed: true };
    partial.delete(name);
    if (!equalBytes(this.#hash(known.bytes).subarray(0, PART_HASH_BYTES), hash)) {
      return { kind: 'refused', reason: 'parts of different updates' };
    }
    const outcome = this.merge(board, name, known.bytes, true);
    return outcome.kind === 'merged' && outcome.changed ? { ...outcome, update: known.bytes } : outcome;
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

  compare(board: Board): void {
    this.#shelf(board.name).compare = true;
  }

  #shelf(board: BoardName): Shelf {
    let shelf = this.#shelves.get(board);
    if (shelf === undefined) {
      shelf = { documents: new Map(), compare: false, partial: new Map() };
      this.#shelves.set(board, shelf);
    }
    return shelf;
  }
}

function isOutside({ total, offset, bytes }: Pick<PartSection, 'total' | 'offset' | 'bytes'>): boolean {
  return total > 2 * limits.documentBytes || offset + bytes.length > total;
}

function isEmpty(update: Uint8Array): boolean {
  return update.length === 2 && update[0] === 0 && update[1] === 0;
}
