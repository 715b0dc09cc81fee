/**
 * A stand-in for the quorum store: its real register behind a way that loses, delays and cuts. Being one object it is
 * linearizable for nothing, so whatever breaks here is not Raft's fault.
 *
 * What callers have to cope with is all there: answers that never come although the call took effect, calls that take
 * effect after they were given up, a side that cannot reach it, leases that end, and a store that was founded anew and
 * has forgotten its last transactions.
 */

import type { StoreCall } from '../../src/budget/messages.ts';
import { ALL_BUDGETS } from '../../src/budget/reserve-register.ts';
import { failWith, type Result } from '../../src/kernel/errors.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { answerOf } from '../../src/quorum/calls/answers.ts';
import type { KeyChange, KeyValue, Lease, TransactionAnswer } from '../../src/quorum/port.ts';
import { type Command, encodeCommand } from '../../src/quorum/register/command.ts';
import type { Applied, LeaseChange } from '../../src/quorum/register/outcome.ts';
import { Register, type RegisterBounds } from '../../src/quorum/register/register.ts';
import { Restorer } from '../../src/quorum/register/restorer.ts';
import type { Scheduler } from '../../src/sim/scheduler.ts';

/** Probabilities are 0 to 1. */
export interface StoreConditions {
  minDelayMs: number;
  maxDelayMs: number;
  /** Of a call or its answer being lost, for half of each. */
  loss: number;
  /** Nobody can reach it. */
  isDown: boolean;
}

export const STORE_CALM: Readonly<StoreConditions> = { minDelayMs: 1, maxDelayMs: 8, loss: 0, isDown: false };

export type StoreNews =
  | { readonly kind: 'storeRead'; readonly revision: number; readonly entries: readonly KeyValue[] }
  | { readonly kind: 'storeChanged'; readonly revision: number; readonly changes: readonly KeyChange[] };

/** One run of a node, as the store knows it. */
export interface StoreClient {
  /** Of its machine: what is cut is cut for a machine. */
  readonly index: number;
  enter(callback: () => void): void;
  tell(news: StoreNews): void;
}

interface Mirror {
  readonly client: StoreClient;
  /** Next revision to tell; `undefined`: all of it, anew. */
  next: number | undefined;
  isUnderWay: boolean;
}

interface StoreOptions {
  readonly scheduler: Scheduler;
  readonly rng: Rng;
  readonly conditions: StoreConditions;
  /** Changes that can be told one by one; who missed more reads anew. */
  readonly historyChanges: number;
}

const CLIENT = 7;
/** Revisions that a store which was founded anew skips, so that no number is handed out twice. */
const SKIPPED = 1_000;
const LATE_MS = 3_000;

export class StoreModel {
  readonly #options: StoreOptions;
  readonly #bounds: RegisterBounds;
  readonly #mirrors = new Map<StoreClient, Mirror>();
  readonly #cuts = { calls: new Map<number, number>(), answers: new Map<number, number>() };
  #register: Register;
  #index = 0;
  #sequence = 0;
  #kept: Uint8Array[] | undefined;
  #generation = 0;
  /** Transactions that changed something. */
  transactions = 0;
  /** Calls that reached it. */
  calls = 0;
  /** After every call that changed keys; `by` is who asked, none where a lease ended. */
  onChange: (changes: readonly KeyChange[], by: StoreClient | undefined) => void = () => {};
  /** After a client was told what has changed. */
  onTold: (client: StoreClient, news: StoreNews) => void = () => {};

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#bounds = { ...limits, quorumHistoryChanges: options.historyChanges };
    this.#register = new Register(this.#bounds);
    this.#apply({ kind: 'openClient', client: CLIENT });
  }

  get revision(): number {
    return this.#register.revision;
  }

  get(key: string): KeyValue | undefined {
    return this.#register.get(key);
  }

  /** All keys of budgets. */
  entries(): readonly KeyValue[] {
    const found: KeyValue[] = [];
    for (let { from } = ALL_BUDGETS; ; ) {
      const page = this.#register.range({ from, to: ALL_BUDGETS.to }, limits.listPage);
      found.push(...page.found);
      const last = page.found.at(-1);
      if (!page.more || last === undefined) return found;
      from = `${last.key}\u0000`;
    }
  }

  /** `answer` is called once, in bounded time, as long as its process lives. */
  ask(client: StoreClient, call: StoreCall, answer: (result: Result<StoreAnswer>) => void): void {
    const { rng, conditions } = this.#options;
    const giveUp = (outcome: string) =>
      this.#after(limits.quorumWaitMs, () => client.enter(() => answer(unavailable(outcome))));
    const generation = this.#generation;
    const reaches = !this.#isCut('calls', client) && !rng.chance(conditions.loss / 2);
    if (!reaches) {
      // At times it lies in a queue somewhere and is carried out after all.
      if (rng.chance(0.3) && !this.#isCut('calls', client))
        this.#after(limits.quorumWaitMs + LATE_MS * rng.float(), () =>
          this.#perform(client, call, generation),
        );
      giveUp(this.#isCut('calls', client) && rng.chance(0.5) ? 'not-done' : 'unknown');
      return;
    }
    this.#after(this.#delay(), () => {
      const result = this.#perform(client, call, generation);
      if (result === undefined || this.#isCut('answers', client) || rng.chance(conditions.loss / 2))
        giveUp('unknown');
      else this.#after(this.#delay(), () => client.enter(() => answer(result)));
    });
  }

  /** From now on the client is told what there is, and then all changes. */
  attach(client: StoreClient): void {
    const mirror: Mirror = { client, next: undefined, isUnderWay: false };
    this.#mirrors.set(client, mirror);
    this.#pump(mirror);
  }

  detach(client: StoreClient): void {
    this.#mirrors.delete(client);
  }

  /** Calls of a machine, or answers to it, are lost from now on; the returned function ends this. */
  cut(index: number, what: 'calls' | 'answers'): () => void {
    const cuts = this.#cuts[what];
    cuts.set(index, (cuts.get(index) ?? 0) + 1);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      cuts.set(index, (cuts.get(index) ?? 1) - 1);
      this.pumpAll();
    };
  }

  /** Goes on telling those that were cut off. */
  pumpAll(): void {
    for (const mirror of this.#mirrors.values()) this.#pump(mirror);
  }

  /** Remembers all as it is, for `recover`. */
  keep(): void {
    this.#kept = [...this.#register.capture()];
  }

  /** The voters are lost for good, and the store is founded anew from a copy of the time of `keep`. */
  recover(): boolean {
    if (this.#kept === undefined) return false;
    const restorer = new Restorer(this.#bounds);
    for (const piece of this.#kept) restorer.take(piece);
    const restored = restorer.finish();
    if (restored === undefined) throw new Error('a snapshot of the store cannot be read');
    const revision = this.#register.revision + SKIPPED;
    this.#register = restored;
    this.#kept = undefined;
    this.#generation += 1;
    this.#apply({ kind: 'advance', revision });
    for (const lease of this.#register.leases()) this.#time({ kind: 'granted', lease });
    for (const mirror of this.#mirrors.values()) mirror.next = undefined;
    this.pumpAll();
    return true;
  }

  /** Nothing where it was meant for a store that is no more. */
  #perform(client: StoreClient, call: StoreCall, generation: number): Result<StoreAnswer> | undefined {
    if (generation !== this.#generation) return undefined;
    this.calls += 1;
    const sequence = ++this.#sequence;
    const head = { client: CLIENT, sequence, lowestOutstanding: sequence };
    const before = this.#register.revision;
    const applied = this.#apply(commandOf(head, call, 1 + this.#options.rng.below(2 ** 31)));
    for (const change of applied.leaseChanges) this.#time(change);
    if (this.#register.revision !== before) this.#changed(applied, client);
    return answerOf(applied) as Result<StoreAnswer> | undefined;
  }

  #changed(applied: Applied, by: StoreClient | undefined): void {
    this.transactions += 1;
    this.onChange(applied.changes, by);
    this.pumpAll();
  }

  #apply(command: Command): Applied {
    return this.#register.apply(++this.#index, encodeCommand(command));
  }

  /** Never early. */
  #time(change: LeaseChange): void {
    if (change.kind === 'ended') return;
    const { id, ttlMs, renewals } = change.lease;
    const generation = this.#generation;
    this.#after(ttlMs + 200 + 800 * this.#options.rng.float(), () => {
      if (generation !== this.#generation) return;
      const applied = this.#apply({ kind: 'expireLeases', leases: [{ id, renewals }] });
      if (applied.changes.length > 0) this.#changed(applied, undefined);
    });
  }

  /** One thing after the other: what is told is told in order. */
  #pump(mirror: Mirror): void {
    if (mirror.isUnderWay || this.#isCut('answers', mirror.client)) return;
    if (mirror.next !== undefined && mirror.next > this.#register.revision) return;
    mirror.isUnderWay = true;
    this.#after(this.#delay(), () => {
      mirror.isUnderWay = false;
      if (this.#mirrors.get(mirror.client) !== mirror || this.#isCut('answers', mirror.client)) return;
      for (const news of this.#newsFor(mirror)) mirror.client.enter(() => this.#tell(mirror.client, news));
      this.#pump(mirror);
    });
  }

  #tell(client: StoreClient, news: StoreNews): void {
    client.tell(news);
    this.onTold(client, news);
  }

  #newsFor(mirror: Mirror): readonly StoreNews[] {
    const found =
      mirror.next === undefined ? undefined : this.#register.changesFrom(mirror.next, ALL_BUDGETS);
    if (found?.kind === 'changes') {
      mirror.next = found.next;
      return found.revisions.map(({ revision, changes }) => ({ kind: 'storeChanged', revision, changes }));
    }
    const { revision } = this.#register;
    mirror.next = revision + 1;
    return [{ kind: 'storeRead', revision, entries: this.entries() }];
  }

  #isCut(what: 'calls' | 'answers', { index }: StoreClient): boolean {
    return this.#options.conditions.isDown || (this.#cuts[what].get(index) ?? 0) > 0;
  }

  #delay(): number {
    const { rng, conditions } = this.#options;
    return conditions.minDelayMs + rng.float() * (conditions.maxDelayMs - conditions.minDelayMs);
  }

  #after(delayMs: number, callback: () => void): void {
    this.#options.scheduler.after(delayMs, callback);
  }
}

type StoreAnswer = TransactionAnswer | Lease | { readonly revision: number };
type Head = { readonly client: number; readonly sequence: number; readonly lowestOutstanding: number };

function commandOf(head: Head, call: StoreCall, fresh: number): Command {
  switch (call.op) {
    case 'transact':
      return { kind: 'transact', ...head, transaction: call.transaction };
    case 'grantLease':
      return { kind: 'grantLease', ...head, ttlMs: call.ttlMs, id: fresh };
    case 'renewLease':
      return { kind: 'renewLease', ...head, id: call.id };
    case 'revokeLease':
      return { kind: 'revokeLease', ...head, id: call.id };
  }
}

function unavailable(outcome: string): Result<never> {
  return failWith('QUORUM_UNAVAILABLE', 'No majority can be reached.', 'Try again.', {
    details: { outcome },
  });
}
