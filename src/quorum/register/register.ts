/**
 * The replicated state machine of the quorum store: keys, leases, and what each client was told.
 *
 * Every replica applies the same commands in the same order and comes to the same state: nothing here looks at a
 * clock, and what a command is refused for depends on the state and on bounds that all replicas share. So the bounds
 * of `limits.quorum…` are part of the store's format: who changes one makes a new format (`format.ts`).
 *
 * A command that changes keys makes one revision, with all its changes; any other leaves the revision as it is. The
 * first revision that changes something is 2, as etcd's.
 */
import { limits } from '../../kernel/limits.ts';
import type {
  Compare,
  KeyChange,
  KeyRange,
  KeyValue,
  LeaseId,
  Operation,
  OperationAnswer,
  QuorumKey,
  RangeAnswer,
  Transaction,
  TransactionAnswer,
} from '../port.ts';
import { checkTransaction, checkTtl } from './check.ts';
import { type ClientBounds, Clients } from './clients.ts';
import { type ClientId, type ClientRequest, decodeCommand, type Overwrite } from './command.ts';
import { FIRST_FORMAT } from './format.ts';
import { type ChangesAnswer, History, type HistoryBounds } from './history.ts';
import { compareKeys, utf8Length } from './key-order.ts';
import { Leases } from './leases.ts';
import { OrderedEntries } from './ordered-entries.ts';
import {
  type Applied,
  type LeaseChange,
  type LeaseState,
  type Outcome,
  type Refusal,
  roughBytes,
} from './outcome.ts';
import { digestOf, encodeSnapshot, type RegisterState, type RestoredState } from './snapshot.ts';

export interface RegisterBounds extends ClientBounds, HistoryBounds {
  readonly quorumKeys: number;
  /** Of keys and values together. */
  readonly quorumBytes: number;
  readonly quorumLeases: number;
  readonly quorumRangeBytes: number;
}

type Failure = Extract<Outcome, { kind: 'failed' }>;

const NO_BYTES = new Uint8Array(0);
const NOTHING: readonly never[] = [];
/** Leaves room for 2^52 revisions more. */
const MOST_ADVANCE_TO = 2 ** 52;

export class Register {
  readonly #bounds: RegisterBounds;
  readonly #entries = new OrderedEntries();
  readonly #leases = new Leases();
  readonly #clients: Clients;
  #history: History;
  #revision: number;
  #format: number;
  #bytes = 0;
  /** What the command under way has changed. */
  #changes: KeyChange[] = [];
  #leaseChanges: LeaseChange[] = [];

  /** `restored` is what a `Restorer` read. */
  constructor(bounds: RegisterBounds = limits, restored?: RestoredState) {
    this.#bounds = bounds;
    this.#clients = new Clients(bounds);
    this.#revision = restored?.revision ?? 1;
    this.#format = restored?.format ?? FIRST_FORMAT;
    this.#history = new History(bounds, restored?.compactRevision ?? 2);
    if (restored === undefined) return;
    for (const lease of restored.leases) this.#leases.set(lease);
    for (const entry of restored.entries) {
      this.#entries.set(entry);
      this.#bytes += sizeOf(entry.key, entry.value);
      if (entry.lease !== 0) this.#leases.attach(entry.lease, entry.key);
    }
    for (const client of restored.clients) this.#clients.restore(client);
    for (const { revision, changes } of restored.history) this.#history.add(revision, changes);
  }

  get revision(): number {
    return this.#revision;
  }

  /** Which rules this copy follows: equal on all copies at equal index. */
  get format(): number {
    return this.#format;
  }

  /** The oldest revision that `changesFrom` knows. */
  get compactRevision(): number {
    return this.#history.compactRevision;
  }

  get usage(): {
    readonly keys: number;
    readonly bytes: number;
    readonly leases: number;
    readonly clients: number;
  } {
    return {
      keys: this.#entries.size,
      bytes: this.#bytes,
      leases: this.#leases.size,
      clients: this.#clients.size,
    };
  }

  get(key: QuorumKey): KeyValue | undefined {
    return this.#entries.get(key);
  }

  /** The first entries of a range: `limit` of them, or fewer where they come to more than `quorumRangeBytes`. */
  range(range: KeyRange, limit: number): RangeAnswer {
    const found: KeyValue[] = [];
    let more = false;
    let bytes = 0;
    this.#entries.visit(range, (entry) => {
      bytes += roughBytes(entry);
      more = found.length === limit || (found.length > 0 && bytes > this.#bounds.quorumRangeBytes);
      if (!more) found.push(entry);
      return !more;
    });
    return { found, more, revision: this.#revision };
  }

  changesFrom(fromRevision: number, range: KeyRange, most = 1000): ChangesAnswer {
    return this.#history.changesFrom(fromRevision, range, most);
  }

  /** For a new leader's clock. */
  leases(): Iterable<LeaseState> {
    return this.#leases.all();
  }

  lease(id: LeaseId): LeaseState | undefined {
    return this.#leases.get(id);
  }

  isOpen(client: ClientId): boolean {
    return this.#clients.has(client);
  }

  /**
   * It can never take effect any more, whatever comes: a key that it compares has been at a later revision than it names,
   * and it is not one that took effect before.
   */
  isOutdated({ client, sequence, compared }: Overwrite): boolean {
    return (
      this.#clients.isNew(client, sequence) &&
      compared.some(
        ({ key, revision }) => revision <= this.#revision && this.#entries.get(key)?.modRevision !== revision,
      )
    );
  }

  /** What a transaction is answered whose compares do not hold, and which only reads then. */
  answerOutdated(otherwise: readonly Operation[]): TransactionAnswer {
    const answers = otherwise.flatMap((operation) =>
      operation.op === 'get' || operation.op === 'range' ? [this.#operate(operation)] : [],
    );
    return { succeeded: false, revision: this.#revision, answers };
  }

  /**
   * Carries out one committed command; never throws. `index` only grows. `bytes` must not change afterwards: a value
   * that makes up most of them is kept as it stands there.
   */
  apply(index: number, bytes: Uint8Array): Applied {
    const command = decodeCommand(bytes);
    if (command === 'malformed' || command === 'unknownKind') return this.#refused(0, 0, command);
    switch (command.kind) {
      case 'openClient':
        this.#clients.open(command.client, index);
        return this.#applied(command.client, 0, { kind: 'done' });
      case 'closeClient':
        this.#clients.close(command.client);
        return this.#applied(command.client, 0, { kind: 'done' });
      case 'advance':
        this.#advance(command.revision);
        return this.#applied(0, 0, { kind: 'done' });
      case 'raiseFormat':
        this.#format = Math.max(this.#format, command.format);
        return this.#applied(0, 0, { kind: 'done' });
      case 'expireLeases':
        this.#end(
          command.leases
            .filter((due) => this.#leases.get(due.id)?.renewals === due.renewals)
            .map(({ id }) => id),
        );
        return this.#applied(0, 0, { kind: 'done' });
      default:
        return this.#once(index, command);
    }
  }

  /** The state as it is now, in pieces of about 128 KiB that are made as they are asked for; whatever comes after changes nothing in them. */
  capture(): Iterable<Uint8Array> {
    return encodeSnapshot(this.#state());
  }

  /** Equal on replicas that applied the same commands; over all but the history, which is each node's own. */
  digest(): string {
    return digestOf(this.#state());
  }

  #state(): RegisterState {
    return {
      format: this.#format,
      revision: this.#revision,
      bytes: this.#bytes,
      chunks: this.#entries.frozen(),
      leases: [...this.#leases.all()],
      clients: this.#clients.capture(),
      history: this.#history.capture(),
    };
  }

  /** Revisions in between never were: watches from before must read anew. A forged step must not use up all numbers. */
  #advance(revision: number): void {
    if (revision <= this.#revision || revision > MOST_ADVANCE_TO) return;
    this.#revision = revision;
    this.#history = new History(this.#bounds, revision + 1);
  }

  #once(index: number, command: ClientRequest): Applied {
    const { client, sequence } = command;
    const earlier = this.#clients.earlier(command, index);
    if (typeof earlier === 'string') return this.#refused(client, sequence, earlier);
    if (earlier !== undefined) return this.#applied(client, sequence, earlier, true);
    const outcome = this.#carryOut(command);
    this.#clients.remember(command, outcome);
    return this.#applied(client, sequence, outcome);
  }

  #carryOut(command: ClientRequest): Outcome {
    switch (command.kind) {
      case 'transact':
        return this.#transact(command.transaction);
      case 'grantLease':
        return this.#grant(command.id, command.ttlMs);
      case 'renewLease': {
        const lease = this.#renew(command.id);
        if (lease === undefined) return failed('NOT_FOUND', `lease ${command.id} has ended or never was`);
        return { kind: 'granted', lease: { id: lease.id, ttlMs: lease.ttlMs } };
      }
      case 'revokeLease':
        this.#end([command.id]);
        return { kind: 'revoked', revision: this.#next() };
    }
  }

  #transact(transaction: Transaction): Outcome {
    const wrong = checkTransaction(transaction);
    if (wrong !== undefined)
      return failed(wrong.code === 'TOO_LARGE' ? wrong.code : 'INVALID_ARGUMENT', wrong.message);
    const succeeded = transaction.compares.every((compare) => this.#holds(compare));
    const operations = succeeded ? transaction.then : transaction.otherwise;
    const refusal = this.#whyNot(operations);
    if (refusal !== undefined) return refusal;
    const answers = operations.map((operation) => this.#operate(operation));
    return { kind: 'transacted', answer: { succeeded, revision: this.#next(), answers } };
  }

  #holds(compare: Compare): boolean {
    const entry = this.#entries.get(compare.key);
    if (compare.target === 'value') {
      return areEqual(entry?.value ?? NO_BYTES, compare.than) === (compare.is === '=');
    }
    const is = entry?.[compare.target] ?? 0;
    switch (compare.is) {
      case '=':
        return is === compare.than;
      case '!=':
        return is !== compare.than;
      case '<':
        return is < compare.than;
      case '>':
        return is > compare.than;
    }
  }

  /** Asked before anything is changed, so that a transaction takes effect as a whole or not at all. */
  #whyNot(operations: readonly Operation[]): Failure | undefined {
    let keys = 0;
    let bytes = 0;
    for (const operation of operations) {
      if (operation.op !== 'put' && operation.op !== 'delete') continue;
      const before = this.#entries.get(operation.key);
      if (before !== undefined) {
        keys--;
        bytes -= sizeOf(before.key, before.value);
      }
      if (operation.op !== 'put') continue;
      keys++;
      bytes += sizeOf(operation.key, operation.value);
      const lease = operation.lease ?? 0;
      if (lease !== 0 && this.#leases.get(lease) === undefined) {
        return failed('NOT_FOUND', `lease ${lease} has ended or never was`);
      }
    }
    if (keys > 0 && this.#entries.size + keys > this.#bounds.quorumKeys) {
      return failed('QUOTA_EXCEEDED', `the quorum store holds ${this.#bounds.quorumKeys} keys at most`);
    }
    if (bytes > 0 && this.#bytes + bytes > this.#bounds.quorumBytes) {
      return failed('QUOTA_EXCEEDED', `the quorum store holds ${this.#bounds.quorumBytes} bytes at most`);
    }
    return undefined;
  }

  #operate(operation: Operation): OperationAnswer {
    switch (operation.op) {
      case 'put':
        this.#put(operation.key, operation.value, operation.lease ?? 0);
        return { op: 'put' };
      case 'delete':
        return { op: 'delete', deleted: this.#delete(operation.key) };
      case 'deleteRange': {
        const removed = this.#entries.deleteRange(operation.range);
        for (const entry of removed) this.#removed(entry);
        return { op: 'deleteRange', deleted: removed.length };
      }
      case 'get':
        return { op: 'get', found: this.#entries.get(operation.key) };
      case 'range': {
        const { found, more } = this.range(operation.range, operation.limit);
        return { op: 'range', found, more };
      }
    }
  }

  #put(key: QuorumKey, value: Uint8Array, lease: LeaseId): void {
    const before = this.#entries.get(key);
    const modRevision = this.#revision + 1;
    const entry: KeyValue = {
      key,
      value: owned(value),
      createRevision: before?.createRevision ?? modRevision,
      modRevision,
      version: (before?.version ?? 0) + 1,
      lease,
    };
    this.#entries.set(entry);
    this.#bytes += before === undefined ? sizeOf(key, value) : value.length - before.value.length;
    const oldLease = before?.lease ?? 0;
    if (oldLease !== lease) {
      if (oldLease !== 0) this.#leases.detach(oldLease, key);
      if (lease !== 0) this.#leases.attach(lease, key);
    }
    this.#changes.push({ kind: 'put', entry });
  }

  #delete(key: QuorumKey): number {
    const entry = this.#entries.get(key);
    if (entry === undefined) return 0;
    this.#entries.delete(key);
    this.#removed(entry);
    return 1;
  }

  #removed(entry: KeyValue): void {
    const { key } = entry;
    this.#bytes -= sizeOf(key, entry.value);
    if (entry.lease !== 0) this.#leases.detach(entry.lease, key);
    this.#changes.push({ kind: 'deleted', entry: deletedEntry(key, this.#revision + 1) });
  }

  #grant(id: LeaseId, ttlMs: number): Outcome {
    const wrong = checkTtl(ttlMs);
    if (wrong !== undefined) return failed('INVALID_ARGUMENT', wrong.message);
    if (this.#leases.get(id) !== undefined) return failed('CONFLICT', `lease ${id} exists`);
    if (this.#leases.size >= this.#bounds.quorumLeases) {
      return failed('QUOTA_EXCEEDED', `the quorum store holds ${this.#bounds.quorumLeases} leases at most`);
    }
    const lease: LeaseState = { id, ttlMs, renewals: 0 };
    this.#leases.set(lease);
    this.#leaseChanges.push({ kind: 'granted', lease });
    return { kind: 'granted', lease: { id, ttlMs } };
  }

  #renew(id: LeaseId): LeaseState | undefined {
    const before = this.#leases.get(id);
    if (before === undefined) return undefined;
    const lease: LeaseState = { ...before, renewals: before.renewals + 1 };
    this.#leases.set(lease);
    this.#leaseChanges.push({ kind: 'renewed', lease });
    return lease;
  }

  #end(ids: readonly LeaseId[]): void {
    const keys: QuorumKey[] = [];
    for (const id of ids) {
      if (this.#leases.get(id) === undefined) continue;
      for (const key of this.#leases.end(id)) keys.push(key);
      this.#leaseChanges.push({ kind: 'ended', id });
    }
    for (const key of keys.sort(compareKeys)) this.#delete(key);
  }

  /** The revision that the changes so far make. */
  #next(): number {
    return this.#changes.length > 0 ? this.#revision + 1 : this.#revision;
  }

  #applied(client: ClientId, sequence: number, result: Applied['result'], repeated = false): Applied {
    const changes = this.#changes.length > 0 ? this.#changes : NOTHING;
    const leaseChanges = this.#leaseChanges.length > 0 ? this.#leaseChanges : NOTHING;
    if (changes.length > 0) {
      this.#changes = [];
      this.#revision++;
      this.#history.add(this.#revision, changes);
    }
    if (leaseChanges.length > 0) this.#leaseChanges = [];
    return { revision: this.#revision, changes, leaseChanges, client, sequence, result, repeated };
  }

  #refused(client: ClientId, sequence: number, why: Refusal): Applied {
    return this.#applied(client, sequence, { kind: 'refused', why });
  }
}

/** How a key that is gone is told of. */
export function deletedEntry(key: QuorumKey, revision: number): KeyValue {
  return { key, value: NO_BYTES, createRevision: 0, modRevision: revision, version: 0, lease: 0 };
}

function failed(code: Failure['code'], message: string): Failure {
  return { kind: 'failed', code, message };
}

function sizeOf(key: QuorumKey, value: Uint8Array): number {
  return utf8Length(key) + value.length;
}

/** A small value must not keep a large buffer in memory. */
function owned(value: Uint8Array): Uint8Array {
  return value.buffer.byteLength <= 2 * value.length + 64 ? value : value.slice();
}

function areEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
