/**
 * Free documents of a board: each a Yjs document with a text named `text`, and whatever other shared types its
 * clients use. Anyone may write anything in them; what they merge to is Yjs's business, what reaches Yjs is ours.
 *
 * A deleted document is nothing but the clocks up to which all was deleted. What builds on that and comes late is
 * deleted with it; what does not, begins the document anew.
 */
import * as Y from 'yjs';
import { ByteWriter } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { DocumentEdit } from './api.ts';
import { MOST_COMPARISONS, MOST_COMPARISONS_IN_ALL, withinBudget } from './document-budget.ts';
import {
  checkDocumentUpdate,
  type DocumentLayout,
  type DocumentVerdict,
  MOST_ROOTS,
  MOST_STRUCTS,
  MOST_STRUCTS_IN_ALL,
  withTick,
} from './document-gate.ts';
import { CLIENT_BYTES, DocumentTree } from './document-tree.ts';
import type { Hash } from './lane.ts';

const TEXT = 'text';
/** Marks what Yjs reports as having come from elsewhere. */
const REMOTE = 'remote';
const NO_UPDATE = Uint8Array.of(0, 0);
/** No client has this id. */
const NOBODY = -1;
/** What a document takes on a board beside its content and name. */
const DOCUMENT_BYTES = 64;

type Unfit = DocumentVerdict & { readonly kind: 'gap' | 'refused' };
/** There is no room for it: of the board, or of the document itself. Nobody is to blame. */
export type Full = { readonly kind: 'full'; readonly of: 'board' | 'document' };
/** It builds on what was deleted with the whole document. */
export type Gone = { readonly kind: 'gone' };
const GONE: Gone = { kind: 'gone' };
export interface Accepted {
  readonly kind: 'merged';
  readonly updates: readonly Uint8Array[];
  /** All of it was taken in. */
  readonly isWhole: boolean;
}
export type Clocks = ReadonlyMap<number, number>;

export interface Room {
  /** Bytes that the document may grow by. */
  readonly bytes: number;
  /** Times its own bound that it may reach. */
  readonly slack: number;
}

export type Merge =
  | Unfit
  | Full
  /** `replaced`: the copy here gave way to the one that was brought. `partly`: no more than this was taken in. */
  | {
      readonly kind: 'merged';
      readonly changed: boolean;
      readonly replaced?: boolean;
      readonly partly?: Uint8Array;
    };

export class FreeDocument {
  readonly name: string;
  /** Grows with every change; of this node only. */
  revision = 0;
  /** As its board has counted it. */
  counted = { bytes: 0, living: false };
  readonly #client: number;
  readonly #hash: Hash;
  /** `undefined` where nothing lives in it: then the clocks are all there is. */
  #doc: Y.Doc | undefined;
  #clocks: Clocks = new Map();
  #tree: DocumentTree;
  #root: Uint8Array | undefined;
  #local: Uint8Array | undefined;
  /** What Yjs made of the last update that was brought. */
  #taken: Uint8Array = NO_UPDATE;
  /** Something was deleted since this was last set to false. */
  #deleted = false;
  /** Bytes hashed by trees that were given up. */
  #work = 0;

  constructor(name: string, client: number, hash: Hash) {
    this.name = name;
    this.#client = client;
    this.#hash = hash;
    this.#tree = new DocumentTree(hash);
  }

  get text(): string {
    return this.#doc?.getText(TEXT).toString() ?? '';
  }

  get stateVector(): Uint8Array {
    return this.#doc === undefined ? encodeClocks(this.#clocks) : Y.encodeStateVector(this.#doc);
  }

  /** By client, as a session token names it. */
  get clocks(): Clocks {
    if (this.#doc === undefined) return this.#clocks;
    const { store } = this.#doc;
    return new Map([...store.clients.keys()].map((client) => [client, Y.getState(store, client)]));
  }

  /** Nothing ever came into it. */
  get isNew(): boolean {
    return this.#clients === 0;
  }

  /** Deleted as a whole, and not begun anew. */
  get isDeleted(): boolean {
    return this.#doc === undefined && this.#clocks.size > 0;
  }

  get isLiving(): boolean {
    return this.#doc !== undefined && this.#tree.isLiving(this.#doc);
  }

  /** About the bytes of its state. The same wherever the content is. */
  get bytes(): number {
    if (this.isNew) return 0;
    const content = this.#doc === undefined ? this.#clocks.size * CLIENT_BYTES : this.#tree.bytes(this.#doc);
    return content + this.name.length + DOCUMENT_BYTES;
  }

  /** Bytes hashed so far to keep `hash` and `bytes` up to date. */
  get work(): number {
    return this.#work + this.#tree.work;
  }

  /** A Yjs update with what the holder of `stateVector` lacks; the whole where that is malformed. */
  encode(stateVector?: Uint8Array): Uint8Array {
    if (this.#doc === undefined) return deletionUpTo(this.#clocks);
    try {
      return Y.encodeStateAsUpdate(this.#doc, stateVector);
    } catch {
      return Y.encodeStateAsUpdate(this.#doc);
    }
  }

  /** Clock of a client's next struct. */
  clockOf(client: number): number {
    return this.#doc === undefined ? (this.#clocks.get(client) ?? 0) : Y.getState(this.#doc.store, client);
  }

  /** Checks an update of a peer and takes it in; `changed` where it held anything new. `large`: it came in parts. */
  merge(update: Uint8Array, room: Room, large = false): Merge {
    const verdict = this.#check(update, large ? MOST_STRUCTS_IN_ALL : MOST_STRUCTS);
    if (verdict.kind !== 'fits') return verdict;
    const full = this.#isFull(update, verdict.layout, room);
    if (full !== undefined) return full;
    const isWhole = this.#isWhole(verdict.layout);
    const outcome = this.#apply(update, large ? MOST_COMPARISONS_IN_ALL : MOST_COMPARISONS);
    if (outcome.kind !== 'merged' || !isWhole || outcome.partly !== undefined) return outcome;
    return this.#settle(update) ? { kind: 'merged', changed: true, replaced: true } : outcome;
  }

  /**
   * The same for an update of one of this node's own Yjs clients; `updates` are what to pass on for it. Where it
   * deleted anything, a tick goes with it.
   */
  accept(update: Uint8Array, room: Room): Unfit | Full | Gone | Accepted {
    // One fewer, as a tick may come to it.
    const verdict = this.#check(update, MOST_STRUCTS - 1);
    if (verdict.kind !== 'fits') return verdict;
    const full = this.#isFull(update, verdict.layout, room);
    if (full !== undefined) return full;
    this.#deleted = false;
    const outcome = this.#apply(update);
    if (outcome.kind !== 'merged') return outcome;
    if (this.isDeleted && verdict.layout.grows) return GONE;
    const { changed, partly } = outcome;
    if (partly !== undefined) return { kind: 'merged', updates: changed ? [partly] : [], isWhole: false };
    if (!changed) return { kind: 'merged', updates: [], isWhole: true };
    if (!this.#deleted || this.#doc === undefined)
      return { kind: 'merged', updates: [update], isWhole: true };
    const clock = this.clockOf(this.#client);
    this.#doc.transact((transaction) => this.#tick(transaction));
    return {
      kind: 'merged',
      updates: withTick(update, verdict.layout, this.#client, clock),
      isWhole: true,
    };
  }

  /** Takes in what this node itself wrote to its disk. */
  restore(update: Uint8Array): void {
    try {
      this.#take(this.#open(), update);
    } catch {
      // A damaged record: the document heals from peers.
    }
    this.#dropPending();
  }

  /** Gives up what is here for a whole update. */
  replace(update: Uint8Array): void {
    this.#close(new Map());
    this.restore(update);
    this.revision++;
  }

  /**
   * All edits or none; the Yjs update that they made, `undefined` where they changed nothing; `board` where the board
   * has no room for them.
   */
  edit(edits: readonly DocumentEdit[], room: number): Result<Uint8Array | undefined> | 'board' {
    const planned = plan(this.text, edits);
    if (!planned.ok) return planned;
    let growth = 0;
    for (const { remove, insert } of planned.value) growth += insert.length - remove;
    if (growth > 0 && this.bytes + growth > limits.documentBytes) {
      return failWith(
        'QUOTA_EXCEEDED',
        `The document would be larger than ${limits.documentBytes} bytes.`,
        'Start another document; deleted text counts a little too.',
      );
    }
    if (growth > 0 && growth > room) return 'board';
    this.#local = undefined;
    const doc = this.#open();
    doc.transact((transaction) => {
      const text = doc.getText(TEXT);
      for (const { at, remove, insert } of planned.value) {
        if (remove > 0) text.delete(at, remove);
        if (insert !== '') text.insert(at, insert);
      }
      const inserts = planned.value.some(({ insert }) => insert !== '');
      if (!inserts && transaction.deleteSet.clients.size > 0) this.#tick(transaction);
    });
    return ok(this.#local);
  }

  /** Deletes everything in it, with a tick; false where there is nothing to delete. */
  delete(): boolean {
    if (!this.isLiving) return false;
    const clocks = new Map(this.clocks);
    clocks.set(this.#client, (clocks.get(this.#client) ?? 0) + 1);
    return this.deleteUpTo(clocks);
  }

  /** Deletes what lies below the clocks, here or still to come; true where that was not known. */
  deleteUpTo(clocks: Clocks): boolean {
    const before = this.revision;
    if (this.#doc !== undefined) {
      this.#take(this.#doc, deletionUpTo(clocks));
      if (!this.#tree.isLiving(this.#doc)) this.#close(this.clocks);
    } else {
      const later = new Map(this.#clocks);
      for (const [client, clock] of clocks) if ((later.get(client) ?? 0) < clock) later.set(client, clock);
      if ([...later].some(([client, clock]) => this.#clocks.get(client) !== clock)) this.revision++;
      this.#clocks = later;
      this.#root = undefined;
    }
    return this.revision > before;
  }

  /** 16 bytes over all that lives in it and the clocks of all that was deleted, however Yjs cuts it into structs. */
  hash(): Uint8Array {
    this.#root ??= this.#tree.root(this.clocks, this.#doc);
    return this.#root;
  }

  equals(other: Uint8Array): boolean {
    return equalBytes(this.hash().subarray(0, other.length), other);
  }

  get #clients(): number {
    return this.#doc?.store.clients.size ?? this.#clocks.size;
  }

  #open(): Y.Doc {
    if (this.#doc !== undefined) return this.#doc;
    const doc = new Y.Doc({ gc: true, guid: this.name });
    doc.getText(TEXT);
    if (this.#clocks.size > 0) this.#take(doc, deletionUpTo(this.#clocks));
    doc.clientID = this.#client;
    doc.on('afterTransaction', (transaction: Y.Transaction) => this.#tree.touch(transaction));
    doc.on('update', (update: Uint8Array, origin: unknown, _doc: Y.Doc, { deleteSet }: Y.Transaction) => {
      this.revision++;
      this.#root = undefined;
      if (deleteSet.clients.size > 0) this.#deleted = true;
      if (origin === REMOTE) this.#taken = update;
      else this.#local = update;
    });
    this.#doc = doc;
    return doc;
  }

  /** Yjs takes another client id where structs of its own come in; here they may, and must not lead to that. */
  #take(doc: Y.Doc, update: Uint8Array): void {
    doc.clientID = NOBODY;
    try {
      Y.applyUpdate(doc, update, REMOTE);
    } finally {
      doc.clientID = this.#client;
    }
  }

  /** Lets go of the Yjs document: nothing lives below the clocks. */
  #close(clocks: Clocks): void {
    this.#doc?.destroy();
    this.#doc = undefined;
    this.#clocks = clocks;
    this.#root = undefined;
    this.#work += this.#tree.work;
    this.#tree = new DocumentTree(this.#hash);
  }

  #check(update: Uint8Array, mostStructs: number): DocumentVerdict {
    return checkDocumentUpdate(update, (client) => this.clockOf(client), this.#client, mostStructs);
  }

  #isFull(update: Uint8Array, layout: DocumentLayout, room: Room): Full | undefined {
    let clients = this.#clients;
    for (const client of layout.ends.keys()) if (this.clockOf(client) === 0) clients++;
    if (clients > limits.documentClients * room.slack) return { kind: 'full', of: 'document' };
    if (!layout.grows) return undefined;
    const roots = this.#doc?.share;
    let names = roots?.size ?? 0;
    for (const name of layout.roots) if (roots?.has(name) !== true) names++;
    const isTooLarge = this.bytes + update.length > limits.documentBytes * room.slack;
    if (isTooLarge || names > MOST_ROOTS) return { kind: 'full', of: 'document' };
    return update.length > room.bytes ? { kind: 'full', of: 'board' } : undefined;
  }

  #apply(update: Uint8Array, most = MOST_COMPARISONS): Unfit | (Merge & { readonly kind: 'merged' }) {
    const before = this.revision;
    let isWhole = false;
    this.#taken = NO_UPDATE;
    const wasDeleted = this.#doc === undefined;
    const doc = this.#open();
    try {
      isWhole = withinBudget(most, () => this.#take(doc, update));
    } catch {
      return { kind: 'refused', reason: 'an update that Yjs refused' };
    } finally {
      if (wasDeleted && !this.#tree.isLiving(doc)) {
        this.#dropPending();
        this.#close(this.clocks);
      }
    }
    if (this.#dropPending()) return { kind: 'refused', reason: 'an update that can never be complete' };
    const changed = this.revision > before;
    return isWhole ? { kind: 'merged', changed } : { kind: 'merged', changed, partly: this.#taken };
  }

  /** True for an update with everything up to exactly the clocks that are here. */
  #isWhole({ ends, fromStart }: DocumentLayout): boolean {
    if (!fromStart || ends.size === 0 || ends.size !== this.#clients) return false;
    for (const [client, end] of ends) if (this.clockOf(client) !== end) return false;
    return true;
  }

  /**
   * Two contents under equal clocks, which only faulty clients make: all copies are to become the one whose hash is
   * smallest, once both lack the same. True where the copy here gave way.
   */
  #settle(update: Uint8Array): boolean {
    if (this.#doc === undefined) return false;
    const other = new FreeDocument(this.name, this.#client, this.#hash);
    if (
      other.#apply(update, MOST_COMPARISONS_IN_ALL).kind !== 'merged' ||
      !equalBytes(other.stateVector, this.stateVector)
    )
      return false;
    const copy = other.#doc;
    if (copy === undefined || other.equals(this.hash())) return false;
    other.restore(deletesOf(this.#doc));
    this.restore(deletesOf(copy));
    const isSmaller = compareBytes(other.hash(), this.hash()) < 0;
    if (isSmaller) {
      this.replace(other.encode());
      return true;
    }
    return false;
  }

  /**
   * Takes one clock of this node for nothing, in one update with what was just deleted: deletions do not advance the
   * state vector, so without it nobody could tell from clocks who has them. To Yjs it is collected garbage; ticks in
   * a row are one struct.
   */
  #tick(transaction: Y.Transaction): void {
    const { store } = transaction.doc;
    new Y.GC(Y.createID(this.#client, Y.getState(store, this.#client)), 1).integrate(transaction, 0);
  }

  /** Yjs keeps what it cannot integrate and works on it with every update; here nothing is kept. */
  #dropPending(): boolean {
    const store = this.#doc?.store;
    if (store === undefined || (store.pendingStructs === null && store.pendingDs === null)) return false;
    store.pendingStructs = null;
    store.pendingDs = null;
    return true;
  }
}

/** A state vector, as Yjs writes it. */
function encodeClocks(clocks: Clocks): Uint8Array {
  const writer = new ByteWriter(16 + clocks.size * 12);
  writer.varuint(clocks.size);
  for (const [client, clock] of [...clocks].sort(([left], [right]) => right - left)) {
    writer.varuint(client);
    writer.varuint(clock);
  }
  return writer.take();
}

/** A Yjs update that deletes everything below the clocks, and stands for it where it is not there. */
export function deletionUpTo(clocks: Clocks): Uint8Array {
  const sorted = [...clocks].sort(([left], [right]) => right - left);
  const writer = new ByteWriter(16 + sorted.length * 32);
  writer.varuint(sorted.length);
  for (const [client, clock] of sorted) for (const number of [1, client, 0, 0, clock]) writer.varuint(number);
  writer.varuint(sorted.length);
  for (const [client, clock] of sorted) for (const number of [client, 1, 0, clock]) writer.varuint(number);
  return writer.take();
}

/** A Yjs update that deletes what is deleted in the document. */
function deletesOf(doc: Y.Doc): Uint8Array {
  const { clients } = Y.createDeleteSetFromStructStore(doc.store);
  const writer = new ByteWriter(256);
  writer.varuint(0);
  writer.varuint(clients.size);
  for (const [client, ranges] of clients) {
    writer.varuint(client);
    writer.varuint(ranges.length);
    for (const { clock, len } of ranges) {
      writer.varuint(clock);
      writer.varuint(len);
    }
  }
  return writer.take();
}

export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at++) {
    if (left[at] !== right[at]) return (left[at] as number) - (right[at] as number);
  }
  return left.length - right.length;
}

interface Step {
  readonly at: number;
  readonly remove: number;
  readonly insert: string;
}

/** Where each edit applies once those before it have. */
function plan(text: string, edits: readonly DocumentEdit[]): Result<readonly Step[]> {
  const steps: Step[] = [];
  let current = text;
  for (const [index, edit] of edits.entries()) {
    const step = planOne(current, edit, index);
    if (!step.ok) return step;
    const { at, remove, insert } = step.value;
    current = current.slice(0, at) + insert + current.slice(at + remove);
    steps.push(step.value);
  }
  return ok(steps);
}

function planOne(text: string, edit: DocumentEdit, index: number): Result<Step> {
  if (edit.kind === 'append') return ok({ at: text.length, remove: 0, insert: edit.text });
  const at = text.indexOf(edit.find);
  const count = occurrences(text, edit.find);
  if (count !== 1) {
    return failWith(
      'INVALID_ARGUMENT',
      `Edit ${index + 1}: the text to find occurs ${count} times; it must occur exactly once.`,
      count === 0
        ? 'Read the document again: somebody may have changed it.'
        : 'Give more of the text around it, so that it is found once.',
      { details: { edit: index, occurrences: count } },
    );
  }
  return edit.kind === 'replace'
    ? ok({ at, remove: edit.find.length, insert: edit.text })
    : ok({ at: at + edit.find.length, remove: 0, insert: edit.text });
}

/** Counted up to a thousand, overlaps included. */
function occurrences(text: string, find: string): number {
  let count = 0;
  for (let at = text.indexOf(find); at >= 0 && count < 1_000; at = text.indexOf(find, at + 1)) count++;
  return count;
}
