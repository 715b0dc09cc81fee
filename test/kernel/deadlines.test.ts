import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Deadlines } from '../../src/kernel/deadlines.ts';

const step = fc.oneof(
  fc.record({ kind: fc.constant('add' as const), atMs: fc.integer({ min: 0, max: 50 }) }),
  fc.record({ kind: fc.constant('delete' as const), id: fc.nat(200) }),
  fc.record({ kind: fc.constant('take' as const), atMs: fc.integer({ min: 0, max: 50 }) }),
);

describe('deadlines', () => {
  it('give the same as a list that is sorted anew each time', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const deadlines = new Deadlines();
        let naive: { id: number; atMs: number }[] = [];
        let lastId = 0;
        for (const each of steps) {
          if (each.kind === 'add') {
            deadlines.add(++lastId, each.atMs);
            naive.push({ id: lastId, atMs: each.atMs });
          } else if (each.kind === 'delete') {
            deadlines.delete(each.id);
            naive = naive.filter(({ id }) => id !== each.id);
          } else {
            naive.sort((left, right) => left.atMs - right.atMs || left.id - right.id);
            const due = naive.filter(({ atMs }) => atMs <= each.atMs).map(({ id }) => id);
            naive = naive.filter(({ atMs }) => atMs > each.atMs);
            expect(deadlines.takeDue(each.atMs)).toEqual(due);
          }
          expect(deadlines.size).toBe(naive.length);
          expect(deadlines.nextMs).toBe(Math.min(...naive.map(({ atMs }) => atMs)));
        }
      }),
    );
  });

  it('keep little of what was deleted: a million waits that were answered at once leave room for the next', () => {
    const deadlines = new Deadlines();
    deadlines.add(0, 1);
    const startMs = performance.now();
    for (let id = 1; id <= 1_000_000; id++) {
      deadlines.add(id, 1_000 + (id % 300));
      deadlines.delete(id);
    }
    expect(deadlines.size).toBe(1);
    expect(deadlines.takeDue(2_000)).toEqual([0]);
    expect(performance.now() - startMs).toBeLessThan(10_000);
  });
});
