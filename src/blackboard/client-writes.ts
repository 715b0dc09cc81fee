/**
 * The writing half of `BoardView`: appends to the lane of the document's own client, and follows what becomes of it.
 *
 * The node deletes an item once it has the entry on its disk; of one that it refuses it says why in `ANSWERS`, in the
 * same transaction. Stamps come from the given clock; a node whose clock disagrees says so, and the write is made once more
 * with the node's time, which is then kept to.
 */
import type * as Y from 'yjs';
import { ByteWriter } from '../kernel/bytes.ts';
import { type ErrorBody, errorBody, type Result, SkeinError } from '../kernel/errors.ts';
import type { Json } from '../kernel/json.ts';
import { checkKey } from '../kernel/key.ts';
import { limits } from '../kernel/limits.ts';
import { fromUtf8 } from '../kernel/text.ts';
import { checkTtl, checkValue } from './calls.ts';
import { type EntryToWrite, KIND, writeEntry } from './entry.ts';
import { stampOf } from './hlc.ts';
import { ANSWERS, laneName } from './lane-update.ts';

/** What a write came to. */
export interface BoardViewWrite {
  readonly revision: number;
}

/** The parts of a Yjs struct that tell an item of a lane. */
interface Struct {
  readonly id: { readonly clock: number };
  readonly length: number;
  readonly deleted: boolean;
  readonly parent?: unknown;
  readonly parentSub?: string | null;
  readonly content?: { readonly content?: unknown };
}

interface Waiting {
  readonly entry: EntryToWrite;
  readonly bytes: number;
  readonly repeated: boolean;
  readonly resolve: (write: BoardViewWrite) => void;
  readonly reject: (error: SkeinError) => void;
}

/** A refusal as the node puts it into the document. */
interface Answer {
  readonly lane: number;
  readonly clock: number;
  readonly error: ErrorBody;
}

export class ClientWrites {
  readonly #doc: Y.Doc;
  readonly #wallMs: () => number;
  readonly #newest: (key: string) => number;
  /** By client, then clock of the item. */
  readonly #waiting = new Map<number, Map<number, Waiting>>();
  readonly #writer = new ByteWriter(1024);
  #count = 0;
  #bytes = 0;
  #last = 0;
  #offsetMs = 0;
  #ended = false;

  /** `newest` is the revision that the view has of a key. */
  constructor(doc: Y.Doc, wallMs: () => number, newest: (key: string) => number) {
    this.#doc = doc;
    this.#wallMs = wallMs;
    this.#newest = newest;
  }

  get waiting(): number {
    return this.#count;
  }

  set(key: string, value: Json, ttlSeconds: number | undefined): Promise<BoardViewWrite> {
    const checked = first(checkKey(key), checkTtl(ttlSeconds));
    if (!checked.ok) return refused(checked.error);
    const text = checkValue(value, 'The value');
    if (!text.ok) return refused(text.error);
    return this.#write({ kind: KIND.set, revision: 0, key, author: '', ttlSeconds, value: text.value });
  }

  delete(key: string): Promise<BoardViewWrite> {
    const checked = checkKey(key);
    if (!checked.ok) return refused(checked.error);
    return this.#write({ kind: KIND.delete, revision: 0, key, author: '', value: '' });
  }

  /** Settles what the node answered in a transaction of the document. */
  follow(transaction: Y.Transaction): void {
    if (this.#count === 0) return;
    for (const { lane, clock, error } of answersIn(this.#doc, transaction)) {
      const waiting = this.#take(lane, clock);
      if (waiting !== undefined) this.#refused(waiting, error);
    }
    for (const [client, ranges] of transaction.deleteSet.clients) {
      const waiting = this.#waiting.get(client);
      if (waiting === undefined) continue;
      for (const clock of [...waiting.keys()]) {
        if (!ranges.some((range) => clock >= range.clock && clock < range.clock + range.len)) continue;
        const one = this.#take(client, clock) as Waiting;
        if (transaction.local) one.reject(new SkeinError(takenBack()));
        else one.resolve({ revision: one.entry.revision });
      }
    }
  }

  end(): void {
    this.#ended = true;
    for (const [client, waiting] of this.#waiting) {
      for (const clock of [...waiting.keys()]) this.#take(client, clock)?.reject(new SkeinError(ended()));
    }
  }

  #write(entry: EntryToWrite): Promise<BoardViewWrite> {
    if (this.#ended) return refused(ended());
    const problem = this.#problem(entry);
    if (problem !== undefined) return refused(problem);
    return new Promise((resolve, reject) => this.#append({ entry, resolve, reject, repeated: false }));
  }

  #problem(entry: EntryToWrite): ErrorBody | undefined {
    if (this.#wallMs() <= 0) {
      return errorBody(
        'INVALID_ARGUMENT',
        'This view has no clock to stamp writes with.',
        'Pass one where the view is made, in milliseconds since 1970.',
      );
    }
    if (this.#count < limits.clientWrites && this.#bytes + entry.value.length * 3 < limits.clientWriteBytes) {
      return undefined;
    }
    return errorBody(
      'RATE_LIMITED',
      `${this.#count} writes wait for the node, which is as much as may.`,
      'Wait for some of them; without a connection they stay.',
      { details: { outcome: 'not-done' } },
    );
  }

  #append({ entry, ...rest }: Omit<Waiting, 'bytes'>): void {
    const wallMs = this.#wallMs() + this.#offsetMs;
    const revision = Math.max(stampOf(wallMs), this.#newest(entry.key) + 1, this.#last + 1);
    this.#last = revision;
    const stamped = { ...entry, revision };
    writeEntry(this.#writer, stamped);
    const bytes = this.#writer.take();
    const doc = this.#doc;
    const client = doc.clientID;
    const waiting = this.#waiting.get(client) ?? new Map<number, Waiting>();
    this.#waiting.set(client, waiting);
    waiting.set(endOf((doc.store.clients.get(client) as readonly Struct[] | undefined)?.at(-1)), {
      ...rest,
      entry: stamped,
      bytes: bytes.length,
    });
    this.#count++;
    this.#bytes += bytes.length;
    doc.getArray<Uint8Array>(laneName(client)).push([bytes]);
  }

  #take(client: number, clock: number): Waiting | undefined {
    const waiting = this.#waiting.get(client);
    const one = waiting?.get(clock);
    if (waiting === undefined || one === undefined) return undefined;
    waiting.delete(clock);
    if (waiting.size === 0) this.#waiting.delete(client);
    this.#count--;
    this.#bytes -= one.bytes;
    return one;
  }

  #refused(waiting: Waiting, error: ErrorBody): void {
    const nodeWallMs = error.details?.nodeWallMs;
    if (typeof nodeWallMs !== 'number' || waiting.repeated) {
      waiting.reject(new SkeinError(error));
      return;
    }
    this.#offsetMs = nodeWallMs - this.#wallMs();
    // Stamps ahead of the node's time were refused; what follows must not be bound to them.
    this.#last = 0;
    this.#append({ ...waiting, repeated: true });
  }
}

/** Byte contents of a client from a clock on that stand in a top-level array, those deleted by this very transaction included. */
export function* contentsOf(
  doc: Y.Doc,
  client: number,
  fromClock: number,
  array: string,
): Generator<{ readonly clock: number; readonly bytes: Uint8Array; readonly deleted: boolean }> {
  const structs = doc.store.clients.get(client) as readonly Struct[] | undefined;
  const parent = doc.share.get(array);
  if (structs === undefined || parent === undefined) return;
  let from = structs.length;
  while (from > 0 && endOf(structs[from - 1]) > fromClock) from--;
  for (const struct of structs.slice(from)) {
    const bytes = struct.content?.content;
    if (struct.parent !== parent || (struct.parentSub ?? null) !== null) continue;
    if (bytes instanceof Uint8Array) yield { clock: struct.id.clock, bytes, deleted: struct.deleted };
  }
}

function* answersIn(doc: Y.Doc, transaction: Y.Transaction): Generator<Answer> {
  if (transaction.local || !doc.share.has(ANSWERS)) return;
  for (const [client, clock] of transaction.afterState) {
    const before = transaction.beforeState.get(client) ?? 0;
    if (clock <= before) continue;
    for (const { bytes } of contentsOf(doc, client, before, ANSWERS)) {
      try {
        yield JSON.parse(fromUtf8(bytes) ?? '') as Answer;
      } catch {
        // Not from a node: nobody waits for it.
      }
    }
  }
}

function endOf(struct: Struct | undefined): number {
  return struct === undefined ? 0 : struct.id.clock + struct.length;
}

function first(...checks: readonly Result<unknown>[]): Result<unknown> {
  return checks.find(({ ok }) => !ok) ?? { ok: true, value: undefined };
}

function refused(error: ErrorBody): Promise<never> {
  return Promise.reject(new SkeinError(error));
}

function ended(): ErrorBody {
  return errorBody(
    'UNREACHABLE',
    'The view was destroyed before the node answered.',
    'Read the entry to see.',
    {
      details: { outcome: 'unknown' },
    },
  );
}

function takenBack(): ErrorBody {
  return errorBody(
    'CONFLICT',
    'The write was deleted from the document before the node answered.',
    'Read the entry to see whether it took hold.',
    { details: { outcome: 'unknown' } },
  );
}
