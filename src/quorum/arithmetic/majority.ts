/**
 * What a majority of voters says, apart from any protocol: checked against a twin that enumerates subsets.
 *
 * A majority of nobody agrees to everything: a joint configuration then takes its empty half for granted.
 */
import type { Tally } from './tally.ts';

/** Any two sets of this many out of `voters` have one in common. */
export function majoritySize(voters: number): number {
  return (voters >> 1) + 1;
}

/** `voteOf` is undefined for a voter that has not answered. Each voter is listed once. */
export function majorityTally<Id>(voters: readonly Id[], voteOf: (voter: Id) => boolean | undefined): Tally {
  if (voters.length === 0) return 'won';
  const needed = majoritySize(voters.length);
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = voteOf(voter);
    if (vote === true) granted++;
    else if (vote === false) refused++;
  }
  if (granted >= needed) return 'won';
  return refused > voters.length - needed ? 'lost' : 'pending';
}

/** The largest number that a majority has reached; infinite for no voters. */
export function majorityIndex<Id>(voters: readonly Id[], indexOf: (voter: Id) => number): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  if (voters.length === 1) return indexOf(voters[0] as Id);
  const indexes: number[] = [];
  for (const voter of voters) {
    // Insertion from the largest down: voters are few, and mostly at the same index.
    const index = indexOf(voter);
    let place = indexes.length;
    while (place > 0 && (indexes[place - 1] as number) < index) {
      indexes[place] = indexes[place - 1] as number;
      place--;
    }
    indexes[place] = index;
  }
  return indexes[majoritySize(voters.length) - 1] as number;
}
