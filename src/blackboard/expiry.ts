/** Items with a time to live, each once, the next to expire first: a binary heap, cleaned of dead items as it grows. */
import type { Board } from './board.ts';
import type { Item } from './lane.ts';

interface Expiring {
  readonly board: Board;
  readonly item: Item;
}

export class ExpiryQueue {
  #heap: Expiring[] = [];
  readonly #queued = new Set<Item>();
  #cleanAt = 1_024;

  /** Wall clock in ms at which the next one expires. */
  get nextMs(): number | undefined {
    return this.#heap[0]?.item.expiresMs;
  }

  get size(): number {
    return this.#heap.length;
  }

  add(board: Board, item: Item): void {
    if (this.#queued.has(item)) return;
    this.#queued.add(item);
    if (this.#heap.length >= this.#cleanAt) {
      for (const each of this.#heap) if (each.item.dead) this.#queued.delete(each.item);
      this.#heap = this.#heap.filter((each) => !each.item.dead);
      this.#heap.sort((left, right) => left.item.expiresMs - right.item.expiresMs);
      this.#cleanAt = Math.max(1_024, this.#heap.length * 2);
    }
    this.#heap.push({ board, item });
    this.#rise(this.#heap.length - 1);
  }

  /** The next one, where its time is up. */
  take(wallMs: number): Expiring | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.item.expiresMs > wallMs) return undefined;
    this.#queued.delete(first.item);
    const last = this.#heap.pop() as Expiring;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink(0);
    }
    return first;
  }

  #rise(from: number): void {
    const heap = this.#heap;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (expiresMs(heap[parent]) <= expiresMs(heap[at])) return;
      [heap[parent], heap[at]] = [heap[at] as Expiring, heap[parent] as Expiring];
      at = parent;
    }
  }

  #sink(from: number): void {
    const heap = this.#heap;
    let at = from;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && expiresMs(heap[child]) < expiresMs(heap[least])) least = child;
      }
      if (least === at) return;
      [heap[least], heap[at]] = [heap[at] as Expiring, heap[least] as Expiring];
      at = least;
    }
  }
}

function expiresMs(expiring: Expiring | undefined): number {
  return expiring?.item.expiresMs ?? Number.POSITIVE_INFINITY;
}
