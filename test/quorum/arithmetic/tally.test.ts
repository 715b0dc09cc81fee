import { describe, expect, it } from 'vitest';
import { both, type Tally } from '../../../src/quorum/arithmetic/tally.ts';

describe('tally: two votes that must both be won', () => {
  const cases: readonly (readonly [Tally, Tally, Tally])[] = [
    ['won', 'won', 'won'],
    ['won', 'pending', 'pending'],
    ['pending', 'pending', 'pending'],
    ['lost', 'won', 'lost'],
    ['lost', 'pending', 'lost'],
    ['lost', 'lost', 'lost'],
  ];
  it.each(cases)('%s and %s is %s, in either order', (one, other, result) => {
    expect([both(one, other), both(other, one)]).toEqual([result, result]);
  });
});
