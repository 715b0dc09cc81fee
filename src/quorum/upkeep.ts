/**
 * When a node looks after its store: often while something is under way, and for a while after what a leader may have to
 * act on; not at all where nothing is. A leader with nothing to do looks now and then, for who votes is a matter of time too.
 */
import type { Deadline, Instant } from '../kernel/time.ts';

const TICK_MS = 200;
const RESTLESS_MS = 10_000;
/** With a heartbeat at a second on average, for which the leader is awake anyway. */
const LEADERS_TICK_MS = 1_150;
const LEADERS_EARLY_MS = 300;

export class Upkeep {
  /** `undefined` while there is nothing to look after. */
  #tickMs: number | undefined;
  #earlyMs = 0;
  #restlessUntilMs: number;

  constructor(now: Instant) {
    this.#tickMs = now.monoMs + TICK_MS;
    this.#restlessUntilMs = now.monoMs + RESTLESS_MS;
  }

  get deadline(): Deadline | undefined {
    if (this.#tickMs === undefined) return undefined;
    return { atMs: this.#tickMs, reason: 'quorum upkeep', earlyMs: this.#earlyMs };
  }

  /** Something changed that the rules on stores and voters go by. */
  stir(now: Instant): void {
    this.#restlessUntilMs = now.monoMs + RESTLESS_MS;
    this.hasten(now);
  }

  /** A leader that had nothing to do may have put upkeep off for longer. */
  hasten(now: Instant): void {
    this.#tickMs = Math.min(this.#tickMs ?? Number.POSITIVE_INFINITY, now.monoMs + TICK_MS);
    this.#earlyMs = 0;
  }

  /** It is done; the next time is to be set. */
  done(): void {
    this.#tickMs = undefined;
  }

  /** Sets the next time, where it is not; `isQuiet` is asked only then. */
  settle(isQuiet: () => boolean, isLeader: boolean, now: Instant): void {
    if (this.#tickMs !== undefined) return;
    const quiet = isQuiet();
    if (quiet && !isLeader) return;
    const isAtRest = quiet && now.monoMs >= this.#restlessUntilMs;
    this.#tickMs = now.monoMs + (isAtRest ? LEADERS_TICK_MS : TICK_MS);
    this.#earlyMs = isAtRest ? LEADERS_EARLY_MS : 0;
  }
}
