/** How old a status says that its news are, in the world of budgets, where frames are lost and nobody notices. */
import { expect, it } from 'vitest';
import type { BudgetPlan } from '../../simulations/budget/plan.ts';
import { runBudget } from '../../simulations/budget/run.ts';
import { describeFailure } from '../../simulations/run.ts';

const FROM_MS = 1_500;
const UNTIL_MS = 31_500;

/** Five machines that spend all the time. */
const PLAN: BudgetPlan = {
  nodes: 5,
  orchestrators: 1,
  breakAfterMs: 10_000,
  maxDelayMs: 10,
  checkpointFloorBytes: 8 * 1024 * 1024,
  historyChanges: 10_000,
  startWallMs: 0,
  fromMs: FROM_MS,
  untilMs: UNTIL_MS,
  faults: { mix: {}, everyMs: 1_000, longestMs: 1_000 },
  workload: {
    budgets: [{ budget: 'org', limit: 200_000 }],
    agents: 8,
    thinkMs: 400,
    most: 100,
    ttlMs: 6_000,
    waitMs: 300,
    vanish: 0,
    overrun: 0,
    report: 0.2,
    repeat: 0,
    wander: 0.1,
    operatorEveryMs: 0,
  },
};

it.each([
  { loss: 0, seeds: [1, 2], mostMs: 0 },
  { loss: 0.3, seeds: [1, 2], mostMs: 0 },
  { loss: 0.5, seeds: [1], mostMs: 5_000 },
  { loss: 0.7, seeds: [1, 2], mostMs: 20_000 },
  // The whole of the run: what is lost is only bounded by what gets through at all.
  { loss: 0.9, seeds: [2], mostMs: 30_000 },
])(
  'the time of each machine’s news is true; that of all together is at most $mostMs ms too young where $loss of all frames are lost (I7)',
  { timeout: 120_000 },
  ({ loss, seeds, mostMs }) => {
    const noise = { kind: 'noise', loss, duplication: 0, reordering: 0, maxDelayMs: 10 } as const;
    const faults = [{ ...noise, atMs: FROM_MS, forMs: UNTIL_MS - FROM_MS }];
    const reports = seeds.map((seed) => runBudget({ seed, plan: PLAN, faults }));
    for (const report of reports) {
      expect(report.violations, describeFailure(report)).toEqual([]);
      expect(report.samples).toBeGreaterThan(20);
      expect(report.tooYoungMs).toBeLessThanOrEqual(mostMs);
    }
    // Else nothing was lost that mattered, and this shows nothing.
    if (loss > 0.5) expect(Math.max(...reports.map(({ tooYoungMs }) => tooYoungMs))).toBeGreaterThan(3_500);
  },
);
