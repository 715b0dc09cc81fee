/**
 * Free documents of a board: each a Yjs document with a text named `text`, and whatever other shared types its
 * clients use. Anyone may write anything in them; what they merge to is Yjs's business, what reaches Yjs is ours.
 */
import * as Y from 'yjs';
import { equalBytes } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { DocumentEdit } from './api.ts';
import { ByteWriter } from './bytes.ts';
import {
  checkDocumentUpdate,
  type DocumentVerdict,
  MOST_STRUCTS,
  MOST_STRUCTS_IN_ALL,
  withTick,
} from './document-gate.ts';
import { HASH_BYTES, type Hash } from './lane.ts';

const TEXT = 'text';
/** Marks what Yjs reports as having come from elsewhere. */
const REMOTE = 'remote';

type Unfit = DocumentVerdict & { readonly kind: 'gap' | 'refused' };

export class FreeDocument {
  readonly name: string;
  /** Grows with every change; of this node only. */
  revision = 0;
  readonly #doc: Y.Doc;
  #hash: Uint8Array | undefined;
  /** At least the bytes of its state. */
  #bytes = 0;
  #local: Uint8Array | undefined;
  /** Something was deleted since this was last set to false. */
  #deleted = false;

  constructor(name: string, client: number) {
    this.name = name;
    this.#doc = new Y.Doc({ gc: true, guid: name });
    this.#doc.clientID = client;
    this.#doc.getText(TEXT);
    this.#doc.on(
      'update',
      (update: Uint8Array, origin: unknown, _doc: Y.Doc, { deleteSet }: Y.Transaction) => {
        this.revision++;
        this.#bytes += update.length;
        this.#hash = undefined;
        if (deleteSet.clients.size > 0) this.#deleted = true;
        if (origin !== REMOTE) this.#local = update;
      },
    );
  }

  get text(): string {
    return this.#doc.getText(TEXT).toString();
  }

  get stateVector(): Uint8Array {
    return Y.encodeStateVector(this.#doc);
  }

  /** By client, as a session token names it. */
  get clocks(): ReadonlyMap<number, number> {
    return Y.decodeStateVector(this.stateVector);
  }

  /** Bytes of the state; measured anew where the running sum may be too high. */
  bytes(): number {
    if (this.#bytes > limits.documentBytes / 2) this.#bytes = Y.encodeStateAsUpdate(this.#doc).length;
    return this.#bytes;
  }

  /** A Yjs update with what the holder of `stateVector` lacks; the whole where that is malformed. */
  encode(stateVector?: Uint8Array): Uint8Array {
    try {
      return Y.encodeStateAsUpdate(this.#doc, stateVector);
    } catch {
      return Y.encodeStateAsUpdate(this.#doc);
    }
  }

  /** Clock of a client's next struct. */
  clockOf(client: number): number {
    return Y.getState(this.#doc.store, client);
  }

  /** Checks an update of a peer and takes it in; `changed` where it held anything new. `large`: it came in parts. */
  merge(update: Uint8Array, large = false): Unfit | { readonly kind: 'merged'; readonly changed: boolean } {
    const verdict = this.#check(update, large ? MOST_STRUCTS_IN_ALL : MOST_STRUCTS);
    return verdict.kind === 'fits' ? this.#apply(update, large) : verdict;
  }

  /**
   * The same for an update of one of this node's own Yjs clients; `updates` are what to pass on for it. Where it
   * deleted anything, a tick goes with it.
   */
  accept(update: Uint8Array): Unfit | { readonly kind: 'merged'; readonly updates: readonly Uint8Array[] } {
    // One fewer, as a tick may come to it.
    const verdict = this.#check(update, MOST_STRUCTS - 1);
    if (verdict.kind !== 'fits') return verdict;
    this.#deleted = false;
    const outcome = this.#apply(update, false);
    if (outcome.kind !== 'merged') return outcome;
    if (!outcome.changed) return { kind: 'merged', updates: [] };
    if (!this.#deleted) return { kind: 'merged', updates: [update] };
    const self = this.#doc.clientID;
    const clock = this.clockOf(self);
    this.#doc.transact((transaction) => this.#tick(transaction));
    return { kind: 'merged', updates: withTick(update, verdict.layout, self, clock) };
  }

  /** Takes in what this node itself wrote to its disk. */
  restore(update: Uint8Array): void {
    try {
      Y.applyUpdate(this.#doc, update, REMOTE);
    } catch {
      // A damaged record: the document heals from peers.
    }
    this.#dropPending();
  }

  /** All edits or none; the Yjs update that they made, `undefined` where they changed nothing. */
  edit(edits: readonly DocumentEdit[]): Result<Uint8Array | undefined> {
    const planned = plan(this.text, edits);
    if (!planned.ok) return planned;
    const growth = edits.reduce((sum, edit) => sum + edit.text.length, 0);
    if (this.bytes() + growth > limits.documentBytes) {
      return failWith(
        'QUOTA_EXCEEDED',
        `The document would be larger than ${limits.documentBytes} bytes.`,
        'Start another document; deleted text counts a little too.',
      );
    }
    this.#local = undefined;
    this.#doc.transact((transaction) => {
      const text = this.#doc.getText(TEXT);
      for (const { at, remove, insert } of planned.value) {
        if (remove > 0) text.delete(at, remove);
        if (insert !== '') text.insert(at, insert);
      }
      const inserts = planned.value.some(({ insert }) => insert !== '');
      if (!inserts && transaction.deleteSet.clients.size > 0) this.#tick(transaction);
    });
    return ok(this.#local);
  }

  /** 16 bytes over all that lives in it and all that was deleted, however Yjs cuts it into structs. */
  hash(hash: Hash): Uint8Array {
    if (this.#hash !== undefined) return this.#hash;
    const writer = new ByteWriter(1024);
    const clients = [...this.#doc.store.clients].sort(([left], [right]) => left - right);
    for (const [client, structs] of clients) {
      writer.varuint(client);
      let text = '';
      for (const struct of structs) {
        if (struct instanceof Y.Item && !struct.deleted) {
          if (struct.content instanceof Y.ContentString) {
            text += struct.content.str;
            continue;
          }
          writer.text(text);
          text = '';
          writer.text(describe(struct));
        }
      }
      writer.text(text);
      writer.varuint(this.clockOf(client));
    }
    writer.text(this.text);
    writer.raw(encodeDeletes(this.#doc));
    this.#hash = hash(writer.view()).slice(0, HASH_BYTES);
    return this.#hash;
  }

  equals(other: Uint8Array, hash: Hash): boolean {
    return equalBytes(this.hash(hash).subarray(0, other.length), other);
  }

  destroy(): void {
    this.#doc.destroy();
  }

  #check(update: Uint8Array, mostStructs: number): DocumentVerdict {
    return checkDocumentUpdate(update, (client) => this.clockOf(client), this.#doc.clientID, mostStructs);
  }

  #apply(update: Uint8Array, large: boolean): Unfit | { readonly kind: 'merged'; readonly changed: boolean } {
    if (this.bytes() + update.length > limits.documentBytes * (large ? 2 : 1))
      return { kind: 'refused', reason: 'document too large' };
    const before = this.revision;
    try {
      Y.applyUpdate(this.#doc, update, REMOTE);
    } catch {
      return { kind: 'refused', reason: 'an update that Yjs refused' };
    }
    if (this.#dropPending()) return { kind: 'refused', reason: 'an update that can never be complete' };
    return { kind: 'merged', changed: this.revision > before };
  }

  /**
   * Takes one clock of this node for nothing, in one update with what was just deleted: deletions do not advance the
   * state vector, so without it nobody could tell from clocks who has them. To Yjs it is collected garbage; ticks in
   * a row are one struct.
   */
  #tick(transaction: Y.Transaction): void {
    const { clientID, store } = this.#doc;
    new Y.GC(Y.createID(clientID, Y.getState(store, clientID)), 1).integrate(transaction, 0);
  }

  /** Yjs keeps what it cannot integrate and works on it with every update; here nothing is kept. */
  #dropPending(): boolean {
    const { store } = this.#doc;
    if (store.pendingStructs === null && store.pendingDs === null) return false;
    store.pendingStructs = null;
    store.pendingDs = null;
    return true;
  }
}

function describe(item: Y.Item): string {
  const { content } = item;
  if (content instanceof Y.ContentType) return `type:${content.type.constructor.name}`;
  if (content instanceof Y.ContentFormat) return `format:${content.key}:${JSON.stringify(content.value)}`;
  return JSON.stringify(content.getContent()) ?? 'undefined';
}

function encodeDeletes(doc: Y.Doc): Uint8Array {
  const writer = new ByteWriter(256);
  const { clients } = Y.createDeleteSetFromStructStore(doc.store);
  for (const [client, ranges] of [...clients].sort(([left], [right]) => left - right)) {
    writer.varuint(client);
    for (const range of ranges) {
      writer.varuint(range.clock);
      writer.varuint(range.len);
    }
  }
  return writer.take();
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
