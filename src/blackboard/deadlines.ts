/**
 * Which of many waits ends next: a binary heap. What is deleted stays in it until it comes up or is too much of it, so
 * that each step costs the logarithm of the number of waits at most, on average.
 */
interface Wait {
  readonly id: number;
  readonly atMs: number;
}

/** Deleted waits that are not worth tidying up. */
const SPARE = 64;

export class Deadlines {
  readonly #live = new Map<number, number>();
  #heap: Wait[] = [];

  get size(): number {
    return this.#live.size;
  }

  /** When the next one ends, on the monotonic clock; infinite where there is none. */
  get nextMs(): number {
    this.#dropDeleted();
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  /** `id` is not in yet. */
  add(id: number, atMs: number): void {
    this.#live.set(id, atMs);
    if (this.#heap.length > 2 * this.#live.size + SPARE) this.#rebuild();
    else this.#push({ id, atMs });
  }

  delete(id: number): void {
    this.#live.delete(id);
  }

  /** Those that end by now, earliest first; they are out. */
  takeDue(monoMs: number): readonly number[] {
    const due: number[] = [];
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

  #push(wait: Wait): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(wait);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (compare(heap[parent] as Wait, wait) <= 0) break;
      heap[at] = heap[parent] as Wait;
      at = parent;
    }
    heap[at] = wait;
  }

  #pop(): Wait {
    const heap = this.#heap;
    const top = heap[0] as Wait;
    const last = heap.pop() as Wait;
    const { length } = heap;
    if (length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && compare(heap[child + 1] as Wait, heap[child] as Wait) < 0) child++;
      if (compare(last, heap[child] as Wait) <= 0) break;
      heap[at] = heap[child] as Wait;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function compare(left: Wait, right: Wait): number {
  return left.atMs - right.atMs || left.id - right.id;
}
