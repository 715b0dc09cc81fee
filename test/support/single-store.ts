/**
 * A quorum store of one copy in this process, over the very register that the embedded engine replicates. Every
 * connection follows with a replica of its own, as a node does, so tests can hold one back, cut it off from the quorum,
 * or put another store in its place.
 */
import { failWith, ok, type Result } from '../../src/kernel/errors.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Clock } from '../../src/kernel/ports.ts';
import type {
  KeyRange,
  Lease,
  LeaseId,
  QuorumKey,
  QuorumStore,
  RangeAnswer,
  ReadLevel,
  Transaction,
  TransactionAnswer,
  WatchEvent,
} from '../../src/quorum/port.ts';
import { type Command, encodeCommand } from '../../src/quorum/register/command.ts';
import type { Applied } from '../../src/quorum/register/outcome.ts';
import { Register, type RegisterBounds } from '../../src/quorum/register/register.ts';
import { LeaseClock } from '../../src/quorum/store/lease-clock.ts';

const CLIENT = 1;

/** Time that tests turn themselves. */
export class ManualClock implements Clock {
  #nowMs = 1_000;
  #timers: { atMs: number; callback: () => void }[] = [];
  readonly #wallMs = Date.parse('2026-01-01T00:00:00Z');

  now() {
    return { monoMs: this.#nowMs, wallMs: this.#wallMs + this.#nowMs };
  }

  callAt(atMs: number, callback: () => void): () => void {
    const timer = { atMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  /** Lets everything happen that happens within this time, with what follows from it. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settled();
      const [next] = this.#timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      this.#timers = this.#timers.filter((each) => each !== next);
      next.callback();
    }
    this.#nowMs = endMs;
    await settled();
  }
}

/** Until nothing that was promised is left to do. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export class SingleStore {
  readonly #clock: Clock;
  readonly #bounds: RegisterBounds;
  readonly #leases = new LeaseClock();
  readonly #followers = new Set<StoreConnection>();
  readonly log: Uint8Array[] = [];
  #register: Register;
  #sequence = 0;
  #nextLease = 100;
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock, bounds: Partial<RegisterBounds> = {}) {
    this.#clock = clock;
    this.#bounds = { ...limits, ...bounds };
    this.#register = new Register(this.#bounds);
    this.#propose({ kind: 'openClient', client: CLIENT });
  }

  get register(): Register {
    return this.#register;
  }

  get bounds(): RegisterBounds {
    return this.#bounds;
  }

  connect(): StoreConnection {
    const connection = new StoreConnection(this);
    this.#followers.add(connection);
    connection.follow();
    return connection;
  }

  /** The connection is from now on one of this store. */
  adopt(connection: StoreConnection): void {
    this.#followers.add(connection);
  }

  transact(transaction: Transaction): Applied {
    return this.#propose({ kind: 'transact', ...this.#head(), transaction });
  }

  grant(ttlMs: number): Applied {
    return this.#propose({ kind: 'grantLease', ...this.#head(), ttlMs, id: this.#nextLease++ });
  }

  renew(id: LeaseId): Applied {
    return this.#propose({ kind: 'renewLease', ...this.#head(), id });
  }

  revoke(id: LeaseId): Applied {
    return this.#propose({ kind: 'revokeLease', ...this.#head(), id });
  }

  #head() {
    this.#sequence++;
    return { client: CLIENT, sequence: this.#sequence, lowestOutstanding: this.#sequence };
  }

  #propose(command: Command): Applied {
    const bytes = encodeCommand(command);
    this.log.push(bytes);
    const applied = this.#register.apply(this.log.length, bytes);
    for (const change of applied.leaseChanges) {
      if (change.kind === 'ended') this.#leases.forget(change.id);
      else this.#leases.renew(change.lease.id, change.lease.ttlMs, this.#clock.now());
    }
    this.#arm();
    for (const follower of this.#followers) follower.follow();
    return applied;
  }

  #arm(): void {
    this.#cancelTimer?.();
    const { deadline } = this.#leases;
    if (deadline === undefined) return;
    this.#cancelTimer = this.#clock.callAt(deadline.atMs, () => {
      const leases = this.#leases.takeDue(this.#clock.now()).flatMap((id) => {
        const lease = this.#register.lease(id);
        return lease === undefined ? [] : [{ id, renewals: lease.renewals }];
      });
      if (leases.length > 0) this.#propose({ kind: 'expireLeases', leases });
      else this.#arm();
    });
  }
}

interface Watch {
  readonly range: KeyRange;
  readonly listener: (event: WatchEvent) => void;
  next: number;
  isFresh: boolean;
}

export class StoreConnection implements QuorumStore {
  #store: SingleStore;
  #replica: Register;
  #applied = 0;
  readonly #watches = new Set<Watch>();
  /** Calls that need a majority fail. */
  isCutOff = false;
  /** The replica does not follow. */
  isHeld = false;
  /** Transactions that took effect or failed, range reads at level strong, leases granted. */
  readonly counts = { transact: 0, strong: 0, grant: 0 };
  /** Called before each range is read. */
  beforeRange: (() => void) | undefined;
  /** Called before each transaction reaches the store. */
  beforeTransact: (() => void) | undefined;

  constructor(store: SingleStore) {
    this.#store = store;
    this.#replica = new Register(store.bounds);
  }

  get replica(): Register {
    return this.#replica;
  }

  follow(): void {
    if (this.isHeld || this.isCutOff) return;
    while (this.#applied < this.#store.log.length) {
      const bytes = this.#store.log[this.#applied] as Uint8Array;
      this.#replica.apply(++this.#applied, bytes);
    }
    queueMicrotask(() => this.#tell());
  }

  /** The replica begins anew with a snapshot's content: its history is gone. */
  snapshot(store: SingleStore = this.#store): void {
    this.#store = store;
    store.adopt(this);
    this.isHeld = false;
    this.isCutOff = false;
    this.#applied = 0;
    const forgetful = { ...store.bounds, quorumHistoryChanges: 0, quorumHistoryBytes: 0 };
    this.#replica = new Register(forgetful);
    for (const watch of [...this.#watches]) {
      this.#watches.delete(watch);
      queueMicrotask(() =>
        watch.listener({ kind: 'compacted', compactRevision: this.#replica.compactRevision }),
      );
    }
    this.follow();
  }

  async transact(transaction: Transaction): Promise<Result<TransactionAnswer>> {
    if (this.isCutOff) return unavailable();
    this.beforeTransact?.();
    this.counts.transact++;
    const { result } = this.#store.transact(transaction);
    if (result.kind === 'transacted') return ok(result.answer);
    return refused(result);
  }

  async get(key: QuorumKey, level: ReadLevel): Promise<Result<RangeAnswer>> {
    return this.range({ from: key, to: `${key}\0` }, 1, level);
  }

  async range(range: KeyRange, limit: number, level: ReadLevel): Promise<Result<RangeAnswer>> {
    this.beforeRange?.();
    if (level === 'mirror') return ok(this.#replica.range(range, limit));
    if (this.isCutOff) return unavailable();
    this.counts.strong++;
    return ok(this.#store.register.range(range, limit));
  }

  watch(range: KeyRange, fromRevision: number, listener: (event: WatchEvent) => void): () => void {
    const next = fromRevision === 0 ? this.#replica.revision + 1 : fromRevision;
    const watch: Watch = { range, listener, next, isFresh: true };
    this.#watches.add(watch);
    queueMicrotask(() => this.#tell());
    return () => this.#watches.delete(watch);
  }

  async grantLease(ttlMs: number): Promise<Result<Lease>> {
    if (this.isCutOff) return unavailable();
    this.counts.grant++;
    const { result } = this.#store.grant(ttlMs);
    return result.kind === 'granted' ? ok(result.lease) : refused(result);
  }

  async renewLease(id: LeaseId): Promise<Result<Lease>> {
    if (this.isCutOff) return unavailable();
    const { result } = this.#store.renew(id);
    return result.kind === 'granted' ? ok(result.lease) : refused(result);
  }

  async revokeLease(id: LeaseId): Promise<Result<{ readonly revision: number }>> {
    if (this.isCutOff) return unavailable();
    const { result } = this.#store.revoke(id);
    return result.kind === 'revoked' ? ok({ revision: result.revision }) : refused(result);
  }

  #tell(): void {
    for (const watch of [...this.#watches]) {
      const told = this.#replica.changesFrom(watch.next, watch.range);
      if (told.kind === 'compacted') {
        this.#watches.delete(watch);
        watch.listener(told);
        continue;
      }
      watch.next = Math.max(watch.next, told.next);
      for (const { revision, changes } of told.revisions)
        watch.listener({ kind: 'changed', revision, changes });
      if (watch.isFresh) watch.listener({ kind: 'progress', revision: this.#replica.revision });
      watch.isFresh = false;
    }
  }
}

function unavailable(): Result<never> {
  return failWith('QUORUM_UNAVAILABLE', 'No majority of the voters answers.', 'Try again.', {
    details: { outcome: 'not-done', missing: ['b', 'c'] },
  });
}

function refused(result: Applied['result']): Result<never> {
  if (result.kind !== 'failed') throw new Error(`unexpected: ${JSON.stringify(result)}`);
  return failWith(result.code, result.message, 'See the message.');
}
