/**
 * Hybrid logical clock (Kulkarni et al., "Logical physical clocks", 2014), packed into one safe integer so that it
 * can serve as a revision: milliseconds since 2024 times 4096, plus a counter. It follows the wall clock where that
 * grows, and still grows where it stands still or goes back. Enough for 69 years.
 */
import type { Instant } from '../kernel/time.ts';

const EPOCH_MS = 1_704_067_200_000;
/** Stamps that one millisecond has room for. */
export const STAMPS_PER_MS = 4_096;

export function stampOf(wallMs: number): number {
  return Math.max(1, Math.floor(wallMs - EPOCH_MS) * STAMPS_PER_MS);
}

export function wallMsOf(revision: number): number {
  return Math.floor(revision / STAMPS_PER_MS) + EPOCH_MS;
}

export class HybridClock {
  #last = 0;

  /** Above every stamp given before, above `after`, and at least the wall clock. */
  next(now: Instant, after: number): number {
    this.#last = Math.max(this.#last + 1, after + 1, stampOf(now.wallMs));
    return this.#last;
  }

  /** How far the last stamp is ahead of the wall clock, in milliseconds; 0 where it is not. */
  aheadMs(now: Instant): number {
    return this.#last === 0 ? 0 : Math.max(0, wallMsOf(this.#last) - now.wallMs);
  }

  /** What was stamped above this is stamped anew. */
  setBack(stamp: number): void {
    this.#last = Math.min(this.#last, stamp);
  }

  /** A stamp of this node from before its start: later ones must be above. */
  restore(stamp: number): void {
    if (stamp > this.#last) this.#last = stamp;
  }
}
