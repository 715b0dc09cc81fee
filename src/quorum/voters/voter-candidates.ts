/** The members as the leader's policy on voters sees them. */

import type { ServerId } from '../raft/types.ts';
import { nodeOf } from '../server.ts';
import type { Replica } from '../store/replica.ts';
import type { Neighbours } from './neighbours.ts';
import type { Member } from './voter-policy.ts';
import { wishesOf } from './voter-wishes.ts';

/** A member's log may end this far from the leader's for it to be made a voter. */
const CURRENT_ENTRIES = 1_000;

export function membersOf(
  { raft, register, formatToCome }: Replica,
  neighbours: Neighbours,
): ReadonlyMap<ServerId, Member> {
  const wishes = wishesOf(register);
  const matches = new Map(raft.progress().map(({ server, match }) => [server, match]));
  const members = new Map<ServerId, Member>();
  for (const [server, reach] of neighbours.servers) {
    const node = nodeOf(server);
    members.set(server, {
      server,
      mayVote: neighbours.mayVote(node, formatToCome),
      wish: wishes.get(node),
      ...reach,
      isCurrent: raft.lastIndex - (matches.get(server) ?? 0) < CURRENT_ENTRIES,
    });
  }
  return members;
}
