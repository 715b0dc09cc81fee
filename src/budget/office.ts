/** What the parts of the budgets' machine share. */
import type { Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Instant } from '../kernel/time.ts';
import type { Errand, Errands } from './errands.ts';
import type { Ledger } from './ledger.ts';
import type { LedgerEvent } from './ledger-messages.ts';
import type { BudgetEffect } from './messages.ts';
import type { Mirror } from './mirror.ts';
import type { FreshNumber } from './names.ts';
import type { Paces } from './orchestrator/paces.ts';
import type { PriceTable } from './price.ts';

export type MemberState = 'alive' | 'suspect' | 'dead';

export interface Office {
  readonly self: NodeId;
  readonly ledger: Ledger;
  readonly mirror: Mirror;
  readonly errands: Errands;
  readonly paces: Paces;
  readonly prices: PriceTable;
  readonly nameOf: (node: NodeId) => string;
  /** `undefined` for a node that nobody has heard of. */
  readonly stateOf: (node: NodeId) => MemberState | undefined;
  readonly fresh: () => FreshNumber;
  /** For the ids of requests. */
  readonly drawn: () => FreshNumber;
  /** When a row of an account was last heard, by the wall clock. */
  readonly heardAt: ReadonlyMap<string, number>;
  order(effect: BudgetEffect): void;
  /** Behind what was ordered before. */
  answer(id: number, result: Result<unknown>): void;
  /** Behind the record of what was spent within this turn of the host's loop; nothing of the call may be ordered otherwise. */
  answerRecorded(id: number, result: Result<unknown>): void;
  /** Takes in what the ledger's last `perform` ordered. */
  absorb(now: Instant): void;
  /** Hands the ledger a fact, and takes in what it orders. */
  tell(event: LedgerEvent, now: Instant): void;
  /** Runs an errand and, before its outcome is told, takes into the mirror what it wrote. */
  send<T>(errand: Omit<Errand<T>, 'done'>, how: Sending<T>, now: Instant): void;
}

export interface Sending<T> {
  readonly done: (result: Result<T>, now: Instant) => void;
  /** The first try is planned on what the store says now, not on the mirror. */
  readonly strong?: boolean;
}
