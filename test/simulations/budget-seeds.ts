/** A range of seeds of the world of money, as tests, and what they must have reached together. */
import { expect, it } from 'vitest';
import { type BudgetRunReport, runBudget } from '../../simulations/budget/run.ts';
import { describeBudgetSeries } from '../../simulations/budget/series.ts';
import { describeFailure } from '../../simulations/run.ts';

const AT_ONCE = 10;

export function budgetSeeds(from: number, count: number): void {
  const reports: BudgetRunReport[] = [];
  for (let first = from; first < from + count; first += AT_ONCE) {
    it(`seeds ${first} to ${first + AT_ONCE - 1} keep every promise`, { timeout: 300_000 }, () => {
      for (let seed = first; seed < first + AT_ONCE; seed++) {
        const report = runBudget({ seed });
        expect(report.violations, describeFailure(report)).toEqual([]);
        reports.push(report);
      }
    });
  }

  it('together every kind of fault was drawn for them, and they did enough to be told from silence', () => {
    const sum = (of: (report: BudgetRunReport) => number) =>
      reports.reduce((total, report) => total + of(report), 0);
    // What is drawn follows from the seeds alone; whether it finds something to strike also from what the nodes do.
    const kinds = new Set(reports.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
    const struck = new Set(reports.flatMap((report) => Object.keys(report.struck)));
    expect(struck.size).toBeGreaterThanOrEqual(kinds.size - 3);
    expect([...kinds].sort()).toEqual([
      'breakLink',
      'clockStep',
      'clone',
      'crash',
      'crashAll',
      'cut',
      'disk',
      'drift',
      'failingDisk',
      'flapping',
      'forge',
      'isolate',
      'lie',
      'noise',
      'partition',
      'pause',
      'recover',
      'slowDisk',
      'storeAway',
      'storeDown',
      'storeLossy',
      'suspend',
      'writtenOff',
    ]);
    expect(sum(({ outcomes }) => outcomes['reserve ok'] ?? 0)).toBeGreaterThan(5_000);
    expect(sum(({ outcomes }) => outcomes['settle ok'] ?? 0)).toBeGreaterThan(3_000);
    expect(sum(({ outcomes }) => outcomes['written off'] ?? 0)).toBeGreaterThan(10);
    expect(sum(({ checks }) => checks)).toBeGreaterThan(30_000);
    expect(sum(({ samples }) => samples)).toBeGreaterThan(500);
    expect(sum(({ gathered }) => gathered)).toBeGreaterThan(0);
    expect(sum(({ replaced }) => replaced)).toBeGreaterThan(10);
    expect(describeBudgetSeries(reports)).toContain('every promise held');
  });
}
