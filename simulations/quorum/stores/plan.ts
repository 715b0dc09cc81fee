/** What a seed of the world of several stores stands for: how they come to be, what they hold when they meet, and what people order. */
import type { Rng } from '../../../src/kernel/rng.ts';
import { FOUND_AFTER_MS, RAFT_CONFIG } from '../../../src/node/quorum-config.ts';
import type { QuorumFaultMix, QuorumFaultPlan } from '../faults.ts';

export type StoresStory =
  /** Several may found, and start at about the same time; nothing else goes wrong meanwhile. */
  | { readonly kind: 'race' }
  /** The same, while faults strike. */
  | { readonly kind: 'roughRace' }
  /** Two groups that cannot see each other found a store each, of which some hold data when they meet; then a person may choose one. */
  | {
      readonly kind: 'meet';
      readonly data: 'neither' | 'one' | 'both';
      readonly meetMs: number;
      readonly isMerged: boolean;
    }
  /** A majority is lost, and a person goes on from one of those that are left; of the lost some come back as they were. */
  | {
      readonly kind: 'recover';
      readonly lostAtMs: number;
      /** For so long before, the others do not hear of what those acknowledge that will be lost. */
      readonly behindMs: number;
      readonly recoverAtMs: number;
      readonly backAtMs: number;
      /** Else a majority of the voters, by less than which nothing is lost. */
      readonly losesAllVoters: boolean;
    };

export interface StoresPlan {
  readonly nodes: number;
  readonly story: StoresStory;
  readonly targetVoters: number;
  readonly foundAfterMs: number;
  readonly stableMs: number;
  readonly maxDelayMs: number;
  /** When each machine is switched on. */
  readonly startsMs: readonly number[];
  /** Machines that were told of nobody. */
  readonly founders: readonly number[];
  /** When clients begin. */
  readonly loadFromMs: number;
  readonly thinkMs: number;
  readonly untilMs: number;
  readonly faults: QuorumFaultPlan;
  readonly tailEntries: number | undefined;
}

const MIX: QuorumFaultMix = {
  crash: 4,
  pause: 2,
  noise: 2,
  cut: 1,
  breakLink: 2,
  slowDisk: 2,
  drift: 1,
  transfer: 1,
};
const CALM: QuorumFaultMix = {};

export function drawStoresPlan(rng: Rng): StoresPlan {
  const story = drawStory(rng);
  const nodes = story.kind === 'recover' ? rng.pick([3, 3, 4, 5]) : rng.pick([2, 3, 4, 5]);
  const foundAfterMs = rng.pick([200, 400, FOUND_AFTER_MS]);
  const all = Array.from({ length: nodes }, (_, index) => index);
  const isRace = story.kind === 'race' || story.kind === 'roughRace';
  const rough = story.kind !== 'race' && rng.chance(story.kind === 'recover' ? 0.4 : 0.7);
  const loadFromMs = isRace ? 2 * foundAfterMs + rng.below(6_000) : foundAfterMs + 1_000;
  return {
    nodes,
    story,
    targetVoters: rng.pick([1, 3, 3, 3]),
    foundAfterMs,
    stableMs: rng.pick([200, 500]),
    maxDelayMs: rng.pick([1, 1, 10]),
    startsMs: all.map(() => (isRace ? Math.round(rng.float() * rng.pick([0, 20, 1.5 * foundAfterMs])) : 0)),
    founders: isRace ? all.filter((index) => index === 0 || rng.chance(0.7)) : all.slice(0, 1),
    loadFromMs,
    thinkMs: rng.pick([30, 80, 200]),
    untilMs: endOf(story, loadFromMs) + 2_000 + rng.below(4_000),
    faults: {
      mix: rough ? MIX : CALM,
      everyMs: 600 + rng.below(1_200),
      longestMs: rng.pick([500, 2_000]),
    },
    tailEntries: rng.chance(0.4) ? rng.below(12) : undefined,
  };
}

function drawStory(rng: Rng): StoresStory {
  const kind = rng.pick(['race', 'roughRace', 'meet', 'meet', 'recover', 'recover'] as const);
  switch (kind) {
    case 'race':
    case 'roughRace':
      return { kind };
    case 'meet':
      return {
        kind,
        data: rng.pick(['neither', 'one', 'one', 'both', 'both'] as const),
        meetMs: 5_000 + rng.below(5_000),
        isMerged: rng.chance(0.5),
      };
    case 'recover': {
      const lostAtMs = 8_000 + rng.below(2_000);
      const behindMs = rng.pick([0, 300, 1_500]);
      const recoverAtMs = lostAtMs + rng.below(4_000);
      const backAtMs = recoverAtMs + rng.below(8_000);
      return { kind, lostAtMs, behindMs, recoverAtMs, backAtMs, losesAllVoters: rng.chance(0.4) };
    }
  }
}

function endOf(story: StoresStory, loadFromMs: number): number {
  if (story.kind === 'meet') return story.meetMs + 6_000;
  return story.kind === 'recover' ? story.backAtMs + 2_000 : loadFromMs + 3_000;
}

export const RAFT_OF_STORES = {
  ...RAFT_CONFIG,
  electionTimeoutMs: 300,
  heartbeatMs: 75,
  heartbeatEarlyMs: 15,
  leaseDriftMs: 50,
};
