/** Swarms that are watched while nobody asks anything of them. */
import { quorumConfigOf } from '../../src/node/quorum-config.ts';
import { isVoter } from '../../src/quorum/arithmetic/joint.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import type { Quorum } from '../../src/quorum/quorum.ts';

export const IDLE_MEMBERS = 11;
/** How long is counted. */
export const IDLE_SECONDS = 60;

/** As a node has it, except that the first member founds at once and a voter is soon replaced. */
export function idleQuorum(index: number): QuorumConfig {
  return quorumConfigOf({
    voters: 3,
    foundAfterMs: 200,
    replaceAfterMs: 60_000,
    reads: 'index',
    isToldOfOthers: index > 0,
    roles: [],
  });
}

export function roleOf(quorum: Quorum | undefined): 'leader' | 'voter' | 'learner' | 'none' {
  const replica = quorum?.replica;
  if (replica === undefined) return 'none';
  if (replica.isLeader) return 'leader';
  return isVoter(replica.raft.configuration, replica.server) ? 'voter' : 'learner';
}
