/**
 * Budgets by the hour over many hours, of 60 s each: periods that are over leave the store, while clocks are hours fast or slow,
 * machines sleep through it, and the store is away, lossy, or founded anew from before (B28).
 */
import { CLOSING_TIMES, type ClosingTimes } from '../../src/budget/over-periods.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import type { BudgetFault } from './faults.ts';
import { runScheduled, type ScheduledReport } from './scheduled.ts';

export interface HoursOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly hours?: number;
}

export type HoursReport = ScheduledReport<'budget-hours'>;

const USUAL_NODES = 4;

const HOUR_MS = 3_600_000;
/** A second is a minute of the day. */
const WALL_RATE = 60;
const FROM_MS = 1_500;
const TIMES: ClosingTimes = {
  ...CLOSING_TIMES,
  graceMs: 2 * HOUR_MS,
  sureMs: 4_000,
  loneGraceMs: 9 * HOUR_MS,
  everyMs: 1_000,
};
/** More than periods are kept, and less than a lone node keeps them. */
const FAST_MS = 5 * HOUR_MS;
/** After the last clock was wrong: what a fast one has closed on its own machine is over by then. */
const AFTERWARDS_MS = (FAST_MS / WALL_RATE) * 1.2;
const MOST_STEPS = 20_000_000;
/** Keeps the dice of the schedule apart from those of the world. */
const SCHEDULE_SEED = 2 ** 42;

export function runHours({ seed, nodes = USUAL_NODES, hours = 14 }: HoursOptions): HoursReport {
  const untilMs = FROM_MS + (hours * HOUR_MS) / WALL_RATE;
  const rng = seededRng(seed + SCHEDULE_SEED);
  const faults = drawFaults(rng, nodes, untilMs - AFTERWARDS_MS);
  const common = { window: 'hour' as const };
  const plan = {
    ...{ nodes, orchestrators: rng.pick([1, 2, nodes]), breakAfterMs: 2_000, maxDelayMs: 10 },
    ...{ startWallMs: rng.below(24) * HOUR_MS, wallRate: WALL_RATE, times: TIMES },
    checkpointFloorBytes: rng.pick([4_000, 20_000]),
    ...{ historyChanges: rng.pick([200, 10_000]), mostSteps: MOST_STEPS },
    ...{ fromMs: FROM_MS, untilMs, faults: { mix: {}, everyMs: 60_000, longestMs: 60_000 } },
    workload: {
      budgets: [
        { budget: 'org', limit: 2_000, ...common },
        { budget: 'team', limit: 1_500, parent: 'org', ...common },
      ],
      ...{ agents: 5, thinkMs: 2_500, most: 100, ttlMs: 6_000, waitMs: 1_000, operatorEveryMs: 30_000 },
      ...{ vanish: 0.05, overrun: 0, report: 0.05, repeat: 0.1, wander: 0.2 },
    },
  };
  return runScheduled({ scenario: 'budget-hours', seed, plan, faults, usualNodes: USUAL_NODES });
}

function drawFaults(rng: Rng, nodes: number, untilMs: number): readonly BudgetFault[] {
  const faults: BudgetFault[] = [];
  const when = (longestMs: number) => {
    const atMs = Math.round(FROM_MS + rng.float() * (untilMs - FROM_MS));
    return { atMs, forMs: Math.round(Math.min(untilMs - atMs, (0.1 + 0.9 * rng.float()) * longestMs)) };
  };
  const clocks = rng.shuffled(Array.from({ length: nodes }, (_, index) => index));
  for (const node of clocks.slice(0, rng.pick([0, 1, 1, 2])))
    faults.push({ kind: 'clockStep', node, byMs: FAST_MS, ...when(untilMs) });
  if (rng.chance(0.5))
    faults.push({ kind: 'clockStep', node: clocks.at(-1) ?? 0, byMs: -FAST_MS, ...when(untilMs) });
  if (rng.chance(0.4)) {
    // The copy is of before or after a step of closing.
    const lostMs = Math.round(rng.pick([200, 5_000, 60_000, 240_000]) * rng.float());
    faults.push({ kind: 'recover', lostMs, ...when(0) });
  }
  const count = 2 + rng.below(8);
  for (let index = 0; index < count; index++) {
    const node = rng.below(nodes);
    switch (rng.below(7)) {
      case 0:
        faults.push({ kind: 'suspend', node, ...when(300_000) });
        break;
      case 1:
        faults.push({ kind: 'crash', node, how: rng.chance(0.5) ? 'kill' : 'power', ...when(240_000) });
        break;
      case 2:
        faults.push({ kind: 'crashAll', how: 'kill', ...when(5_000) });
        break;
      case 3:
        faults.push({ kind: 'storeDown', ...when(20_000) });
        break;
      case 4:
        faults.push({ kind: 'storeLossy', loss: rng.float() * 0.5, maxDelayMs: 300, ...when(120_000) });
        break;
      case 5:
        faults.push({
          kind: 'storeAway',
          node,
          what: rng.pick(['calls', 'answers', 'both'] as const),
          ...when(180_000),
        });
        break;
      default:
        faults.push({ kind: 'isolate', node, hears: false, isHeard: false, ...when(240_000) });
    }
  }
  return faults.sort((left, right) => left.atMs - right.atMs);
}
