/**
 * Fifty nodes for an hour, of which a tenth ends every minute and returns some time later (B30): by itself, at times with its
 * disk lost, at times written off meanwhile. Few agents spend slowly, so that an hour is to be had in a minute or two.
 */
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import type { BudgetFault } from './faults.ts';
import { runScheduled, type ScheduledReport } from './scheduled.ts';

export interface ChurnOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly minutes?: number;
}

export type ChurnReport = ScheduledReport<'budget-churn'>;

const USUAL_NODES = 50;

const MINUTE_MS = 60_000;
const FROM_MS = 1_500;
/** Of the nodes, every minute. */
const CHURN = 0.1;
const SHORTEST_MS = 2_000;
/** Longer than it takes to be thought dead. */
const LONGEST_MS = 50_000;
const MOST_STEPS = 20_000_000;
/** Keeps the dice of the schedule apart from those of the world. */
const SCHEDULE_SEED = 2 ** 41;

export function runChurn({ seed, nodes = USUAL_NODES, minutes = 60 }: ChurnOptions): ChurnReport {
  const untilMs = FROM_MS + minutes * MINUTE_MS;
  const faults = churn(seededRng(seed + SCHEDULE_SEED), nodes, untilMs);
  const plan = {
    ...{ nodes, orchestrators: 3, breakAfterMs: 2_000, maxDelayMs: 10, startWallMs: 0 },
    ...{ checkpointFloorBytes: 20_000, historyChanges: 10_000, mostSteps: MOST_STEPS },
    ...{ fromMs: FROM_MS, untilMs, faults: { mix: {}, everyMs: MINUTE_MS, longestMs: LONGEST_MS } },
    workload: {
      budgets: [
        { budget: 'org', limit: 60_000 },
        { budget: 'team', limit: 40_000, parent: 'org' },
      ],
      ...{ agents: 20, thinkMs: 30_000, most: 200, ttlMs: 6_000, waitMs: 2_000, operatorEveryMs: 60_000 },
      ...{ vanish: 0.05, overrun: 0, report: 0.05, repeat: 0.1, wander: 0.2 },
    },
  };
  return runScheduled({ scenario: 'budget-churn', seed, plan, faults, usualNodes: USUAL_NODES });
}

function churn(rng: Rng, nodes: number, untilMs: number): readonly BudgetFault[] {
  const everyMs = MINUTE_MS / (CHURN * nodes);
  const faults: BudgetFault[] = [];
  for (let atMs = FROM_MS + everyMs; atMs < untilMs; atMs += everyMs) {
    const forMs = Math.round(
      Math.min(untilMs - atMs, SHORTEST_MS + rng.float() * (LONGEST_MS - SHORTEST_MS)),
    );
    const when = { node: rng.below(nodes), atMs: Math.round(atMs), forMs };
    const die = rng.float();
    if (die < 0.05) faults.push({ kind: 'disk', becomes: 'lost', ...when });
    else if (die < 0.15) faults.push({ kind: 'writtenOff', gone: 'crash', ...when });
    else faults.push({ kind: 'crash', how: rng.chance(0.6) ? 'kill' : 'power', ...when });
  }
  return faults;
}
