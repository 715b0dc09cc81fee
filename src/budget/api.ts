/** What a caller can ask of the budgets, and what they answer. Shared by MCP, HTTP, the command line and the library. */
import type { ErrorBody, Result } from '../kernel/errors.ts';
import type { AgentId, NodeId } from '../kernel/ids.ts';
import type { Expiry, Unit } from './definition.ts';
import type { Window } from './period.ts';

/** Amounts are whole numbers of the budget's unit, up to 2^53 - 1; they are checked where they come in, so arguments here are as given. */
export interface CreateBudget {
  readonly op: 'create';
  readonly budget: string;
  readonly limit: number;
  readonly unit?: Unit;
  readonly parent?: string;
  readonly window?: Window;
  readonly expiry?: Expiry;
  /** Percent, ascending. */
  readonly thresholds?: readonly number[];
}

/** A new limit, from the period that runs on. Lowered below what was granted, nothing is granted until enough came back. */
export interface SetLimit {
  readonly op: 'setLimit';
  readonly budget: string;
  readonly limit: number;
}

/** Brings rights to this node, so that reserving them later needs no network: out of the reserve, and from other nodes. */
export interface RequestRights {
  readonly op: 'request';
  readonly budget: string;
  readonly amount: number;
  /** 0 to `limits.budgetWaitMs`, which is the default. */
  readonly waitMs?: number;
}

/** Tokens of one call to a model: priced by the table of the configuration. */
export interface PricedUse {
  readonly model: string;
  /** Not counting those in `cached`. */
  readonly input?: number;
  readonly output?: number;
  readonly cached?: number;
}

/** Exactly one of the two; `use` only where the unit is micro-USD. */
export interface Spent {
  readonly amount?: number;
  readonly use?: PricedUse;
}

export interface Reserve extends Spent {
  readonly op: 'reserve';
  readonly budget: string;
  readonly agent: AgentId;
  /** Asking again under it gives the same reservation. Default: a fresh one. */
  readonly id?: string;
  /** Default 600 s, at most `limits.budgetTtlMs`. */
  readonly ttlMs?: number;
  /** How long to wait for rights to come from elsewhere, 0 to `limits.budgetWaitMs`, which is the default. */
  readonly waitMs?: number;
}

/** Where the reservation was made on another node that can be reached, it is settled there. */
export interface Settle extends Spent {
  readonly op: 'settle';
  readonly id: string;
}

export interface Report extends Spent {
  readonly op: 'report';
  readonly budget: string;
  readonly agent: AgentId;
  /** Reporting again under it counts once. Default: a fresh one. */
  readonly id?: string;
}

/** Passes rights of this node to another. */
export interface TransferRights {
  readonly op: 'transfer';
  readonly budget: string;
  readonly to: NodeId;
  readonly amount: number;
}

/** Gives back to the reserve what a node that is gone for good had not spent, as far as was heard of; its account ends. */
export interface WriteOff {
  readonly op: 'writeOff';
  readonly budget: string;
  /** As shown by the status: an account, or a node for all its accounts. */
  readonly account: string;
}

/** Asks whoever is orchestrator to even out the rights now. */
export interface Rebalance {
  readonly op: 'rebalance';
  readonly budget: string;
}

export type BudgetCall =
  | CreateBudget
  | SetLimit
  | RequestRights
  | Reserve
  | Settle
  | Report
  | TransferRights
  | WriteOff
  | Rebalance;

export interface BudgetAnswers {
  readonly create: BudgetStatus;
  readonly setLimit: BudgetStatus;
  /** What came within the time, which may be less than was asked for; `BUDGET_EXHAUSTED` only where nothing did. `rights`: of this node now. */
  readonly request: { readonly granted: number; readonly rights: number };
  /** Wall time in ms. */
  readonly reserve: { readonly reservationId: string; readonly amount: number; readonly expiresAt: number };
  /** `freed`: what went back to the rights. `overrun`: what was spent beyond them. `ending` other than `settled`: its time had run out before. */
  readonly settle: {
    readonly reservationId: string;
    readonly amount: number;
    readonly freed: number;
    readonly overrun: number;
    readonly ending: 'settled' | 'charged' | 'freed';
  };
  readonly report: { readonly id: string; readonly amount: number; readonly overrun: number };
  readonly transfer: { readonly moved: number; readonly rights: number };
  /** `writtenOff` went back to the reserve; `lost` counts as spent. */
  readonly writeOff: { readonly writtenOff: number; readonly lost: number };
  /** Moves that were ordered. */
  readonly rebalance: { readonly moves: number; readonly amount: number };
}

/** What one node has of a budget: the newest row that was heard of each of its accounts, added up. */
export interface MachineShare {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly state: 'alive' | 'suspect' | 'dead';
  /** Rights, held and spent together. */
  readonly allocated: number;
  /** Can be reserved. */
  readonly rights: number;
  readonly held: number;
  /** With what a write-off charged for what it held. */
  readonly spent: number;
  readonly overrun: number;
  /** Units a second, lately; of other machines as their rows tell. */
  readonly burnPerSecond: number;
  /**
   * What cannot be reached: rights and holds of a dead machine, or of an account that its machine has lost, and what is on the way to it,
   * without what others took in from it since it was heard last. What a write-off gives back and what it counts as lost, together.
   */
  readonly stranded: number;
  readonly accounts: readonly string[];
  /**
   * Wall time in ms by that machine's clock: what it acknowledged before is in these sums, whatever was lost on the way. Of one that spends
   * nothing, when it told last that it did; `undefined` where nothing was heard of it.
   */
  readonly asOf: number | undefined;
}

/** One budget in the period that runs. Sums are of rows heard so far: `remaining` is a lower bound of what can be had from here now: rights that this node could not take in do not count, nor what debts of machines that can be reached take first, nor what those that the budget is a part of do not have. All other sums are of the budget alone. */
export interface BudgetStatus {
  readonly budget: string;
  readonly unit: Unit;
  readonly window: Window;
  readonly parent: string | undefined;
  readonly expiry: Expiry;
  readonly thresholds: readonly number[];
  readonly limit: number;
  /** By how much the limit was lowered below what had been granted. */
  readonly owed: number;
  readonly reserve: number;
  readonly allocated: number;
  readonly held: number;
  readonly spent: number;
  readonly overrun: number;
  readonly remaining: number;
  /** Of those that the budget is a part of, the one that has less left than the budget itself: `remaining` is what that one has. */
  readonly limitedBy: string | undefined;
  readonly stranded: number;
  /** Granted or passed on, and not taken in yet: to accounts in use. */
  readonly onTheWay: number;
  readonly burnPerSecond: number;
  /** Wall time in ms when it, or one that it is a part of, runs out at this pace, before the period ends. */
  readonly projectedEnd: number | undefined;
  /** Wall time in ms when the period ends. */
  readonly periodEnd: number | undefined;
  /** Wall time in ms: how old the oldest of the rows that this is made of may be. Of machines that can be reached it counts on nothing being lost on the way: see `MachineShare.asOf`. */
  readonly asOf: number;
  readonly machines: readonly MachineShare[];
  /** Agents that spent beyond the rights of this machine, which therefore lets them spend no more; the largest, at most `limits.budgetDebtsShown`. */
  readonly debts: readonly Debt[];
  /** Findings of the conservation check: empty, or money was made or lost. */
  readonly problems: readonly string[];
}

export interface Debt {
  readonly agent: string;
  readonly amount: number;
}

/** Raised once for each threshold and period, on whichever nodes hear of it first. */
export interface ThresholdPassed {
  readonly budget: string;
  readonly percent: number;
  readonly spent: number;
  readonly limit: number;
}

export interface Budgets {
  /**
   * Errors: INVALID_ARGUMENT, NOT_FOUND, CONFLICT, DENIED (an agent in debt), BUDGET_EXHAUSTED (`details`: what is left, where;
   * `retryAfterMs`), QUORUM_UNAVAILABLE, QUOTA_EXCEEDED, TOO_LARGE, UNREACHABLE, INTERNAL (the disk). `details.outcome` tells whether it
   * may have taken effect.
   */
  call<C extends BudgetCall>(call: C, signal?: AbortSignal): Promise<Result<BudgetAnswers[C['op']]>>;
  /** Errors: NOT_FOUND, QUORUM_UNAVAILABLE (the store was not read yet), UNSUPPORTED (a later version wrote the budget). */
  status(budget: string): Result<BudgetStatus>;
  /** In the order of names. */
  list(): readonly BudgetStatus[];
  /** Why `list` may lack budgets, as long as the quorum store was not read: QUORUM_UNAVAILABLE. */
  readonly notRead?: ErrorBody | undefined;
  /** Periods that should have left the quorum store long ago, by this node's clock (`limits.budgetGraceMs` and `budgetLoneGraceMs` after their end). */
  readonly overdue: number;
  /** What may have changed in a budget is told at most once in `limits.budgetNoticeMs`. */
  watch(listener: (budget: string) => void): () => void;
  onThreshold(listener: (passed: ThresholdPassed) => void): () => void;
  /** Who holds the orchestrator's lease, as far as this node knows; nobody where that one cannot be reached. */
  readonly orchestrator: NodeId | undefined;
}
