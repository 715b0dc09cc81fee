import { describe, expect, it } from 'vitest';
import { allVoters, isVoter, jointIndex, jointTally } from '../../../src/quorum/arithmetic/joint.ts';

describe('joint majorities (4.3)', () => {
  const voters = { incoming: ['c', 'd', 'e'], outgoing: ['a', 'b', 'c'] };

  it('a vote is won only in both, and lost in either', () => {
    const tally = (yes: string, no = '') =>
      jointTally(voters, (voter) => (yes.includes(voter) ? true : no.includes(voter) ? false : undefined));
    expect([tally('cd'), tally('ab'), tally('acd'), tally('cdab'), tally('cde', 'ab')]).toEqual([
      'pending',
      'pending',
      'won',
      'won',
      'lost',
    ]);
  });

  it('has reached what both majorities have', () => {
    const indexes: Record<string, number> = { a: 1, b: 2, c: 9, d: 9, e: 9 };
    expect(jointIndex(voters, (voter) => indexes[voter]!)).toBe(2);
    expect(jointIndex({ ...voters, outgoing: [] }, (voter) => indexes[voter]!)).toBe(9);
  });

  it('names everyone with a vote once', () => {
    expect([...allVoters(voters)].sort()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect([isVoter(voters, 'a'), isVoter(voters, 'e'), isVoter(voters, 'f')]).toEqual([true, true, false]);
  });
});
