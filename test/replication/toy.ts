/** A lattice that is easy to see through: every writer has a list that only grows; the digest is the lengths. */
import { createHash } from 'node:crypto';
import { decode, encode } from '../../src/kernel/codec.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Delta, Lattice, Merged } from '../../src/replication/lattice.ts';

type Slice = readonly [writer: string, from: number, items: readonly string[]];

export class ToyLattice implements Lattice {
  readonly lists = new Map<string, string[]>();
  readonly writer: string;
  /** Writers whose items this replica refuses. */
  readonly refuses = new Set<string>();
  /** Items of others looked at, known ones included. */
  work = 0;
  #pushes: Slice[] = [];
  #root: Uint8Array | undefined;

  constructor(writer: string) {
    this.writer = writer;
  }

  add(...items: string[]): void {
    const list = this.#list(this.writer);
    this.#pushes.push([this.writer, list.length, items]);
    for (const item of items) list.push(item);
    this.#root = undefined;
  }

  get size(): number {
    return [...this.lists.values()].reduce((sum, list) => sum + list.length, 0);
  }

  root(): Uint8Array {
    if (this.#root === undefined) {
      const hash = createHash('sha256');
      for (const writer of [...this.lists.keys()].sort())
        hash.update(JSON.stringify([writer, this.lists.get(writer)]));
      this.#root = new Uint8Array(hash.digest().subarray(0, 16));
    }
    return this.#root;
  }

  get rootText(): string {
    return Buffer.from(this.root()).toString('hex');
  }

  digest(): Uint8Array {
    return encode(Object.fromEntries([...this.lists].map(([writer, list]) => [writer, list.length])));
  }

  delta(theirs: Uint8Array, _peer: NodeId, maxBytes: number): Delta | undefined | 'malformed' {
    const lengths = decode(theirs);
    if (typeof lengths !== 'object' || lengths === null) return 'malformed';
    return this.#beyond({ ...(lengths as Record<string, number>) }, maxBytes);
  }

  /** Advances `lengths` by what the delta brings. */
  #beyond(lengths: Record<string, number>, maxBytes: number): Delta | undefined {
    const slices: Slice[] = [];
    let bytes = 0;
    for (const [writer, list] of this.lists) {
      const known = lengths[writer] ?? 0;
      const items: string[] = [];
      for (let index = known; index < list.length; index++) {
        if (bytes > maxBytes) break;
        items.push(list[index]!);
        bytes += list[index]!.length + 2;
      }
      if (items.length === 0) continue;
      slices.push([writer, known, items]);
      lengths[writer] = known + items.length;
    }
    if (slices.length === 0) return undefined;
    if (bytes <= maxBytes) return { bytes: encode(slices), more: false };
    return { bytes: encode(slices), more: true, next: () => this.#beyond(lengths, maxBytes) };
  }

  merge(delta: Uint8Array): Merged {
    const slices = decode(delta);
    if (!Array.isArray(slices)) return { kind: 'refused', reason: 'not a list' };
    let changed = false;
    let behind = false;
    let cost = 0;
    for (const [writer, from, items] of slices as Slice[]) {
      cost += items.length;
      if (this.refuses.has(writer)) return { kind: 'refused', reason: `items of ${writer}` };
      const list = this.#list(writer);
      if (from > list.length) behind = true;
      else {
        for (const item of items.slice(list.length - from)) {
          list.push(item);
          changed = true;
        }
      }
    }
    if (changed) this.#root = undefined;
    this.work += cost;
    return behind ? { kind: 'behind', cost } : { kind: 'merged', changed, cost };
  }

  takePushes(): readonly Uint8Array[] {
    const pushes = this.#pushes;
    this.#pushes = [];
    return pushes.length === 0 ? [] : [encode(pushes)];
  }

  #list(writer: string): string[] {
    let list = this.lists.get(writer);
    if (list === undefined) {
      list = [];
      this.lists.set(writer, list);
    }
    return list;
  }
}
