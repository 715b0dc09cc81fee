/** Reservations that wait for rights, by the purse that lacks them; who came first goes first. */
import { Deadlines } from '../kernel/deadlines.ts';
import { limits } from '../kernel/limits.ts';
import type { PurseKey } from './names.ts';
import type { LedgerCall } from './spending.ts';

export interface Waiter {
  /** Of the caller's request. */
  readonly id: number;
  readonly call: Extract<LedgerCall, { op: 'reserve' }>;
  readonly amount: number;
  /** On the monotonic clock. */
  readonly untilMs: number;
}

export class Waiting {
  readonly #queues = new Map<PurseKey, Map<number, Waiter>>();
  readonly #places = new Map<number, PurseKey>();
  readonly #ends = new Deadlines();

  get size(): number {
    return this.#places.size;
  }

  get purses(): Iterable<PurseKey> {
    return this.#queues.keys();
  }

  get nextMs(): number {
    return this.#ends.nextMs;
  }

  get hasRoom(): boolean {
    return this.#places.size < limits.budgetWaiters;
  }

  at(purse: PurseKey): Iterable<Waiter> {
    return this.#queues.get(purse)?.values() ?? [];
  }

  isAwaited(purse: PurseKey): boolean {
    return this.#queues.has(purse);
  }

  first(purse: PurseKey): Waiter | undefined {
    return this.#queues.get(purse)?.values().next().value;
  }

  /** What all that wait there ask for together. */
  sum(purse: PurseKey): number {
    let sum = 0;
    for (const { amount } of this.at(purse)) sum += amount;
    return Math.min(sum, Number.MAX_SAFE_INTEGER);
  }

  /** To the end of the queue; one that waits elsewhere leaves there. */
  add(purse: PurseKey, waiter: Waiter): void {
    this.remove(waiter.id);
    const queue = this.#queues.get(purse) ?? new Map<number, Waiter>();
    this.#queues.set(purse, queue.set(waiter.id, waiter));
    this.#places.set(waiter.id, purse);
    this.#ends.add(waiter.id, waiter.untilMs);
  }

  /** The purse where it waited. */
  remove(id: number): PurseKey | undefined {
    const purse = this.#places.get(id);
    if (purse === undefined) return undefined;
    const queue = this.#queues.get(purse);
    queue?.delete(id);
    if (queue?.size === 0) this.#queues.delete(purse);
    this.#places.delete(id);
    this.#ends.delete(id);
    return purse;
  }

  /** Those whose time is up. They wait on until they are removed. */
  due(monoMs: number): readonly { readonly purse: PurseKey; readonly waiter: Waiter }[] {
    return this.#ends.takeDue(monoMs).flatMap((id) => {
      const purse = this.#places.get(id);
      const waiter = purse === undefined ? undefined : this.#queues.get(purse)?.get(id);
      return purse === undefined || waiter === undefined ? [] : [{ purse, waiter }];
    });
  }
}
