/**
 * When leases run out, by the leader's monotonic clock. A new leader gives each its whole time again: the time that
 * passed before is not known to it, and a lease may be prolonged but not cut short.
 */
import type { Deadline, Instant } from '../../kernel/time.ts';
import type { LeaseId } from '../port.ts';

/** Leases run out up to this much late. */
const TICK_MS = 100;

export class LeaseClock {
  readonly #dueTick = new Map<LeaseId, number>();
  readonly #ticks = new Map<number, Set<LeaseId>>();
  #doneTick = 0;

  get deadline(): Deadline | undefined {
    if (this.#dueTick.size === 0) return undefined;
    return { atMs: (this.#doneTick + 1) * TICK_MS, reason: 'leases' };
  }

  /** The lease was granted or renewed. */
  renew(id: LeaseId, ttlMs: number, now: Instant): void {
    this.forget(id);
    if (this.#dueTick.size === 0) this.#doneTick = Math.floor(now.monoMs / TICK_MS);
    const tick = Math.floor((now.monoMs + ttlMs) / TICK_MS) + 1;
    this.#dueTick.set(id, tick);
    let due = this.#ticks.get(tick);
    if (due === undefined) {
      due = new Set();
      this.#ticks.set(tick, due);
    }
    due.add(id);
  }

  forget(id: LeaseId): void {
    const tick = this.#dueTick.get(id);
    if (tick === undefined) return;
    this.#dueTick.delete(id);
    const due = this.#ticks.get(tick);
    due?.delete(id);
    if (due?.size === 0) this.#ticks.delete(tick);
  }

  clear(): void {
    this.#dueTick.clear();
    this.#ticks.clear();
  }

  /** Those whose time is up; each is given once more after a while if it is not forgotten or renewed. */
  takeDue(now: Instant): readonly LeaseId[] {
    const until = Math.floor(now.monoMs / TICK_MS);
    if (this.#dueTick.size === 0 || until <= this.#doneTick) return [];
    const due: LeaseId[] = [];
    if (until - this.#doneTick > this.#ticks.size) {
      for (const [tick, ids] of this.#ticks) if (tick <= until) due.push(...ids);
    } else {
      for (let tick = this.#doneTick + 1; tick <= until; tick++) due.push(...(this.#ticks.get(tick) ?? []));
    }
    this.#doneTick = until;
    for (const id of due) this.renew(id, RETRY_MS, now);
    return due;
  }
}

/** The proposal that ends a lease may be lost with a leadership. */
const RETRY_MS = 2_000;
