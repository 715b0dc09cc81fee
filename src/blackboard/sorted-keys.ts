/**
 * Keys in order, for lists by prefix. Additions only gather until somebody lists; removed keys stay until the next
 * rebuild and are filtered out. Order is that of UTF-16 code units, JavaScript's own.
 */
const CHUNK = 512;
const MOST_ADDED = 262_144;

export class SortedKeys {
  #chunks: string[][] = [];
  #added: string[] = [];
  #size = 0;
  readonly #holds: (key: string) => boolean;

  /** `holds` says whether a key is still there. */
  constructor(holds: (key: string) => boolean) {
    this.#holds = holds;
  }

  add(key: string): void {
    this.#added.push(key);
    // Where nobody ever lists, keys that come and go must not gather for ever.
    if (this.#added.length > MOST_ADDED && this.#added.length > 4 * this.#size) this.#settle();
  }

  /** Keys with the prefix, ascending, strictly after `after`. */
  *from(prefix: string, after: string): Generator<string> {
    this.#settle();
    const start = after > prefix ? after : prefix;
    for (let chunkAt = this.#chunkFor(start); chunkAt < this.#chunks.length; chunkAt++) {
      const chunk = this.#chunks[chunkAt] as string[];
      for (let at = lowerBound(chunk, start); at < chunk.length; at++) {
        const key = chunk[at] as string;
        if (key > prefix && !key.startsWith(prefix)) return;
        if (key !== after && this.#holds(key) && key.startsWith(prefix)) yield key;
      }
    }
  }

  #settle(): void {
    if (this.#added.length === 0) return;
    if (this.#added.length * 8 > this.#size) {
      const all = new Set(this.#added.filter(this.#holds));
      for (const chunk of this.#chunks) for (const key of chunk) if (this.#holds(key)) all.add(key);
      const sorted = [...all].sort(byCodeUnits);
      this.#chunks = [];
      for (let at = 0; at < sorted.length; at += CHUNK) this.#chunks.push(sorted.slice(at, at + CHUNK));
      this.#size = sorted.length;
    } else {
      for (const key of this.#added) this.#insert(key);
    }
    this.#added = [];
  }

  #insert(key: string): void {
    const chunkAt = Math.min(this.#chunkFor(key), this.#chunks.length - 1);
    const chunk = this.#chunks[chunkAt] as string[];
    const at = lowerBound(chunk, key);
    if (chunk[at] === key) return;
    chunk.splice(at, 0, key);
    this.#size++;
    if (chunk.length > 2 * CHUNK) this.#chunks.splice(chunkAt + 1, 0, chunk.splice(CHUNK));
  }

  /** Index of the first chunk whose last key is not below `key`. */
  #chunkFor(key: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (((this.#chunks[middle] as string[]).at(-1) as string) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function byCodeUnits(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
