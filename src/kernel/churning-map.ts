/** Until so many have come, and as many as there are, it is not worth while. */
const RENEWED_AFTER = 1_024;

/**
 * A map in which entries come and go all the time, in the order in which they came.
 *
 * Intuition: a `Map` moves to another table whenever too many of its entries were deleted, and V8 links each table to the one after it. Once
 * one of them is old, the collector of young objects takes all tables behind it for alive, with whatever they held: nothing that
 * passes through the map dies young any more, and every collection is a pause of milliseconds. A map that is made anew now and
 * then has no table before it.
 */
export class ChurningMap<Key, Value> {
  #map = new Map<Key, Value>();
  #came = 0;

  get size(): number {
    return this.#map.size;
  }

  get(key: Key): Value | undefined {
    return this.#map.get(key);
  }

  has(key: Key): boolean {
    return this.#map.has(key);
  }

  set(key: Key, value: Value): void {
    this.#map.set(key, value);
    if (++this.#came > RENEWED_AFTER && this.#came > this.#map.size) this.#renew();
  }

  delete(key: Key): boolean {
    return this.#map.delete(key);
  }

  /** Not to be read on once something came in: it would be missed. */
  keys(): Iterable<Key> {
    return this.#map.keys();
  }

  values(): Iterable<Value> {
    return this.#map.values();
  }

  [Symbol.iterator](): IterableIterator<[Key, Value]> {
    return this.#map[Symbol.iterator]();
  }

  #renew(): void {
    this.#map = new Map(this.#map);
    this.#came = 0;
  }
}
