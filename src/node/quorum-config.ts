/** Timing of the embedded quorum store, and its settings out of a node's configuration. */
import type { QuorumConfig } from '../quorum/config.ts';
import type { RaftConfig } from '../quorum/raft/types.ts';

/**
 * A leader that is silent for 600 to 1,200 ms is replaced, which bounds how long a crash stops writes; two heartbeats
 * fit into that, so that one lost frame does not shake a leader. More would only wake a node that has nothing to do, and those
 * go along with whatever else wakes it.
 */
export const RAFT_CONFIG: RaftConfig = {
  electionTimeoutMs: 600,
  heartbeatMs: 280,
  heartbeatEarlyMs: 50,
  inFlightBytes: 4 * 1024 * 1024,
  appendBytes: 256 * 1024,
  // Half of what may wait for the disk: a disk that stalls must not be full before a leader says `busy`.
  uncommittedBytes: 32 * 1024 * 1024,
  reads: 'index',
  leaseDriftMs: 100,
};

export const FOUND_AFTER_MS = 3_000;
/** How long a member must have been up to be made a voter. */
const STABLE_MS = 3_000;

interface QuorumSettings {
  readonly voters: number;
  readonly foundAfterMs: number;
  readonly replaceAfterMs: number;
  readonly reads: RaftConfig['reads'];
  /** Peers, or a list of them, were configured. */
  readonly isToldOfOthers: boolean;
  readonly roles: readonly string[];
}

export function quorumConfigOf(settings: QuorumSettings): QuorumConfig {
  const { voters, foundAfterMs, replaceAfterMs, reads, isToldOfOthers, roles } = settings;
  const mayVote = !roles.includes('observer');
  return {
    mayFound: !isToldOfOthers && mayVote,
    foundAfterMs,
    mayVote,
    voters: { target: voters, stableMs: STABLE_MS, replaceAfterMs },
    raft: { ...RAFT_CONFIG, reads },
  };
}
