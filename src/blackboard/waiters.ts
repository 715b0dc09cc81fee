/** Who waits for what to change, found by key in constant time; and what changed lately, for those who come back. */
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from '../kernel/codec.ts';
import { Deadlines } from '../kernel/deadlines.ts';
import type { BoardName } from '../kernel/ids.ts';

export interface Waiter {
  readonly id: number;
  readonly board: BoardName;
  readonly key: string | undefined;
  readonly prefix: string | undefined;
  readonly afterRevision: number;
  readonly deadlineMs: number;
}

export class Waiters {
  readonly #byId = new Map<number, Waiter>();
  readonly #byKey = new Map<string, Set<Waiter>>();
  /** By prefix; and how many prefixes there are of each length. */
  readonly #byPrefix = new Map<string, Set<Waiter>>();
  readonly #lengths = new Map<number, number>();
  readonly #deadlines = new Deadlines();

  get size(): number {
    return this.#byId.size;
  }

  /** When the next one gives up; infinite where nobody waits. */
  get deadlineMs(): number {
    return this.#deadlines.nextMs;
  }

  add(waiter: Waiter): void {
    this.#deadlines.add(waiter.id, waiter.deadlineMs);
    this.#byId.set(waiter.id, waiter);
    if (waiter.key !== undefined) addTo(this.#byKey, `${waiter.board}/${waiter.key}`, waiter);
    else {
      const prefix = `${waiter.board}/${waiter.prefix ?? ''}`;
      if (addTo(this.#byPrefix, prefix, waiter)) {
        this.#lengths.set(prefix.length, (this.#lengths.get(prefix.length) ?? 0) + 1);
      }
    }
  }

  remove(id: number): Waiter | undefined {
    const waiter = this.#byId.get(id);
    if (waiter === undefined) return undefined;
    this.#byId.delete(id);
    this.#deadlines.delete(id);
    if (waiter.key !== undefined) removeFrom(this.#byKey, `${waiter.board}/${waiter.key}`, waiter);
    else {
      const prefix = `${waiter.board}/${waiter.prefix ?? ''}`;
      if (removeFrom(this.#byPrefix, prefix, waiter)) {
        const left = (this.#lengths.get(prefix.length) ?? 1) - 1;
        if (left === 0) this.#lengths.delete(prefix.length);
        else this.#lengths.set(prefix.length, left);
      }
    }
    return waiter;
  }

  /** Those that a change of the key concerns. */
  of(board: BoardName, key: string): readonly Waiter[] {
    const name = `${board}/${key}`;
    const found = [...(this.#byKey.get(name) ?? [])];
    for (const length of this.#lengths.keys()) {
      if (length > name.length) continue;
      found.push(...(this.#byPrefix.get(name.slice(0, length)) ?? []));
    }
    return found;
  }

  /** Those that have waited long enough; they are out. */
  takeDue(monoMs: number): readonly Waiter[] {
    if (this.#byId.size === 0) return [];
    return this.#deadlines.takeDue(monoMs).map((id) => this.remove(id) as Waiter);
  }
}

/** True where the group is new. */
function addTo(groups: Map<string, Set<Waiter>>, name: string, waiter: Waiter): boolean {
  const group = groups.get(name);
  if (group === undefined) groups.set(name, new Set([waiter]));
  else group.add(waiter);
  return group === undefined;
}

/** True where the group is gone. */
function removeFrom(groups: Map<string, Set<Waiter>>, name: string, waiter: Waiter): boolean {
  const group = groups.get(name);
  group?.delete(waiter);
  return group?.size === 0 && groups.delete(name);
}

const RING = 1_024;

/** The last changed keys of a board in this node's order of arrival; positions are cursors. */
export class Recent {
  readonly #boot: string;
  readonly #keys: string[] = [];
  #count = 0;

  constructor(incarnation: number) {
    this.#boot = incarnation.toString(36);
  }

  /** Changes so far. */
  get count(): number {
    return this.#count;
  }

  get cursor(): string {
    return this.cursorAt(this.#count);
  }

  /** A position; with a key, one within a listing of everything that began there. */
  cursorAt(count: number, key?: string): string {
    const position = `${this.#boot}.${count.toString(36)}`;
    return key === undefined ? position : `${position}~${toBase64Url(utf8(key))}`;
  }

  add(key: string): void {
    this.#keys[this.#count % RING] = key;
    this.#count++;
  }

  /** `lost` where it is not known what came after. */
  parse(
    cursor: string,
  ): { readonly count: number; readonly after: string | undefined } | 'lost' | 'malformed' {
    const match = /^([0-9a-z]{1,12})\.([0-9a-z]{1,12})(?:~([A-Za-z0-9_-]{1,1024}))?$/.exec(cursor);
    if (match === null) return 'malformed';
    const count = Number.parseInt(match[2] as string, 36);
    if (match[1] !== this.#boot || count > this.#count) return 'lost';
    if (match[3] === undefined) return count < this.#count - RING ? 'lost' : { count, after: undefined };
    const bytes = fromBase64Url(match[3]);
    const after = bytes === undefined ? undefined : fromUtf8(bytes);
    return after === undefined ? 'malformed' : { count, after };
  }

  /** Keys changed from a known position on, once each, and the position behind them. */
  since(
    count: number,
    concerns: (key: string) => boolean,
    limit: number,
  ): { readonly keys: readonly string[]; readonly next: number } {
    const keys = new Set<string>();
    let at = count;
    for (; at < this.#count && keys.size < limit; at++) {
      const key = this.#keys[at % RING] as string;
      if (concerns(key)) keys.add(key);
    }
    return { keys: [...keys], next: at };
  }
}
