/** What an account is told and what it orders, and what is read of it. */
import type { Answer, DiskFailed, DiskRecovered, Mark, Persist } from '../kernel/effects.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Amount } from './amount.ts';
import type { Definition } from './definition.ts';
import type { AccountId, BudgetName, FreshNumber, PurseKey } from './names.ts';
import type { Row } from './row.ts';
import type { End } from './rows.ts';
import type { LedgerCall, Moved, Reservation, Settlement } from './spending.ts';

export type LedgerEvent =
  | { readonly kind: 'requested'; readonly id: number; readonly call: LedgerCall }
  /** A budget as the quorum store has it now; `undefined`: there is none of this name. */
  | { readonly kind: 'defined'; readonly budget: BudgetName; readonly definition: Definition | undefined }
  /** What the register says of an account, this or another; `end` once it was written off. */
  | {
      readonly kind: 'registered';
      readonly purse: PurseKey;
      readonly account: AccountId;
      readonly granted: Amount;
      readonly end?: End;
    }
  /** A signed record of kind `budget`, checked to be its owner's; `version` is the record's sequence. */
  | {
      readonly kind: 'rowHeard';
      readonly owner: NodeId;
      readonly key: string;
      readonly version: number;
      readonly body: unknown;
    }
  /** The quorum store took the number of this start. */
  | { readonly kind: 'opened'; readonly account: AccountId; readonly nonce: FreshNumber }
  /** The quorum store has the number of another start, or the account was fenced off. */
  | { readonly kind: 'fenced'; readonly account: AccountId; readonly reason: string }
  | DiskFailed
  | DiskRecovered;

/** Put `nonce` into the register of accounts where that holds none or one of `known` (see `planOpening`), and tell the outcome. Try until there is one. */
export interface OpenAccount {
  readonly kind: 'openAccount';
  readonly stream: 'budget';
  readonly account: AccountId;
  readonly nonce: FreshNumber;
  readonly known: readonly FreshNumber[];
}

/** Publish the row as a signed record; `undefined` withdraws it. */
export interface PublishRow {
  readonly kind: 'publishRow';
  readonly stream: 'budget';
  readonly key: string;
  readonly body: unknown;
  /** Who should have it at once; the others hear it with what else they are sent. */
  readonly to?: readonly NodeId[] | 'all';
}

/** Rights came in, or the account was replaced: whoever waits for money should look again. */
export interface RightsChanged {
  readonly kind: 'rightsChanged';
  readonly stream: 'budget';
  readonly purse: PurseKey;
}

export interface OwnPurse {
  /** A copy. */
  readonly row: Row;
  readonly rights: Amount;
  readonly granted: Amount;
  readonly returned: Amount;
  readonly spent: Amount;
  readonly held: Amount;
  /** Grows with every change. */
  readonly sequence: number;
  readonly sent: ReadonlyMap<AccountId, Amount>;
  readonly received: ReadonlyMap<AccountId, Amount>;
  /** What agents spent beyond rights and nothing has paid since. */
  readonly debts: ReadonlyMap<string, Amount>;
}

export interface LedgerAnswers {
  readonly reserve: Reservation;
  readonly settle: Settlement;
  readonly report: Settlement;
  readonly transfer: Moved;
  readonly return: Moved;
}

export type LedgerEffect = Persist | Answer | Mark | OpenAccount | PublishRow | RightsChanged;
