/**
 * Errands to the quorum store: a wish is planned on what is known, sent, and planned anew on what the store says where
 * its compares failed, a bounded number of times and for a bounded time.
 */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { Lease, Transaction, TransactionAnswer } from '../quorum/port.ts';
import type { AskStore, StoreCall } from './messages.ts';
import type { AccountId, BudgetName, PurseKey } from './names.ts';
import { type Plan, type View, viewOf, viewOperations } from './reserve-register.ts';

export interface Errand<T> {
  readonly budget: BudgetName;
  readonly purse: PurseKey;
  readonly account: AccountId;
  readonly plan: (view: View) => Result<Plan<T>>;
  /** `transaction` is the one that took effect; none where there was nothing to do. */
  readonly done: (result: Result<T>, now: Instant, applied: Applied | undefined) => void;
}

export interface Applied {
  readonly transaction: Transaction;
  readonly revision: number;
}

interface Running {
  readonly errand: Errand<unknown>;
  readonly untilMs: number;
  tries: number;
  /** What was sent last; a read where it has no `value`. */
  sent: { readonly transaction: Transaction; readonly value?: unknown };
}

const STREAM = 'budget';
const TRIES = 24;
/** Beyond it nothing is planned anew; the store itself bounds each of its answers. */
const ERRAND_MS = 2 * limits.quorumWaitMs;

type StoreResult = Result<TransactionAnswer | Lease | { readonly revision: number }>;

export class Errands {
  readonly #order: (effect: AskStore) => void;
  readonly #running = new Map<number, Running>();
  readonly #raw = new Map<number, (result: StoreResult, now: Instant) => void>();
  #lastId = 0;

  constructor(order: (effect: AskStore) => void) {
    this.#order = order;
  }

  get size(): number {
    return this.#running.size + this.#raw.size;
  }

  /** With a `view` that may be old the first try is planned on it; what it says is believed only where the store agrees. */
  start<T>(errand: Errand<T>, now: Instant, view?: View): void {
    const running: Running = {
      errand: errand as unknown as Errand<unknown>,
      untilMs: now.monoMs + ERRAND_MS,
      tries: 0,
      sent: { transaction: readOf(errand) },
    };
    const plan = view === undefined ? undefined : errand.plan(view);
    if (plan?.ok === true && plan.value.kind === 'transact') running.sent = plan.value;
    this.#send(running);
  }

  /** Of the orchestrator: answered as the store answers it. */
  ask(call: StoreCall, done: (result: StoreResult, now: Instant) => void): void {
    const id = ++this.#lastId;
    this.#raw.set(id, done);
    this.#order({ kind: 'askStore', stream: 'budget/orchestrator', id, call });
  }

  answered(id: number, result: StoreResult, now: Instant): void {
    const raw = this.#raw.get(id);
    this.#raw.delete(id);
    raw?.(result, now);
    const running = this.#running.get(id);
    this.#running.delete(id);
    if (running === undefined) return;
    const { errand, sent } = running;
    if (!result.ok) {
      errand.done(result, now, undefined);
      return;
    }
    const answer = result.value as TransactionAnswer;
    const isRead = !('value' in sent);
    if (answer.succeeded && !isRead) {
      const applied = { transaction: sent.transaction, revision: answer.revision };
      errand.done(ok(sent.value), now, applied);
      return;
    }
    const operations = isRead ? sent.transaction.then : sent.transaction.otherwise;
    this.#planOn(viewOf(operations, answer), running, now);
  }

  /** Nobody answers any more what was asked before: the disk failed under it. */
  fail(error: Result<never>, now: Instant): void {
    const running = [...this.#running.values()];
    this.#running.clear();
    for (const { errand } of running) errand.done(error, now, undefined);
  }

  #planOn(view: Result<View>, running: Running, now: Instant): void {
    const { errand } = running;
    const plan = view.ok ? errand.plan(view.value) : view;
    if (!plan.ok || plan.value.kind === 'done') {
      errand.done(plan.ok ? ok((plan.value as { value: unknown }).value) : plan, now, undefined);
      return;
    }
    if (running.tries >= TRIES || now.monoMs >= running.untilMs) {
      errand.done(crowded(), now, undefined);
      return;
    }
    running.sent = plan.value;
    this.#send(running);
  }

  #send(running: Running): void {
    running.tries++;
    const id = ++this.#lastId;
    this.#running.set(id, running);
    const { transaction } = running.sent;
    this.#order({ kind: 'askStore', stream: STREAM, id, call: { op: 'transact', transaction } });
  }
}

function readOf({ budget, purse, account }: Omit<Errand<unknown>, 'plan' | 'done'>): Transaction {
  return { compares: [], then: viewOperations(budget, purse, account), otherwise: [] };
}

function crowded(): Result<never> {
  return failWith('QUORUM_UNAVAILABLE', 'Too many others change this budget at once.', 'Try again.', {
    retryAfterMs: 200,
    details: { outcome: 'not-done' },
  });
}
