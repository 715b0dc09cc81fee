/**
 * Gets rights for the reservations that wait: out of the reserve, and where that has none or cannot be asked, from
 * other nodes. One wish per purse is under way, sized for all that wait. A reservation is refused when the reserve and
 * everybody that can be reached said that they have too little, or when its time is up.
 */
import { errorBody, fail, type Result } from '../kernel/errors.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import { AHEAD_MS, chunkOf } from './allocation.ts';
import { type Amount, ZERO } from './amount.ts';
import { type BudgetName, type PurseKey, parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import type { Opening } from './opening.ts';
import { type Granted, planGrant, reserveOf } from './reserve-register.ts';
import type { Reservation } from './spending.ts';
import { type Remains, remainsOf } from './status.ts';
import { type Waiter, Waiting } from './waiting.ts';

/** How long what the store said of an empty reserve is believed. */
const EMPTY_MS = 300;
/** After a call that failed, others are asked without waiting for the store. */
const UNAVAILABLE_MS = 10_000;
const RETRY_MS = 500;

interface Search {
  isAsking: boolean;
  /** What others were told last that waits here. */
  wanted: number;
  /** What all that can be reached have, as they said when they were asked; 0 before. */
  reachable: number;
}

export interface SupplyHooks {
  /** Told whenever what waits at a purse needs something else from other nodes, or nothing any more (0). */
  readonly want: (purse: PurseKey, need: Amount, waiting: Amount) => void;
  /** A reservation that waited is made, or cannot be. */
  readonly answer: (id: number, result: Result<Reservation>) => void;
}

export class Supply {
  readonly #office: Office;
  readonly #opening: Opening;
  readonly #want: SupplyHooks['want'];
  readonly #report: SupplyHooks['answer'];
  readonly #waiting = new Waiting();
  readonly #searches = new Map<PurseKey, Search>();
  /** When the store said that it has too little for what waits, and what that was. */
  readonly #empty = new Map<PurseKey, { readonly atMs: number; readonly reserve: number }>();
  #unavailableMs = Number.NEGATIVE_INFINITY;
  #reask: Deadline | undefined;

  constructor(office: Office, opening: Opening, hooks: SupplyHooks) {
    this.#office = office;
    this.#opening = opening;
    this.#want = hooks.want;
    this.#report = hooks.answer;
  }

  get waiting(): Pick<Waiting, 'size' | 'nextMs' | 'hasRoom' | 'isAwaited'> {
    return this.#waiting;
  }

  wait(purse: PurseKey, waiter: Waiter, now: Instant): void {
    this.#waiting.add(purse, waiter);
    this.#work(purse, now);
  }

  cancel(id: number, now: Instant): void {
    const purse = this.#waiting.remove(id);
    if (purse !== undefined) this.retry(purse, now);
  }

  /** Rights may have come in, or what waited has changed. */
  retry(purse: PurseKey, now: Instant): void {
    for (let waiter = this.#waiting.first(purse); waiter !== undefined; waiter = this.#waiting.first(purse)) {
      const result = this.#office.ledger.perform(waiter.call, now);
      const elsewhere = lackingPurse(result);
      if (elsewhere === purse) break;
      if (elsewhere === undefined) this.#answer(waiter, result, now);
      else {
        this.#waiting.add(elsewhere, waiter);
        this.#work(elsewhere, now);
      }
    }
    this.#work(purse, now);
  }

  retryAll(now: Instant): void {
    if (this.#waiting.size > 0) for (const purse of [...this.#waiting.purses]) this.retry(purse, now);
  }

  /** Money came back to the reserve, or a limit was raised. */
  reserveChanged(purse: PurseKey, now: Instant): void {
    this.#empty.delete(purse);
    if (this.#waiting.isAwaited(purse)) this.#work(purse, now);
  }

  deadline(): Deadline | undefined {
    const { nextMs } = this.#waiting;
    if (nextMs === Number.POSITIVE_INFINITY) return undefined;
    return earliest([this.#reask, { atMs: nextMs, reason: 'budget.waiting' }]);
  }

  expire(now: Instant): void {
    if (isDue(this.#reask, now)) {
      this.#reask = undefined;
      for (const purse of [...this.#waiting.purses]) this.#work(purse, now);
    }
    for (const { purse, waiter } of this.#waiting.due(now.monoMs)) {
      const result = this.#office.ledger.perform(waiter.call, now);
      if (lackingPurse(result) === undefined) this.#answer(waiter, result, now);
      else this.#refuse(purse, waiter, undefined, RETRY_MS, now);
      this.#work(purse, now);
    }
  }

  /** Everybody was asked: all that can be reached, what is here included, is `reachable`. */
  exhausted(purse: PurseKey, reachable: number, retryAfterMs: number, now: Instant): void {
    const search = this.#searches.get(purse);
    if (search === undefined || !this.#waiting.isAwaited(purse)) return;
    // The store answers for itself, and may have been given something meanwhile.
    if (search.isAsking && !this.#isStoreAway(now)) return;
    const reserve = this.#isStoreAway(now) ? 0 : remainsOf(this.#office, purse, now).reserve;
    // Only a confirmed start may ask the reserve, and it is asked as soon as this one is.
    if (reserve > 0 && !this.#opening.isOpen) return;
    search.reachable = Math.max(search.reachable, reachable);
    if (this.#mayAsk(purse, reachable, now)) {
      this.#ask(purse, search, now);
      return;
    }
    const most = reachable + (this.#isStoreAway(now) ? 0 : (this.#empty.get(purse)?.reserve ?? 0));
    const refused = [...this.#waiting.at(purse)].filter(({ amount }) => amount > most);
    for (const waiter of refused) this.#refuse(purse, waiter, reachable, retryAfterMs, now);
    search.wanted = 0;
    if (refused.length > 0) this.retry(purse, now);
  }

  #answer(waiter: Waiter, result: Result<Reservation>, now: Instant): void {
    this.#waiting.remove(waiter.id);
    this.#office.absorb(now);
    this.#report(waiter.id, result);
  }

  #refuse(
    purse: PurseKey,
    waiter: Waiter,
    reachable: number | undefined,
    retryAfterMs: number,
    now: Instant,
  ): void {
    const remains = remainsOf(this.#office, purse, now);
    const error =
      remains.reserve > 0 && this.#isStoreAway(now)
        ? unavailable(remains)
        : exhaustedError(remains, waiter.amount, reachable, retryAfterMs);
    this.#waiting.remove(waiter.id);
    this.#office.answer(waiter.id, fail(error));
  }

  #work(purse: PurseKey, now: Instant): void {
    const first = this.#waiting.first(purse);
    if (first === undefined) {
      this.#settled(purse);
      return;
    }
    const search = this.#searches.get(purse) ?? { isAsking: false, wanted: 0, reachable: 0 };
    this.#searches.set(purse, search);
    if (search.isAsking && !this.#isStoreAway(now)) return;
    if (!search.isAsking && this.#mayAsk(purse, this.#rights(purse), now)) this.#ask(purse, search, now);
    if (search.isAsking && !this.#isStoreAway(now)) return;
    this.#gather(purse, search, first.amount as Amount);
  }

  #settled(purse: PurseKey): void {
    const search = this.#searches.get(purse);
    if (search === undefined) return;
    if (search.wanted > 0) this.#want(purse, ZERO, ZERO);
    search.wanted = 0;
    if (!search.isAsking) this.#searches.delete(purse);
  }

  #gather(purse: PurseKey, search: Search, need: Amount): void {
    if (search.wanted === need) return;
    search.wanted = need;
    this.#want(purse, need, this.#waiting.sum(purse) as Amount);
  }

  #rights(purse: PurseKey): number {
    return this.#office.ledger.purses.get(purse)?.rights ?? 0;
  }

  #isAway(now: Instant): void {
    this.#unavailableMs = now.monoMs;
    this.#reask = { atMs: now.monoMs + RETRY_MS, reason: 'budget.reask' };
  }

  #isStoreAway(now: Instant): boolean {
    return now.monoMs - this.#unavailableMs < UNAVAILABLE_MS;
  }

  /** `reachable`: what there is without the reserve. */
  #mayAsk(purse: PurseKey, reachable: number, now: Instant): boolean {
    // A store that refuses at once is not asked again at once.
    if (!this.#opening.isOpen || now.monoMs - this.#unavailableMs < RETRY_MS) return false;
    const empty = this.#empty.get(purse);
    if (empty === undefined || now.monoMs - empty.atMs >= EMPTY_MS) return true;
    // It had too little for another, or for this one alone.
    const first = this.#waiting.first(purse)?.amount ?? 0;
    return empty.reserve > 0 && first <= empty.reserve + reachable;
  }

  #ask(purse: PurseKey, search: Search, now: Instant): void {
    const budget = parsePurseKey(purse)?.budget;
    const definition = budget === undefined ? undefined : this.#office.mirror.definitions.get(budget);
    const { nonce } = this.#opening;
    if (budget === undefined || definition === undefined || nonce === undefined) return;
    search.isAsking = true;
    const { account } = this.#office.ledger;
    this.#office.send<Granted>(
      {
        budget,
        purse,
        account,
        plan: (view) => {
          const reserve = view.reserve.value ?? reserveOf(view.definition.value ?? definition);
          return planGrant(view, { ...this.#wish(purse, reserve, now), nonce });
        },
      },
      { done: (result, at) => this.#asked({ purse, budget, account }, search, result, at) },
      now,
    );
  }

  #wish(purse: PurseKey, { limit, reserve }: { limit: Amount; reserve: Amount }, now: Instant) {
    const { ledger, paces } = this.#office;
    const own = ledger.purses.get(purse);
    const rights = own?.rights ?? ZERO;
    const told = this.#searches.get(purse)?.reachable ?? 0;
    const reachable = reserve + Math.max(told, remainsOf(this.#office, purse, now).rights);
    let need = 0;
    for (const { amount } of this.#waiting.at(purse)) if (amount <= reachable) need += amount;
    const first = this.#waiting.first(purse)?.amount ?? 0;
    const chunk = chunkOf({
      limit,
      reserve,
      rights,
      need: Math.min(need, limit) as Amount,
      burnPerMs: paces.perMs(purse, ledger.account, now),
      horizonMs: AHEAD_MS,
      spenders: this.#office.mirror.entries(purse).size + 1,
    });
    // Taking what does not help would only strand it here.
    const atLeast = first <= reachable ? 1 : first - rights;
    return {
      amount: Math.max(1, chunk.amount) as Amount,
      atLeast: Math.max(1, atLeast) as Amount,
      above: own?.granted ?? ZERO,
    };
  }

  #asked(
    of: { readonly purse: PurseKey; readonly budget: BudgetName; readonly account: string },
    search: Search,
    result: Result<Granted>,
    now: Instant,
  ): void {
    const { purse } = of;
    search.isAsking = false;
    const { account } = this.#office.ledger;
    if (result.ok && of.account === account) {
      this.#unavailableMs = Number.NEGATIVE_INFINITY;
      search.reachable = 0;
      this.#office.tell({ kind: 'registered', purse, account, granted: result.value.total }, now);
    } else if (!result.ok) {
      const { reserve = 0 } = (result.error.details ?? {}) as { readonly reserve?: number };
      const isEmpty = result.error.code === 'BUDGET_EXHAUSTED' || result.error.code === 'CONFLICT';
      if (isEmpty) this.#empty.set(purse, { atMs: now.monoMs, reserve });
      if (result.error.code === 'CONFLICT') this.#opening.told(account, now);
      else if (!isEmpty) this.#isAway(now);
    }
    this.retry(purse, now);
  }
}

/** The purse that has too little, where that is why. */
export function lackingPurse(result: Result<unknown>): PurseKey | undefined {
  if (result.ok || result.error.code !== 'BUDGET_EXHAUSTED') return undefined;
  return result.error.details?.purse as PurseKey | undefined;
}

export function exhaustedError(
  remains: Remains,
  needed: number,
  reachable: number | undefined,
  retryAfterMs: number,
): ReturnType<typeof errorBody> {
  const { budget, reserve, rights, held, machines, periodEndsInMs } = remains;
  const left = reachable ?? reserve + rights;
  // What is held may be given back; nothing else comes before the next period, or a higher limit.
  const waitMs = left + held >= needed ? retryAfterMs : periodEndsInMs;
  return errorBody(
    'BUDGET_EXHAUSTED',
    `Of budget "${budget}" ${left} can be had from here, and ${needed} is asked for.`,
    held > 0
      ? `${held} is held by reservations that may be settled for less; ask for less, or raise the limit.`
      : 'Ask for less, or raise the limit (skein budget limit).',
    {
      retryable: waitMs !== undefined,
      ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
      details: { outcome: 'not-done', budget, needed, remaining: left, reserve, held, machines },
    },
  );
}

function unavailable({ budget, reserve, rights }: Remains): ReturnType<typeof errorBody> {
  return errorBody(
    'QUORUM_UNAVAILABLE',
    `Nodes that can be reached have ${rights} of budget "${budget}", and its reserve of ${reserve} cannot be asked.`,
    'Try again when a majority of the voters can be reached; see skein doctor.',
    { retryAfterMs: RETRY_MS, details: { outcome: 'not-done', budget, remaining: rights, reserve } },
  );
}
