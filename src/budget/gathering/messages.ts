/** What the machine that asks other nodes for rights is told, what it orders, and what it is made of. */
import type { Mark, PeerDown, PeerUp, Penalise, Received, Send } from '../../kernel/effects.ts';
import type { Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';
import type { Amount } from '../amount.ts';
import type { Ledger } from '../ledger.ts';
import type { AccountId, BudgetName, PurseKey } from '../names.ts';
import type { Lead, OrderHere } from '../orchestrator/messages.ts';
import type { Paces } from '../orchestrator/paces.ts';
import type { Moved, Settlement } from '../spending.ts';

export type GatheringEvent =
  | PeerUp
  | PeerDown
  /** A frame of the channel `call`: all of them come here. */
  | Received
  /**
   * Something waits here that needs `need` rights at once in this purse, and the reserve cannot give them (it is empty, or there
   * is no quorum). Tell it again whenever `need` changes, with what the one that waited longest needs; 0 where nothing waits any more.
   * `waiting` is what all that wait here need together (default: `need`): so much is asked for where others can spare it.
   */
  | {
      readonly kind: 'wanted';
      readonly purse: PurseKey;
      readonly need: Amount;
      readonly waiting?: Amount;
    }
  /** The ledger said `rightsChanged`. */
  | { readonly kind: 'rightsChanged'; readonly purse: PurseKey }
  /** A row of another account was taken in by the ledger. */
  | { readonly kind: 'rowTaken'; readonly purse: PurseKey }
  /** The answer to `moveRights`. Give it in the same run in which the ledger answered: what is sent on it must stay behind the ledger's persist. */
  | { readonly kind: 'rightsMoved'; readonly id: number; readonly result: Result<Moved> }
  /** Settle a reservation on the node that made it. Answered by `settledThere`, once. */
  | {
      readonly kind: 'settleThere';
      readonly id: number;
      readonly node: NodeId;
      readonly reservation: string;
      readonly amount: Amount;
    }
  /** The orchestrator of this node orders itself. */
  | OrderHere
  /** The answer to `settleHere`; in the same run, as above. */
  | { readonly kind: 'settledHere'; readonly id: number; readonly result: Result<Settlement> };

/** Have the ledger pass rights to another account or give them back, and tell `rightsMoved` with this id. */
export interface MoveRights {
  readonly kind: 'moveRights';
  readonly id: number;
  readonly call:
    | {
        readonly op: 'transfer';
        readonly purse: PurseKey;
        readonly to: AccountId;
        readonly amount: Amount;
        readonly above: Amount;
      }
    /** Recalled by the orchestrator: once it is done, what the row says was returned goes into the reserve (`planReturn`). */
    | { readonly op: 'return'; readonly purse: PurseKey; readonly amount: Amount; readonly above: Amount };
}

/** Another node asks to settle a reservation that was made here. Idempotent by the reservation: have the ledger settle it, and tell `settledHere`. */
export interface SettleHere {
  readonly kind: 'settleHere';
  readonly id: number;
  readonly reservation: string;
  readonly amount: Amount;
}

/** Errors: those of the ledger, UNREACHABLE (`details.outcome`: `not-done` where nothing was sent, else `unknown`). */
export interface SettledThere {
  readonly kind: 'settledThere';
  readonly id: number;
  readonly result: Result<Settlement>;
}

/** How much one node says it can spend; what all reachable ones have is what a denial is about. */
export interface Share {
  readonly node: NodeId;
  readonly rights: Amount;
}

/**
 * Everybody that can be reached was asked a moment ago, and all together have less than `need`: deny whoever waits here for
 * more than `reachable` (what is here counts in it). Told again, without asking anybody, while that is known and something is wanted.
 */
export interface Exhausted {
  readonly kind: 'exhausted';
  readonly purse: PurseKey;
  readonly need: Amount;
  readonly reachable: Amount;
  readonly shares: readonly Share[];
  /** When asking again may help. */
  readonly retryAfterMs: number;
}

/** The answer of a node to an order of this one; for the orchestrator's `orderAnswered`. */
export interface OrderAnswered {
  readonly kind: 'orderAnswered';
  readonly from: NodeId;
  readonly id: number;
  /** By this order, or by one before it that this one repeats; 0: refused. */
  readonly moved: Amount;
}

/** A node asks this one, as the orchestrator, to even out rights; for the orchestrator. */
export interface RebalanceAsked {
  readonly kind: 'rebalanceAsked';
  readonly from: NodeId;
  readonly id: number;
  readonly budget: BudgetName;
}

/** The orchestrator's answer to this node; for the orchestrator's machine here. `undefined`: it is none. */
export interface RebalanceAnswered {
  readonly kind: 'rebalanceAnswered';
  readonly from: NodeId;
  readonly id: number;
  readonly ordered: { readonly moves: number; readonly amount: Amount } | undefined;
}

export type GatheringEffect =
  | Send
  | Penalise
  | Mark
  | MoveRights
  | SettleHere
  | SettledThere
  | Exhausted
  | OrderAnswered
  | RebalanceAsked
  | RebalanceAnswered;

/** What is read of the ledger. */
export type LedgerView = Pick<Ledger, 'account' | 'isConfirmed' | 'purses' | 'rows'>;

/** Of `new Gathering(options)`. */
export interface GatheringOptions {
  readonly self: NodeId;
  readonly ledger: LedgerView;
  readonly paces: Paces;
  /** Who may order moves, as the mirror of the quorum store shows it now; orders of anybody else are refused. */
  readonly lead: () => Lead | undefined;
  /** Limit of the purse's budget, for the size of what is asked for; `undefined` where it is not known. */
  readonly limitOf: (purse: PurseKey) => Amount | undefined;
  readonly now: Instant;
}
