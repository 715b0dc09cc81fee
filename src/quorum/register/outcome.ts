/** What becomes of a command. */
import type { ErrorCode } from '../../kernel/errors.ts';
import type { KeyChange, KeyValue, Lease, LeaseId, OperationAnswer, TransactionAnswer } from '../port.ts';
import type { ClientId } from './command.ts';

/** What a client is told, and told again when it asks again. */
export type Outcome =
  | { readonly kind: 'transacted'; readonly answer: TransactionAnswer }
  /** Or renewed. */
  | { readonly kind: 'granted'; readonly lease: Lease }
  | { readonly kind: 'revoked'; readonly revision: number }
  /** Decided, and nothing changed. */
  | {
      readonly kind: 'failed';
      readonly code: Extract<
        ErrorCode,
        'INVALID_ARGUMENT' | 'TOO_LARGE' | 'NOT_FOUND' | 'CONFLICT' | 'QUOTA_EXCEEDED'
      >;
      readonly message: string;
    };

/**
 * Nothing changed and nothing is remembered: `unknownClient`, `busy` and `stale` leave open what another copy of the
 * same request did or will do.
 */
export type Refusal =
  /** Never opened, closed, or forgotten for its silence: whether an earlier try took effect cannot be said any more. */
  | 'unknownClient'
  /** The client said that it has the answer. */
  | 'stale'
  /** More answers are unacknowledged by this client than are remembered: it may ask again with the same sequence. */
  | 'busy'
  | 'malformed'
  /** Of a version to come. */
  | 'unknownKind';

/** How the leases changed: for the leader's clock. */
export type LeaseChange =
  | { readonly kind: 'granted' | 'renewed'; readonly lease: LeaseState }
  | { readonly kind: 'ended'; readonly id: LeaseId };

export interface LeaseState extends Lease {
  readonly renewals: number;
}

export interface Applied {
  /** Of the store, after this command. */
  readonly revision: number;
  /** Of this revision, in order; empty unless the command made it. */
  readonly changes: readonly KeyChange[];
  readonly leaseChanges: readonly LeaseChange[];
  /** Who asked, and which of its requests: 0 where nobody waits. */
  readonly client: ClientId;
  readonly sequence: number;
  readonly result:
    | Outcome
    /** Undefined where the lease has ended. */
    | { readonly kind: 'done' }
    | { readonly kind: 'refused'; readonly why: Refusal };
  /** The answer is remembered from an earlier command; this one changed nothing. */
  readonly repeated: boolean;
}

/** What remembering it takes, about. */
export function outcomeBytes(outcome: Outcome): number {
  let bytes = 96;
  if (outcome.kind === 'transacted')
    for (const answer of outcome.answer.answers) bytes += answerBytes(answer);
  return bytes;
}

/** What an entry counts for wherever entries are bounded by bytes and the bytes need not be exact. */
export function roughBytes(entry: KeyValue): number {
  return entry.key.length + entry.value.length + 96;
}

function answerBytes(answer: OperationAnswer): number {
  if (answer.op === 'get') return answer.found === undefined ? 32 : roughBytes(answer.found);
  if (answer.op === 'range') return answer.found.reduce((sum, entry) => sum + roughBytes(entry), 32);
  return 32;
}
