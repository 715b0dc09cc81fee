/** The quorum arithmetic against naive twins that enumerate every subset of the voters. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jointIndex, jointTally } from '../../src/quorum/arithmetic/joint.ts';
import { majorityIndex, majorityTally } from '../../src/quorum/arithmetic/majority.ts';
import type { Tally } from '../../src/quorum/arithmetic/tally.ts';

const RUNS = { numRuns: 500, seed: 20140901 };

function* subsets<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let mask = 0; mask < 2 ** items.length; mask++) yield items.filter((_, place) => (mask >> place) & 1);
}

const majorities = <T>(voters: readonly T[]) =>
  [...subsets(voters)].filter((set) => 2 * set.length > voters.length);

/** Won: some majority said yes. Lost: in whatever way those that are silent answer, none does. */
function naiveTally(groups: readonly (readonly number[])[], votes: ReadonlyMap<number, boolean>): Tally {
  const silent = [...new Set(groups.flat())].filter((voter) => !votes.has(voter));
  const isWon = (yes: ReadonlySet<number>) =>
    groups.every(
      (group) => group.length === 0 || majorities(group).some((set) => set.every((voter) => yes.has(voter))),
    );
  const yes = [...votes].filter(([, vote]) => vote).map(([voter]) => voter);
  if (isWon(new Set(yes))) return 'won';
  for (const late of subsets(silent)) if (isWon(new Set([...yes, ...late]))) return 'pending';
  return 'lost';
}

/** The largest index that all members of some majority of every group have. */
function naiveIndex(groups: readonly (readonly number[])[], indexOf: (voter: number) => number): number {
  const reached = groups
    .filter((group) => group.length > 0)
    .map((group) => Math.max(...majorities(group).map((set) => Math.min(...set.map(indexOf)))));
  return Math.min(...reached, Number.POSITIVE_INFINITY);
}

const voters = fc.uniqueArray(fc.nat({ max: 6 }), { maxLength: 5 });
const votes = fc
  .array(fc.tuple(fc.nat({ max: 6 }), fc.boolean()), { maxLength: 7 })
  .map((pairs) => new Map(pairs));
const indexes = fc.array(fc.nat({ max: 20 }), { minLength: 7, maxLength: 7 });

describe('quorum arithmetic, against twins that enumerate subsets (500 cases each, seeded)', () => {
  it('the tally of a majority', () => {
    fc.assert(
      fc.property(voters, votes, (group, given) => {
        expect(majorityTally(group, (voter) => given.get(voter))).toBe(naiveTally([group], given));
      }),
      RUNS,
    );
  });

  it('the tally of two majorities at once', () => {
    fc.assert(
      fc.property(voters, voters, votes, (incoming, outgoing, given) => {
        expect(jointTally({ incoming, outgoing }, (voter) => given.get(voter))).toBe(
          // Two halves that are both still open may not be winnable by the same answers; voters give one answer to both.
          naiveTally([incoming, outgoing], given),
        );
      }),
      RUNS,
    );
  });

  it('the index that a majority, and that two majorities, have reached', () => {
    fc.assert(
      fc.property(voters, voters, indexes, (incoming, outgoing, held) => {
        const indexOf = (voter: number) => held[voter]!;
        expect(majorityIndex(incoming, indexOf)).toBe(naiveIndex([incoming], indexOf));
        expect(jointIndex({ incoming, outgoing }, indexOf)).toBe(naiveIndex([incoming, outgoing], indexOf));
      }),
      RUNS,
    );
  });

  it('any two majorities of one set meet, so what one has decided the other knows', () => {
    for (let count = 1; count <= 7; count++) {
      const group = Array.from({ length: count }, (_, place) => place);
      const winning = [...subsets(group)].filter(
        (yes) => majorityTally(group, (v) => yes.includes(v)) === 'won',
      );
      for (const one of winning) {
        for (const other of winning) expect(one.some((voter) => other.includes(voter))).toBe(true);
      }
    }
  });
});
