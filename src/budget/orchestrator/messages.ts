/** What the machine that holds the orchestrator's lease is told, what it orders, and what it is made of. */
import type { Mark, PeerDown, PeerUp, Send } from '../../kernel/effects.ts';
import type { Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Rng } from '../../kernel/rng.ts';
import type { Instant } from '../../kernel/time.ts';
import type { KeyChange, KeyValue, Lease, QuorumKey, TransactionAnswer } from '../../quorum/port.ts';
import type { OrderFrame } from '../gathering/frames.ts';
import type { LedgerView, OrderAnswered, RebalanceAnswered, RebalanceAsked } from '../gathering/messages.ts';
import type { StoreCall } from '../messages.ts';
import type { AccountId, BudgetName, PurseKey } from '../names.ts';
import type { Fence, View } from '../reserve-register.ts';
import type { Paces } from './paces.ts';

/** Hangs on the lease of whoever is orchestrator; under `ALL_BUDGETS`, and no name of a budget, purse or account. */
export const ORCHESTRATOR_KEY: QuorumKey = 'budget/!orchestrator/lease';

/** Who is orchestrator, by the newest that is known of `ORCHESTRATOR_KEY`. */
export interface Lead {
  readonly node: NodeId;
  /** Grows with every change of hands. */
  readonly fence: Fence;
}

/** What is known of the reserve register without asking it: the mirror that the budgets' machine keeps. */
export interface RegisterMirror {
  /** As `viewOf` would give it; what does not exist has revision 0. `undefined` where the mirror was not filled yet. */
  view(purse: PurseKey, account: AccountId): View | undefined;
  /** The account that the node spends from: the one heard of last, and of those never heard of the one opened last. */
  currentAccount(node: NodeId): AccountId | undefined;
  /** Purses of the current period of every budget: those to look after. */
  purses(now: Instant): Iterable<{ readonly budget: BudgetName; readonly purse: PurseKey }>;
}

export type OrchestratorEvent =
  | PeerUp
  | PeerDown
  /** As the budgets' machine is told them: after its own mirror took them in. */
  | { readonly kind: 'storeRead'; readonly revision: number; readonly entries: readonly KeyValue[] }
  | { readonly kind: 'storeChanged'; readonly revision: number; readonly changes: readonly KeyChange[] }
  /** The answer to this machine's `askStore` with this id. */
  | {
      readonly kind: 'storeAnswered';
      readonly id: number;
      readonly result: Result<TransactionAnswer | Lease | { readonly revision: number }>;
    }
  /** What came over the channel `call` for this machine: effects of `Gathering`, handed on as they are. */
  | OrderAnswered
  | RebalanceAsked
  | RebalanceAnswered
  /** A row of another account was taken in by the ledger, or rights here have changed. */
  | { readonly kind: 'rowTaken'; readonly purse: PurseKey }
  /** The caller's `rebalance`. Answered by `rebalanced`, once. */
  | { readonly kind: 'rebalanceRequested'; readonly id: number; readonly budget: BudgetName }
  /** The node stops in order: gives the lease back. */
  | { readonly kind: 'stopping' };

/** `id` is this machine's own: the budgets' machine maps it to one of its own, and back. */
export interface OrchestratorAsksStore {
  readonly kind: 'askStore';
  readonly id: number;
  readonly call: StoreCall;
}

/** Errors: UNREACHABLE (no orchestrator is known, or it does not answer), NOT_FOUND. */
export interface Rebalanced {
  readonly kind: 'rebalanced';
  readonly id: number;
  readonly result: Result<{ readonly moves: number; readonly amount: number }>;
}

/** The order is for this node itself: hand it to `Gathering`. */
export interface OrderHere {
  readonly kind: 'orderHere';
  readonly frame: OrderFrame;
}

/** `lead` of the machine is another now. */
export interface LeadChanged {
  readonly kind: 'leadChanged';
  readonly lead: Lead | undefined;
}

export type OrchestratorEffect = OrchestratorAsksStore | Send | Mark | OrderHere | Rebalanced | LeadChanged;

/** Of `new Orchestrator(options)`. */
export interface OrchestratorOptions {
  readonly self: NodeId;
  /** Whether this node has the role: others only follow who holds the lease. */
  readonly isCandidate: boolean;
  readonly ledger: LedgerView;
  readonly mirror: RegisterMirror;
  readonly paces: Paces;
  readonly rng: Rng;
  readonly now: Instant;
}
