/** What the budgets' machine is told and what it orders. */
import type {
  Answer,
  DiskFailed,
  DiskRecovered,
  Mark,
  PeerDown,
  PeerUp,
  Penalise,
  Persist,
  Received,
  Send,
} from '../kernel/effects.ts';
import type { Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { KeyChange, KeyValue, Lease, LeaseId, Transaction, TransactionAnswer } from '../quorum/port.ts';
import type { BudgetCall, ThresholdPassed } from './api.ts';
import type { PublishRow } from './ledger-messages.ts';

/** What is asked of the quorum store, whichever engine keeps it. */
export type StoreCall =
  | { readonly op: 'transact'; readonly transaction: Transaction }
  | { readonly op: 'grantLease'; readonly ttlMs: number }
  | { readonly op: 'renewLease'; readonly id: LeaseId }
  | { readonly op: 'revokeLease'; readonly id: LeaseId };

export type BudgetEvent =
  | { readonly kind: 'budgetRequested'; readonly id: number; readonly call: BudgetCall }
  | { readonly kind: 'budgetCancelled'; readonly id: number }
  /** The answer to `askStore`. */
  | {
      readonly kind: 'storeAnswered';
      readonly id: number;
      readonly result: Result<TransactionAnswer | Lease | { readonly revision: number }>;
    }
  /** All that the store has under `ALL_BUDGETS`: at the start, and whenever its changes could not be told one by one. */
  | {
      readonly kind: 'storeRead';
      readonly revision: number;
      readonly entries: readonly KeyValue[];
      /** It is this node's copy, and the store may have had more than that for long. */
      readonly isBehind?: boolean;
    }
  /** What was told of the store is all that it had at some moment since this node was started. */
  | { readonly kind: 'storeProved' }
  /** All changes of one revision under `ALL_BUDGETS`; in order, each revision once. */
  | { readonly kind: 'storeChanged'; readonly revision: number; readonly changes: readonly KeyChange[] }
  /** A signed record of kind `budget`, checked to be its owner's; `body` is `undefined` where it was withdrawn. `isKept`: read from this node's disk at its start. */
  | {
      readonly kind: 'rowHeard';
      readonly owner: NodeId;
      readonly key: string;
      readonly version: number;
      readonly body: unknown;
      readonly isKept?: boolean;
    }
  | { readonly kind: 'memberChanged'; readonly member: NodeId; readonly state: 'alive' | 'suspect' | 'dead' }
  | PeerUp
  | PeerDown
  /** A frame of the channel `call`. */
  | Received
  | DiskFailed
  | DiskRecovered;

/** Ask the quorum store, and tell the machine `storeAnswered` with this id, exactly once. */
export interface AskStore {
  readonly kind: 'askStore';
  /** The second is of calls that tell nothing of the account: they wait for no disk. */
  readonly stream: 'budget' | 'budget/orchestrator';
  readonly id: number;
  readonly call: StoreCall;
}

/** What the status of this budget says may have changed. */
export interface BudgetChanged {
  readonly kind: 'budgetChanged';
  readonly budget: string;
}

export interface ThresholdReached extends ThresholdPassed {
  readonly kind: 'thresholdPassed';
}

export type BudgetEffect =
  | Persist
  | Answer
  | Mark
  | Send
  | Penalise
  | PublishRow
  | AskStore
  | BudgetChanged
  | ThresholdReached;
