import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChurningMap } from '../../src/kernel/churning-map.ts';

describe('a map in which entries come and go', () => {
  it('holds what a plain one holds, in its order, over many renewals (property)', () => {
    const steps = fc.array(fc.record({ key: fc.nat(40), kept: fc.nat(3) }), {
      minLength: 3_000,
      maxLength: 4_000,
    });
    fc.assert(
      fc.property(steps, (taken) => {
        const churning = new ChurningMap<number, number>();
        const plain = new Map<number, number>();
        for (const [step, { key, kept }] of taken.entries()) {
          if (kept === 0) expect(churning.delete(key)).toBe(plain.delete(key));
          else {
            churning.set(key, step);
            plain.set(key, step);
          }
          expect(churning.get(key)).toBe(plain.get(key));
          expect(churning.has(key)).toBe(plain.has(key));
          expect(churning.size).toBe(plain.size);
        }
        expect([...churning]).toEqual([...plain]);
        expect([...churning.keys()]).toEqual([...plain.keys()]);
        expect([...churning.values()]).toEqual([...plain.values()]);
      }),
      { numRuns: 20, seed: 3 },
    );
  });

  it('keeps the order of 50,000 that stay while as many come and go', () => {
    const churning = new ChurningMap<number, number>();
    for (let key = 0; key < 50_000; key++) churning.set(key, key);
    for (let round = 0; round < 50_000; round++) {
      churning.delete(round);
      churning.set(50_000 + round, round);
    }
    expect(churning.size).toBe(50_000);
    expect(churning.keys()[Symbol.iterator]().next().value).toBe(50_000);
  });
});
