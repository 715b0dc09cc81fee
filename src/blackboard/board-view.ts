/**
 * A board's entries for programs and browsers that hold the board's entries document through y-websocket.
 *
 * Intuition: the document has one array of items for each run of each writer (`lane:<incarnation>`). What a reader
 * sees is worked out from these items by the node's own codec (`entry.ts`) and rules (`view.ts`). Every
 * transaction of the document adds and removes just the items that it touched. A write is an item that is appended to
 * the lane of the document's own client, where it shows at once; the node copies it into a lane of its own, identity
 * and all, and then deletes it here (`client-lane.ts`). What is not answered stays, and goes with the rest when the
 * connection comes back.
 *
 * Limits. The document does not say what an author had seen when it deleted an item that another's write
 * superseded; until that write is here too, the key may be missing or show an older value, where a node hides the
 * gap. A document that outlives its connection by days (in a browser's database, say) may keep items of
 * lanes that were folded away meanwhile, for nobody tells it: begin with an empty one.
 */
import type * as Y from 'yjs';
import { ByteReader } from '../kernel/bytes.ts';
import type { Json } from '../kernel/json.ts';
import type { Entry } from './api.ts';
import { type BoardViewWrite, ClientWrites, contentsOf } from './client-writes.ts';
import { readEntryHead } from './entry.ts';
import { Item, Lane } from './lane.ts';
import { laneName } from './lane-update.ts';
import { changeOf, entryOf } from './read.ts';
import { View } from './view.ts';

export type { BoardViewWrite } from './client-writes.ts';

/** An entry as readers see it; which node wrote it the document does not say. `author` is empty until the node has it. */
export type BoardViewEntry = Omit<Entry, 'node'>;

/** A key that may look different now. `revision` is 0 where nothing of it is left in the document. */
export interface BoardViewChange {
  readonly key: string;
  readonly revision: number;
  readonly deleted: boolean;
  readonly entry?: BoardViewEntry;
}

interface Shelf {
  readonly lane: Lane;
  /** Living items by clock. */
  readonly items: Map<number, Item>;
}

export class BoardView {
  readonly #doc: Y.Doc;
  readonly #wallMs: () => number;
  readonly #view = new View({ settled: () => true, hidden: () => undefined });
  readonly #shelves = new Map<number, Shelf>();
  readonly #writes: ClientWrites;
  readonly #listeners = new Set<(changes: readonly BoardViewChange[]) => void>();
  readonly #onTransaction = (transaction: Y.Transaction): void => this.#follow(transaction);

  /**
   * `wallMs` gives milliseconds since 1970 (`Date.now`): entries are hidden from the moment their time is up, and writes
   * are stamped with it. Without it entries stay until the node that wrote them has deleted them, usually at once, and
   * nothing can be written.
   */
  constructor(doc: Y.Doc, wallMs: () => number = () => 0) {
    this.#doc = doc;
    this.#wallMs = wallMs;
    this.#writes = new ClientWrites(doc, wallMs, (key) => this.#view.newest(key)?.revision ?? 0);
    for (const client of doc.store.clients.keys()) this.#add(client, 0, new Set());
    doc.on('afterTransaction', this.#onTransaction);
  }

  /** The entry of a key; of a log key, `value` is the list of its items, oldest first. */
  get(key: string): BoardViewEntry | undefined {
    const entry = entryOf(this.#view, key, this.#wallMs());
    return entry === undefined ? undefined : withoutNode(entry);
  }

  /** All entries whose key begins with the prefix, by key in the order of UTF-16 code units, as a node lists them. */
  list(prefix = ''): readonly BoardViewEntry[] {
    const wallMs = this.#wallMs();
    const entries: BoardViewEntry[] = [];
    for (const key of this.#view.keysFrom(prefix, '')) {
      const entry = entryOf(this.#view, key, wallMs);
      if (entry !== undefined) entries.push(withoutNode(entry));
    }
    return entries;
  }

  /**
   * Writes an entry: shown here at once, resolved once the node has it on its disk, rejected with a `SkeinError` where
   * the node refuses it (then what was there before shows again). While there is no connection it waits;
   * a write made offline is stamped with the time when it was made, and loses to what others wrote after it. The value
   * is plain JSON of at most 256 KiB; `ttlSeconds` whole seconds. At most 4,096 writes may wait.
   */
  set(key: string, value: Json, options: { readonly ttlSeconds?: number } = {}): Promise<BoardViewWrite> {
    return this.#writes.set(key, value, options.ttlSeconds);
  }

  /** Deletes an entry, a log whole; otherwise as `set`. */
  delete(key: string): Promise<BoardViewWrite> {
    return this.#writes.delete(key);
  }

  /** Writes made through this view that the node has not answered. */
  get waiting(): number {
    return this.#writes.waiting;
  }

  /**
   * Calls back after every transaction that changed something for readers, each key once; the returned function ends
   * it. Not called when time merely passes. What a listener throws comes out of the transaction, as with Yjs's own
   * observers, and keeps the listeners after it from being called.
   */
  observe(listener: (changes: readonly BoardViewChange[]) => void): () => void {
    // Wrapped, so that one function may be registered twice and ended once.
    const own = (changes: readonly BoardViewChange[]): void => listener(changes);
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /** Lets go of the document; what was last seen can still be read. Writes that wait are rejected: their outcome is unknown. */
  destroy(): void {
    this.#doc.off('afterTransaction', this.#onTransaction);
    this.#writes.end();
    this.#listeners.clear();
  }

  #follow(transaction: Y.Transaction): void {
    const changed = new Set<string>();
    for (const [client, clock] of transaction.afterState) {
      const before = transaction.beforeState.get(client) ?? 0;
      if (clock > before) this.#add(client, before, changed);
    }
    for (const [client, ranges] of transaction.deleteSet.clients) {
      const shelf = this.#shelves.get(client);
      if (shelf !== undefined) for (const { clock, len } of ranges) this.#remove(shelf, clock, len, changed);
    }
    try {
      this.#tell(changed);
    } finally {
      // Last, since a write may be made again in the course of it.
      this.#writes.follow(transaction);
    }
  }

  #tell(changed: ReadonlySet<string>): void {
    if (changed.size === 0 || this.#listeners.size === 0) return;
    const wallMs = this.#wallMs();
    const changes = [...changed].map((key): BoardViewChange => {
      const { entry, ...change } = changeOf(this.#view, key, wallMs);
      return entry === undefined ? change : { ...change, entry: withoutNode(entry) };
    });
    for (const listener of [...this.#listeners]) listener(changes);
  }

  /** Takes in what a client's structs hold from a clock on. */
  #add(client: number, fromClock: number, changed: Set<string>): void {
    for (const { clock, bytes, deleted } of contentsOf(this.#doc, client, fromClock, laneName(client))) {
      const item = deleted ? undefined : this.#item(client, clock, bytes);
      if (item !== undefined && this.#view.add(item)) changed.add(item.key);
    }
  }

  /** `undefined` for what no node lets pass. */
  #item(client: number, clock: number, bytes: Uint8Array): Item | undefined {
    const head = readEntryHead(new ByteReader(bytes));
    if (head === undefined) return undefined;
    let shelf = this.#shelves.get(client);
    if (shelf === undefined) {
      shelf = { lane: new Lane(client, false), items: new Map() };
      this.#shelves.set(client, shelf);
    }
    // The bytes stay where Yjs has them: they never change, and live as long as the item.
    const page = { bytes, used: bytes.length, live: bytes.length };
    const item = new Item(shelf.lane, clock, head, page, 0, bytes.length);
    shelf.items.set(clock, item);
    return item;
  }

  #remove(shelf: Shelf, clock: number, count: number, changed: Set<string>): void {
    const { items } = shelf;
    const end = clock + count;
    // A range may span far more clocks than there are items.
    const clocks = count > items.size ? items.keys() : range(clock, end);
    for (const at of [...clocks]) {
      const item = at >= clock && at < end ? items.get(at) : undefined;
      if (item === undefined) continue;
      items.delete(at);
      item.dead = true;
      if (this.#view.remove(item)) changed.add(item.key);
    }
  }
}

function withoutNode(entry: Entry): BoardViewEntry {
  const { node: _, ...rest } = entry;
  return rest;
}

function* range(from: number, to: number): Generator<number> {
  for (let at = from; at < to; at++) yield at;
}
