/**
 * What a neighbour may make this node work, told in structs checked: a token bucket that is charged afterwards, since
 * only the work tells what it was. Once overdrawn, the neighbour pauses until a quarter of the bucket is full again.
 *
 * Limits: one frame may overdraw by all that a frame can hold. What is not decoded (bytes deciphered for nothing) is
 * not charged.
 */
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';

/** What other work costs, in structs: a signature checked, and so many bytes looked at. */
export const SIGNATURE_COST = 32;
const BYTES_PER_STRUCT = 256;
const FRAME_COST = 4;
/** A frame of repair given away: it is copied, not checked. */
export const GIVEN_COST = 128;
/** A root to compare with: this replica's own may have to be hashed for it. */
export const ROOT_COST = 16;
const RESUMED_SHARE = 0.25;

export class Budget {
  #left: number = limits.neighbourWorkBurst;
  #atMs: number;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #strained = false;

  constructor(now: Instant) {
    this.#atMs = now.monoMs;
  }

  /** Over its budget: nothing more of it is taken in before this moment; in the past where it is not. */
  get pausedUntilMs(): number {
    return this.#pausedUntilMs;
  }

  isPaused(now: Instant): boolean {
    return this.#pausedUntilMs > now.monoMs;
  }

  /** True from the first pause until the bucket was full again: then what was asked of the neighbour is charged too. */
  isStrained(now: Instant): boolean {
    this.#refill(now);
    if (this.#left >= limits.neighbourWorkBurst) this.#strained = false;
    return this.#strained;
  }

  /** True where a pause begins. */
  charge(cost: number, now: Instant): boolean {
    this.#refill(now);
    this.#left -= cost;
    if (this.#left > 0 || this.isPaused(now)) return false;
    const missing = limits.neighbourWorkBurst * RESUMED_SHARE - this.#left;
    this.#pausedUntilMs = now.monoMs + (missing / limits.neighbourWork) * 1_000;
    this.#strained = true;
    return true;
  }

  #refill(now: Instant): void {
    const gained = (Math.max(0, now.monoMs - this.#atMs) / 1_000) * limits.neighbourWork;
    this.#left = Math.min(limits.neighbourWorkBurst, this.#left + gained);
    this.#atMs = Math.max(this.#atMs, now.monoMs);
  }
}

/** Of a frame that was taken in: its bytes, and what the lattice says of their meaning. */
export function costOf(bytes: number, structs: number): number {
  return FRAME_COST + bytes / BYTES_PER_STRUCT + structs;
}
