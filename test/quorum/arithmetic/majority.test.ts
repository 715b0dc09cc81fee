import { describe, expect, it } from 'vitest';
import { majorityIndex, majoritySize, majorityTally } from '../../../src/quorum/arithmetic/majority.ts';

describe('majority', () => {
  it.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [9, 5],
  ])('of %i voters is %i (K46)', (voters, size) => {
    expect(majoritySize(voters)).toBe(size);
  });

  it('is pending until as many have said yes, or so many no that they cannot any more', () => {
    const votes = new Map<string, boolean>();
    const tally = () => majorityTally(['a', 'b', 'c', 'd'], (voter) => votes.get(voter));
    const seen = [tally()];
    for (const [voter, vote] of [
      ['a', true],
      ['b', false],
      ['c', true],
      ['d', true],
    ] as const) {
      votes.set(voter, vote);
      seen.push(tally());
    }
    expect(seen).toEqual(['pending', 'pending', 'pending', 'pending', 'won']);
    votes.set('c', false);
    expect(tally()).toBe('lost');
  });

  it('of nobody agrees to everything', () => {
    expect(majorityTally([], () => undefined)).toBe('won');
    expect(majorityIndex([], () => 0)).toBe(Number.POSITIVE_INFINITY);
  });

  it('has reached the index that the middle voter has, or the lower one of two in the middle', () => {
    const at = (...indexes: number[]) =>
      majorityIndex(
        indexes.map((_, place) => place),
        (place) => indexes[place]!,
      );
    expect([at(7), at(3, 9), at(5, 1, 9), at(4, 8, 1, 6), at(5, 5, 2, 9, 1)]).toEqual([7, 3, 5, 4, 5]);
  });
});
