/**
 * The last so many values by key, and up to an eighth more.
 *
 * In generations that are dropped as a whole: one map of all, in which something is removed for whatever comes, is copied again and again
 * while everybody waits, and takes a microsecond a value.
 */
export class Recent<Value> {
  readonly #most: number;
  readonly #perGeneration: number;
  /** Newest last; never empty. */
  readonly #generations: Map<string, Value>[] = [new Map()];
  #size = 0;

  constructor(most: number) {
    this.#most = most;
    this.#perGeneration = Math.ceil(most / 8);
  }

  get size(): number {
    return this.#size;
  }

  get(key: string): Value | undefined {
    return this.#generationOf(key)?.get(key);
  }

  /** As they are now, oldest first. */
  keys(): readonly string[] {
    return this.#generations.flatMap((generation) => [...generation.keys()]);
  }

  /** In the order of their keys. */
  values(): readonly Value[] {
    return this.#generations.flatMap((generation) => [...generation.values()]);
  }

  /** Takes the place of what was there, or in time of the oldest. */
  set(key: string, value: Value): void {
    const known = this.#generationOf(key);
    if (known === undefined) this.add(key, value);
    else known.set(key, value);
  }

  /** The key is not among them. */
  add(key: string, value: Value): void {
    const generations = this.#generations;
    let newest = generations.at(-1) as Map<string, Value>;
    if (newest.size >= this.#perGeneration) {
      newest = new Map();
      generations.push(newest);
    }
    newest.set(key, value);
    this.#size++;
    const oldest = (generations[0] as Map<string, Value>).size;
    if (this.#size - oldest < this.#most) return;
    generations.shift();
    this.#size -= oldest;
  }

  #generationOf(key: string): Map<string, Value> | undefined {
    for (let at = this.#generations.length - 1; at >= 0; at--) {
      const generation = this.#generations[at] as Map<string, Value>;
      if (generation.has(key)) return generation;
    }
    return undefined;
  }
}
