/** What the acceptance suite of the quorum store is given, and what its tests share. */
import { expect } from 'vitest';
import type { ErrorBody, Result } from '../../src/kernel/errors.ts';
import type {
  KeyRange,
  Operation,
  QuorumStore,
  Transaction,
  TransactionAnswer,
  WatchEvent,
} from '../../src/quorum/port.ts';

export interface Subject {
  /** Several ways to one store: clients, or members. Read anew after `restart`. */
  readonly stores: readonly QuorumStore[];
  /** A store that was used for nothing else yet begins at revision 1, and nobody else writes to it. */
  readonly countsExactly: boolean;
  /** Makes the history before now go away; left out where that takes too much to be tested here. */
  readonly compact?: () => Promise<void>;
  /** Of the members behind the stores; `stores[i]` goes through member `i` where it can. */
  readonly faults?: {
    readonly members: number;
    /** A store goes on when the member that it talked to is killed; else `stores[i]` is gone with member `i`. */
    readonly storesOutlive: boolean;
    kill(member: number): Promise<void>;
    restart(member: number): Promise<void>;
  };
  close(): Promise<void>;
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);

export function put(key: string, value: string | Uint8Array = '', lease = 0): Operation {
  return { op: 'put', key, value: typeof value === 'string' ? utf8(value) : value, lease };
}

export function transaction(parts: Partial<Transaction>): Transaction {
  return { compares: [], then: [], otherwise: [], ...parts };
}

/** All keys that begin with this. */
export function under(prefix: string): KeyRange {
  return { from: prefix, to: `${prefix}\u{10ffff}` };
}

export function value<T>(result: Result<T>): T {
  if (!result.ok)
    throw new Error(`${result.error.code}: ${result.error.message} ${JSON.stringify(result.error.details)}`);
  return result.value;
}

export function error(result: Result<unknown>): ErrorBody {
  if (result.ok) throw new Error(`an error was expected, not ${JSON.stringify(result.value)}`);
  return result.error;
}

export async function write(store: QuorumStore, ...operations: Operation[]): Promise<TransactionAnswer> {
  return value(await store.transact(transaction({ then: operations })));
}

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  mostMs = 10_000,
): Promise<void> {
  const endMs = performance.now() + mostMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`not within ${mostMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Adds one by reading and writing back where nobody wrote in between; the result of the write that went through, or the last. */
export async function increment(store: QuorumStore, key: string): Promise<Result<TransactionAnswer>> {
  for (;;) {
    const read = await store.get(key, 'strong');
    if (!read.ok) return { ok: false, error: { ...read.error, details: { outcome: 'not-done' } } };
    const entry = read.value.found[0];
    const next = String(Number(text(entry?.value) ?? '0') + 1);
    const answer = await store.transact(
      transaction({
        compares: [{ target: 'modRevision', key, is: '=', than: entry?.modRevision ?? 0 }],
        then: [put(key, next)],
      }),
    );
    if (!answer.ok || answer.value.succeeded) return answer;
  }
}

/** Everything that one watch told, checked as it comes: revisions only grow, and none comes twice. */
export class Told {
  readonly events: WatchEvent[] = [];
  readonly changed: (WatchEvent & { kind: 'changed' })[] = [];
  progress = -1;
  compactRevision: number | undefined;
  /** The first thing that was wrong. */
  wrong: string | undefined;
  readonly end: () => void;
  readonly #from: number;

  constructor(store: QuorumStore, range: KeyRange, fromRevision: number) {
    this.#from = fromRevision;
    this.end = store.watch(range, fromRevision, (event) => this.#take(event));
  }

  /** `key=value`, or `-key` where it was deleted; the changes of one revision in one text. */
  get lines(): string[] {
    return this.changed.map(({ changes }) =>
      changes
        .map(({ kind, entry }) => (kind === 'put' ? `${entry.key}=${text(entry.value)}` : `-${entry.key}`))
        .join(' '),
    );
  }

  async live(): Promise<void> {
    await until(() => this.progress >= 0, 'the watch says that it is up to date');
  }

  #take(event: WatchEvent): void {
    const last = this.changed.at(-1)?.revision ?? 0;
    if (this.compactRevision !== undefined) this.wrong ??= 'told something after compacted';
    this.events.push(event);
    if (event.kind === 'compacted') {
      this.compactRevision = event.compactRevision;
    } else if (event.kind === 'progress') {
      if (event.revision < this.progress) this.wrong ??= 'progress went back';
      this.progress = event.revision;
    } else {
      if (event.revision <= last) this.wrong ??= `revision ${event.revision} after ${last}`;
      if (event.revision < this.#from) this.wrong ??= `revision ${event.revision}, asked from ${this.#from}`;
      if (event.revision <= this.progress)
        this.wrong ??= `revision ${event.revision} after progress ${this.progress}`;
      if (event.changes.length === 0) this.wrong ??= `revision ${event.revision} without changes`;
      if (event.changes.some(({ entry }) => entry.modRevision !== event.revision)) {
        this.wrong ??= `changes of another revision in ${event.revision}`;
      }
      this.changed.push(event);
    }
  }
}

export function expectSound(...watches: Told[]): void {
  for (const { wrong } of watches) expect(wrong).toBeUndefined();
}
