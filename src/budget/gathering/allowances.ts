/** How many frames of one kind each peer may send: so many at once, and so many a second. */
import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';

export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

interface Left {
  readonly frames: number;
  readonly atMs: number;
}

/** Beyond it those who have all their allowance again are forgotten. */
const REMEMBERED = 1_000;

/** A peer that was away has no more than it had left, and what came since. */
export class Allowances {
  readonly #rate: Rate;
  readonly #left = new Map<NodeId, Left>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Counts one. */
  isAllowed(peer: NodeId, now: Instant): boolean {
    const frames = this.#framesLeft(this.#left.get(peer), now);
    if (!this.#left.has(peer) && this.#left.size >= REMEMBERED) this.#forget(now);
    this.#left.set(peer, { frames: Math.max(0, frames - 1), atMs: now.monoMs });
    return frames >= 1;
  }

  #framesLeft(left: Left | undefined, now: Instant): number {
    const { burst, perSecond } = this.#rate;
    if (left === undefined) return burst;
    return Math.min(burst, left.frames + ((now.monoMs - left.atMs) * perSecond) / 1_000);
  }

  #forget(now: Instant): void {
    for (const [peer, left] of this.#left)
      if (this.#framesLeft(left, now) >= this.#rate.burst) this.#left.delete(peer);
  }
}
