/** Clients of the quorum store, one call at a time each, on nodes that they wander between; what they did and were told. */
import { fromUtf8, utf8 } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import type {
  KeyValue,
  Lease,
  OperationAnswer,
  RangeAnswer,
  Transaction,
  TransactionAnswer,
} from '../../src/quorum/port.ts';
import type {
  FoundEntry,
  HistoryAnswer,
  HistoryCall,
  HistoryOperation,
  HistoryStep,
} from '../lib/quorum-history.ts';
import type { QuorumMachine } from './machine.ts';
import type { QuorumWorld } from './world.ts';

export interface QuorumWorkloadPlan {
  readonly clients: number;
  readonly keys: number;
  readonly thinkMs: number;
  /** Chance to go to another node before a call. */
  readonly wander: number;
  /** Characters that a value is filled up with, at most. */
  readonly fillings: number;
  /** Clients that take and lose a lease now and then. */
  readonly leases: boolean;
  /** Clients besides that keep to the oldest of those that lead, and write one key over what they were told, or were told before. */
  readonly rivals?: number;
  /** Clients besides that read one key beside those that still follow the oldest of those that lead. */
  readonly readers?: number;
  /** How fast a clock may run at most: a lease may end so much earlier than its time. */
  readonly fastestRate: number;
}

/** A client that hears nothing for this long gives up; the call may still take hold. */
const PATIENCE_MS = 6_000;
const LEASE_MS = [1_000, 1_500, 3_000] as const;
const NS = 1_000_000;
/** Of rivals and readers. */
const HOT_KEY = 'k0';
const HASTY_THINK_MS = 25;
const RIVALS_STALE = 0.75;

interface Client {
  readonly number: number;
  readonly rng: Rng;
  machine: number;
  writes: number;
  lease: { readonly id: number; readonly ttlMs: number; locked: boolean } | undefined;
  /** Of a rival: the revisions of its key that it was told of last, the latest at the end. */
  readonly told: number[] | undefined;
  readonly isReader: boolean;
}

/** What a call is in the history, and how its answer is told there. */
interface Asked {
  readonly call: QuorumCall;
  readonly recorded: (HistoryCall & { readonly key: string }) | undefined;
  readonly output: (value: unknown) => object;
  /** `start` in nanoseconds. */
  readonly after?: (result: Result<unknown>, start: number) => void;
}

export interface CallTimes {
  readonly machine: QuorumMachine;
  readonly startMs: number;
  readonly endMs: number;
}

export class QuorumWorkload {
  readonly history: HistoryOperation[] = [];
  readonly outcomes = { ok: 0, failed: 0, unknown: 0 };
  readonly #world: QuorumWorld;
  readonly #plan: QuorumWorkloadPlan;
  readonly #clients: readonly Client[];
  readonly #onReturn: (times: CallTimes) => void;
  /** Since when each lease may have run out, at the earliest, in nanoseconds; and on which key it was put. */
  readonly #leaseEnds = new Map<number, { key: string; earliest: number }>();
  #stopped = false;
  #pending = 0;

  constructor(world: QuorumWorld, plan: QuorumWorkloadPlan, onReturn: (times: CallTimes) => void) {
    this.#world = world;
    this.#plan = plan;
    this.#onReturn = onReturn;
    const { clients, rivals = 0, readers = 0 } = plan;
    this.#clients = Array.from({ length: clients + rivals + readers }, (_, number) => ({
      number,
      rng: world.rng.fork(),
      machine: number % world.machines.length,
      writes: 0,
      lease: undefined,
      told: number >= clients && number < clients + rivals ? [] : undefined,
      isReader: number >= clients + rivals,
    }));
    for (const client of this.#clients) this.#later(client);
  }

  get pending(): number {
    return this.#pending;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** All calls, and the ends of leases that nobody asked for. */
  complete(): readonly HistoryOperation[] {
    const ends = [...this.#leaseEnds].map(
      ([lease, { key, earliest }]): HistoryOperation => ({
        client: 'lease',
        kind: 'leaseEnd',
        key,
        input: { lease },
        start: earliest,
        end: Number.POSITIVE_INFINITY,
        outcome: 'unknown',
      }),
    );
    return [...this.history, ...ends];
  }

  #later(client: Client): void {
    const isHasty = client.told !== undefined || client.isReader;
    const thinkMs = isHasty ? HASTY_THINK_MS : this.#plan.thinkMs;
    const delayMs = 2 * thinkMs * client.rng.float();
    this.#world.scheduler.after(delayMs, () => {
      if (!this.#stopped) this.#invoke(client);
    });
  }

  #invoke(client: Client): void {
    const machine = this.#choose(client);
    if (machine === undefined) {
      this.#later(client);
      return;
    }
    client.machine = machine.index;
    const { call, recorded, output, after } = this.#draw(client);
    const startMs = this.#world.nowMs;
    const start = Math.round(startMs * NS);
    let isOpen = true;
    const settle = (result: Result<unknown> | undefined) => {
      if (!isOpen) return;
      isOpen = false;
      this.#pending -= 1;
      giveUp();
      const endMs = this.#world.nowMs;
      const outcome = outcomeOf(result);
      this.outcomes[outcome] += 1;
      this.#world.trace.note(endMs, `client-${client.number}`, [call.op, outcome]);
      if (recorded !== undefined) {
        const told = result?.ok === true ? { output: output(result.value) } : {};
        const end = outcome === 'ok' ? Math.round(endMs * NS) : Number.POSITIVE_INFINITY;
        const operation = { ...recorded, ...told, client: client.number, start, end, outcome };
        this.history.push(operation as HistoryOperation);
      }
      if (result !== undefined) {
        after?.(result, start);
        this.#onReturn({ machine, startMs, endMs });
      }
      this.#later(client);
    };
    const giveUp = this.#world.scheduler.after(PATIENCE_MS, () => settle(undefined));
    this.#pending += 1;
    if (machine.call(call, settle)) return;
    isOpen = false;
    this.#pending -= 1;
    giveUp();
    this.#later(client);
  }

  /** Of several that lead the one that does so no more, and does not know. */
  #oldestLeader(): QuorumMachine | undefined {
    const term = (machine: QuorumMachine) => machine.quorum?.replica?.raft.term ?? 0;
    const [oldest] = this.#world.running
      .filter(({ isLeader }) => isLeader)
      .toSorted((left, right) => term(left) - term(right));
    return oldest;
  }

  #followersOf(leader: QuorumMachine | undefined): readonly QuorumMachine[] {
    const server = leader?.quorum?.replica?.server;
    if (server === undefined) return [];
    return this.#world.running.filter(
      (machine) => machine !== leader && machine.quorum?.replica?.raft.leader === server,
    );
  }

  #choose(client: Client): QuorumMachine | undefined {
    const oldest = client.told === undefined && !client.isReader ? undefined : this.#oldestLeader();
    if (oldest !== undefined && !client.isReader) return oldest;
    const followers = this.#followersOf(oldest);
    if (followers.length > 0) return client.rng.pick(followers);
    const machine = this.#world.machine(client.machine);
    if (machine.state !== 'dead' && !client.rng.chance(this.#plan.wander)) return machine;
    const { running } = this.#world;
    return running.length === 0 ? undefined : client.rng.pick(running);
  }

  #draw(client: Client): Asked {
    const { rng, told } = client;
    if (told !== undefined) return this.#drawOverwrite(client, told);
    if (client.isReader) return readOf(HOT_KEY);
    if (this.#plan.leases && rng.chance(0.25)) return this.#drawLease(client);
    const key = `k${rng.below(this.#plan.keys)}`;
    const die = rng.float();
    if (die < 0.35) return readOf(key);
    const value = this.#value(client);
    if (die < 0.6) return writeOf(key, value);
    if (die < 0.66) return deleteOf(key);
    if (die < 0.86) return swapOf(key, this.#expected(client, key), value);
    if (die < 0.94) return transferOf(key, `k${rng.below(this.#plan.keys)}`, value, rng.chance(0.5));
    return rangeOf(rng.chance(0.5) ? 'k' : key, 'l', 1 + rng.below(4));
  }

  #drawOverwrite(client: Client, told: number[]): Asked {
    const [before, last] = told.length < 2 ? [told[0], told[0]] : told;
    if (before === undefined || last === undefined) return { ...readOf(HOT_KEY), after: noteIn(told) };
    const revision = client.rng.chance(RIVALS_STALE) ? before : last;
    return { ...swapOf(HOT_KEY, revision, this.#value(client)), after: noteIn(told) };
  }

  #value(client: Client): string {
    const filling = this.#plan.fillings === 0 ? '' : 'x'.repeat(client.rng.below(this.#plan.fillings));
    return `${client.number}.${++client.writes}~${filling}`;
  }

  /** What this client believes the key to hold, from what it or another was told last; often wrong. */
  #expected(client: Client, key: string): number {
    if (client.rng.chance(0.2)) return 0;
    for (let at = this.history.length - 1; at >= 0 && at > this.history.length - 40; at--) {
      const operation = this.history[at] as HistoryOperation;
      if (operation.key !== key || operation.output === undefined) continue;
      const { output } = operation;
      if ('found' in output && !Array.isArray(output.found) && output.found !== undefined)
        return (output.found as FoundEntry | null)?.revision ?? 0;
      if (
        operation.kind === 'put' ||
        (operation.kind === 'compareAndSet' && operation.output?.succeeded === true)
      )
        return output.at ?? 0;
    }
    return 0;
  }

  #drawLease(client: Client): Asked {
    const { rng, lease } = client;
    if (lease === undefined) return this.#grant(client);
    const die = rng.float();
    if (!lease.locked && die < 0.6) return this.#lock(client, lease);
    if (die < 0.75) return this.#renew(lease);
    if (die < 0.9) {
      client.lease = undefined;
      return this.#revoke(lease.id);
    }
    // Forgotten: it runs out by itself.
    client.lease = undefined;
    return readOf(lockKey(rng));
  }

  #grant(client: Client): Asked {
    const ttlMs = client.rng.pick(LEASE_MS);
    return {
      call: { op: 'grantLease', ttlMs },
      recorded: undefined,
      output: () => ({}),
      after: (result, start) => {
        if (!result.ok) return;
        const { id } = result.value as Lease;
        client.lease = { id, ttlMs, locked: false };
        this.#leaseEnds.set(id, { key: '', earliest: this.#mayEndAt(start, ttlMs) });
      },
    };
  }

  /** As long as the fastest clock takes after the store may have heard of it. */
  #mayEndAt(start: number, ttlMs: number): number {
    return start + Math.floor((ttlMs * NS) / this.#plan.fastestRate);
  }

  #lock(client: Client, lease: { readonly id: number; locked: boolean }): Asked {
    const key = lockKey(client.rng);
    const value = this.#value(client);
    const end = this.#leaseEnds.get(lease.id);
    if (end !== undefined) end.key = key;
    lease.locked = true;
    const transaction: Transaction = {
      compares: [{ target: 'version', key, is: '=', than: 0 }],
      then: [{ op: 'put', key, value: utf8(value), lease: lease.id }],
      otherwise: [{ op: 'get', key }],
    };
    return {
      call: { op: 'transact', transaction },
      recorded: {
        kind: 'transaction',
        key: '',
        input: {
          compares: [{ target: 'value', key, is: '=', than: null }],
          success: [{ op: 'put', key, value: textOf(value), lease: lease.id }],
          failure: [{ op: 'get', key }],
        },
      },
      output: transactionOutput,
    };
  }

  #renew({ id, ttlMs }: { readonly id: number; readonly ttlMs: number }): Asked {
    return {
      call: { op: 'renewLease', id },
      recorded: undefined,
      output: () => ({}),
      after: (result, start) => {
        const end = this.#leaseEnds.get(id);
        if (result.ok && end !== undefined)
          end.earliest = Math.max(end.earliest, this.#mayEndAt(start, ttlMs));
      },
    };
  }

  #revoke(id: number): Asked {
    const key = this.#leaseEnds.get(id)?.key ?? '';
    return {
      call: { op: 'revokeLease', id },
      recorded: { kind: 'leaseEnd', key, input: { lease: id } },
      output: (value) => ({ at: (value as { revision: number }).revision }),
    };
  }
}

/** Keeps the last two revisions of a key that its client was told of. */
function noteIn(told: number[]): (result: Result<unknown>) => void {
  return (result) => {
    if (!result.ok) return;
    const answer = result.value as TransactionAnswer | RangeAnswer;
    const found = 'found' in answer ? answer.found[0] : foundIn(answer);
    const revision = 'succeeded' in answer && answer.succeeded ? answer.revision : found?.modRevision;
    if (revision === undefined || revision <= (told.at(-1) ?? 0)) return;
    told.push(revision);
    if (told.length > 2) told.shift();
  };
}

function foundIn({ answers }: TransactionAnswer): KeyValue | undefined {
  const [first] = answers;
  return first?.op === 'get' ? first.found : undefined;
}

function lockKey(rng: Rng): string {
  return `lock${rng.below(2)}`;
}

function outcomeOf(result: Result<unknown> | undefined): 'ok' | 'failed' | 'unknown' {
  if (result === undefined) return 'unknown';
  if (result.ok) return 'ok';
  return result.error.details?.outcome === 'unknown' ? 'unknown' : 'failed';
}

/** Values are recorded without what they were filled up with. */
function textOf(value: string | Uint8Array): string {
  const text = typeof value === 'string' ? value : (fromUtf8(value) ?? '?');
  const end = text.indexOf('~');
  return end < 0 ? text : text.slice(0, end);
}

function foundOf(entry: KeyValue | undefined): FoundEntry | null {
  if (entry === undefined) return null;
  const { key, value, modRevision, createRevision, version } = entry;
  return { key, value: textOf(value), revision: modRevision, createRevision, version };
}

function answerOf(answer: OperationAnswer): HistoryAnswer {
  switch (answer.op) {
    case 'put':
      return { op: 'put' };
    case 'get':
      return { op: 'get', found: foundOf(answer.found) };
    case 'delete':
    case 'deleteRange':
      return { op: 'delete', deleted: answer.deleted };
    case 'range':
      return {
        op: 'range',
        found: answer.found.map((entry) => foundOf(entry) as FoundEntry),
        more: answer.more,
      };
  }
}

function transactionOutput(value: unknown) {
  const { succeeded, revision, answers } = value as TransactionAnswer;
  return { succeeded, answers: answers.map(answerOf), at: revision };
}

function transact(transaction: Transaction): QuorumCall {
  return { op: 'transact', transaction };
}

function readOf(key: string): Asked {
  return {
    call: { op: 'get', key },
    recorded: { kind: 'get', key },
    output: (value) => {
      const { found, revision } = value as RangeAnswer;
      return { found: foundOf(found[0]), at: revision };
    },
  };
}

function rangeOf(key: string, to: string, limit: number): Asked {
  return {
    call: { op: 'range', range: { from: key, to }, limit },
    recorded: { kind: 'range', key, input: { to, limit } },
    output: (value) => {
      const { found, more, revision } = value as RangeAnswer;
      return { found: found.map((entry) => foundOf(entry) as FoundEntry), more, at: revision };
    },
  };
}

function writeOf(key: string, value: string): Asked {
  return {
    call: transact({ compares: [], then: [{ op: 'put', key, value: utf8(value) }], otherwise: [] }),
    recorded: { kind: 'put', key, input: { value: textOf(value) } },
    output: (answer) => ({ at: (answer as TransactionAnswer).revision }),
  };
}

function deleteOf(key: string): Asked {
  return {
    call: transact({ compares: [], then: [{ op: 'delete', key }], otherwise: [] }),
    recorded: { kind: 'delete', key },
    output: (answer) => {
      const { revision, answers } = answer as TransactionAnswer;
      const [first] = answers;
      return { at: revision, ...(first?.op === 'delete' ? { deleted: first.deleted } : {}) };
    },
  };
}

function swapOf(key: string, revision: number, value: string): Asked {
  return {
    call: transact({
      compares: [{ target: 'modRevision', key, is: '=', than: revision }],
      then: [{ op: 'put', key, value: utf8(value) }],
      otherwise: [{ op: 'get', key }],
    }),
    recorded: { kind: 'compareAndSet', key, input: { revision, value: textOf(value) } },
    output: (answer) => {
      const { succeeded, revision: at, answers } = answer as TransactionAnswer;
      const [first] = answers;
      return { succeeded, at, ...(first?.op === 'get' ? { found: foundOf(first.found) } : {}) };
    },
  };
}

/** Writes two keys, or reads two at one moment. */
function transferOf(from: string, to: string, value: string, writes: boolean): Asked {
  if (from === to) return readOf(from);
  const success: readonly HistoryStep[] = writes
    ? [
        { op: 'put', key: from, value: textOf(value) },
        { op: 'put', key: to, value: textOf(value) },
      ]
    : [
        { op: 'get', key: from },
        { op: 'get', key: to },
      ];
  const bytes = utf8(value);
  return {
    call: transact({
      compares: [],
      then: success.map((step) =>
        step.op === 'put' ? { op: 'put', key: step.key, value: bytes } : { op: 'get', key: step.key },
      ),
      otherwise: [],
    }),
    recorded: { kind: 'transaction', key: '', input: { compares: [], success, failure: [] } },
    output: transactionOutput,
  };
}

/** Within what a call is answered, as its node's clock has it. */
export const ANSWER_MS = limits.quorumWaitMs + 600;
