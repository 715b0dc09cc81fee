/**
 * Who should vote: the leader brings the voters to the wanted number, one joint change at a time, from one odd number to
 * the next.
 *
 * A member is promoted once it has been reachable and up to date for a while; a voter that was unreachable for long
 * is replaced when somebody can take its place, and at once where its node came back with another storage: its old
 * one will not speak again.
 */
import type { NodeId } from '../kernel/ids.ts';
import type { Configuration, ServerId } from './raft/types.ts';
import { nodeOf } from './server.ts';
import type { Wish } from './voter-wishes.ts';

export interface VoterPolicy {
  /** Wanted number of voters, 1 to 9. */
  readonly target: number;
  readonly stableMs: number;
  readonly replaceAfterMs: number;
}

export interface Member {
  readonly server: ServerId;
  /** It may be a voter by its role. */
  readonly mayVote: boolean;
  /** What a person wants of its node. */
  readonly wish: Wish | undefined;
  readonly isReachable: boolean;
  /** Since when reachable, or unreachable, on the monotonic clock. */
  readonly sinceMs: number;
  /** Its log ends close to the leader's. */
  readonly isCurrent: boolean;
}

export const MOST_VOTERS = 9;

/** The voters to change to, or `undefined` where all is well or nothing can be done. */
export function nextVoters(
  policy: VoterPolicy,
  self: ServerId,
  configuration: Configuration,
  members: ReadonlyMap<ServerId, Member>,
  ownWish: Wish | undefined,
  nowMs: number,
): readonly ServerId[] | undefined {
  if (configuration.outgoing.length > 0) return undefined;
  const voters = configuration.incoming;
  const able = candidates(policy, voters, members, nowMs);
  const candidate = able[0];
  const unwanted = voters.find((voter) => (voter === self ? ownWish : members.get(voter)?.wish) === 'never');
  if (unwanted !== undefined && voters.length > 1) return voters.filter((voter) => voter !== unwanted);
  if (candidate !== undefined && members.get(candidate)?.wish === 'always' && voters.length < MOST_VOTERS)
    return [...voters, candidate];
  // First who can go even where nobody takes the place.
  const gone =
    voters.find((voter) => voter !== self && isReplaced(voter, members)) ??
    voters.find((voter) => voter !== self && isGone(policy, voter, members, nowMs));
  if (gone !== undefined) {
    const rest = voters.filter((voter) => voter !== gone);
    if (candidate !== undefined) return [...rest, candidate];
    return isReplaced(gone, members) && rest.length > 0 ? rest : undefined;
  }
  const goal = oddGoal(policy.target, voters.length + able.length);
  return goal > voters.length ? [...voters, ...able.slice(0, goal - voters.length)] : undefined;
}

/** Two voters stop when either does, one only when that one does: an even number is chosen only where it is wanted. */
function oddGoal(target: number, available: number): number {
  const goal = Math.min(target, available, MOST_VOTERS);
  return goal % 2 === 0 && goal < target ? goal - 1 : goal;
}

function candidates(
  policy: VoterPolicy,
  voters: readonly ServerId[],
  members: ReadonlyMap<ServerId, Member>,
  nowMs: number,
): readonly ServerId[] {
  const nodes = new Set<NodeId>(voters.filter((voter) => !isReplaced(voter, members)).map(nodeOf));
  return [...members.values()]
    .filter(
      (member) =>
        member.mayVote &&
        member.wish !== 'never' &&
        member.isReachable &&
        member.isCurrent &&
        nowMs - member.sinceMs >= policy.stableMs &&
        !voters.includes(member.server) &&
        !nodes.has(nodeOf(member.server)),
    )
    .sort(
      (left, right) =>
        wanted(right) - wanted(left) || left.sinceMs - right.sinceMs || (left.server < right.server ? -1 : 1),
    )
    .map((member) => member.server);
}

function isGone(
  policy: VoterPolicy,
  voter: ServerId,
  members: ReadonlyMap<ServerId, Member>,
  nowMs: number,
): boolean {
  const member = members.get(voter);
  return member !== undefined && !member.isReachable && nowMs - member.sinceMs >= policy.replaceAfterMs;
}

/** Its node is here under another storage. */
function isReplaced(voter: ServerId, members: ReadonlyMap<ServerId, Member>): boolean {
  if (members.get(voter)?.isReachable === true) return false;
  for (const member of members.values())
    if (member.isReachable && member.server !== voter && nodeOf(member.server) === nodeOf(voter)) return true;
  return false;
}

function wanted(member: Member): number {
  return member.wish === 'always' ? 1 : 0;
}
