/** Settings of the embedded engine. */
import type { RaftConfig } from './raft/types.ts';
import type { VoterPolicy } from './voters/voter-policy.ts';

export interface QuorumConfig {
  /** This node founds a store if it finds none: it was given no peer and no token, and its data is fresh. */
  readonly mayFound: boolean;
  readonly foundAfterMs: number;
  readonly mayVote: boolean;
  readonly voters: VoterPolicy;
  readonly raft: RaftConfig;
  /** The newest format of a store that this node understands; default `NEWEST_FORMAT`. For tests of what another version does. */
  readonly newestFormat?: number;
}
