import { describe, expect, it } from 'vitest';
import { seededRng } from '../../src/kernel/rng.ts';

describe('rng', () => {
  it('gives the same numbers for the same seed and others for another', () => {
    const draw = (seed: number) => {
      const rng = seededRng(seed);
      return Array.from({ length: 8 }, () => rng.uint32());
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    expect(draw(2 ** 40 + 7)).not.toEqual(draw(7));
  });

  it('spreads `below` evenly (chi-square, 10 cells, 100,000 draws)', () => {
    const rng = seededRng(1);
    const cells = new Array<number>(10).fill(0);
    for (let draw = 0; draw < 100_000; draw++) cells[rng.below(10)]!++;
    const chiSquare = cells.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
    expect(chiSquare).toBeLessThan(27.9); // the 0.999 quantile for 9 degrees of freedom
  });

  it('shuffles into a permutation and leaves the list alone', () => {
    const list = [1, 2, 3, 4, 5];
    expect(seededRng(3).shuffled(list).toSorted()).toEqual(list);
    expect(list).toEqual([1, 2, 3, 4, 5]);
  });
});
