/** Rights that are to come to this node beside what reservations wait for: requested, to be spent, or to pay debts. */
import { Deadlines } from '../kernel/deadlines.ts';
import type { Instant } from '../kernel/time.ts';
import type { PurseKey } from './names.ts';

/** Told once: all of it came, or all that can be reached, or its time is up. */
export type Pulled = (got: number, now: Instant) => void;

export interface Pull {
  readonly id: number;
  readonly purse: PurseKey;
  readonly done: Pulled;
  /** It waits for a reserve that cannot be asked, and takes nothing from others meanwhile. */
  readonly isPatient: boolean;
  /** What is still to come. */
  left: number;
  got: number;
}

export class Pulls {
  readonly #queues = new Map<PurseKey, Map<number, Pull>>();
  readonly #pulls = new Map<number, Pull>();
  readonly #ends = new Deadlines();
  #lastId = 0;

  get size(): number {
    return this.#pulls.size;
  }

  get purses(): Iterable<PurseKey> {
    return this.#queues.keys();
  }

  get nextMs(): number {
    return this.#ends.nextMs;
  }

  has(purse: PurseKey): boolean {
    return this.#queues.has(purse);
  }

  add(purse: PurseKey, amount: number, untilMs: number, done: Pulled, isPatient: boolean): Pull {
    const pull: Pull = { id: ++this.#lastId, purse, done, isPatient, left: amount, got: 0 };
    const queue = this.#queues.get(purse) ?? new Map<number, Pull>();
    this.#queues.set(purse, queue.set(pull.id, pull));
    this.#pulls.set(pull.id, pull);
    this.#ends.add(pull.id, untilMs);
    return pull;
  }

  remove({ id, purse }: Pull): void {
    const queue = this.#queues.get(purse);
    queue?.delete(id);
    if (queue?.size === 0) this.#queues.delete(purse);
    this.#pulls.delete(id);
    this.#ends.delete(id);
  }

  /** What all of a purse lack together; `pressing`: only those that are not patient. */
  sum(purse: PurseKey, pressing = false): number {
    let sum = 0;
    for (const { left, isPatient } of this.#queues.get(purse)?.values() ?? [])
      if (!pressing || !isPatient) sum += left;
    return Math.min(sum, Number.MAX_SAFE_INTEGER);
  }

  /** `amount` came in: to who came first, but for `except`. Those that lack nothing any more, which are out. */
  share(purse: PurseKey, amount: number, except: Pull | undefined): readonly Pull[] {
    let rest = amount;
    for (const pull of this.#queues.get(purse)?.values() ?? []) {
      if (pull === except) continue;
      const part = Math.min(rest, pull.left);
      pull.left -= part;
      pull.got += part;
      rest -= part;
    }
    return this.#takeFull(purse);
  }

  /** No more than `amount` can come. Those that got all that they can get, which are out. */
  bound(purse: PurseKey, amount: number, pressing: boolean): readonly Pull[] {
    let rest = amount;
    for (const pull of this.#queues.get(purse)?.values() ?? []) {
      if (pressing && pull.isPatient) continue;
      pull.left = Math.min(rest, pull.left);
      rest -= pull.left;
    }
    return this.#takeFull(purse);
  }

  /** Those whose time is up; they are out. */
  takeDue(monoMs: number): readonly Pull[] {
    const due = this.#ends.takeDue(monoMs).flatMap((id) => this.#pulls.get(id) ?? []);
    for (const pull of due) this.remove(pull);
    return due;
  }

  #takeFull(purse: PurseKey): readonly Pull[] {
    const full = [...(this.#queues.get(purse)?.values() ?? [])].filter(({ left }) => left === 0);
    for (const pull of full) this.remove(pull);
    return full;
  }
}
