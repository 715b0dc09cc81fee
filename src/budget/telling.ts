/**
 * When rows that only tell what was spent are told. To all others at once they would be nine tenths of what budgets send; and
 * spending moves no money between accounts, so that others see less of it as long as what is left here is about what they know.
 */
import type { Deadline } from '../kernel/time.ts';
import type { PurseKey } from './names.ts';

/** Rows are told no more often than this while they say about the same. */
const SELDOM_MS = 2_500;
/** What waits for more goes along. */
const DELAY_MS = 1_000;
/** How long a row that rides along takes from node to node until all have it, as a rule. */
const UNDER_WAY_MS = 2_500;
/** So old may what others know of a row be at most, while nothing is lost on the way. */
export const TOLD_WITHIN_MS = SELDOM_MS + DELAY_MS + UNDER_WAY_MS;

export class Telling {
  readonly #delayMs: number;
  /** Rights as they were told last. */
  readonly #rights = new Map<PurseKey, number>();
  #lastMs = Number.NEGATIVE_INFINITY;
  #isPressing = false;

  constructor(delayMs = DELAY_MS) {
    this.#delayMs = delayMs;
  }

  /** The row has changed. Who lacks rights goes by what was told: it should not promise twice what there is, nor nothing where there is something. */
  changed(purse: PurseKey, rights: number): void {
    this.#isPressing ||= this.#isMuch(purse, rights);
  }

  /** When all that has changed is to be told; `set`: when it was to be so far. */
  deadline(monoMs: number, set: Deadline | undefined): Deadline {
    const soonMs = monoMs + this.#delayMs;
    if (set !== undefined && (!this.#isPressing || set.atMs <= soonMs)) return set;
    const atMs = this.#isPressing ? soonMs : Math.max(soonMs, this.#lastMs + SELDOM_MS);
    return { atMs, reason: 'budget.publish' };
  }

  told(purse: PurseKey, rights: number): void {
    this.#rights.set(purse, rights);
  }

  /**
   * It is time to tell `dirty`, or it can wait after all: of who came near its end and got more nothing is promised that is not there.
   * The deadline as it was, or a later one.
   */
  due<D extends Deadline | undefined>(
    set: D,
    dirty: ReadonlySet<PurseKey>,
    purses: ReadonlyMap<PurseKey, { readonly rights: number }>,
    monoMs: number,
  ): D | Deadline {
    const waitedMs = this.#lastMs + SELDOM_MS;
    const wasPressing = this.#isPressing;
    this.#isPressing = false;
    const isMuch = [...dirty].some((purse) => this.#isMuch(purse, purses.get(purse)?.rights ?? 0));
    if (wasPressing && !isMuch && monoMs < waitedMs) return { atMs: waitedMs, reason: 'budget.publish' };
    if (dirty.size > 0) this.#lastMs = monoMs;
    return set;
  }

  #isMuch(purse: PurseKey, rights: number): boolean {
    const told = this.#rights.get(purse) ?? 0;
    return rights * 2 < told || (told === 0 && rights > 0);
  }

  forget(purse: PurseKey): void {
    this.#rights.delete(purse);
  }

  /** Of the account that begins nobody knows anything. */
  clear(): void {
    this.#rights.clear();
    this.#lastMs = Number.NEGATIVE_INFINITY;
    this.#isPressing = false;
  }
}
