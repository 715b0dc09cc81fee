/** Scenarios of the deterministic simulator, as data. */
import type { FaultPlan } from './lib/faults.ts';
import type { WorkloadPlan } from './lib/workload.ts';

export interface Scenario {
  readonly about: string;
  readonly nodes: number;
  /** Phase one: faults and load, for so long. */
  readonly faultsMs: number;
  readonly faults: FaultPlan;
  readonly workload: WorkloadPlan;
  /** Phase two: healed and without load, everything must have converged within this. */
  readonly convergeMs: number;
  /** No node may believe another dead that is not: only where the network and the nodes behave. */
  readonly noFalseDeaths: boolean;
}

const workload: WorkloadPlan = { clients: 8, sessions: 5, keys: 12, logs: 3, thinkMs: 150, wander: 0.1 };
const quiet: FaultPlan = { mix: {}, everyMs: 1_000, longestMs: 0 };
const base = { nodes: 4, faultsMs: 60_000, workload, convergeMs: 60_000, noFalseDeaths: false };

export const scenarios = {
  calm: {
    ...base,
    about: 'no faults: everybody finds everybody, and nobody is thought dead',
    faults: quiet,
    convergeMs: 10_000,
    noFalseDeaths: true,
  },
  noise: {
    ...base,
    about: 'frames are lost, doubled, delayed and reordered (K02)',
    faults: { mix: { noise: 3, breakLink: 1 }, everyMs: 4_000, longestMs: 15_000 },
  },
  partitions: {
    ...base,
    about: 'symmetric and one-way partitions, broken connections (K03)',
    faults: { mix: { partition: 3, cut: 3, breakLink: 1 }, everyMs: 4_000, longestMs: 25_000 },
  },
  crashes: {
    ...base,
    about: 'processes killed, machines without power, torn tails, orderly stops, pauses (K07)',
    faults: { mix: { crash: 4, leave: 1, pause: 2 }, everyMs: 4_000, longestMs: 15_000 },
  },
  disks: {
    ...base,
    about: 'slow, full and failing disks, with crashes in between (B29, K41)',
    faults: { mix: { slowDisk: 2, failingDisk: 3, crash: 2 }, everyMs: 3_000, longestMs: 12_000 },
  },
  amnesia: {
    ...base,
    about: 'disks lost, spoilt, or put back to an older image (B10, B12, K38)',
    faults: {
      mix: { loseDisk: 2, restoreDisk: 2, spoilDisk: 2, crash: 1 },
      everyMs: 8_000,
      longestMs: 10_000,
    },
  },
  clocks: {
    ...base,
    about: 'clocks that drift and are set, up to 20 s either way',
    faults: { mix: { drift: 2, clockStep: 3, crash: 1 }, everyMs: 4_000, longestMs: 20_000 },
  },
  forgery: {
    ...base,
    about: 'a member sends rubbish, and real frames bent, cut short or again (S54, S58, S82)',
    faults: { mix: { forge: 12, breakLink: 1 }, everyMs: 400, longestMs: 100 },
    // A peer that seems to have broken the protocol is barred for a while.
    convergeMs: 900_000,
  },
  storm: {
    ...base,
    about: 'everything but lost disks and forgery at once',
    nodes: 5,
    faults: {
      mix: {
        crash: 4,
        leave: 1,
        pause: 2,
        partition: 3,
        cut: 2,
        breakLink: 1,
        noise: 3,
        slowDisk: 1,
        failingDisk: 1,
        drift: 1,
        clockStep: 1,
        spoilDisk: 1,
      },
      everyMs: 2_000,
      longestMs: 15_000,
    },
  },
} satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof scenarios;
