/**
 * Writes to boards of mode quorum: each is one transaction of the store, so it is done once or not at all, everywhere.
 *
 * Appends read, change and write back what they have read, guarded by its revision. Appends of this node to one key
 * that come while another is under way go together in the next transaction; only other nodes can make one retry.
 */
import { type ErrorBody, errorBody, fail, failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';
import { limits } from '../kernel/limits.ts';
import type { Clock, Entropy } from '../kernel/ports.ts';
import type { KeyValue, LeaseId, Operation, QuorumStore, TransactionAnswer } from '../quorum/port.ts';
import { utf8Length } from '../quorum/register/key-order.ts';
import type { AppendCall, CompareAndSetCall, DeleteCall, WriteCall, Writer } from './api.ts';
import { checkTtl, checkValue } from './calls.ts';
import { storeIdFrom } from './quorum-content.ts';
import { type EntryBody, encodeEntry, entryFrom } from './quorum-entry.ts';
import { STORE_ID_BYTES, STORE_ID_KEY, storeKey } from './quorum-keys.ts';
import type { QuorumMirror } from './quorum-mirror.ts';
import { SharedLeases } from './quorum-ttl.ts';

export interface QuorumBoardConfig {
  readonly name: BoardName;
  readonly quotaKeys: number;
  readonly quotaBytes: number;
}

interface QuorumWritesOptions {
  readonly store: QuorumStore;
  readonly mirror: QuorumMirror;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly self: string;
}

export interface Written {
  /** Identity of the store, where it is known. */
  readonly store: string;
  readonly revision: number;
  readonly deleted?: boolean;
}

interface Pending {
  readonly items: readonly Json[];
  readonly agent: string;
  readonly resolve: (result: Result<Written>) => void;
}

interface Put {
  readonly value: string;
  readonly agent: string;
  readonly ttlSeconds?: number | undefined;
}

const APPEND_TRIES = 32;
/** Around the value: author, node, times. */
const ENTRY_BYTES = 256;

export class QuorumWrites {
  readonly #store: QuorumStore;
  readonly #mirror: QuorumMirror;
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #self: string;
  readonly #leases: SharedLeases;
  readonly #appends = new Map<string, Pending[]>();
  /** Of writes under way that the mirror does not have yet, by board. */
  readonly #inFlight = new Map<BoardName, { keys: number; bytes: number }>();

  constructor({ store, mirror, clock, entropy, self }: QuorumWritesOptions) {
    this.#store = store;
    this.#mirror = mirror;
    this.#clock = clock;
    this.#entropy = entropy;
    this.#self = self;
    this.#leases = new SharedLeases(store, clock);
  }

  async write(
    board: QuorumBoardConfig,
    call: WriteCall,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<Written>> {
    const checked = this.#checked(call.value, call.ttlSeconds);
    if (!checked.ok) return checked;
    const put: Put = { value: checked.value, agent: writer.agent, ttlSeconds: call.ttlSeconds };
    const answer = await this.#put(board, call.key, put, undefined, signal);
    return answer.ok ? ok(writtenOf(answer.value)) : answer;
  }

  /** `CONFLICT` with the present entry where its revision is another. */
  async compareAndSet(
    board: QuorumBoardConfig,
    call: CompareAndSetCall,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<Written>> {
    const { expectedRevision, key } = call;
    if (!Number.isSafeInteger(expectedRevision) || expectedRevision < 0) {
      return failWith(
        'INVALID_ARGUMENT',
        'The expected revision is not valid.',
        'Pass the revision of an earlier answer, or 0 where the key must not exist.',
      );
    }
    const checked = this.#checked(call.value, call.ttlSeconds);
    if (!checked.ok) return checked;
    const put: Put = { value: checked.value, agent: writer.agent, ttlSeconds: call.ttlSeconds };
    const answer = await this.#put(board, key, put, expectedRevision, signal);
    if (!answer.ok) return answer;
    if (answer.value.succeeded) return ok(writtenOf(answer.value));
    return fail(conflict(key, expectedRevision, foundIn(answer.value)));
  }

  async delete(call: DeleteCall, signal?: AbortSignal): Promise<Result<Written>> {
    const remove: Operation = { op: 'delete', key: storeKey(call.board, call.key) };
    const answer = await this.#store.transact({ compares: [], then: [remove], otherwise: [] }, signal);
    if (!answer.ok) return answer;
    const [deletion] = answer.value.answers;
    const deleted = deletion?.op === 'delete' && deletion.deleted > 0;
    return ok({ store: this.#mirror.storeId, revision: answer.value.revision, deleted });
  }

  append(board: QuorumBoardConfig, call: AppendCall, writer: Writer): Promise<Result<Written>> {
    const { items, key } = call;
    if (!Array.isArray(items) || items.length === 0 || items.length > limits.appendItems) {
      const hint = `Pass 1 to ${limits.appendItems} items.`;
      return Promise.resolve(failWith('INVALID_ARGUMENT', 'The list of items is not valid.', hint));
    }
    const checked = checkValue(items, 'The list of items');
    if (!checked.ok) return Promise.resolve(checked);
    return new Promise((resolve) => {
      const pending: Pending = { items, agent: writer.agent, resolve };
      const place = storeKey(board.name, key);
      const queue = this.#appends.get(place);
      if (queue !== undefined) {
        if (queue.length >= limits.quorumCalls) resolve(fail(tooBusy()));
        else queue.push(pending);
        return;
      }
      this.#appends.set(place, []);
      void this.#appendAll(board, key, [pending]);
    });
  }

  /** One transaction after the other until nobody is left. */
  async #appendAll(board: QuorumBoardConfig, key: string, first: readonly Pending[]): Promise<void> {
    const place = storeKey(board.name, key);
    let batch = first;
    while (batch.length > 0) {
      const items = batch.flatMap((pending) => pending.items);
      const { agent } = batch.at(-1) as Pending;
      let result = await this.#appendOnce(board, key, items, agent);
      if (!result.ok && batch.length > 1 && result.error.code === 'QUOTA_EXCEEDED') {
        // Together they do not fit; some of them alone may.
        for (const pending of batch) {
          result = await this.#appendOnce(board, key, pending.items, pending.agent);
          pending.resolve(result);
        }
      } else for (const pending of batch) pending.resolve(result);
      batch = (this.#appends.get(place) ?? []).splice(0, MOST_TOGETHER);
      if (!result.ok && result.error.code === 'QUORUM_UNAVAILABLE') {
        // They have waited long enough already, and nothing was sent of them.
        batch = [...batch, ...(this.#appends.get(place) ?? []).splice(0)];
        const details = { ...result.error.details, outcome: 'not-done' };
        for (const pending of batch) pending.resolve(fail({ ...result.error, details }));
        batch = [];
      }
    }
    this.#appends.delete(place);
  }

  async #appendOnce(
    board: QuorumBoardConfig,
    key: string,
    items: readonly Json[],
    agent: string,
  ): Promise<Result<Written>> {
    let found = this.#mirror.content.get(board.name, key);
    for (let attempt = 0; attempt < APPEND_TRIES; attempt++) {
      const before = found === undefined ? [] : asList(entryFrom(found).value);
      const list = [...before, ...items];
      const text = JSON.stringify(list);
      if (list.length > limits.logItems || utf8Length(text) > limits.quorumLogBytes) {
        return fail(logFull(key));
      }
      const lease = found?.lease ?? 0;
      const answer = await this.#put(board, key, { value: text, agent, lease }, found?.modRevision ?? 0);
      if (!answer.ok && answer.error.code === 'NOT_FOUND' && lease !== 0) {
        // The lease of what was read ran out, and the entry with it.
        found = undefined;
        continue;
      }
      if (!answer.ok) return answer;
      if (answer.value.succeeded) return ok(writtenOf(answer.value));
      found = foundIn(answer.value);
    }
    return fail(
      errorBody(
        'CONFLICT',
        `Others write the log "${key}" so often that this append found no gap.`,
        'Try again, or let each agent append to a log of its own.',
        { retryable: true, details: { outcome: 'not-done' } },
      ),
    );
  }

  /** With `expected`, only where the key has this revision; otherwise the answer tells what is there. */
  async #put(
    board: QuorumBoardConfig,
    key: string,
    put: Put & { readonly lease?: LeaseId },
    expected: number | undefined,
    signal?: AbortSignal,
  ): Promise<Result<PutAnswer>> {
    const identified = await this.#identifyStore(signal);
    if (!identified.ok) return identified;
    const room = this.#room(board, key, utf8Length(put.value));
    if (!room.ok) return room;
    for (let attempt = 0; ; attempt++) {
      const lease =
        put.ttlSeconds === undefined ? ok(put.lease ?? 0) : await this.#leases.leaseFor(put.ttlSeconds);
      if (!lease.ok) return lease;
      const place = storeKey(board.name, key);
      const value = encodeEntry(this.#body(put, room.value.before));
      const written: Operation = {
        op: 'put',
        key: place,
        value,
        ...(lease.value === 0 ? {} : { lease: lease.value }),
      };
      const answer = await this.#counted(board.name, room.value, () =>
        this.#store.transact(
          expected === undefined
            ? { compares: [], then: [written], otherwise: [] }
            : {
                compares: [{ target: 'modRevision', key: place, is: '=', than: expected }],
                then: [written],
                otherwise: [{ op: 'get', key: place }],
              },
          signal,
        ),
      );
      const isLeaseGone = !answer.ok && answer.error.code === 'NOT_FOUND' && put.ttlSeconds !== undefined;
      if (!isLeaseGone || attempt > 0) {
        return answer.ok ? ok({ ...answer.value, store: identified.value }) : answer;
      }
      this.#leases.forget(lease.value);
    }
  }

  #body(
    { value, agent, ttlSeconds, lease }: Put & { readonly lease?: LeaseId },
    before?: KeyValue,
  ): EntryBody {
    const { wallMs } = this.#clock.now();
    const writtenMs = Math.round(wallMs);
    const body = { value, author: agent, node: this.#self, writtenMs };
    if (ttlSeconds !== undefined) return { ...body, expiresMs: writtenMs + ttlSeconds * 1000 };
    const kept = lease !== undefined && lease !== 0 && before?.lease === lease ? before : undefined;
    const expiresAt = kept === undefined ? undefined : entryFrom(kept).expiresAt;
    return expiresAt === undefined ? body : { ...body, expiresMs: Date.parse(expiresAt) };
  }

  /** The store's identity; given to it before the first entry, so that whoever sees an entry can tell the store. */
  async #identifyStore(signal?: AbortSignal): Promise<Result<string>> {
    if (this.#mirror.storeId !== '') return ok(this.#mirror.storeId);
    const value = this.#entropy.bytes(STORE_ID_BYTES);
    const answer = await this.#store.transact(
      {
        compares: [{ target: 'version', key: STORE_ID_KEY, is: '=', than: 0 }],
        then: [{ op: 'put', key: STORE_ID_KEY, value }],
        otherwise: [{ op: 'get', key: STORE_ID_KEY }],
      },
      signal,
    );
    if (!answer.ok) return answer;
    return ok(storeIdFrom(foundIn(answer.value)?.value ?? value));
  }

  #checked(value: unknown, ttlSeconds: number | undefined): Result<string> {
    const ttl = checkTtl(ttlSeconds);
    return ttl.ok ? checkValue(value, 'The value') : ttl;
  }

  /** By what this node knows: writes that others have under way may take a board over its quota, by so much. */
  #room(board: QuorumBoardConfig, key: string, valueBytes: number): Result<Room> {
    const { name, quotaKeys, quotaBytes } = board;
    const before = this.#mirror.content.get(name, key);
    const size = this.#mirror.content.size(name);
    const flying = this.#inFlight.get(name) ?? { keys: 0, bytes: 0 };
    const keys = before === undefined ? 1 : 0;
    const bytes = valueBytes + ENTRY_BYTES - (before === undefined ? -key.length : before.value.length);
    const details = { board: name, quotaKeys, quotaBytes, keys: size.keys, bytes: size.bytes };
    if (keys > 0 && size.keys + flying.keys + keys > quotaKeys) {
      return failWith(
        'QUOTA_EXCEEDED',
        `The board "${name}" has its ${quotaKeys} keys.`,
        'Delete keys that are no longer needed, give entries a time to live, or raise its quota.keys in the configuration.',
        { details },
      );
    }
    if (bytes > 0 && size.bytes + flying.bytes + bytes > quotaBytes) {
      return failWith(
        'QUOTA_EXCEEDED',
        `The board "${name}" has its ${quotaBytes} bytes.`,
        'Delete entries that are no longer needed, write smaller values, or raise its quota.bytes in the configuration.',
        { details },
      );
    }
    return ok({ keys, bytes: Math.max(0, bytes), before });
  }

  /** Counts the write against the quota until the mirror has it. */
  async #counted(
    board: BoardName,
    { keys, bytes }: Room,
    transact: () => Promise<Result<TransactionAnswer>>,
  ): Promise<Result<TransactionAnswer>> {
    this.#fly(board, keys, bytes);
    let answer: Result<TransactionAnswer> | undefined;
    try {
      answer = await transact();
      return answer;
    } finally {
      const land = () => this.#fly(board, -keys, -bytes);
      if (answer?.ok !== true || !answer.value.succeeded || this.#mirror.revision >= answer.value.revision)
        land();
      else void this.#mirror.reached(answer.value.revision, limits.quorumWaitMs).then(land);
    }
  }

  #fly(board: BoardName, keys: number, bytes: number): void {
    const flying = this.#inFlight.get(board) ?? { keys: 0, bytes: 0 };
    flying.keys += keys;
    flying.bytes += bytes;
    if (flying.keys === 0 && flying.bytes === 0) this.#inFlight.delete(board);
    else this.#inFlight.set(board, flying);
  }
}

/** Appends of one transaction. */
const MOST_TOGETHER = 1_000;

interface Room {
  readonly keys: number;
  readonly bytes: number;
  readonly before: KeyValue | undefined;
}

interface PutAnswer extends TransactionAnswer {
  readonly store: string;
}

function writtenOf({ store, revision }: PutAnswer): Written {
  return { store, revision };
}

function foundIn(answer: TransactionAnswer): KeyValue | undefined {
  const [get] = answer.answers;
  return get?.op === 'get' ? get.found : undefined;
}

/** A list that was written before becomes the log's beginning; any other value its first item. */
function asList(value: Json): readonly Json[] {
  return Array.isArray(value) ? value : [value];
}

function conflict(key: string, expected: number, found: KeyValue | undefined): ErrorBody {
  const entry = found === undefined ? null : entryFrom(found);
  const message =
    entry === null
      ? `The key "${key}" does not exist, but revision ${expected} was expected.`
      : expected === 0
        ? `The key "${key}" exists already: ${entry.author} wrote revision ${entry.revision}.`
        : `The key "${key}" has changed: ${entry.author} wrote revision ${entry.revision}, but ${expected} was expected.`;
  return errorBody(
    'CONFLICT',
    message,
    'Nothing was written. details.entry is what is there now: decide anew, and expect its revision.',
    { details: { entry, revision: entry?.revision ?? 0, outcome: 'not-done' } },
  );
}

function logFull(key: string): ErrorBody {
  return errorBody(
    'QUOTA_EXCEEDED',
    `The log "${key}" would have more than ${limits.logItems} items or ${limits.quorumLogBytes} bytes, the most on a board of mode quorum.`,
    'Start another log key, or keep long logs on a board of mode crdt.',
  );
}

function tooBusy(): ErrorBody {
  return errorBody('RATE_LIMITED', 'Too many appends wait for this key.', 'Append less often.', {
    retryAfterMs: 500,
    details: { outcome: 'not-done' },
  });
}
