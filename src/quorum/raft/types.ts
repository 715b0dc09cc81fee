/** What the Raft core is told and what it orders. Section numbers are of Ongaro's dissertation (2014). */
import type { Branded } from '../../kernel/ids.ts';

/**
 * One server of the protocol: a node together with the storage that its votes are written on, `NODE/STORAGE`. A node
 * whose storage was lost comes back as another server: it can never vote twice under one name.
 */
export type ServerId = Branded<string, 'ServerId'>;

/** Counts from 1; 0 is before the first entry. */
export type LogIndex = number;
export type Term = number;

/** A majority of `incoming`, and while `outgoing` is not empty of both (joint consensus, 4.3). Sorted. */
export interface Configuration {
  readonly incoming: readonly ServerId[];
  readonly outgoing: readonly ServerId[];
}

export type LogEntry =
  | { readonly kind: 'command'; readonly index: LogIndex; readonly term: Term; readonly command: Uint8Array }
  | {
      readonly kind: 'configuration';
      readonly index: LogIndex;
      readonly term: Term;
      readonly configuration: Configuration;
    }
  /** What a leader appends when it is elected, so that entries of older terms can commit (3.6.2); the first of all appends the configuration instead. */
  | { readonly kind: 'blank'; readonly index: LogIndex; readonly term: Term };

export interface HardState {
  readonly term: Term;
  readonly votedFor: ServerId | undefined;
}

/** Where the log begins: all up to `index` is in the state machine's snapshot. */
export interface SnapshotPoint {
  readonly index: LogIndex;
  readonly term: Term;
  /** In force at `index`. */
  readonly configuration: Configuration;
}

/** Who follows: voters and, beside them, learners, which get every entry and count for nothing (4.2.1). */
interface RaftMessageHead {
  readonly from: ServerId;
  readonly to: ServerId;
  readonly term: Term;
}

export type RaftMessage = RaftMessageHead &
  (
    | {
        readonly kind: 'voteRequest';
        /** Asks whether it would be granted, changes nothing (9.6). */
        readonly isPreVote: boolean;
        readonly lastIndex: LogIndex;
        readonly lastTerm: Term;
        /** The leader asked for this election: voters need not wait out their leader's lease (3.10). */
        readonly isTransfer: boolean;
      }
    | { readonly kind: 'voteAnswer'; readonly isPreVote: boolean; readonly granted: boolean }
    | {
        readonly kind: 'append';
        readonly previousIndex: LogIndex;
        readonly previousTerm: Term;
        readonly entries: readonly LogEntry[];
        readonly commit: LogIndex;
        /** Echoed in the answer: confirms that the leader led when this round began (read index, 6.4). */
        readonly round: number;
        /** On the leader's own disk up to here: within its term that only grows. */
        readonly stable: LogIndex;
      }
    | {
        readonly kind: 'appendAnswer';
        readonly ok: boolean;
        /** ok: on this server's disk up to here. Else: where the leader should try next (3.5, conflict hints). */
        readonly index: LogIndex;
        /** Where not ok: term of the conflicting entry, 0 where the log is too short. */
        readonly conflictTerm: Term;
        readonly round: number;
      }
    /** The leader wants this server to be its successor, now (3.10). */
    | { readonly kind: 'timeoutNow' }
    /** A follower asks from which index on a linearizable read is possible; `reads` are tokens of the asker. */
    | { readonly kind: 'readRequest'; readonly reads: readonly number[] }
    | {
        readonly kind: 'readAnswer';
        readonly reads: readonly number[];
        readonly index: LogIndex;
        readonly ok: boolean;
      }
  );

export type RaftEvent =
  | { readonly kind: 'received'; readonly message: RaftMessage }
  /** Commands for the log, in order. Refused by `refused` unless this server leads. */
  | {
      readonly kind: 'proposed';
      readonly proposals: readonly { readonly token: number; readonly command: Uint8Array }[];
    }
  /** Everything up to this `awaitDisk` is on disk. */
  | { readonly kind: 'diskReached'; readonly sequence: number }
  /** May be asked on any server; answered by `readReady` or `readRefused`. */
  | { readonly kind: 'readAsked'; readonly token: number }
  /** Leader only: change the voters, one joint change at a time (4.3). Answered by `refused` or, when both changes are committed, `reconfigured`. */
  | { readonly kind: 'changeAsked'; readonly token: number; readonly voters: readonly ServerId[] }
  | { readonly kind: 'transferAsked'; readonly token: number; readonly to: ServerId }
  /** Who else may be sent entries: every server of this store that can be reached. Leaders replicate to these and the voters. */
  | { readonly kind: 'serversReachable'; readonly servers: readonly ServerId[] }
  /** The state machine has a durable snapshot up to here: older entries may go, but for a tail for slow followers. */
  | { readonly kind: 'snapshotted'; readonly index: LogIndex }
  /** The state machine was replaced by a leader's snapshot, and that is on disk. */
  | {
      readonly kind: 'snapshotInstalled';
      readonly point: SnapshotPoint;
      readonly from: ServerId;
      readonly term: Term;
    }
  /** The snapshot for a follower has arrived there, or has not. */
  | { readonly kind: 'snapshotSent'; readonly to: ServerId; readonly index: LogIndex; readonly ok: boolean }
  /** Nothing since the last `diskReached` is certain: step down, vote for nobody, acknowledge nothing. */
  | { readonly kind: 'diskFailed' }
  /** The disk works again; what was not certain must be persisted anew before anything else is said. */
  | { readonly kind: 'diskRecovered' };

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

export type RaftEffect =
  /** `afterDisk`: only once all that was persisted before is on disk. */
  | { readonly kind: 'sendMessage'; readonly message: RaftMessage; readonly afterDisk: boolean }
  | { readonly kind: 'persistHardState'; readonly state: HardState }
  /** Replaces whatever was at `entries[0].index` and behind it. */
  | { readonly kind: 'persistEntries'; readonly entries: readonly LogEntry[] }
  /** Report `diskReached` with this number once all that was persisted before is on disk. */
  | { readonly kind: 'awaitDisk'; readonly sequence: number }
  /** Committed, in order, each exactly once in a run. */
  | { readonly kind: 'apply'; readonly entries: readonly LogEntry[] }
  /** The proposal has this place in the log; what becomes of it is seen when that index is applied with that term. */
  | { readonly kind: 'appended'; readonly token: number; readonly index: LogIndex; readonly term: Term }
  | {
      readonly kind: 'refused';
      readonly token: number;
      readonly reason: 'notLeader' | 'busy' | 'changing' | 'invalid';
    }
  /** Once `index` is applied here, the state is at least as new as when the read was asked. */
  | { readonly kind: 'readReady'; readonly token: number; readonly index: LogIndex }
  | { readonly kind: 'readRefused'; readonly token: number }
  | { readonly kind: 'reconfigured'; readonly token: number; readonly configuration: Configuration }
  /** The transfer worked: `leader`, the server that was asked for, leads. */
  | { readonly kind: 'transferred'; readonly token: number; readonly leader: ServerId }
  /** The follower needs what the log no longer has: send it a snapshot, report `snapshotSent`. */
  | { readonly kind: 'snapshotWanted'; readonly to: ServerId; readonly term: Term }
  | {
      readonly kind: 'leadership';
      readonly role: Role;
      readonly term: Term;
      readonly leader: ServerId | undefined;
    }
  | {
      readonly kind: 'mark';
      readonly stream: string;
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly name: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

export interface RaftConfig {
  /** A follower that hears nothing for one to two times this long stands for election. */
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  /** So much earlier a heartbeat may leave where the leader is awake for another reason; by default it may not. */
  readonly heartbeatEarlyMs?: number;
  /** Entries that are on their way to one follower, not yet acknowledged. */
  readonly inFlightBytes: number;
  /** Entries in one append. */
  readonly appendBytes: number;
  /** Appended and not yet committed at a leader: more is refused as `busy`. */
  readonly uncommittedBytes: number;
  /** `lease` reads are answered by a leader without asking while a majority was heard within `electionTimeoutMs` less `leaseDriftMs`; `index` reads never rely on clocks. */
  readonly reads: 'index' | 'lease';
  readonly leaseDriftMs: number;
  /** Entries in a snapshot that the log keeps for slow followers; by default `limits.raftTailEntries`. */
  readonly tailEntries?: number;
}

/** What the disk held. */
export interface Restored {
  readonly hardState: HardState;
  readonly point: SnapshotPoint;
  /** Contiguous from `point.index + 1` on. */
  readonly entries: readonly LogEntry[];
  /** The state machine holds everything up to here; without it, up to `point.index`. Nothing of that is applied again. */
  readonly applied?: LogIndex;
}
