/**
 * The lane of one writer incarnation: an array that only grows at its end and only loses items, both by its author
 * alone. In Yjs terms a top-level `Y.Array` all of whose items were made by one client.
 *
 * Intuition: with one author nothing is ever concurrent, so no general CRDT integration is needed: position is the
 * clock, and state is "clock so far, and which items still live". That makes a write cost about a microsecond, keeps
 * the bytes dense, and leaves no room for structs that wait for others.
 *
 * Bytes stand in pages, in the order of their clocks; a page that is more than a third dead is copied. For comparison
 * with other copies the lane is cut into buckets of 64 clocks, each with a SHA-256 over its live items, recomputed
 * only where something changed. (A sum of item hashes would be cheaper to keep, but sums modulo 2^128 can be forged by
 * generalised birthday search, and a relay must not be able to forge.)
 */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import type { NodeId } from '../kernel/ids.ts';
import { compareBodies, type EntryHead, type ItemKind, readEntryBody } from './entry.ts';
import { type LaneUpdate, LaneUpdateWriter, MOST_STRUCTS } from './lane-update.ts';
import type { Head } from './sections.ts';

const PAGE_BYTES = 64 * 1024;
/** Smaller pages are not worth the copy. */
const COPIED_PAGE_BYTES = 512;
const ADOPTED_PAGE_BYTES = 32 * 1024;
export const BUCKET_CLOCKS = 64;
export const HASH_BYTES = 16;
/** Deletes remembered one by one, so that a peer that missed a few frames is sent just those: as many as live, within these. */
const LEAST_RECENT = 128;
const MOST_RECENT = 8_192;
/** One update holds no more structs than this, however small: what a receiver checks at a stretch is bounded. */
const ENCODED_STRUCTS = MOST_STRUCTS / 4;

export type Hash = (bytes: Uint8Array) => Uint8Array;

/** Bytes of items. */
export interface Page {
  bytes: Uint8Array;
  used: number;
  live: number;
}

export class Item {
  readonly lane: Lane;
  readonly clock: number;
  readonly key: string;
  readonly kind: ItemKind;
  readonly revision: number;
  /** Incarnation that first wrote it, where that is not its lane's: a number of this size takes memory of its own. */
  readonly folded: number | undefined;
  readonly expiresMs: number;
  readonly length: number;
  page: Page;
  offset: number;
  /** No longer in its lane. */
  dead = false;
  /** Dead, and still shown until what superseded it arrives. */
  ghost = false;

  constructor(lane: Lane, clock: number, head: EntryHead, page: Page, offset: number, length: number) {
    this.lane = lane;
    this.clock = clock;
    this.key = head.key;
    this.kind = head.kind;
    this.revision = head.revision;
    this.folded = head.origin === 0 ? undefined : head.origin;
    this.expiresMs = head.expiresMs;
    this.page = page;
    this.offset = offset;
    this.length = length;
  }

  /** Incarnation that first wrote it. */
  get origin(): number {
    return this.folded ?? this.lane.incarnation;
  }

  body(): { readonly author: string; readonly value: Uint8Array } {
    return readEntryBody(this.reader());
  }

  reader(): ByteReader {
    return new ByteReader(this.page.bytes, this.offset, this.offset + this.length);
  }

  /** A view of its bytes, valid until the lane changes. */
  bytes(): Uint8Array {
    return this.page.bytes.subarray(this.offset, this.offset + this.length);
  }
}

/** Greater wins the key. Total: two items compare equal only where one is a copy of the other. */
export function compareItems(left: Item, right: Item): number {
  return (
    left.revision - right.revision ||
    left.origin - right.origin ||
    left.kind - right.kind ||
    (left === right ? 0 : compareContents(left, right))
  );
}

/** Who brings two contents under one identity must not make replicas differ: they agree on one of them. */
function compareContents(left: Item, right: Item): number {
  if (left.expiresMs !== right.expiresMs) return left.expiresMs - right.expiresMs;
  return compareBodies(left.reader(), right.reader());
}

interface Bucket {
  live: number;
  hash: Uint8Array | undefined;
}

const updates = new LaneUpdateWriter();
const scratch = new ByteWriter(64 * 1024);

export class Lane {
  readonly incarnation: number;
  /** The node that this incarnation belongs to, once known. */
  owner: NodeId | undefined;
  /** This node is the owner. */
  own: boolean;
  /** This node's own lane of this run, the only one that it appends to. */
  running = false;
  /** Deps that this replica does not have yet. */
  readonly open = new Map<number, number>();
  /** The newest that its author signed of it. */
  head: Head | undefined;
  /** The highest clock that anybody said its copy has. */
  seenClock = 0;
  /** Copies that should be equal differ: the next digest tells bucket by bucket. */
  compare = false;
  /** Own, and trimmed before it was known that the author's disk had lost a later part: to be asked for from its start. */
  refetch = false;
  /**
   * What this lane's author had seen of other lanes when it wrote or trimmed: by incarnation, a clock. Until a
   * replica has that much of them, this lane's deletes may show a gap and its writes may run ahead of their causes.
   */
  readonly deps = new Map<number, number>();
  readonly #buckets = new Map<number, Bucket>();
  #items: Item[] = [];
  #deadItems = 0;
  #clock = 0;
  #liveBytes = 0;
  #page: Page = { bytes: new Uint8Array(0), used: 0, live: 0 };
  #root: Uint8Array | undefined;
  #recentAt: number[] = [];
  #recentClocks: number[] = [];
  #recentFloor = 0;

  constructor(incarnation: number, own: boolean) {
    this.incarnation = incarnation;
    this.own = own;
  }

  /** Clock of the next item. */
  get clock(): number {
    return this.#clock;
  }

  get liveItems(): number {
    return this.#items.length - this.#deadItems;
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** The bytes are copied, except from a page of their own, see `pageOf`. */
  append(head: EntryHead, bytes: Uint8Array, from: number, length: number, given?: Page): Item {
    const page = given ?? this.#room(length);
    let offset = from;
    if (given === undefined) {
      offset = page.used;
      page.bytes.set(length === bytes.length ? bytes : bytes.subarray(from, from + length), offset);
    }
    const item = new Item(this, this.#clock++, head, page, offset, length);
    page.used += length;
    page.live += length;
    this.#liveBytes += length;
    this.#items.push(item);
    this.#touch(item.clock, 1);
    return item;
  }

  /** Clocks whose items were deleted before this copy saw them. */
  appendDeleted(count: number): void {
    this.#clock += count;
    this.#root = undefined;
  }

  kill(item: Item): void {
    if (item.dead) return;
    item.dead = true;
    this.#deadItems++;
    this.#liveBytes -= item.length;
    this.#remember(item.clock);
    this.#touch(item.clock, -1);
    const { page } = item;
    page.live -= item.length;
    if (item.ghost) item.page = { bytes: item.bytes().slice(), used: item.length, live: item.length };
    if (item.ghost) item.offset = 0;
    else item.page = NO_PAGE;
    if (page.live * 3 < page.used * 2 && page.used >= COPIED_PAGE_BYTES) this.#copyPage(page, item.clock);
    if (this.#deadItems > 32 && this.#deadItems * 4 > this.#items.length) {
      this.#items = this.#items.filter((other) => !other.dead);
      this.#deadItems = 0;
    }
  }

  /** The living item at a clock. */
  at(clock: number): Item | undefined {
    const item = this.#items[this.#indexOf(clock)];
    return item?.clock === clock && !item.dead ? item : undefined;
  }

  /** Living items from a clock on, below another. */
  *items(fromClock = 0, toClock = this.#clock): Generator<Item> {
    // A copy of the reference: killing while iterating replaces the array.
    const items = this.#items;
    for (let index = this.#indexOf(fromClock); index < items.length; index++) {
      const item = items[index] as Item;
      if (item.clock >= toClock) return;
      if (!item.dead) yield item;
    }
  }

  /**
   * A Yjs update with about `maxBytes` of what stands from `fromClock` on, and the given deletes below it.
   * `aligned` ends it between two buckets, so that each can be verified as a whole. Valid until any lane is encoded.
   */
  encode(
    fromClock: number,
    maxBytes: number,
    deletes: readonly number[],
    aligned = false,
  ): { readonly bytes: Uint8Array; readonly toClock: number } {
    updates.begin(this.incarnation, fromClock);
    const toClock = this.#encode(fromClock, maxBytes, aligned);
    return { bytes: updates.finish(deletes), toClock };
  }

  /** `encode`, and what a reader of the update finds there. */
  encodeRead(
    fromClock: number,
    maxBytes: number,
    deletes: readonly number[],
  ): { readonly bytes: Uint8Array; readonly read: LaneUpdate; readonly toClock: number } {
    updates.begin(this.incarnation, fromClock, true);
    const toClock = this.#encode(fromClock, maxBytes, false);
    return { ...updates.finishRead(deletes), toClock };
  }

  #encode(fromClock: number, maxBytes: number, aligned: boolean): number {
    let clock = fromClock;
    let bucket = Math.floor(fromClock / BUCKET_CLOCKS);
    for (const item of this.items(fromClock)) {
      const itemBucket = Math.floor(item.clock / BUCKET_CLOCKS);
      const mayStop = !aligned || itemBucket > bucket;
      bucket = itemBucket;
      if (
        mayStop &&
        updates.structs > 0 &&
        (updates.length >= maxBytes || updates.structs >= ENCODED_STRUCTS)
      ) {
        const toClock = aligned ? bucket * BUCKET_CLOCKS : clock;
        if (toClock > clock) updates.deleted(toClock - clock);
        return toClock;
      }
      if (item.clock > clock) updates.deleted(item.clock - clock);
      updates.item(item.page.bytes, item.offset, item.length);
      clock = item.clock + 1;
    }
    if (clock < this.#clock) updates.deleted(this.#clock - clock);
    return this.#clock;
  }

  /** Writes the structs from a clock on, however many, as a block of a larger update; false where there are none. */
  writeBlock(into: ByteWriter, fromClock: number): boolean {
    updates.begin(this.incarnation, fromClock);
    let clock = fromClock;
    for (const item of this.items(fromClock)) {
      if (item.clock > clock) updates.deleted(item.clock - clock);
      updates.item(item.page.bytes, item.offset, item.length);
      clock = item.clock + 1;
    }
    if (clock < this.#clock) updates.deleted(this.#clock - clock);
    return updates.writeBlock(into);
  }

  /** Deleted clocks within [from, to) as pairs of clock and count. */
  deletedRanges(fromClock: number, toClock: number): number[] {
    const ranges: number[] = [];
    let clock = fromClock;
    for (const item of this.items(fromClock, toClock)) {
      if (item.clock > clock) ranges.push(clock, item.clock - clock);
      clock = item.clock + 1;
    }
    const end = Math.min(toClock, this.#clock);
    if (end > clock) ranges.push(clock, end - clock);
    return ranges;
  }

  /** Clocks below `clock` deleted since the lane stood there; `undefined` where that is no longer known. */
  deletedSince(clock: number): readonly number[] | undefined {
    if (clock < this.#recentFloor) return undefined;
    let from = this.#recentAt.length;
    while (from > 0 && (this.#recentAt[from - 1] as number) >= clock) from--;
    return this.#recentClocks.slice(from).filter((deleted) => deleted < clock);
  }

  /** After loading: what was deleted before is not known one by one. */
  forgetDeletes(): void {
    this.#recentAt = [];
    this.#recentClocks = [];
    this.#recentFloor = this.#clock;
  }

  /** 16 bytes over clock and live items: equal for equal copies only. */
  root(hash: Hash): Uint8Array {
    if (this.#root !== undefined) return this.#root;
    for (const [index, bucket] of this.#buckets) bucket.hash ??= this.#hashBucket(index, hash);
    scratch.clear();
    scratch.uint56(this.incarnation);
    scratch.uint56(this.#clock);
    for (const [index, bucket] of this.#buckets) {
      scratch.uint56(index);
      scratch.raw(bucket.hash as Uint8Array);
    }
    this.#root = shortHash(hash);
    return this.#root;
  }

  /** Index and hash of every bucket that holds something, ascending. */
  buckets(hash: Hash): { readonly index: number; readonly hash: Uint8Array }[] {
    this.root(hash);
    return [...this.#buckets].map(([index, bucket]) => ({ index, hash: bucket.hash as Uint8Array }));
  }

  get clean(): boolean {
    return this.#root !== undefined;
  }

  #hashBucket(index: number, hash: Hash): Uint8Array {
    scratch.clear();
    const from = index * BUCKET_CLOCKS;
    for (const item of this.items(from, from + BUCKET_CLOCKS)) {
      scratch.byte(item.clock - from);
      scratch.uint32(item.length);
      scratch.rawPart(item.page.bytes, item.offset, item.length);
    }
    return shortHash(hash);
  }

  #touch(clock: number, by: number): void {
    this.#root = undefined;
    const index = Math.floor(clock / BUCKET_CLOCKS);
    const bucket = this.#buckets.get(index);
    if (bucket === undefined) this.#buckets.set(index, { live: by, hash: undefined });
    else if (bucket.live + by === 0) this.#buckets.delete(index);
    else {
      bucket.live += by;
      bucket.hash = undefined;
    }
  }

  #remember(clock: number): void {
    this.#recentAt.push(this.#clock);
    this.#recentClocks.push(clock);
    const kept = Math.min(MOST_RECENT, Math.max(LEAST_RECENT, this.liveItems));
    const excess = this.#recentAt.length - kept;
    if (excess < kept) return;
    this.#recentFloor = (this.#recentAt[excess - 1] as number) + 1;
    this.#recentAt = this.#recentAt.slice(excess);
    this.#recentClocks = this.#recentClocks.slice(excess);
  }

  #room(length: number): Page {
    const page = this.#page;
    if (page.used + length <= page.bytes.length) return page;
    // Small lanes must not cost a whole page: pages grow with the lane.
    const size = Math.max(length, Math.min(PAGE_BYTES, Math.max(512, this.#liveBytes >>> 3)));
    this.#page = { bytes: new Uint8Array(size), used: 0, live: 0 };
    return this.#page;
  }

  /** Copies what lives of a page; its items stand next to each other around `clock`. */
  #copyPage(page: Page, clock: number): void {
    const items = this.#items;
    const middle = this.#indexOf(clock);
    const living: Item[] = [];
    for (let index = middle - 1; index >= 0; index--) {
      const item = items[index] as Item;
      if (item.dead) continue;
      if (item.page !== page) break;
      living.push(item);
    }
    living.reverse();
    for (let index = middle; index < items.length; index++) {
      const item = items[index] as Item;
      if (item.dead) continue;
      if (item.page !== page) break;
      living.push(item);
    }
    const isOpen = page === this.#page;
    const copy: Page = {
      bytes: new Uint8Array(isOpen ? page.bytes.length : page.live),
      used: 0,
      live: page.live,
    };
    for (const item of living) {
      copy.bytes.set(item.bytes(), copy.used);
      item.page = copy;
      item.offset = copy.used;
      copy.used += item.length;
    }
    if (isOpen) this.#page = copy;
  }

  /** Index of the first item (dead or alive) at or behind a clock. */
  #indexOf(clock: number): number {
    let low = 0;
    let high = this.#items.length;
    if (high > 0 && (this.#items[high - 1] as Item).clock < clock) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#items[middle] as Item).clock < clock) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * A large update as the page of its items, which are then not copied out of it: where they are most of the memory that
 * it stands in.
 */
export function pageOf(bytes: Uint8Array, itemBytes: number): Page | undefined {
  const isWorth = itemBytes >= ADOPTED_PAGE_BYTES && itemBytes * 4 >= bytes.buffer.byteLength * 3;
  return isWorth ? { bytes, used: 0, live: 0 } : undefined;
}

const NO_PAGE: Page = { bytes: new Uint8Array(0), used: 0, live: 0 };

/** The first bytes of the hash of `scratch`, in a buffer of their own. */
function shortHash(hash: Hash): Uint8Array {
  return new Uint8Array(hash(scratch.view()).subarray(0, HASH_BYTES));
}

/** An item that stands in no lane any more, with bytes of its own. */
export function detachedItem(lane: Lane, clock: number, head: EntryHead, bytes: Uint8Array): Item {
  const item = new Item(
    lane,
    clock,
    head,
    { bytes, used: bytes.length, live: bytes.length },
    0,
    bytes.length,
  );
  item.dead = true;
  return item;
}
