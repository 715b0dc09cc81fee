/**
 * Times to live: entries hang on leases of the store, so that no clock of a writer decides when they vanish.
 *
 * A lease costs a round of the quorum and a place in its table, so entries of one node with the same time to live
 * that are written close together share one. A shared lease is granted for a tenth longer than was asked (a second
 * to a minute) and taken for new entries only during that time: an entry lives at least as long as asked, and at most
 * that much longer.
 */
import { ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Clock } from '../kernel/ports.ts';
import type { LeaseId, QuorumStore } from '../quorum/port.ts';

/** Different times to live that are remembered. */
const MOST_SHARED = 256;
const LONGEST_MS = limits.ttlSeconds * 1000;

interface Shared {
  readonly lease: LeaseId;
  /** For entries written before this, on the monotonic clock. */
  readonly untilMs: number;
}

export class SharedLeases {
  readonly #store: QuorumStore;
  readonly #clock: Clock;
  readonly #shared = new Map<number, Shared>();
  /** Grants under way, so that writes of one moment share one. */
  readonly #granting = new Map<number, Promise<Result<LeaseId>>>();

  constructor(store: QuorumStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** A lease for an entry that is written now. */
  async leaseFor(ttlSeconds: number): Promise<Result<LeaseId>> {
    const nowMs = this.#clock.now().monoMs;
    const shared = this.#shared.get(ttlSeconds);
    if (shared !== undefined && nowMs < shared.untilMs) return ok(shared.lease);
    let granting = this.#granting.get(ttlSeconds);
    if (granting === undefined) {
      granting = this.#grant(ttlSeconds, nowMs).finally(() => this.#granting.delete(ttlSeconds));
      this.#granting.set(ttlSeconds, granting);
    }
    return granting;
  }

  /** The store does not know it: whatever hung on it is gone. */
  forget(lease: LeaseId): void {
    for (const [ttlSeconds, shared] of this.#shared) {
      if (shared.lease === lease) this.#shared.delete(ttlSeconds);
    }
  }

  async #grant(ttlSeconds: number, nowMs: number): Promise<Result<LeaseId>> {
    const ttlMs = ttlSeconds * 1000;
    const longerMs = Math.min(Math.max(ttlMs / 10, 1_000), 60_000);
    const grantedMs = Math.min(Math.ceil(ttlMs + longerMs), LONGEST_MS);
    const granted = await this.#store.grantLease(grantedMs);
    if (!granted.ok) return granted;
    // Counted from before the request left; a write takes its own time to arrive.
    const untilMs = nowMs + (granted.value.ttlMs - ttlMs) - limits.quorumWaitMs / 4;
    if (this.#shared.size >= MOST_SHARED) this.#shared.delete(this.#shared.keys().next().value as number);
    this.#shared.set(ttlSeconds, { lease: granted.value.id, untilMs });
    return ok(granted.value.id);
  }
}
