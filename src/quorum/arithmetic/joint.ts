/** Majorities of two sets of voters at once: how a change from one to the other stays safe (Ongaro 2014, 4.3). */
import { majorityIndex, majorityTally } from './majority.ts';
import { both, type Tally } from './tally.ts';

/** `outgoing` is empty but during a change. */
export interface Voters<Id> {
  readonly incoming: readonly Id[];
  readonly outgoing: readonly Id[];
}

export function jointTally<Id>(voters: Voters<Id>, voteOf: (voter: Id) => boolean | undefined): Tally {
  const incoming = majorityTally(voters.incoming, voteOf);
  return voters.outgoing.length === 0 ? incoming : both(incoming, majorityTally(voters.outgoing, voteOf));
}

/** The largest number that both majorities have reached. */
export function jointIndex<Id>(voters: Voters<Id>, indexOf: (voter: Id) => number): number {
  const incoming = majorityIndex(voters.incoming, indexOf);
  return voters.outgoing.length === 0
    ? incoming
    : Math.min(incoming, majorityIndex(voters.outgoing, indexOf));
}

export function isVoter<Id>(voters: Voters<Id>, id: Id): boolean {
  return voters.incoming.includes(id) || voters.outgoing.includes(id);
}

/** Everyone with a vote, once. */
export function allVoters<Id>(voters: Voters<Id>): readonly Id[] {
  if (voters.outgoing.length === 0) return voters.incoming;
  return [...new Set([...voters.incoming, ...voters.outgoing])];
}
