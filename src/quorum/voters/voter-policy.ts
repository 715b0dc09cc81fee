/**
 * Who should vote: the leader brings the voters to the wanted number, one joint change at a time, from one odd number to
 * the next.
 *
 * A member is promoted once it has been reachable and up to date for a while; a voter that was unreachable for long
 * is replaced when somebody can take its place. Who is not wanted gives its place to another too: where nobody can take it,
 * it stays, for with two voters the loss of either disk ends the store.
 */
import type { NodeId } from '../../kernel/ids.ts';
import type { Configuration, ServerId } from '../raft/types.ts';
import { nodeOf } from '../server.ts';
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
  // A change commits by a majority of the new voters too: one that could not would never end.
  return wishedChanges(policy, self, voters, able, members, ownWish, nowMs).find((next) =>
    canAgree(next, self, members),
  );
}

/** Most urgent first. */
function wishedChanges(
  policy: VoterPolicy,
  self: ServerId,
  voters: readonly ServerId[],
  able: readonly ServerId[],
  members: ReadonlyMap<ServerId, Member>,
  ownWish: Wish | undefined,
  nowMs: number,
): readonly (readonly ServerId[])[] {
  const changes: (readonly ServerId[])[] = [];
  const candidate = able[0];
  const isUnwanted = (voter: ServerId) => (voter === self ? ownWish : members.get(voter)?.wish) === 'never';
  const unwanted = voters.filter(isUnwanted);
  if (candidate !== undefined)
    for (const one of unwanted) changes.push([...voters.filter((voter) => voter !== one), candidate]);
  else if (unwanted.length > 0) changes.push(...without(voters, unwanted, policy.target));
  if (candidate !== undefined && members.get(candidate)?.wish === 'always' && voters.length < MOST_VOTERS)
    changes.push([...voters, candidate]);
  // First whose old storage will not speak again.
  const gone =
    voters.find((voter) => voter !== self && isReplaced(voter, members)) ??
    voters.find((voter) => voter !== self && isGone(policy, voter, members, nowMs));
  if (gone !== undefined) {
    const rest = voters.filter((voter) => voter !== gone);
    if (candidate !== undefined) changes.push([...rest, candidate]);
    else if (isReplaced(gone, members) && isGoodNumber(rest.length, policy.target)) changes.push(rest);
    return changes;
  }
  const goal = oddGoal(policy.target, voters.length + able.length);
  if (goal > voters.length) changes.push([...voters, ...able.slice(0, goal - voters.length)]);
  return changes;
}

/** Nobody takes their places: as many go as leave a good number, if any. */
function* without(
  voters: readonly ServerId[],
  unwanted: readonly ServerId[],
  target: number,
): Generator<readonly ServerId[]> {
  for (let going = unwanted.length; going > 0; going--) {
    if (!isGoodNumber(voters.length - going, target)) continue;
    for (let at = 0; at + going <= unwanted.length; at++) {
      const gone = unwanted.slice(at, at + going);
      yield voters.filter((voter) => !gone.includes(voter));
    }
  }
}

/** Two voters stop when either does, one only when that one does: an even number is chosen only where it is wanted. */
function isGoodNumber(count: number, target: number): boolean {
  return count % 2 === 1 || (count > 0 && count === target);
}

function canAgree(
  voters: readonly ServerId[],
  self: ServerId,
  members: ReadonlyMap<ServerId, Member>,
): boolean {
  const there = voters.filter((voter) => voter === self || members.get(voter)?.isReachable === true);
  return there.length * 2 > voters.length;
}

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
