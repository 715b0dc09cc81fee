/** What the worlds of one subject share of their faults: when each strikes and for how long, and links that come and go. */
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { SimulatedNetwork } from '../../src/sim/network.ts';

export interface SchedulePlan<Kind extends string> {
  /** How often each kind is drawn, relative to the others. */
  readonly mix: Readonly<Partial<Record<Kind, number>>>;
  /** Mean time between two faults. */
  readonly everyMs: number;
  readonly longestMs: number;
}

export interface When {
  readonly atMs: number;
  readonly forMs: number;
}

const FLAP_MS = 1_000;

/** None before `fromMs`; short faults are drawn more often than long ones. */
export function drawSchedule<Kind extends string, Fault>(
  rng: Rng,
  plan: SchedulePlan<Kind>,
  fromMs: number,
  untilMs: number,
  drawFault: (kind: Kind, when: When) => Fault,
): readonly Fault[] {
  const kinds = Object.entries(plan.mix) as [Kind, number][];
  const total = kinds.reduce((sum, [, weight]) => sum + weight, 0);
  const [first] = kinds;
  if (first === undefined || total === 0) return [];
  const faults: Fault[] = [];
  for (let atMs = fromMs; atMs < untilMs; atMs += 2 * plan.everyMs * rng.float() + 1) {
    let at = rng.float() * total;
    const [kind] =
      kinds.find(([, weight]) => {
        at -= weight;
        return at < 0;
      }) ?? first;
    const forMs = Math.min(untilMs - atMs, plan.longestMs * rng.float() * rng.float() + 50);
    faults.push(drawFault(kind, { atMs: Math.round(atMs), forMs: Math.round(forMs) }));
  }
  return faults;
}

/** A link that is cut and mended, a second each, from `nowMs` on. */
export function flap(
  network: SimulatedNetwork,
  [one, other]: readonly [NodeId, NodeId],
  { nowMs, forMs }: { readonly nowMs: number; readonly forMs: number },
  at: (atMs: number, callback: () => void) => void,
): void {
  for (let atMs = nowMs; atMs < nowMs + forMs; atMs += 2 * FLAP_MS) {
    at(atMs, () => {
      network.cut(one, other);
      network.cut(other, one);
    });
    at(Math.min(atMs + FLAP_MS, nowMs + forMs), () => {
      network.mend(one, other);
      network.mend(other, one);
    });
  }
}
