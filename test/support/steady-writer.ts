/** Writers that keep a node busy and remember what they were promised, to be held against what is there later. */
import { expect } from 'vitest';

/** What became of a write, as far as its caller knows. */
export type Outcome = 'done' | 'not-done' | 'unknown';

/** Writes once; throws where the node has gone. */
export type WriteOnce = (key: string, value: unknown) => Promise<Outcome>;

/**
 * The book that callers keep. Every writer overwrites one key with growing numbers, and writes each number to a
 * key of its own too; so both lost and old values show.
 */
export class Ledger {
  readonly #acknowledged = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #counters = new Map<string, { acknowledged: number; attempted: number }>();
  #padding = '';

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  get refused(): number {
    return this.#refused.size;
  }

  /** Values grow by this many characters from now on, and as much again is overwritten each time: a log that is all alive calls for no checkpoint. */
  pad(characters: number): void {
    this.#padding = 'x'.repeat(characters);
  }

  /** Goes on until `enough` is true or the node has gone. */
  async write(writer: string, write: WriteOnce, enough: () => boolean = () => false): Promise<void> {
    const counter = this.#counters.get(writer) ?? { acknowledged: 0, attempted: 0 };
    this.#counters.set(writer, counter);
    try {
      while (!enough()) {
        const number = ++counter.attempted;
        const key = `${writer}/${number}`;
        const outcome = await write(key, { number, padding: this.#padding });
        if (outcome === 'done') this.#acknowledged.add(key);
        if (outcome === 'not-done') this.#refused.add(key);
        if (this.#padding !== '') await write(`padding/${writer}`, this.#padding + String(number));
        const counted = await write(`counter/${writer}`, number);
        if (counted === 'done') counter.acknowledged = number;
      }
    } catch {
      // The node was killed: what was under way is unknown, as it is to any caller.
    }
  }

  /** Holds what a node shows against what was promised. */
  check(entries: ReadonlyMap<string, unknown>): void {
    const missing = [...this.#acknowledged].filter((key) => !entries.has(key));
    expect(missing, 'acknowledged and lost').toEqual([]);
    const undead = [...this.#refused].filter((key) => entries.has(key));
    expect(undead, 'refused as certainly not done, and there').toEqual([]);
    for (const [writer, { acknowledged, attempted }] of this.#counters) {
      if (acknowledged === 0) continue;
      const counted = entries.get(`counter/${writer}`);
      expect(counted, `counter of ${writer}`).toBeGreaterThanOrEqual(acknowledged);
      expect(counted, `counter of ${writer}`).toBeLessThanOrEqual(attempted);
    }
  }
}
