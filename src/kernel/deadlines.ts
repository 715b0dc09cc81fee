import { ChurningMap } from './churning-map.ts';

/**
 * Which of many waits ends next: a binary heap. What is deleted stays in it until it comes up or is too much of it, so
 * that each step costs the logarithm of the number of waits at most, on average.
 */
interface Wait<Id> {
  readonly id: Id;
  readonly atMs: number;
}

/** Deleted waits that are not worth tidying up. */
const SPARE = 64;

export class Deadlines<Id extends number | string = number> {
  readonly #live = new ChurningMap<Id, number>();
  #heap: Wait<Id>[] = [];

  get size(): number {
    return this.#live.size;
  }

  /** When the next one ends, on the monotonic clock; infinite where there is none. */
  get nextMs(): number {
    this.#dropDeleted();
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  /** `id` is not in yet. */
  add(id: Id, atMs: number): void {
    this.#live.set(id, atMs);
    if (this.#heap.length > 2 * this.#live.size + SPARE) this.#rebuild();
    else this.#push({ id, atMs });
  }

  delete(id: Id): void {
    this.#live.delete(id);
  }

  /** Those that end by now, earliest first; they are out. */
  takeDue(monoMs: number): readonly Id[] {
    const due: Id[] = [];
    while (this.#live.size > 0 && this.nextMs <= monoMs) {
      const { id } = this.#pop();
      this.#live.delete(id);
      due.push(id);
    }
    return due;
  }

  #dropDeleted(): void {
    for (
      let top = this.#heap[0];
      top !== undefined && this.#live.get(top.id) !== top.atMs;
      top = this.#heap[0]
    )
      this.#pop();
  }

  /** What is sorted is a heap. */
  #rebuild(): void {
    this.#heap = [...this.#live].map(([id, atMs]) => ({ id, atMs })).sort(compare);
  }

  #push(wait: Wait<Id>): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(wait);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (compare(heap[parent] as Wait<Id>, wait) <= 0) break;
      heap[at] = heap[parent] as Wait<Id>;
      at = parent;
    }
    heap[at] = wait;
  }

  #pop(): Wait<Id> {
    const heap = this.#heap;
    const top = heap[0] as Wait<Id>;
    const last = heap.pop() as Wait<Id>;
    const { length } = heap;
    if (length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && compare(heap[child + 1] as Wait<Id>, heap[child] as Wait<Id>) < 0) child++;
      if (compare(last, heap[child] as Wait<Id>) <= 0) break;
      heap[at] = heap[child] as Wait<Id>;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function compare<Id extends number | string>(left: Wait<Id>, right: Wait<Id>): number {
  return left.atMs - right.atMs || (left.id < right.id ? -1 : left.id > right.id ? 1 : 0);
}
