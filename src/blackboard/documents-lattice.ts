/** Free documents in the lattice: their part of the digest, of deltas, and of what is merged. */
import { equalBytes } from '../kernel/codec.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { Board } from './board.ts';
import { ByteWriter } from './bytes.ts';
import { type BoardDigest, type DocumentDigest, SHORT_HASH_BYTES } from './digest.ts';
import { FreeDocument } from './documents.ts';
import { HASH_BYTES, type Hash } from './lane.ts';
import { markerSection, writeDocumentSection } from './sections.ts';

type MergeOutcome =
  | { readonly kind: 'merged'; readonly changed: boolean }
  | { readonly kind: 'behind' }
  | { readonly kind: 'refused'; readonly reason: string };

const NOTHING = new Uint8Array(HASH_BYTES);
/** Of a digest, what documents named one by one may take. */
const DIGEST_BYTES = 128 * 1024;

interface Shelf {
  readonly documents: Map<string, FreeDocument>;
  /** Something differs from a neighbour's: the next digest names the documents. */
  compare: boolean;
  /** Where naming goes on in the next digest, as all do not fit one. */
  next: number;
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
      named.push({ name, hash: document.hash(this.#hash), stateVector });
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
      // Larger than a frame: it travels in the pieces that its writers pushed, or not at all.
      if (update.length > limits.frameBytes - 4096) continue;
      if (isEmpty(update)) continue;
      writeDocumentSection(writer, board.name, document.name, update);
      left -= update.length;
    }
    return false;
  }

  merge(board: Board, name: string, update: Uint8Array, _from: NodeId, _now: Instant): MergeOutcome {
    if (name === '') return { kind: 'refused', reason: 'a document without a name' };
    const document = this.document(board.name, name);
    if (document === undefined) return { kind: 'refused', reason: 'too many documents' };
    const outcome = document.merge(update);
    if (outcome.kind === 'gap') return { kind: 'behind' };
    if (outcome.kind === 'merged' && outcome.changed) this.version++;
    return outcome;
  }

  compare(board: Board): void {
    this.#shelf(board.name).compare = true;
  }

  #shelf(board: BoardName): Shelf {
    let shelf = this.#shelves.get(board);
    if (shelf === undefined) {
      shelf = { documents: new Map(), compare: false, next: 0 };
      this.#shelves.set(board, shelf);
    }
    return shelf;
  }
}

function isEmpty(update: Uint8Array): boolean {
  return update.length === 2 && update[0] === 0 && update[1] === 0;
}
