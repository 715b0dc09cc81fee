/** How many connections each remote address holds, so that one machine cannot take every place. */
import { limits } from '../../kernel/limits.ts';
import { isLoopback } from './origins.ts';

export class AddressCount {
  readonly #open = new Map<string, number>();

  get size(): number {
    return this.#open.size;
  }

  /**
   * Counts one more until the returned function is called, once; `undefined` where the address has its fill.
   * Loopback is not bounded: all agents of this machine, and any proxy on it, come from there.
   */
  take(address: string | undefined): (() => void) | undefined {
    if (address === undefined || isLoopback(address)) return () => {};
    const open = this.#open.get(address) ?? 0;
    if (open >= limits.httpConnectionsPerAddress) return undefined;
    this.#open.set(address, open + 1);
    return () => {
      const left = (this.#open.get(address) ?? 1) - 1;
      if (left === 0) this.#open.delete(address);
      else this.#open.set(address, left);
    };
  }
}
