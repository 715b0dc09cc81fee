/**
 * The quorum store as its users hold it: etcd's semantics, so that the embedded engine and a real etcd are
 * interchangeable. Both pass the suite in `test/contracts/quorum-store.ts`.
 *
 * One revision counts every transaction that changed something, over all keys. What a call answers was true at one
 * moment between its start and its end (linearizable), unless it asks for `mirror`.
 */
import type { Result } from '../kernel/errors.ts';

/** Keys are text of 1 to `limits.quorumKeyBytes` bytes of UTF-8, ordered by those bytes. */
export type QuorumKey = string;

/** Never 0 for a lease that exists. */
export type LeaseId = number;

export interface KeyValue {
  readonly key: QuorumKey;
  /** Up to `limits.quorumValueBytes`. */
  readonly value: Uint8Array;
  readonly createRevision: number;
  /** Revision of the transaction that wrote this value. */
  readonly modRevision: number;
  /** 1 for the first value since the key was created, then one more with each write. */
  readonly version: number;
  /** The key vanishes with this lease; 0 for none. */
  readonly lease: LeaseId;
}

/** `strong`: proved by a majority. `mirror`: what this node has applied, without asking anybody. */
export type ReadLevel = 'strong' | 'mirror';

/** All keys `from <= key < to`: none where `to` is not behind `from`. */
export interface KeyRange {
  readonly from: QuorumKey;
  readonly to: QuorumKey;
}

/** Of a key that does not exist, `version`, `modRevision`, `createRevision` and `lease` are 0 and `value` is empty. */
export type Compare =
  | {
      readonly target: 'version' | 'modRevision' | 'createRevision' | 'lease';
      readonly key: QuorumKey;
      readonly is: '=' | '!=' | '<' | '>';
      readonly than: number;
    }
  | { readonly target: 'value'; readonly key: QuorumKey; readonly is: '=' | '!='; readonly than: Uint8Array };

export type Operation =
  | { readonly op: 'put'; readonly key: QuorumKey; readonly value: Uint8Array; readonly lease?: LeaseId }
  | { readonly op: 'delete'; readonly key: QuorumKey }
  | { readonly op: 'deleteRange'; readonly range: KeyRange }
  | { readonly op: 'get'; readonly key: QuorumKey }
  /** The first `limit` keys, 1 to `limits.listPage`; fewer, with `more`, where they come to `limits.quorumRangeBytes`. */
  | { readonly op: 'range'; readonly range: KeyRange; readonly limit: number };

/** All of `then` where every compare holds, else all of `otherwise`; a key is written at most once in either. */
export interface Transaction {
  readonly compares: readonly Compare[];
  /** Compares and operations together: at most `limits.quorumOperations`. */
  readonly then: readonly Operation[];
  readonly otherwise: readonly Operation[];
}

export type OperationAnswer =
  | { readonly op: 'put' }
  | { readonly op: 'delete' | 'deleteRange'; readonly deleted: number }
  | { readonly op: 'get'; readonly found: KeyValue | undefined }
  | { readonly op: 'range'; readonly found: readonly KeyValue[]; readonly more: boolean };

export interface TransactionAnswer {
  readonly succeeded: boolean;
  /** Of the store, after this transaction. */
  readonly revision: number;
  readonly answers: readonly OperationAnswer[];
}

export interface RangeAnswer {
  readonly found: readonly KeyValue[];
  readonly more: boolean;
  /** Of the store at the moment that was read. */
  readonly revision: number;
}

export interface KeyChange {
  readonly kind: 'put' | 'deleted';
  /** Of a deleted key, `value` is empty, `version` 0 and `modRevision` the revision that deleted it. */
  readonly entry: KeyValue;
}

export type WatchEvent =
  /** All changes of one revision, and each revision once, in order. */
  | { readonly kind: 'changed'; readonly revision: number; readonly changes: readonly KeyChange[] }
  /** Everything up to this revision was told. Once after what the watch asked for was told, then from time to time. */
  | { readonly kind: 'progress'; readonly revision: number }
  /** History before `compactRevision` is gone, or another store took the place of the one that was watched: read the range anew and watch on from there. The watch has ended. */
  | { readonly kind: 'compacted'; readonly compactRevision: number };

export interface Lease {
  readonly id: LeaseId;
  /** At least what was asked for; etcd counts in seconds. */
  readonly ttlMs: number;
}

export interface QuorumStore {
  /** Errors: QUORUM_UNAVAILABLE within `limits.quorumWaitMs`, with `details.outcome` `not-done` or `unknown`; INVALID_ARGUMENT, TOO_LARGE, NOT_FOUND (a lease), QUOTA_EXCEEDED. */
  transact(transaction: Transaction, signal?: AbortSignal): Promise<Result<TransactionAnswer>>;
  get(key: QuorumKey, level: ReadLevel, signal?: AbortSignal): Promise<Result<RangeAnswer>>;
  /** The first `limit` keys of the range, 1 to `limits.listPage`; fewer, with `more`, where they come to `limits.quorumRangeBytes`. */
  range(range: KeyRange, limit: number, level: ReadLevel, signal?: AbortSignal): Promise<Result<RangeAnswer>>;
  /** Every change in the range with a revision from `fromRevision` on (0: from now on); survives changes of leader and connection without gap or repetition. */
  watch(range: KeyRange, fromRevision: number, listener: (event: WatchEvent) => void): () => void;
  /** 1,000 ms to `limits.ttlSeconds`. Runs out when nobody renewed it for so long on the store's own clock of durations; a change of leader prolongs it, never shortens it. */
  grantLease(ttlMs: number, signal?: AbortSignal): Promise<Result<Lease>>;
  /** NOT_FOUND where it ran out: what hung on it is gone. */
  renewLease(id: LeaseId, signal?: AbortSignal): Promise<Result<Lease>>;
  /** Deletes the lease's keys in one transaction; harmless where the lease is gone. */
  revokeLease(id: LeaseId, signal?: AbortSignal): Promise<Result<{ readonly revision: number }>>;
}
