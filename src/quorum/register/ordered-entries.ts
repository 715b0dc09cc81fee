/**
 * The entries in the order of their keys: sorted chunks in a sorted list. At a million keys a look-up is some twenty
 * comparisons and an insertion moves a few hundred references.
 *
 * `frozen` gives everything as it is now at the price of a list of chunks: a chunk that was given away is copied
 * before it is next changed. Entries themselves are never changed, only replaced.
 */
import type { KeyRange, KeyValue, QuorumKey } from '../port.ts';
import { compareKeys, needsCodePoints } from './key-order.ts';

const CHUNK = 512;

interface Chunk {
  /** Of the entries: to search them alone touches half the memory. */
  readonly keys: QuorumKey[];
  readonly entries: KeyValue[];
  /** Chunks of an older generation belong to whoever holds what `frozen` gave. */
  readonly generation: number;
}

export class OrderedEntries {
  #chunks: Chunk[] = [];
  #size = 0;
  #generation = 0;
  /** No key needs more than JavaScript's own comparison, which is many times faster. */
  #plain = true;
  /** What `#locate` was last asked, until keys come or go: one transaction asks for the same key again and again. */
  #located: QuorumKey | undefined;
  #isFound = false;
  /** Where it stopped. */
  #chunkAt = 0;
  #at = 0;

  get size(): number {
    return this.#size;
  }

  get(key: QuorumKey): KeyValue | undefined {
    return this.#locate(key) ? this.#chunks[this.#chunkAt]?.entries[this.#at] : undefined;
  }

  set(entry: KeyValue): void {
    if (this.#plain && needsCodePoints(entry.key)) this.#plain = false;
    const found = this.#locate(entry.key);
    if (found) {
      this.#own(this.#chunkAt).entries[this.#at] = entry;
      return;
    }
    this.#located = undefined;
    this.#size++;
    const isLast = this.#chunkAt === this.#chunks.length;
    if (isLast && (this.#chunks.at(-1)?.entries.length ?? CHUNK) >= CHUNK) {
      this.#chunks.push({ keys: [entry.key], entries: [entry], generation: this.#generation });
      return;
    }
    const chunkAt = isLast ? this.#chunkAt - 1 : this.#chunkAt;
    const { keys, entries } = this.#own(chunkAt);
    const at = isLast ? entries.length : this.#at;
    keys.splice(at, 0, entry.key);
    entries.splice(at, 0, entry);
    if (entries.length > CHUNK) {
      const half = CHUNK >>> 1;
      const upper = { keys: keys.splice(half), entries: entries.splice(half), generation: this.#generation };
      this.#chunks.splice(chunkAt + 1, 0, upper);
    }
  }

  delete(key: QuorumKey): void {
    if (!this.#locate(key)) return;
    this.#located = undefined;
    this.#size--;
    const chunkAt = this.#chunkAt;
    const { keys, entries } = this.#own(chunkAt);
    keys.splice(this.#at, 1);
    entries.splice(this.#at, 1);
    this.#mergeAt(chunkAt);
  }

  /** In order, until `visit` answers false. `visit` must not change anything. */
  visit(range: KeyRange, visit: (entry: KeyValue) => boolean): void {
    this.#locate(range.from);
    let at = this.#at;
    for (let chunkAt = this.#chunkAt; chunkAt < this.#chunks.length; chunkAt++) {
      const entries = (this.#chunks[chunkAt] as Chunk).entries;
      for (; at < entries.length; at++) {
        const entry = entries[at] as KeyValue;
        if (!this.#isBelow(entry.key, range.to) || !visit(entry)) return;
      }
      at = 0;
    }
  }

  /** What it removed, in order. */
  deleteRange(range: KeyRange): KeyValue[] {
    const removed: KeyValue[] = [];
    this.#locate(range.from);
    this.#located = undefined;
    const firstAt = this.#chunkAt;
    let from = this.#at;
    let chunkAt = firstAt;
    for (; chunkAt < this.#chunks.length; chunkAt++) {
      const { keys } = this.#chunks[chunkAt] as Chunk;
      let to = from;
      while (to < keys.length && this.#isBelow(keys[to] as string, range.to)) to++;
      const isWhole = to === keys.length;
      if (to > from) {
        const own = this.#own(chunkAt);
        own.keys.splice(from, to - from);
        for (const entry of own.entries.splice(from, to - from)) removed.push(entry);
      }
      if (!isWhole) break;
      from = 0;
    }
    if (removed.length === 0) return removed;
    this.#size -= removed.length;
    this.#chunks = this.#chunks.filter((chunk) => chunk.entries.length > 0);
    if (firstAt < this.#chunks.length) this.#mergeAt(firstAt);
    return removed;
  }

  /** All entries as they are now, whatever comes after. */
  frozen(): readonly (readonly KeyValue[])[] {
    this.#generation++;
    return this.#chunks.map((chunk) => chunk.entries);
  }

  #own(chunkAt: number): Chunk {
    const chunk = this.#chunks[chunkAt] as Chunk;
    if (chunk.generation === this.#generation) return chunk;
    const own: Chunk = {
      keys: chunk.keys.slice(),
      entries: chunk.entries.slice(),
      generation: this.#generation,
    };
    this.#chunks[chunkAt] = own;
    return own;
  }

  /** Drops an empty chunk and joins a small one with the next, so that the list of chunks stays short. */
  #mergeAt(chunkAt: number): void {
    const here = this.#chunks[chunkAt] as Chunk;
    if (here.keys.length === 0) {
      this.#chunks.splice(chunkAt, 1);
      return;
    }
    const next = this.#chunks[chunkAt + 1];
    if (next === undefined || here.keys.length + next.keys.length > CHUNK >>> 1) return;
    const joined: Chunk = {
      keys: here.keys.concat(next.keys),
      entries: here.entries.concat(next.entries),
      generation: this.#generation,
    };
    this.#chunks.splice(chunkAt, 2, joined);
  }

  /** Leaves the place of the first entry that is not below `key`: behind the last chunk where there is none. */
  #locate(key: QuorumKey): boolean {
    if (key !== this.#located) {
      this.#isFound = this.#search(key);
      this.#located = key;
    }
    return this.#isFound;
  }

  #search(key: QuorumKey): boolean {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { keys } = this.#chunks[middle] as Chunk;
      if (this.#isBelow(keys[keys.length - 1] as string, key)) low = middle + 1;
      else high = middle;
    }
    this.#chunkAt = low;
    this.#at = 0;
    const keys = this.#chunks[low]?.keys;
    if (keys === undefined) return false;
    low = 0;
    high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isBelow(keys[middle] as string, key)) low = middle + 1;
      else high = middle;
    }
    this.#at = low;
    return keys[low] === key;
  }

  #isBelow(left: string, right: string): boolean {
    return this.#plain ? left < right : compareKeys(left, right) < 0;
  }
}
