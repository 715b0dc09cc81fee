/** What a seed stands for: how many nodes, how they are set, who calls, and which faults strike. */
import type { Rng } from '../../src/kernel/rng.ts';
import { FOUND_AFTER_MS, RAFT_CONFIG } from '../../src/node/quorum-config.ts';
import type { RaftConfig } from '../../src/quorum/raft/types.ts';
import type { QuorumFaultKind, QuorumFaultMix, QuorumFaultPlan } from './faults.ts';
import type { QuorumWorkloadPlan } from './workload.ts';

export interface QuorumPlan {
  readonly nodes: number;
  readonly targetVoters: number;
  readonly raft: RaftConfig;
  readonly foundAfterMs: number;
  readonly stableMs: number;
  readonly replaceAfterMs: number;
  readonly breakAfterMs: number;
  /** Longest way of a frame while nothing is wrong. */
  readonly maxDelayMs: number;
  /** Faults and load from the time when the store can be there until then. */
  readonly fromMs: number;
  readonly untilMs: number;
  readonly faults: QuorumFaultPlan;
  readonly workload: QuorumWorkloadPlan;
}

/** What is drawn together: each seed takes a few of these kinds, so that rare combinations come up as well. */
const KINDS: readonly (readonly [QuorumFaultKind, number])[] = [
  ['crash', 4],
  ['crashAll', 1],
  ['disk', 1],
  ['pause', 3],
  ['partition', 3],
  ['isolate', 3],
  ['ring', 1],
  ['bridge', 1],
  ['leftBehind', 2],
  ['askedAgain', 2],
  ['cut', 2],
  ['flapping', 1],
  ['breakLink', 2],
  ['noise', 3],
  ['slowDisk', 2],
  ['failingDisk', 2],
  ['drift', 2],
  ['clockStep', 1],
  ['wish', 4],
  ['forge', 4],
];

/** Drawn behind all else, so that what a seed stands for besides does not depend on them. */
const RARER = [
  ['bitFlips', 3],
  ['transfer', 3],
  ['version', 1],
  ['version', 1],
] as const;

const FASTEST_RATE = 2;

export function drawPlan(rng: Rng, nodes?: number): QuorumPlan {
  const count = nodes ?? rng.pick([1, 2, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
  const isSoft = rng.chance(0.2);
  const kinds = rng.shuffled(KINDS).slice(0, 1 + rng.below(6));
  const mix: QuorumFaultMix = Object.fromEntries(kinds);
  const untilMs = 7_000 + rng.below(9_000);
  const foundAfterMs = rng.chance(0.8) ? 200 : FOUND_AFTER_MS;
  // Short, so that elections are many and collide; several network delays long, so that they end.
  const electionTimeoutMs = rng.pick([RAFT_CONFIG.electionTimeoutMs, RAFT_CONFIG.electionTimeoutMs, 150]);
  const usesDrift = mix.drift !== undefined || mix.leftBehind !== undefined;
  const plan: QuorumPlan = {
    nodes: count,
    targetVoters: rng.pick([1, 3, 3, 3, 5, 5]),
    raft: {
      ...RAFT_CONFIG,
      electionTimeoutMs,
      heartbeatMs: electionTimeoutMs / 4,
      heartbeatEarlyMs: electionTimeoutMs / 16,
      leaseDriftMs: electionTimeoutMs / 6,
      // Small enough, at times, that messages are cut and windows fill.
      appendBytes: rng.pick([RAFT_CONFIG.appendBytes, RAFT_CONFIG.appendBytes, 300]),
      inFlightBytes: rng.pick([RAFT_CONFIG.inFlightBytes, RAFT_CONFIG.inFlightBytes, 900]),
      // A log that is cut so often that whoever was away needs a snapshot.
      ...(rng.chance(0.35) ? { tailEntries: rng.below(12) } : {}),
      // A lease rests on clocks that run about equally fast.
      reads: !usesDrift && rng.chance(0.3) ? 'lease' : 'index',
    },
    foundAfterMs,
    stableMs: rng.pick([200, 500, 3_000]),
    replaceAfterMs: rng.pick([2_000, 5_000, 60_000]),
    breakAfterMs: rng.pick([1_000, 4_000, 15_000]),
    maxDelayMs: rng.pick([1, 1, 10, 60]),
    fromMs: foundAfterMs + 1_300,
    untilMs,
    faults: {
      mix: rng.chance(0.03) ? {} : mix,
      everyMs: isSoft ? 3_000 : 400 + rng.below(1_200),
      longestMs: rng.pick([800, 3_000, 6_000]),
    },
    workload: {
      clients: 2 + rng.below(4),
      keys: 1 + rng.below(5),
      thinkMs: rng.pick([40, 120, 300]),
      wander: rng.pick([0.02, 0.2, 0.5]),
      fillings: rng.pick([0, 0, 0, 0, 100, 6_000]),
      leases: rng.chance(0.5),
      fastestRate: usesDrift ? FASTEST_RATE : 1,
    },
  };
  const drawn = { ...plan, faults: { ...plan.faults, mix: withRarer(rng, plan.faults.mix) } };
  const rivals = drawRivals(rng, mix);
  const all = rivals === 0 ? drawn : { ...drawn, workload: { ...drawn.workload, rivals } };
  return nodes === undefined && rng.chance(0.08) ? withCompany(rng, all) : all;
}

/**
 * Five voters, of whom a leader that is left behind keeps one: what it tells that one is no majority's word. Of four or
 * fewer, whoever asks a leader makes at least half of the voters with it, and every majority has one of these.
 */
function withCompany(rng: Rng, plan: QuorumPlan): QuorumPlan {
  const { faults, workload } = plan;
  return {
    ...plan,
    nodes: rng.pick([5, 6, 7]),
    targetVoters: 5,
    stableMs: 200,
    raft: { ...plan.raft, reads: 'index' },
    faults: { ...faults, mix: { ...faults.mix, leftTogether: 6 } },
    workload: { ...workload, readers: 3, fastestRate: FASTEST_RATE },
  };
}

/** Most where a leader is left behind that takes itself for one for some time: what it tells is theirs to hear. */
function drawRivals(rng: Rng, mix: QuorumFaultMix): number {
  return rng.chance(mix.leftBehind === undefined ? 0.05 : 0.5) ? 3 : 0;
}

function withRarer(rng: Rng, mix: QuorumFaultMix): QuorumFaultMix {
  const isUsual = rng.chance(0.75);
  if (isUsual) return mix;
  const [kind, weight] = rng.pick(RARER);
  return { ...mix, [kind]: weight };
}
