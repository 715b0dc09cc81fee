/**
 * Which periods are over for good. One clock may be wrong, so it is believed only where it has said so for a while, and with
 * a distance that reservations, late settlements and clocks that disagree fit into.
 */
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import { type PurseKey, parsePurseKey, splitPurseKey } from './names.ts';
import { periodEndMs } from './period.ts';

/** All in ms. */
export interface ClosingTimes {
  /** From the end of a period, by the clock of day, and how long that must have said so. */
  readonly graceMs: number;
  readonly sureMs: number;
  /** The same for a node that keeps so many periods that it would soon have room for no more. */
  readonly crowdedGraceMs: number;
  readonly crowdedSureMs: number;
  /** Instead of `graceMs`, where no other node can agree. */
  readonly loneGraceMs: number;
  /** How often is looked for periods that are over. */
  readonly everyMs: number;
}

export const CLOSING_TIMES: ClosingTimes = {
  graceMs: limits.budgetGraceMs,
  sureMs: limits.budgetSureOfTimeMs,
  crowdedGraceMs: limits.budgetCrowdedGraceMs,
  crowdedSureMs: limits.budgetCrowdedSureMs,
  loneGraceMs: limits.budgetLoneGraceMs,
  everyMs: 60_000,
};

/** Asked again and again which of some purses are over. A restart begins anew. */
export class OverPeriods {
  readonly #times: ClosingTimes;
  /** Since when each has been over, on the monotonic clock. */
  readonly #sinceMs = new Map<PurseKey, number>();

  constructor(times: ClosingTimes) {
    this.#times = times;
  }

  /** Those to be closed, in the order of their periods. `isCrowded`: room is needed. */
  due(purses: Iterable<PurseKey>, isCrowded: boolean, now: Instant): readonly PurseKey[] {
    const { graceMs, sureMs, crowdedGraceMs, crowdedSureMs } = this.#times;
    const least = isCrowded ? Math.min(graceMs, crowdedGraceMs) : graceMs;
    const sure = isCrowded ? Math.min(sureMs, crowdedSureMs) : sureMs;
    const due: (readonly [period: string, PurseKey])[] = [];
    const before = new Map(this.#sinceMs);
    this.#sinceMs.clear();
    for (const key of purses) {
      const period = parsePurseKey(key)?.period;
      if (period === undefined || periodEndMs(period) + least > now.wallMs) continue;
      const sinceMs = before.get(key) ?? now.monoMs;
      this.#sinceMs.set(key, sinceMs);
      if (now.monoMs - sinceMs >= sure) due.push([period, key]);
    }
    return due.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)).map(([, key]) => key);
  }

  clear(): void {
    this.#sinceMs.clear();
  }
}

/** How many, of those that the quorum store has something of, should have left it whoever is there to agree. */
export function overdueOf(
  purses: Iterable<PurseKey>,
  { graceMs, loneGraceMs }: Pick<ClosingTimes, 'graceMs' | 'loneGraceMs'>,
  { wallMs }: Pick<Instant, 'wallMs'>,
): number {
  let count = 0;
  for (const purse of purses)
    if (periodEndMs(splitPurseKey(purse)[1]) + graceMs + loneGraceMs <= wallMs) count++;
  return count;
}

/** What the clock of day has shown at least for a while: whoever began to run less than that ago knows nothing. */
export class SureClock {
  readonly #sureMs: number;
  /** Shown since the last look, oldest first. */
  #seen: { readonly monoMs: number; readonly wallMs: number }[] = [];

  constructor(sureMs: number) {
    this.#sureMs = sureMs;
  }

  look({ monoMs, wallMs }: Instant): void {
    this.#seen.push({ monoMs, wallMs });
    // One that is old enough is kept: it says that the time of the others is covered.
    while ((this.#seen[1]?.monoMs ?? Number.POSITIVE_INFINITY) <= monoMs - this.#sureMs) this.#seen.shift();
  }

  /** No look in that time saw an earlier time of day. */
  get leastWallMs(): number {
    const first = this.#seen[0];
    const last = this.#seen.at(-1);
    if (first === undefined || last === undefined || last.monoMs - first.monoMs < this.#sureMs)
      return Number.NEGATIVE_INFINITY;
    return this.#seen.reduce((least, { wallMs }) => Math.min(least, wallMs), Number.POSITIVE_INFINITY);
  }
}
