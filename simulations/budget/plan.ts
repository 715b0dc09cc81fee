/** What a seed stands for: how many nodes, which budgets, who spends, and which faults strike. */
import type { ClosingTimes } from '../../src/budget/over-periods.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { BudgetFaultKind, BudgetFaultMix, BudgetFaultPlan } from './faults.ts';
import type { BudgetWorkloadPlan } from './workload.ts';

export interface BudgetPlan {
  readonly nodes: number;
  readonly orchestrators: number;
  readonly breakAfterMs: number;
  /** Longest way of a frame while nothing is wrong. */
  readonly maxDelayMs: number;
  readonly checkpointFloorBytes: number;
  readonly historyChanges: number;
  readonly startWallMs: number;
  /** As of `WorldOptions`. */
  readonly wallRate?: number;
  readonly times?: ClosingTimes;
  /** Events after which a run is taken for endless; a default where it is not given. */
  readonly mostSteps?: number;
  /** Faults and load from here, once the budgets are made, until there. */
  readonly fromMs: number;
  readonly untilMs: number;
  readonly faults: BudgetFaultPlan;
  readonly workload: BudgetWorkloadPlan;
}

/** What is drawn together: each seed takes a few of these kinds, so that rare combinations come up as well. */
const KINDS: readonly (readonly [BudgetFaultKind, number])[] = [
  ['crash', 4],
  ['crashAll', 1],
  ['disk', 3],
  ['clone', 2],
  ['pause', 3],
  ['suspend', 2],
  ['partition', 3],
  ['isolate', 3],
  ['cut', 2],
  ['flapping', 1],
  ['breakLink', 2],
  ['noise', 3],
  ['storeAway', 3],
  ['storeDown', 2],
  ['storeLossy', 3],
  ['slowDisk', 2],
  ['failingDisk', 2],
  ['drift', 2],
  ['clockStep', 2],
  ['writtenOff', 3],
  ['forge', 4],
  ['lie', 2],
];

const HOUR_MS = 3_600_000;
/** In one seed of so many the store is founded anew with transactions lost. */
const RECOVERS_IN = 25;

export function drawPlan(rng: Rng, nodes?: number): BudgetPlan {
  const count = nodes ?? (rng.below(LARGE_IN) === 0 ? 20 + rng.below(31) : rng.pick(NODES));
  const isLarge = count > 10;
  const kinds = rng.shuffled(KINDS).slice(0, 1 + rng.below(6));
  const drawn: BudgetFaultMix = Object.fromEntries(kinds);
  const mix = rng.below(RECOVERS_IN) === 0 ? { ...drawn, recover: 1 } : drawn;
  const fromMs = 1_500;
  const untilMs = fromMs + (isLarge ? 3_000 : 4_000 + rng.below(6_000));
  const workload = drawWorkload(rng, count);
  const isWindowed = workload.budgets.some(({ window }) => window !== undefined);
  return {
    nodes: count,
    orchestrators: rng.pick([0, 1, 2, 2, count]),
    breakAfterMs: rng.pick([500, 2_000, 10_000]),
    maxDelayMs: rng.pick([1, 1, 10, 60]),
    checkpointFloorBytes: rng.pick([4_000, 20_000, 8 * 1024 * 1024]),
    historyChanges: rng.pick([20, 200, 10_000]),
    // An hour ends in the middle of the run.
    startWallMs: isWindowed ? HOUR_MS - (fromMs + untilMs) / 2 : rng.below(24) * HOUR_MS,
    fromMs,
    untilMs,
    faults: {
      mix: rng.chance(0.03) ? {} : mix,
      everyMs: rng.chance(0.1) ? 6_000 : 400 + rng.below(1_200),
      longestMs: rng.pick([800, 3_000, 6_000]),
    },
    workload,
  };
}

/** Of those that are cheap many: what a world of 50 costs is worth a hundred of five. */
const NODES = [
  ...Array<number>(60).fill(5),
  ...Array<number>(20).fill(6),
  ...Array<number>(10).fill(8),
  ...Array<number>(8).fill(10),
  16,
];
/** In one seed of so many, 20 to 50 nodes. */
const LARGE_IN = 150;

function drawWorkload(rng: Rng, nodes: number): BudgetWorkloadPlan {
  const agents = Math.max(4, Math.ceil(nodes * rng.pick([0.5, 1, 2])));
  const most = rng.pick([20, 100, 400]);
  return {
    budgets: drawBudgets(rng, most),
    agents: Math.min(agents, 40),
    thinkMs: rng.pick([60, 150, 400]),
    most,
    ttlMs: rng.pick([800, 2_500, 6_000]),
    waitMs: rng.pick([0, 300, 2_000]),
    vanish: rng.pick([0, 0.05, 0.3]),
    overrun: rng.pick([0, 0, 0.1]),
    report: rng.pick([0, 0.05, 0.2]),
    repeat: rng.pick([0, 0.1, 0.5]),
    wander: rng.pick([0.02, 0.2, 0.5]),
    operatorEveryMs: rng.pick([0, 700, 2_500]),
  };
}

/** Small enough that the money runs out at times, large enough that at times it does not. */
function drawBudgets(rng: Rng, most: number): BudgetWorkloadPlan['budgets'] {
  const limit = Math.ceil(most * rng.pick([8, 40, 150, 500]));
  const common = {
    ...(rng.chance(0.25) ? { window: 'hour' as const } : {}),
    ...(rng.chance(0.25) ? { expiry: 'free' as const } : {}),
    ...(rng.chance(0.3) ? { thresholds: [50, 90] } : {}),
  };
  const org = { budget: 'org', limit, ...common };
  switch (rng.below(4)) {
    case 0:
      return [org, { budget: 'team', limit: Math.ceil(limit * 0.7), parent: 'org', ...common }];
    case 1:
      return [
        org,
        { budget: 'team', limit: Math.ceil(limit * 0.8), parent: 'org', ...common },
        { budget: 'task', limit: Math.ceil(limit / 2), parent: 'team', ...common },
      ];
    case 2:
      return [org, { budget: 'other', limit: Math.ceil(limit / 3), ...common }];
    default:
      return [org];
  }
}
