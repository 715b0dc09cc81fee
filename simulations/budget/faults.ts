/**
 * Faults of a world of money, as data: drawn from the seed before the run, so that a failing schedule can be printed, cut
 * down and kept.
 */
import type { Channel } from '../../src/kernel/effects.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { drawSchedule, type SchedulePlan, type When } from '../lib/fault-schedule.ts';

/** A machine by its index, whoever is orchestrator when the fault strikes, or who has the most to lose. */
export type Target = number | 'orchestrator' | 'richest';

export type BudgetFault = { readonly atMs: number; readonly forMs: number } & (
  | { readonly kind: 'crash'; readonly node: Target; readonly how: 'kill' | 'power' }
  | { readonly kind: 'crashAll'; readonly how: 'kill' | 'power' }
  /** The disk comes back empty, spoilt, as it was some seconds before, or so in another place. */
  | { readonly kind: 'disk'; readonly node: Target; readonly becomes: 'lost' | 'spoilt' | 'old' | 'moved' }
  /** The data directory is copied while the node runs, and the copy started beside it: elsewhere, or as an image of the machine. */
  | { readonly kind: 'clone'; readonly node: Target; readonly place: 'other' | 'same' }
  | { readonly kind: 'pause'; readonly node: Target }
  /** The machine sleeps: no clock of durations goes on, and the time of day does. */
  | { readonly kind: 'suspend'; readonly node: Target }
  /** `store`: the group that keeps the quorum store, if any. */
  | {
      readonly kind: 'partition';
      readonly groups: readonly (readonly number[])[];
      readonly store: number | 'none';
    }
  | { readonly kind: 'isolate'; readonly node: Target; readonly hears: boolean; readonly isHeard: boolean }
  | { readonly kind: 'cut'; readonly from: number; readonly to: number }
  | { readonly kind: 'flapping'; readonly from: number; readonly to: number }
  | { readonly kind: 'breakLink'; readonly from: number; readonly to: number }
  | {
      readonly kind: 'noise';
      readonly loss: number;
      readonly duplication: number;
      readonly reordering: number;
      readonly maxDelayMs: number;
    }
  | { readonly kind: 'storeAway'; readonly node: Target; readonly what: 'calls' | 'answers' | 'both' }
  | { readonly kind: 'storeDown' }
  | { readonly kind: 'storeLossy'; readonly loss: number; readonly maxDelayMs: number }
  /** The store is lost for good and founded anew from a copy that lacks the last transactions. */
  | { readonly kind: 'recover'; readonly lostMs: number }
  | { readonly kind: 'slowDisk'; readonly node: Target; readonly syncMs: number }
  | { readonly kind: 'failingDisk'; readonly node: Target; readonly failing: 'full' | 'broken' }
  | { readonly kind: 'drift'; readonly node: Target; readonly rate: number }
  | { readonly kind: 'clockStep'; readonly node: Target; readonly byMs: number }
  /** A node is gone, is written off meanwhile, and returns. */
  | { readonly kind: 'writtenOff'; readonly node: Target; readonly gone: 'crash' | 'pause' | 'isolate' }
  /** A member sends noise, bent and cut frames, and real ones of long ago again. */
  | {
      readonly kind: 'forge';
      readonly from: number;
      readonly to: number;
      readonly channel: Extract<Channel, 'call' | 'records'>;
      readonly how: 'noise' | 'cut' | 'flip' | 'replay';
    }
  /** A member signs rows of accounts that never had what they claim to pass on. */
  | { readonly kind: 'lie'; readonly node: Target; readonly amount: number }
);

export type BudgetFaultKind = BudgetFault['kind'];
export type BudgetFaultMix = Readonly<Partial<Record<BudgetFaultKind, number>>>;

export type BudgetFaultPlan = SchedulePlan<BudgetFaultKind>;

/** None before `fromMs`: the budgets are made first. */
export function drawBudgetFaults(
  rng: Rng,
  plan: BudgetFaultPlan,
  nodes: number,
  fromMs: number,
  untilMs: number,
): readonly BudgetFault[] {
  return drawSchedule(rng, plan, fromMs, untilMs, (kind, when) => drawFault(rng, kind, nodes, when));
}

function drawFault(rng: Rng, kind: BudgetFaultKind, nodes: number, when: When): BudgetFault {
  const node: Target = rng.chance(0.2) ? 'orchestrator' : rng.chance(0.25) ? 'richest' : rng.below(nodes);
  const from = rng.below(nodes);
  const to = (from + 1 + rng.below(Math.max(1, nodes - 1))) % nodes;
  const how = rng.chance(0.6) ? 'kill' : 'power';
  switch (kind) {
    case 'crash':
      return { kind, node, how, ...when };
    case 'crashAll':
      return { kind, how, ...when };
    case 'disk':
      return { kind, node, becomes: rng.pick(['lost', 'spoilt', 'old', 'old', 'moved'] as const), ...when };
    case 'clone':
      return { kind, node, place: rng.chance(0.6) ? 'other' : 'same', ...when };
    case 'pause':
    case 'suspend':
      return { kind, node, ...when };
    case 'partition': {
      const shuffled = rng.shuffled(Array.from({ length: nodes }, (_, index) => index));
      const at = 1 + rng.below(Math.max(1, nodes - 1));
      const groups = [shuffled.slice(0, at), shuffled.slice(at)];
      return { kind, groups, store: rng.pick([0, 0, 1, 'none'] as const), ...when };
    }
    case 'isolate': {
      const way = rng.below(3);
      return { kind, node, hears: way === 1, isHeard: way === 2, ...when };
    }
    case 'cut':
    case 'flapping':
    case 'breakLink':
      return { kind, from, to, ...when };
    case 'writtenOff':
      return { kind, node, gone: rng.pick(['crash', 'crash', 'pause', 'isolate'] as const), ...when };
    case 'lie':
      return { kind, node, amount: 1 + rng.below(5_000), ...when };
    default:
      return drawMore(rng, kind, node, { from, to }, when);
  }
}

type Way = { readonly from: number; readonly to: number };

function drawMore(rng: Rng, kind: BudgetFaultKind, node: Target, way: Way, when: When): BudgetFault {
  switch (kind) {
    case 'storeAway':
      return { kind, node, what: rng.pick(['calls', 'answers', 'both'] as const), ...when };
    case 'storeLossy':
      return { kind, loss: rng.float() * 0.6, maxDelayMs: 10 + 400 * rng.float() * rng.float(), ...when };
    case 'recover':
      return { kind, lostMs: Math.round(20 + rng.float() * 800), ...when };
    case 'slowDisk':
      return { kind, node, syncMs: 20 + rng.float() * 1_500, ...when };
    case 'failingDisk':
      return { kind, node, failing: rng.chance(0.5) ? 'full' : 'broken', ...when };
    case 'drift':
      return { kind, node, rate: rng.chance(0.5) ? 0.5 + rng.float() * 0.5 : 1 + rng.float(), ...when };
    case 'clockStep': {
      const span = rng.pick([20_000, 600_000, 7_200_000, 200_000_000]);
      return { kind, node, byMs: Math.round((rng.float() - 0.5) * span), ...when };
    }
    case 'forge': {
      const how = rng.pick(['noise', 'cut', 'flip', 'replay', 'replay'] as const);
      return { kind, ...way, channel: rng.pick(['call', 'call', 'records'] as const), how, ...when };
    }
    case 'noise':
      return {
        kind,
        loss: rng.float() * 0.3,
        duplication: rng.float() * 0.5,
        reordering: rng.float() * 0.3,
        maxDelayMs: 1 + rng.float() * 100,
        ...when,
      };
    default:
      return { kind: 'storeDown', ...when };
  }
}
