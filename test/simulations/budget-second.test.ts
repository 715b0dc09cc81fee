/** The second half of the seeds of the budgets: in a file of its own, so that two cores share them. */
import { describe, expect, it } from 'vitest';
import { runChurn } from '../../simulations/budget/churn.ts';
import { describeScheduled } from '../../simulations/budget/scheduled.ts';
import { budgetSeeds } from './budget-seeds.ts';

describe('budget world: seeds (B01 to B21, B23, B26 to B29; I1 to I9), the second half', () => {
  budgetSeeds(101, 100);
});

describe('budget world: churn', () => {
  it('B30: fifty nodes of which a tenth ends every minute, for 3 minutes; an hour of it is `npm run simulate -- budget-churn`', {
    timeout: 300_000,
  }, () => {
    const report = runChurn({ seed: 1, nodes: 50, minutes: 3 });
    console.log(describeScheduled(report));
    expect(report.violations).toEqual([]);
    expect(report.struck.crash).toBeGreaterThan(8);
    expect(report.outcomes['reserve ok']).toBeGreaterThan(50);
    expect(report.lost).toBe(0);
  });
});
