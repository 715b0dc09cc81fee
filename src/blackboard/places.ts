/** Places for calls that wait: so many in all, and so many of one caller, so that nobody can take them all. */
import { limits } from '../kernel/limits.ts';

export class Places {
  readonly #callers = new Map<string, number>();
  #taken = 0;

  /** False where there is none left, in all or for this caller. */
  take(caller: string): boolean {
    const own = this.#callers.get(caller) ?? 0;
    if (this.#taken >= limits.waiters || own >= limits.waitersPerCaller) return false;
    this.#callers.set(caller, own + 1);
    this.#taken++;
    return true;
  }

  give(caller: string): void {
    const own = this.#callers.get(caller) ?? 0;
    if (own === 0) return;
    if (own === 1) this.#callers.delete(caller);
    else this.#callers.set(caller, own - 1);
    this.#taken--;
  }
}
