/**
 * Virtual time: callbacks in the order of their time, then of their asking. Nothing happens between two callbacks, so
 * a day of a cluster takes as long as its events, and the same seed gives the same order on every machine.
 */
export class Scheduler {
  readonly #heap: Entry[] = [];
  #nowMs = 0;
  #asked = 0;

  /** Milliseconds since the simulation began. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Callbacks that are still to run; cancelled ones may be among them. */
  get size(): number {
    return this.#heap.length;
  }

  /** Calls back at `atMs`, or now (after what was asked before) where that has passed. The returned function cancels. */
  at(atMs: number, callback: () => void): () => void {
    const entry: Entry = { atMs: Math.max(atMs, this.#nowMs), order: this.#asked++, callback };
    push(this.#heap, entry);
    return () => {
      entry.callback = undefined;
    };
  }

  after(delayMs: number, callback: () => void): () => void {
    return this.at(this.#nowMs + delayMs, callback);
  }

  /** Runs the next callback that is due by `untilMs`; false where there is none. */
  step(untilMs: number = Number.POSITIVE_INFINITY): boolean {
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; next = this.#heap[0]) {
      pop(this.#heap);
      const { callback } = next;
      if (callback === undefined) continue;
      this.#nowMs = next.atMs;
      callback();
      return true;
    }
    return false;
  }

  /** Runs everything that is due by `untilMs`; the time is then `untilMs`. */
  runUntil(untilMs: number): void {
    while (this.step(untilMs));
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /** Runs until the condition holds after some callback; false where it does not by `untilMs`. */
  runUntilTrue(condition: () => boolean, untilMs: number): boolean {
    while (!condition()) if (!this.step(untilMs)) return condition();
    return true;
  }
}

interface Entry {
  readonly atMs: number;
  readonly order: number;
  callback: (() => void) | undefined;
}

function isBefore(left: Entry, right: Entry): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

function push(heap: Entry[], entry: Entry): void {
  let at = heap.length;
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = heap[above] as Entry;
    if (!isBefore(entry, parent)) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = entry;
}

function pop(heap: Entry[]): void {
  const last = heap.pop() as Entry;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    if (below >= heap.length) break;
    const right = heap[below + 1];
    if (right !== undefined && isBefore(right, heap[below] as Entry)) below += 1;
    if (!isBefore(heap[below] as Entry, last)) break;
    heap[at] = heap[below] as Entry;
    at = below;
  }
  heap[at] = last;
}
