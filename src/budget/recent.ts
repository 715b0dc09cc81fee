/** The last so many values by key. */
export class Recent<Value> {
  readonly #most: number;
  readonly #values = new Map<string, Value>();
  /** Keys in the order they came in, the oldest at `#oldest` once it is full: a map takes long to find its first entry where many were removed. */
  readonly #keys: string[] = [];
  #oldest = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#values.size;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): Value | undefined {
    return this.#values.get(key);
  }

  /** In the order of the keys. */
  values(): Iterable<Value> {
    return this.#values.values();
  }

  /** Takes the place of what was there, or of the oldest. */
  set(key: string, value: Value): void {
    const { size } = this.#values;
    this.#values.set(key, value);
    if (this.#values.size === size) return;
    if (this.#keys.length < this.#most) {
      this.#keys.push(key);
      return;
    }
    this.#values.delete(this.#keys[this.#oldest] as string);
    this.#keys[this.#oldest] = key;
    this.#oldest = (this.#oldest + 1) % this.#most;
  }
}
