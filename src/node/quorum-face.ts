/** The embedded quorum store over the core: calls become events, answers resolve promises, the mirror is read at once. */
import { fail, failWith, ok, type Result } from '../kernel/errors.ts';
import { wrongWith } from '../quorum/calls/requests.ts';
import type { QuorumCall } from '../quorum/messages.ts';
import type {
  KeyChange,
  KeyRange,
  Lease,
  Operation,
  QuorumStore,
  RangeAnswer,
  Transaction,
  TransactionAnswer,
  WatchEvent,
} from '../quorum/port.ts';
import type { Quorum } from '../quorum/quorum.ts';
import { changesIn } from '../quorum/register/history.ts';
import type { FaceParts } from './faces.ts';

/** Revisions told in one go, before others get their turn. */
const BATCH = 500;

export function embeddedStoreOf(parts: FaceParts, quorum: Quorum): QuorumStore {
  const ask = <T>(call: QuorumCall, signal?: AbortSignal): Promise<Result<T>> =>
    parts.calls.ask<T>(
      (id) => parts.deliver({ kind: 'quorumRequested', id, call }),
      (id) => parts.deliver({ kind: 'quorumCancelled', id }),
      signal,
    );
  return {
    transact: (transaction, signal) =>
      isTransaction(transaction)
        ? ask<TransactionAnswer>({ op: 'transact', transaction }, signal)
        : Promise.resolve(malformed('transaction')),
    get: (key, level, signal) => {
      if (level === 'strong') return ask<RangeAnswer>({ op: 'get', key }, signal);
      const wrong = wrongWith({ op: 'get', key });
      if (wrong !== undefined) return Promise.resolve(fail(wrong));
      const found = quorum.register.get(key);
      const { revision } = quorum.register;
      return Promise.resolve(ok({ found: found === undefined ? [] : [found], more: false, revision }));
    },
    range: (range, limit, level, signal) => {
      if (!isRange(range)) return Promise.resolve(malformed('range'));
      const call = { op: 'range', range, limit } as const;
      if (level === 'strong') return ask<RangeAnswer>(call, signal);
      const wrong = wrongWith(call);
      return Promise.resolve(wrong === undefined ? ok(quorum.register.range(range, limit)) : fail(wrong));
    },
    watch: (range, fromRevision, listener) => new Watch(parts, quorum, range, fromRevision, listener).start(),
    grantLease: (ttlMs, signal) => ask<Lease>({ op: 'grantLease', ttlMs }, signal),
    renewLease: (id, signal) => ask<Lease>({ op: 'renewLease', id }, signal),
    revokeLease: (id, signal) => ask<{ readonly revision: number }>({ op: 'revokeLease', id }, signal),
  };
}

/** Programs without types may pass anything; the bounds of what is well-formed the store checks. */
function isTransaction(transaction: Partial<Transaction> | null | undefined): boolean {
  const { compares, then, otherwise } = transaction ?? {};
  if (![compares, then, otherwise].every((list) => Array.isArray(list))) return false;
  const areCompares = compares?.every((compare) => typeof compare?.key === 'string') === true;
  return areCompares && [then, otherwise].every((list) => list?.every(isOperation) === true);
}

function isOperation(operation: Operation | null | undefined): boolean {
  switch (operation?.op) {
    case 'put':
      return typeof operation.key === 'string' && operation.value instanceof Uint8Array;
    case 'get':
    case 'delete':
      return typeof operation.key === 'string';
    case 'range':
    case 'deleteRange':
      return isRange(operation.range);
    default:
      return false;
  }
}

function isRange(range: KeyRange | null | undefined): boolean {
  return typeof range?.from === 'string' && typeof range.to === 'string';
}

function malformed(what: string): Result<never> {
  return failWith('INVALID_ARGUMENT', `This is no ${what}.`, 'See the types of the quorum store.', {
    details: { outcome: 'not-done' },
  });
}

/**
 * One watch: what it missed is read from the copy's history, what comes is told as it is applied. Catching up gives way
 * between batches, and goes live in the very turn in which nothing is missing.
 */
class Watch {
  readonly #parts: FaceParts;
  readonly #quorum: Quorum;
  readonly #range: KeyRange;
  readonly #listener: (event: WatchEvent) => void;
  /** The next revision to tell. */
  #next: number;
  #isLive = false;
  #isEnded = false;
  #unlisten: () => void = () => undefined;

  constructor(
    parts: FaceParts,
    quorum: Quorum,
    range: KeyRange,
    fromRevision: number,
    listener: (event: WatchEvent) => void,
  ) {
    this.#parts = parts;
    this.#quorum = quorum;
    this.#range = range;
    this.#listener = listener;
    this.#next = fromRevision === 0 ? quorum.register.revision + 1 : fromRevision;
  }

  start(): () => void {
    this.#unlisten = this.#parts.announcements.registerChanges.listen('', (effect) => {
      if (effect.kind === 'registerReplaced') this.#replaced(effect.isSameStore);
      else if (this.#isLive) this.#tell(effect.revision, effect.changes);
    });
    setImmediate(() => this.#catchUp());
    return () => this.#end();
  }

  #catchUp(): void {
    if (this.#isEnded) return;
    const answer = this.#quorum.register.changesFrom(this.#next, this.#range, BATCH);
    if (answer.kind === 'compacted') {
      this.#compacted(answer.compactRevision);
      return;
    }
    for (const { revision, changes } of answer.revisions) {
      if (this.#isEnded) return;
      this.#listener({ kind: 'changed', revision, changes });
    }
    this.#next = Math.max(this.#next, answer.next);
    if (this.#next <= this.#quorum.register.revision) {
      setImmediate(() => this.#catchUp());
      return;
    }
    this.#isLive = true;
    this.#listener({ kind: 'progress', revision: this.#quorum.register.revision });
  }

  #tell(revision: number, changes: readonly KeyChange[]): void {
    if (revision < this.#next) return;
    this.#next = revision + 1;
    const mine = changesIn(changes, this.#range);
    if (mine.length > 0) this.#listener({ kind: 'changed', revision, changes: mine });
  }

  /** The copy jumped: what its history still has is told, else the watcher must read anew. */
  #replaced(isSameStore: boolean): void {
    this.#isLive = false;
    if (!isSameStore) this.#compacted(this.#quorum.register.compactRevision);
    else setImmediate(() => this.#catchUp());
  }

  #compacted(compactRevision: number): void {
    this.#end();
    this.#listener({ kind: 'compacted', compactRevision });
  }

  #end(): void {
    this.#isEnded = true;
    this.#unlisten();
  }
}
