import { SkeinError } from '../kernel/errors.ts';

/** Listeners by key. A listener that throws is a fault of its own and does not keep the others from hearing. */
export class Topic<T> {
  readonly #listeners = new Map<string, Set<(value: T) => void>>();

  /** Throws a `SkeinError` with INVALID_ARGUMENT where a program without types passes something else. */
  listen(key: string, listener: (value: T) => void): () => void {
    if (typeof key !== 'string' || typeof listener !== 'function')
      throw SkeinError.of(
        'INVALID_ARGUMENT',
        typeof key === 'string' ? 'The listener is not a function.' : 'The name is not a text.',
        'Pass the name of what is listened to, where there are several, and a function.',
      );
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners);
    // A wrapper of its own, so that one function may listen twice and each be ended alone.
    const own = (value: T) => listener(value);
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#listeners.get(key) === listeners) this.#listeners.delete(key);
    };
  }

  /** True where somebody listens: what would be announced need not be made for nobody. */
  hears(key: string): boolean {
    return this.#listeners.has(key);
  }

  announce(key: string, value: T, onFault: (error: unknown) => void): void {
    for (const listener of this.#listeners.get(key) ?? []) {
      try {
        listener(value);
      } catch (error) {
        onFault(error);
      }
    }
  }
}
