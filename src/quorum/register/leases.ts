/** Which leases there are and what hangs on them. When they run out is the leader's to say, on its own clock. */
import type { LeaseId, QuorumKey } from '../port.ts';
import type { LeaseState } from './outcome.ts';

export class Leases {
  readonly #leases = new Map<LeaseId, LeaseState>();
  /** Only of leases on which something hangs. */
  readonly #keys = new Map<LeaseId, Set<QuorumKey>>();

  get size(): number {
    return this.#leases.size;
  }

  get(id: LeaseId): LeaseState | undefined {
    return this.#leases.get(id);
  }

  all(): Iterable<LeaseState> {
    return this.#leases.values();
  }

  set(lease: LeaseState): void {
    this.#leases.set(lease.id, lease);
  }

  attach(id: LeaseId, key: QuorumKey): void {
    const keys = this.#keys.get(id);
    if (keys === undefined) this.#keys.set(id, new Set([key]));
    else keys.add(key);
  }

  detach(id: LeaseId, key: QuorumKey): void {
    const keys = this.#keys.get(id);
    if (keys?.delete(key) && keys.size === 0) this.#keys.delete(id);
  }

  /** What hung on it, in no order. */
  end(id: LeaseId): readonly QuorumKey[] {
    const keys = this.#keys.get(id);
    this.#keys.delete(id);
    this.#leases.delete(id);
    return keys === undefined ? [] : [...keys];
  }
}
