/** Tells that budgets may have changed, and which thresholds their spending has passed: at most once in a while, off the hot path. */
import { limits } from '../kernel/limits.ts';
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import type { Definition } from './definition.ts';
import { type AccountId, type BudgetName, type PurseKey, parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import { reserveOf } from './reserve-register.ts';
import { positionsOf, purseNow, spentOf } from './status.ts';

/** Purses of which it is remembered what was told. */
const REMEMBERED = 10_000;

export class Notices {
  readonly #office: Office;
  readonly #changed = new Set<BudgetName>();
  /** Sequence of each own purse when it was looked at last. */
  readonly #sequences = new Map<PurseKey, number>();
  /** Highest threshold that was told, in percent, and of which limit. */
  readonly #told = new Map<PurseKey, { readonly percent: number; readonly limit: number }>();
  /** What was spent when this run began: its thresholds were told before. */
  readonly #before = new Map<PurseKey, Map<AccountId, number>>();
  #due: Deadline | undefined;

  constructor(office: Office) {
    this.#office = office;
  }

  deadline(): Deadline | undefined {
    return this.#due;
  }

  /** A row of before this run. */
  began(purse: PurseKey, account: AccountId, spent: number): void {
    const accounts = this.#before.get(purse) ?? new Map<AccountId, number>();
    if (this.#before.size < REMEMBERED) this.#before.set(purse, accounts.set(account, spent));
  }

  /** Without a budget: an own purse may have changed; which, is found out when it is due. */
  soon(budget: BudgetName | undefined, now: Instant): void {
    if (budget !== undefined) this.#changed.add(budget);
    this.#due ??= { atMs: now.monoMs + limits.budgetNoticeMs, reason: 'budget.notice' };
  }

  expire(now: Instant): void {
    if (!isDue(this.#due, now)) return;
    this.#due = undefined;
    const { ledger, mirror } = this.#office;
    if (this.#sequences.size > ledger.purses.size)
      for (const purse of this.#sequences.keys())
        if (!ledger.purses.has(purse)) this.#sequences.delete(purse);
    for (const [purse, { sequence }] of ledger.purses) {
      if (this.#sequences.get(purse) === sequence) continue;
      this.#sequences.set(purse, sequence);
      const budget = parsePurseKey(purse)?.budget;
      if (budget !== undefined) this.#changed.add(budget);
    }
    for (const budget of this.#changed) {
      this.#office.order({ kind: 'budgetChanged', budget });
      const definition = mirror.definitions.get(budget);
      if (definition !== undefined && definition.thresholds.length > 0) this.#look(definition, now);
    }
    this.#changed.clear();
  }

  #look(definition: Definition, now: Instant): void {
    const { mirror } = this.#office;
    const purse = purseNow(definition, now.wallMs);
    const reserve = mirror.reserve(purse) ?? reserveOf(definition);
    const { limit } = reserve;
    const spent = spentOf(reserve, positionsOf(this.#office, purse));
    let before = 0;
    for (const part of this.#before.get(purse)?.values() ?? []) before += part;
    const told = this.#toldOf(purse, definition.thresholds, { before, spent, limit });
    for (const percent of definition.thresholds) {
      if (percent <= told || !hasPassed(spent, percent, limit)) continue;
      this.#office.order({ kind: 'thresholdPassed', budget: definition.name, percent, spent, limit });
    }
    const percent = Math.max(told, highest(definition.thresholds, spent, limit));
    this.#told.set(purse, { percent, limit });
    if (this.#told.size > REMEMBERED) this.#told.delete(this.#told.keys().next().value as PurseKey);
  }

  /** Of a raised limit what was told before may be passed again. */
  #toldOf(
    purse: PurseKey,
    thresholds: readonly number[],
    { before, spent, limit }: { readonly before: number; readonly spent: number; readonly limit: number },
  ): number {
    const told = this.#told.get(purse);
    if (told === undefined) return highest(thresholds, before, limit);
    return told.limit >= limit ? told.percent : Math.min(told.percent, highest(thresholds, spent, limit));
  }
}

function highest(thresholds: readonly number[], spent: number, limit: number): number {
  return thresholds.reduce((most, percent) => (hasPassed(spent, percent, limit) ? percent : most), 0);
}

function hasPassed(spent: number, percent: number, limit: number): boolean {
  return BigInt(spent) * 100n >= BigInt(limit) * BigInt(percent);
}
