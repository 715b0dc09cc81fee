/**
 * When a node looks after its store: often while something is under way, and for a while after what a leader may have to
 * act on; not at all where nothing is. A leader with nothing to do looks now and then, for who votes is a matter of time too.
 */
import type { Deadline, Instant } from '../kernel/time.ts';

const TICK_MS = 200;
const RESTLESS_MS = 10_000;
const LEADERS_TICK_MS = 1_000;

export class Upkeep {
  /** `undefined` while there is nothing to look after. */
  #tickMs: number | undefined;
  #restlessUntilMs: number;

  constructor(now: Instant) {
    this.#tickMs = now.monoMs + TICK_MS;
    this.#restlessUntilMs = now.monoMs + RESTLESS_MS;
  }

  get deadline(): Deadline | undefined {
    return this.#tickMs === undefined ? undefined : { atMs: this.#tickMs, reason: 'quorum upkeep' };
  }

  /** Something changed that the rules on stores and voters go by. */
  stir(now: Instant): void {
    this.#restlessUntilMs = now.monoMs + RESTLESS_MS;
    this.hasten(now);
  }

  /** A leader that had nothing to do may have put upkeep off for longer. */
  hasten(now: Instant): void {
    this.#tickMs = Math.min(this.#tickMs ?? Number.POSITIVE_INFINITY, now.monoMs + TICK_MS);
  }

  /** It is done; the next time is to be set. */
  done(): void {
    this.#tickMs = undefined;
  }

  /** Sets the next time, where it is not; `isQuiet` is asked only then. */
  settle(isQuiet: () => boolean, isLeader: boolean, now: Instant): void {
    if (this.#tickMs !== undefined) return;
    if (!isQuiet()) this.#tickMs = now.monoMs + TICK_MS;
    else if (isLeader)
      this.#tickMs = now.monoMs + (now.monoMs < this.#restlessUntilMs ? TICK_MS : LEADERS_TICK_MS);
  }
}
