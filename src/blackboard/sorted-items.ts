/**
 * Items in ascending order, in chunks: found, put in and taken out in about the logarithm of their number, whatever the
 * sequence, since members decide what comes in which order.
 */
import type { Item } from './lane.ts';

const CHUNK = 256;

/** Negative where `left` comes first. Total: zero for one and the same item only. */
export type Order = (left: Item, right: Item) => number;

export class SortedItems {
  #chunks: Item[][] = [];
  #size = 0;
  readonly #order: Order;

  constructor(order: Order) {
    this.#order = order;
  }

  get size(): number {
    return this.#size;
  }

  get first(): Item | undefined {
    return this.#chunks[0]?.[0];
  }

  get last(): Item | undefined {
    const chunk = this.#chunks[this.#chunks.length - 1];
    return chunk?.[chunk.length - 1];
  }

  add(item: Item): void {
    this.#size++;
    let chunkAt = this.#chunks.length - 1;
    let chunk = this.#chunks[chunkAt];
    if (chunk === undefined) {
      this.#chunks.push([item]);
      return;
    }
    // What comes is most often the newest.
    if (this.#order(chunk[chunk.length - 1] as Item, item) < 0) chunk.push(item);
    else {
      chunkAt = this.#chunkFor(item);
      chunk = this.#chunks[chunkAt] as Item[];
      chunk.splice(this.#lowerBound(chunk, item), 0, item);
    }
    if (chunk.length > 2 * CHUNK) this.#chunks.splice(chunkAt + 1, 0, chunk.splice(CHUNK));
  }

  /** False where it was not there. */
  remove(item: Item): boolean {
    const chunkAt = this.#chunkFor(item);
    const chunk = this.#chunks[chunkAt];
    if (chunk === undefined) return false;
    const at = this.#lowerBound(chunk, item);
    if (chunk[at] !== item) return false;
    chunk.splice(at, 1);
    if (chunk.length === 0) this.#chunks.splice(chunkAt, 1);
    this.#size--;
    return true;
  }

  /** The greatest below an item, which need not be here. */
  before(item: Item): Item | undefined {
    const chunkAt = this.#chunkFor(item);
    const chunk = this.#chunks[chunkAt];
    const at = chunk === undefined ? 0 : this.#lowerBound(chunk, item);
    return at > 0 ? chunk?.[at - 1] : this.#chunks[chunkAt - 1]?.at(-1);
  }

  /** The least above an item, which need not be here. */
  after(item: Item): Item | undefined {
    for (const next of this.above(item)) return next;
    return undefined;
  }

  /** Those above an item, or all, ascending. */
  *above(item: Item | undefined): Generator<Item> {
    let chunkAt = item === undefined ? 0 : this.#chunkFor(item);
    let at = 0;
    const first = this.#chunks[chunkAt];
    if (item !== undefined && first !== undefined) {
      at = this.#lowerBound(first, item);
      if (first[at] === item) at++;
    }
    for (; chunkAt < this.#chunks.length; chunkAt++, at = 0) {
      const chunk = this.#chunks[chunkAt] as Item[];
      for (; at < chunk.length; at++) yield chunk[at] as Item;
    }
  }

  /** Index of the first chunk whose last item is not below the item. */
  #chunkFor(item: Item): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const last = (this.#chunks[middle] as Item[]).at(-1) as Item;
      if (this.#order(last, item) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #lowerBound(chunk: readonly Item[], item: Item): number {
    let low = 0;
    let high = chunk.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#order(chunk[middle] as Item, item) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
