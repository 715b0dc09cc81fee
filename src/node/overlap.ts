/**
 * When the disk is to begin although more will come within this turn of the host's loop.
 *
 * Intuition: callers in this process that one write answered all call again at once, and are one write again; so the disk rests
 * while the processor works for them, and the processor while the disk does. Begun in the middle of the turn there are two groups,
 * of which one is written while the other is worked for. That pays where a write takes less time than the turn. So one is begun once the
 * disk has rested within the turn for as long as a write took lately; and where writes have become slower than what both groups take,
 * the groups are put together again, for then they would only wait for each other.
 *
 * All times are on the monotonic clock, in ms. Where no time passes within a turn, as in a simulation, nothing of this happens.
 */
export class Overlap {
  #nowMs = Number.NEGATIVE_INFINITY;
  /** Syncs that were asked for and not answered. */
  #out = 0;
  #writeBeganMs = 0;
  readonly #writes = new LastTwo();
  readonly #turns = new LastTwo();
  /** Of the turn that an answer of the disk began. */
  #turnBeganMs: number | undefined;
  /** The same, while the disk has nothing to do in it. */
  #restsSinceMs: number | undefined;
  #isSplit = false;

  /** Something happens now. */
  at(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /** What waits for the disk should go there now. */
  get isDue(): boolean {
    return this.#restsSinceMs !== undefined && this.#nowMs - this.#restsSinceMs > this.#writes.least;
  }

  /** What waits should wait on, until the disk has answered what it has. */
  get isHeld(): boolean {
    return this.#out > 0 && this.#isSplit && this.#writes.least > this.#turns.sum;
  }

  /** Since it was due. */
  split(): void {
    this.#restsSinceMs = undefined;
    this.#isSplit = true;
  }

  /** Since it was held. */
  joined(): void {
    this.#isSplit = false;
  }

  syncAsked(nowMs: number): void {
    if (this.#out === 0) this.#writeBeganMs = nowMs;
    this.#out++;
    this.#restsSinceMs = undefined;
  }

  syncAnswered(nowMs: number): void {
    this.#writes.add(nowMs - this.#writeBeganMs);
    this.#writeBeganMs = nowMs;
    this.#out--;
    this.#turnBeganMs ??= nowMs;
    if (this.#out === 0) this.#restsSinceMs = nowMs;
  }

  turnEnded(nowMs: number): void {
    this.#restsSinceMs = undefined;
    if (this.#turnBeganMs === undefined) return;
    this.#turns.add(nowMs - this.#turnBeganMs);
    this.#turnBeganMs = undefined;
  }
}

class LastTwo {
  #last = Number.POSITIVE_INFINITY;
  #before = Number.POSITIVE_INFINITY;

  add(value: number): void {
    this.#before = this.#last;
    this.#last = value;
  }

  get least(): number {
    return Math.min(this.#last, this.#before);
  }

  get sum(): number {
    return this.#last + this.#before;
  }
}
