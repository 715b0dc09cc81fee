/** Budgets in memory: one machine, one counter for each, no disk, no clock; and a record of what was asked of them. */
import type {
  BudgetAnswers,
  BudgetCall,
  BudgetStatus,
  Budgets,
  CreateBudget,
  Spent,
  ThresholdPassed,
} from '../../src/budget/api.ts';
import { noBudget } from '../../src/budget/definition.ts';
import { type ErrorBody, fail, failWith, ok, type Result } from '../../src/kernel/errors.ts';
import type { NodeId } from '../../src/kernel/ids.ts';

interface Held {
  readonly budget: string;
  readonly amount: number;
  settled: BudgetAnswers['settle'] | undefined;
}

interface Kept extends CreateBudget {
  limit: number;
  spent: number;
  held: number;
}

/** A token costs one micro-USD, whatever the model. */
function costOf({ amount, use }: Spent): number {
  return use === undefined ? (amount ?? 0) : (use.input ?? 0) + (use.output ?? 0) + (use.cached ?? 0);
}

export class MemoryBudgets implements Budgets {
  readonly orchestrator: NodeId | undefined = undefined;
  /** Set: the store was not read yet, which the status of every budget and the list answer. */
  notRead: ErrorBody | undefined = undefined;
  overdue = 0;
  readonly asked: BudgetCall[] = [];
  readonly #nodeId: NodeId;
  readonly #kept = new Map<string, Kept>();
  readonly #holds = new Map<string, Held>();
  readonly #stranded = new Map<string, number>();
  readonly #listeners = new Set<(budget: string) => void>();
  readonly #thresholds = new Set<(passed: ThresholdPassed) => void>();

  constructor(nodeId: NodeId) {
    this.#nodeId = nodeId;
  }

  async call<C extends BudgetCall>(call: C): Promise<Result<BudgetAnswers[C['op']]>> {
    this.asked.push(call);
    return this.#run(call) as Result<BudgetAnswers[C['op']]>;
  }

  status(budget: string): Result<BudgetStatus> {
    if (this.notRead !== undefined) return fail(this.notRead);
    const kept = this.#kept.get(budget);
    return kept === undefined ? unknown(budget) : ok(this.#statusOf(kept));
  }

  list(): readonly BudgetStatus[] {
    return [...this.#kept.keys()].sort().map((name) => this.#statusOf(this.#kept.get(name) as Kept));
  }

  watch(listener: (budget: string) => void): () => void {
    const own = (budget: string) => listener(budget);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  onThreshold(listener: (passed: ThresholdPassed) => void): () => void {
    const own = (passed: ThresholdPassed) => listener(passed);
    this.#thresholds.add(own);
    return () => this.#thresholds.delete(own);
  }

  get listeners(): number {
    return this.#listeners.size + this.#thresholds.size;
  }

  /** Rights of a machine that nobody reaches. */
  strand(budget: string, amount: number): void {
    this.#stranded.set(budget, amount);
  }

  tell(passed: ThresholdPassed): void {
    for (const listener of this.#thresholds) listener(passed);
  }

  #changed(budget: string): void {
    for (const listener of this.#listeners) listener(budget);
  }

  #run(call: BudgetCall): Result<unknown> {
    if (call.op === 'settle') return this.#settle(call.id, costOf(call));
    if (call.op === 'create') {
      if (this.#kept.has(call.budget)) return failWith('CONFLICT', 'It is there already.', 'Take another.');
      const kept = { ...call, spent: 0, held: 0 };
      this.#kept.set(call.budget, kept);
      this.#changed(call.budget);
      return ok(this.#statusOf(kept));
    }
    const kept = this.#kept.get(call.budget);
    if (kept === undefined) return unknown(call.budget);
    const answer = this.#onBudget(kept, call);
    this.#changed(call.budget);
    return answer;
  }

  #onBudget(kept: Kept, call: Exclude<BudgetCall, { op: 'create' | 'settle' }>): Result<unknown> {
    const left = kept.limit - kept.spent - kept.held;
    switch (call.op) {
      case 'setLimit':
        kept.limit = call.limit;
        return ok(this.#statusOf(kept));
      case 'request':
        return ok({ granted: Math.min(left, call.amount), rights: left });
      case 'reserve':
        return this.#reserve(kept, call.id ?? `r-${this.#holds.size}`, costOf(call), left);
      case 'report': {
        const amount = costOf(call);
        kept.spent += amount;
        return ok({ id: call.id ?? 'fresh', amount, overrun: Math.max(0, amount - Math.max(0, left)) });
      }
      case 'transfer':
        return ok({ moved: call.amount, rights: left - call.amount });
      case 'writeOff':
        return ok({ writtenOff: 3, lost: 4 });
      case 'rebalance':
        return ok({ moves: 0, amount: 0 });
    }
  }

  #reserve(kept: Kept, id: string, amount: number, left: number): Result<BudgetAnswers['reserve']> {
    const before = this.#holds.get(id);
    const answer = { reservationId: id, amount, expiresAt: 1_800_000_000_000 };
    if (before !== undefined) return ok({ ...answer, amount: before.amount });
    if (amount > left) {
      return failWith('BUDGET_EXHAUSTED', `${left} are left, and ${amount} are needed.`, 'Wait.', {
        retryable: true,
        retryAfterMs: 1_500,
        details: { remaining: left, machines: [{ machine_id: this.#nodeId, rights: left }] },
      });
    }
    kept.held += amount;
    this.#holds.set(id, { budget: kept.budget, amount, settled: undefined });
    return ok(answer);
  }

  #settle(id: string, amount: number): Result<BudgetAnswers['settle']> {
    const held = this.#holds.get(id);
    const kept = held === undefined ? undefined : this.#kept.get(held.budget);
    if (held === undefined || kept === undefined)
      return failWith('NOT_FOUND', 'No such reservation.', 'Reserve.');
    if (held.settled === undefined) {
      kept.held -= held.amount;
      kept.spent += amount;
      const freed = Math.max(0, held.amount - amount);
      held.settled = { reservationId: id, amount, freed, overrun: 0, ending: 'settled' };
      this.#changed(kept.budget);
    }
    return ok(held.settled);
  }

  #statusOf(kept: Kept): BudgetStatus {
    const { budget, limit, spent, held } = kept;
    const stranded = this.#stranded.get(budget) ?? 0;
    const share = { allocated: limit, rights: limit - spent - held, held, spent, overrun: 0, stranded };
    return {
      budget,
      unit: kept.unit ?? 'tokens',
      window: kept.window ?? 'none',
      parent: kept.parent,
      expiry: kept.expiry ?? 'charge',
      thresholds: kept.thresholds ?? [],
      limit,
      owed: 0,
      reserve: 0,
      allocated: limit,
      held,
      spent,
      overrun: 0,
      remaining: share.rights,
      limitedBy: undefined,
      stranded,
      onTheWay: 0,
      burnPerSecond: 0.5,
      projectedEnd: undefined,
      periodEnd: Number.POSITIVE_INFINITY,
      asOf: 1_790_000_000_000,
      machines: [
        {
          nodeId: this.#nodeId,
          name: 'memory',
          state: 'alive',
          ...share,
          burnPerSecond: 0.5,
          asOf: 1_790_000_000_000,
          accounts: [`${this.#nodeId}/1`],
        },
      ],
      debts: [],
      problems: [],
    };
  }
}

function unknown(budget: string): Result<never> {
  return fail(noBudget(budget));
}
