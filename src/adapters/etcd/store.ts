/**
 * The quorum store on a real etcd, version 3.4 or newer.
 *
 * Where it differs from the embedded engine: times of leases are whole seconds, and at least what etcd's election
 * time-out asks for (2 s by default), so `Lease.ttlMs` may be more than was asked; with other users of the same etcd
 * revisions skip numbers; how much may be stored is etcd's own quota; `mirror` is read at the member that is asked,
 * and may be older than what another member told before.
 */
import { fail, ok, type Result } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type {
  KeyRange,
  KeyValue,
  Lease,
  LeaseId,
  QuorumKey,
  QuorumStore,
  RangeAnswer,
  ReadLevel,
  Transaction,
  TransactionAnswer,
  WatchEvent,
} from '../../quorum/port.ts';
import {
  checkKey,
  checkLease,
  checkLimit,
  checkRange,
  checkTransaction,
  checkTtl,
} from '../../quorum/register/check.ts';
import { successor } from '../../quorum/register/key-order.ts';
import { Connection, type EtcdOptions } from './connection.ts';
import { renewOn } from './renewal.ts';
import { leaseGrantMethod, leaseRevokeMethod, rangeMethod, txnMethod } from './schema.ts';
import { fromTxn, KeySpace, toTxn } from './transaction.ts';
import { EtcdWatch, type Sighting } from './watch.ts';

/** Keys asked for at first; how many more is then seen from their size. */
const FIRST_PAGE = 64;
const NOTHING: Transaction = { compares: [], then: [], otherwise: [] };

export interface EtcdStore extends QuorumStore {
  /** Why etcd did not serve this node when it last asked; `undefined` where it did. */
  readonly failure: string | undefined;
  /** Ends all watches and answers all calls; nothing is told after it. */
  close(): void;
}

/** Connects when it is first used. Throws where an endpoint is no address. */
export function etcdStore(options: EtcdOptions): EtcdStore {
  return new Store(options);
}

class Store implements EtcdStore {
  readonly #connection: Connection;
  readonly #keys: KeySpace;
  readonly #watches = new Set<EtcdWatch>();
  readonly #sighting: Sighting = { clusterId: undefined };
  /** The newest revision that any answer told of. */
  #seen = 0;

  constructor(options: EtcdOptions) {
    this.#connection = new Connection(options);
    this.#keys = new KeySpace(options.prefix ?? '');
  }

  get failure(): string | undefined {
    return this.#connection.failure;
  }

  close(): void {
    for (const watch of this.#watches) watch.end();
    this.#connection.close();
  }

  async transact(transaction: Transaction, signal?: AbortSignal): Promise<Result<TransactionAnswer>> {
    const wrong = checkTransaction(transaction);
    if (wrong !== undefined) return fail(wrong);
    const writes = [...transaction.then, ...transaction.otherwise].some(
      ({ op }) => op !== 'get' && op !== 'range',
    );
    const request = toTxn(transaction, this.#keys);
    const answer = await this.#connection.call(txnMethod, request, writes ? 'write' : 'read', signal);
    if (!answer.ok) return answer;
    this.#saw(answer.value.header.revision);
    return ok(fromTxn(transaction, answer.value, this.#keys));
  }

  async get(key: QuorumKey, level: ReadLevel, signal?: AbortSignal): Promise<Result<RangeAnswer>> {
    const wrong = checkKey(key);
    if (wrong !== undefined) return fail(wrong);
    return this.#read({ key: this.#keys.key(key) }, level, signal);
  }

  async range(
    range: KeyRange,
    limit: number,
    level: ReadLevel,
    signal?: AbortSignal,
  ): Promise<Result<RangeAnswer>> {
    const wrong = checkRange(range) ?? checkLimit(limit);
    if (wrong !== undefined) return fail(wrong);
    if (this.#keys.isEmpty(range)) {
      const now = await this.#read({ key: this.#keys.key('\0') }, level, signal);
      return now.ok ? ok({ found: [], more: false, revision: now.value.revision }) : now;
    }
    const found: KeyValue[] = [];
    const rangeEnd = this.#keys.to(range);
    let from = this.#keys.from(range);
    let page = Math.min(limit, FIRST_PAGE);
    let bytes = 0;
    let revision = 0;
    for (;;) {
      const answer = await this.#read({ key: from, rangeEnd, limit: page, revision }, level, signal);
      // What an earlier page was read at may be compacted by now: the pages so far are an answer too.
      if (!answer.ok) return found.length > 0 ? ok({ found, more: true, revision }) : answer;
      revision ||= answer.value.revision;
      for (const entry of answer.value.found) {
        bytes += entry.key.length + entry.value.length + 96;
        if (found.length > 0 && bytes > limits.quorumRangeBytes) return ok({ found, more: true, revision });
        found.push(entry);
      }
      const last = found.at(-1);
      if (!answer.value.more || found.length >= limit || last === undefined) {
        return ok({ found, more: answer.value.more, revision });
      }
      from = this.#keys.key(successor(last.key));
      const fitting = Math.ceil(((limits.quorumRangeBytes - bytes) * found.length) / bytes) + 1;
      page = Math.min(limit - found.length, Math.max(1, fitting));
    }
  }

  watch(range: KeyRange, fromRevision: number, listener: (event: WatchEvent) => void): () => void {
    const from = fromRevision === 0 && this.#seen > 0 ? this.#seen + 1 : fromRevision;
    const saw = (event: WatchEvent): void => {
      if (event.kind !== 'compacted') this.#saw(event.revision);
      listener(event);
    };
    const watch = new EtcdWatch(this.#connection, this.#keys, range, from, saw, this.#sighting);
    this.#watches.add(watch);
    void watch.run().finally(() => this.#watches.delete(watch));
    return () => watch.end();
  }

  async grantLease(ttlMs: number, signal?: AbortSignal): Promise<Result<Lease>> {
    const wrong = checkTtl(ttlMs);
    if (wrong !== undefined) return fail(wrong);
    const request = { TTL: Math.ceil(ttlMs / 1000), ID: randomId() };
    const answer = await this.#connection.call(leaseGrantMethod, request, 'write', signal);
    if (!answer.ok) return answer.error.code === 'CONFLICT' ? this.grantLease(ttlMs, signal) : answer;
    return ok({ id: answer.value.ID, ttlMs: answer.value.TTL * 1000 });
  }

  async renewLease(id: LeaseId, signal?: AbortSignal): Promise<Result<Lease>> {
    const wrong = checkLease(id);
    return wrong === undefined ? renewOn(this.#connection, id, signal) : fail(wrong);
  }

  async revokeLease(id: LeaseId, signal?: AbortSignal): Promise<Result<{ readonly revision: number }>> {
    const wrong = checkLease(id);
    if (wrong !== undefined) return fail(wrong);
    // Sent again at will, like a read: the second time the lease is gone.
    const answer = await this.#connection.call(leaseRevokeMethod, { ID: id }, 'read', signal);
    if (answer.ok) {
      this.#saw(answer.value.header.revision);
      return ok({ revision: answer.value.header.revision });
    }
    if (answer.error.code !== 'NOT_FOUND') return answer;
    const now = await this.transact(NOTHING, signal);
    return now.ok ? ok({ revision: now.value.revision }) : now;
  }

  async #read(
    request: { key: Uint8Array; rangeEnd?: Uint8Array; limit?: number; revision?: number },
    level: ReadLevel,
    signal?: AbortSignal,
  ): Promise<Result<RangeAnswer>> {
    const serializable = level === 'mirror';
    const kind = serializable ? 'mirror' : 'read';
    const answer = await this.#connection.call(rangeMethod, { ...request, serializable }, kind, signal);
    if (!answer.ok) return answer;
    const { header, kvs, more } = answer.value;
    this.#saw(header.revision);
    return ok({ found: kvs.map((kv) => this.#keys.entry(kv)), more, revision: header.revision });
  }

  #saw(revision: number): void {
    if (revision > this.#seen) this.#seen = revision;
  }
}

/** Above 0 and exact in JavaScript; etcd would choose from 63 bits. */
function randomId(): LeaseId {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 11) * 2 ** 32 + low || 1;
}
