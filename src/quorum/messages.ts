/** What the quorum machine is told and what it orders. */
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
  Stream,
} from '../kernel/effects.ts';
import { type ErrorBody, errorBody } from '../kernel/errors.ts';
import type { KeyChange, KeyRange, LeaseId, QuorumKey, Transaction } from './port.ts';

/** Calls that need the quorum; what the mirror can answer is read from the machine without one. */
export type QuorumCall =
  | { readonly op: 'transact'; readonly transaction: Transaction }
  | { readonly op: 'get'; readonly key: QuorumKey }
  | { readonly op: 'range'; readonly range: KeyRange; readonly limit: number }
  | { readonly op: 'grantLease'; readonly ttlMs: number }
  | { readonly op: 'renewLease'; readonly id: LeaseId }
  | { readonly op: 'revokeLease'; readonly id: LeaseId }
  /** Found a store here and now, although the node would not by itself. */
  | { readonly op: 'found' }
  /** The voters are lost for good: go on from what this node has, alone. May lose what only they knew. */
  | { readonly op: 'recover' }
  /** As leader: give up this store, data and all, for another that can be reached. */
  | { readonly op: 'abandon'; readonly keep: string };

export interface QuorumRequested {
  readonly kind: 'quorumRequested';
  readonly id: number;
  readonly call: QuorumCall;
}

interface QuorumCancelled {
  readonly kind: 'quorumCancelled';
  readonly id: number;
}

/** All that the stream persisted before `awaitDisk` with this number is on disk. */
export interface DiskReached {
  readonly kind: 'diskReached';
  readonly stream: Stream;
  readonly sequence: number;
}

export type QuorumEvent =
  | PeerUp
  | PeerDown
  | Received
  | QuorumRequested
  | QuorumCancelled
  | DiskReached
  | DiskFailed
  | DiskRecovered;

/** Tell the machine `diskReached` once all that its stream persisted so far is on disk. */
export interface AwaitDisk {
  readonly kind: 'awaitDisk';
  readonly stream: Stream;
  readonly sequence: number;
}

/** A transaction took effect in this node's copy; in order, each revision once. */
export interface RegisterChanged {
  readonly kind: 'registerChanged';
  readonly revision: number;
  readonly changes: readonly KeyChange[];
}

/** This node's copy was replaced as a whole: what changed is not told one by one. */
export interface RegisterReplaced {
  readonly kind: 'registerReplaced';
  /** By a later state of the same store; else revisions of before mean nothing any more. */
  readonly isSameStore: boolean;
}

export type QuorumEffect =
  | Send
  | Persist
  | Answer
  | Mark
  | Penalise
  | AwaitDisk
  | RegisterChanged
  | RegisterReplaced;

/** Nobody else heard of the call (`not-done`), or it may take effect yet (`unknown`). */
export type Outcome = 'not-done' | 'unknown';

/** `asked`: a read changes nothing anyway, and is told nothing of changes. */
export function unavailable(
  what: string,
  outcome: Outcome,
  details: Readonly<Record<string, unknown>> = {},
  asked: 'write' | 'read' = 'write',
): ErrorBody {
  const again = 'Try again when a majority of the voters can be reached (skein voters list).';
  const notDone = asked === 'read' ? again : `Nothing was changed. ${again}`;
  const unknown = 'The change may take effect yet: read the entry before you write again.';
  return errorBody(
    'QUORUM_UNAVAILABLE',
    what,
    `${outcome === 'unknown' ? unknown : notDone} Reads at level eventual go on.`,
    { retryable: true, retryAfterMs: 500, details: { outcome, ...details } },
  );
}
