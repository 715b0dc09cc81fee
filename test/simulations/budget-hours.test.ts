/** Budgets by the hour over many hours: periods leave the quorum store, and none begins anew (B28). */
import { describe, expect, it } from 'vitest';
import { runHours } from '../../simulations/budget/hours.ts';
import { describeFailure } from '../../simulations/run.ts';

const SEEDS = [1, 2, 3, 4];
const HOURS = 14;

describe('budget world: hours (B28)', () => {
  it(`of ${HOURS} hours, seeds ${SEEDS.join(', ')}: what is over leaves the store, what runs is spent from, and every promise is kept`, {
    timeout: 240_000,
  }, () => {
    const reports = SEEDS.map((seed) => runHours({ seed, hours: HOURS }));
    for (const report of reports) {
      expect(report.violations, describeFailure(report)).toEqual([]);
      expect(report.outcomes['reserve ok']).toBeGreaterThan(300);
    }
    const removed = reports.map(({ outcomes }) => outcomes['periods removed'] ?? 0);
    // Two budgets; what is younger than two hours stays.
    expect(Math.max(...removed)).toBeGreaterThan(HOURS);
    const kinds = new Set(reports.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
    expect(kinds.size).toBeGreaterThan(5);
  });
});
