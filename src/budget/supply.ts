/**
 * Gets rights for what waits here: out of the reserve, and where that has none or cannot be asked, from other nodes. One wish per
 * purse is under way, sized for all that wait. Reservations go first, in their order: one is refused when the reserve and
 * everybody that can be reached said that they have too little, or when its time is up. Then what was requested, what is to
 * be counted as spent, and debts (`pulls.ts`): these take what there is, even if it is too little.
 */
import { fail, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import { AHEAD_MS, chunkOf } from './allocation.ts';
import { type Amount, ZERO } from './amount.ts';
import { type BudgetName, type PurseKey, parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import type { Opening } from './opening.ts';
import { periodEndMs } from './period.ts';
import { type Pull, type Pulled, Pulls } from './pulls.ts';
import { exhaustedError, lackingPurse, unavailableError } from './refusals.ts';
import { type AccountEntry, type Granted, planGrant, reserveOf } from './reserve-register.ts';
import type { Reservation } from './spending.ts';
import { remainsOf } from './status.ts';
import { type Waiter, Waiting } from './waiting.ts';

/** How long what the store said of an empty reserve is believed. */
const EMPTY_MS = 300;
/** Kept beyond that time, so that few are looked through. */
const EMPTY_PURSES = 256;
/** After a call that failed, others are asked without waiting for the store. */
const UNAVAILABLE_MS = 10_000;
const RETRY_MS = 500;
/** One try to pay debts may take this, and the next begins as much later. */
const DEBT_MS = 5_000;
const DEBT_AGAIN_MS = 10_000;

interface Search {
  isAsking: boolean;
  /** What others were told last that waits here. */
  wanted: number;
  /** So much was here since then: whoever looked for it may have stopped, and what waits next may need as much. */
  isMet: boolean;
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
  readonly #pulls = new Pulls();
  /** Debts that are being paid. */
  readonly #debts = new Map<PurseKey, Pull>();
  #debtsAgain: Deadline | undefined;
  /** What ever came in, where something is to come. */
  readonly #inflows = new Map<PurseKey, number>();
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

  get hasRoom(): boolean {
    return this.#waiting.hasRoom && this.#pulls.size < limits.budgetWaiters;
  }

  /** Brings so much more to this node, beyond debts that are to be paid; or as much of it as can be had by `untilMs`. */
  bring(
    purse: PurseKey,
    amount: number,
    untilMs: number,
    done: Pulled,
    now: Instant,
    isPatient = false,
  ): Pull {
    this.owes(now);
    return this.#pull(purse, amount, untilMs, done, now, isPatient);
  }

  #pull(
    purse: PurseKey,
    amount: number,
    untilMs: number,
    done: Pulled,
    now: Instant,
    isPatient = false,
  ): Pull {
    if (!this.#pulls.has(purse)) this.#inflows.set(purse, this.#inflow(purse));
    const pull = this.#pulls.add(purse, amount, untilMs, done, isPatient);
    this.#opening.need(now);
    this.#work(purse, now);
    return pull;
  }

  /** It is not told any more. */
  drop(pull: Pull, now: Instant): void {
    this.#pulls.remove(pull);
    this.#work(pull.purse, now);
  }

  /** Something was spent beyond the rights here: they are brought, so that agents that owe may go on. */
  owes(now: Instant): void {
    this.#debtsAgain = undefined;
    for (const [purse, { debts }] of this.#office.ledger.purses) {
      const period = debts.size === 0 ? undefined : parsePurseKey(purse)?.period;
      if (period === undefined || periodEndMs(period) <= now.wallMs) continue;
      this.#debtsAgain = { atMs: now.monoMs + DEBT_AGAIN_MS, reason: 'budget.debts' };
      const owed = this.#owed(purse);
      const known = this.#debts.get(purse);
      if (known !== undefined) known.left = owed;
      else if (this.hasRoom) {
        const done = (): void => void this.#debts.delete(purse);
        this.#debts.set(purse, this.#pull(purse, owed, now.monoMs + DEBT_MS, done, now));
      }
    }
  }

  /** Why there is not `needed` in a purse, where all that can be reached was looked at. */
  refusal(purse: PurseKey, needed: number, now: Instant): Result<never> {
    return this.#refusal(purse, needed, undefined, RETRY_MS, now);
  }

  cancel(id: number, now: Instant): void {
    const purse = this.#waiting.remove(id);
    if (purse !== undefined) this.retry(purse, now);
  }

  /** Rights may have come in, or what waited has changed. */
  retry(purse: PurseKey, now: Instant): void {
    const rights = this.#rights(purse);
    const search = this.#searches.get(purse);
    if (search !== undefined && rights >= search.wanted) search.isMet = true;
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
    if (this.#pulls.has(purse)) this.#share(purse, rights, now);
    this.#work(purse, now);
  }

  /** This start may ask the reserve, whatever the one before it or an account that has ended was refused. */
  opened(now: Instant): void {
    this.#empty.clear();
    this.retryAll(now);
  }

  retryAll(now: Instant): void {
    if (this.#waiting.size === 0 && this.#pulls.size === 0) return;
    this.#office.absorb(now);
    for (const purse of this.#purses()) this.retry(purse, now);
  }

  /** Money came back to the reserve, or a limit was raised. */
  reserveChanged(purse: PurseKey, now: Instant): void {
    const reserve = this.#office.mirror.reserve(purse)?.reserve ?? Number.MAX_SAFE_INTEGER;
    if (reserve > (this.#empty.get(purse)?.reserve ?? 0)) this.#empty.delete(purse);
    if (this.#isAwaited(purse)) this.#work(purse, now);
    if ((this.#office.ledger.purses.get(purse)?.debts.size ?? 0) > 0) this.owes(now);
  }

  deadline(): Deadline | undefined {
    const nextMs = Math.min(this.#waiting.nextMs, this.#pulls.nextMs);
    if (nextMs === Number.POSITIVE_INFINITY) return this.#debtsAgain;
    return earliest([this.#reask, this.#debtsAgain, { atMs: nextMs, reason: 'budget.waiting' }]);
  }

  expire(now: Instant): void {
    if (isDue(this.#reask, now)) {
      this.#reask = undefined;
      for (const purse of this.#purses()) this.#work(purse, now);
    }
    if (isDue(this.#debtsAgain, now)) this.owes(now);
    for (const { purse, waiter } of this.#waiting.due(now.monoMs)) {
      const result = this.#office.ledger.perform(waiter.call, now);
      if (lackingPurse(result) === undefined) this.#answer(waiter, result, now);
      else this.#refuse(purse, waiter, undefined, RETRY_MS, now);
      this.#work(purse, now);
    }
    this.#tell(this.#pulls.takeDue(now.monoMs), now);
  }

  /** Everybody was asked: all that can be reached, what is here included, is `reachable`. */
  exhausted(purse: PurseKey, reachable: number, retryAfterMs: number, now: Instant): void {
    const search = this.#searches.get(purse);
    if (search === undefined || !this.#isAwaited(purse)) return;
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
    const isReserveShut = this.#isStoreAway(now) || this.#office.ledger.diskError !== undefined;
    const most = reachable + (isReserveShut ? 0 : (this.#empty.get(purse)?.reserve ?? 0));
    const refused = [...this.#waiting.at(purse)].filter(({ amount }) => amount > most);
    for (const waiter of refused) this.#refuse(purse, waiter, reachable, retryAfterMs, now);
    const { wanted } = search;
    search.wanted = 0;
    if (refused.length > 0) this.retry(purse, now);
    if (this.#waiting.isAwaited(purse) || !this.#pulls.has(purse)) return;
    const pressing = this.#isReserveAway(purse, now);
    this.#tell(this.#pulls.bound(purse, Math.max(0, most - this.#rights(purse)), pressing), now);
    // The same would be answered in the same way at once, without end.
    if (this.#need(purse, now) !== wanted) this.#work(purse, now);
  }

  /** What came in beyond what reservations took, and debts. */
  #share(purse: PurseKey, rightsBefore: number, now: Instant): void {
    const inflow = this.#inflow(purse);
    const taken = rightsBefore - this.#rights(purse);
    const debt = this.#debts.get(purse);
    const paid = Math.max(0, (debt?.left ?? 0) - this.#owed(purse));
    if (debt !== undefined) debt.left -= paid;
    const came = Math.max(0, inflow - (this.#inflows.get(purse) ?? inflow) - taken - paid);
    this.#inflows.set(purse, inflow);
    this.#tell(this.#pulls.share(purse, came, debt), now);
  }

  #tell(pulls: readonly Pull[], now: Instant): void {
    for (const { done, got } of pulls) done(got, now);
    for (const { purse } of pulls) this.#work(purse, now);
  }

  #isAwaited(purse: PurseKey): boolean {
    return this.#waiting.isAwaited(purse) || this.#pulls.has(purse);
  }

  #purses(): Iterable<PurseKey> {
    return new Set([...this.#waiting.purses, ...this.#pulls.purses]);
  }

  #inflow(purse: PurseKey): number {
    const own = this.#office.ledger.purses.get(purse);
    let sum: number = own?.granted ?? 0;
    for (const total of own?.received.values() ?? []) sum += total;
    return sum;
  }

  #owed(purse: PurseKey): number {
    let sum = 0;
    for (const debt of this.#office.ledger.purses.get(purse)?.debts.values() ?? []) sum += debt;
    return Math.min(sum, Number.MAX_SAFE_INTEGER);
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
    this.#waiting.remove(waiter.id);
    this.#office.answer(waiter.id, this.#refusal(purse, waiter.amount, reachable, retryAfterMs, now));
  }

  #refusal(
    purse: PurseKey,
    needed: number,
    reachable: number | undefined,
    retryAfterMs: number,
    now: Instant,
  ): Result<never> {
    const { diskError } = this.#office.ledger;
    if (diskError !== undefined) return fail(diskError);
    const remains = remainsOf(this.#office, purse, now);
    const limit = this.#office.mirror.definitions.get(remains.budget as BudgetName)?.limit;
    return fail(
      remains.reserve > 0 && this.#isStoreAway(now)
        ? unavailableError(remains, RETRY_MS)
        : exhaustedError(remains, needed, reachable, retryAfterMs, limit ?? needed),
    );
  }

  #work(purse: PurseKey, now: Instant): void {
    if (!this.#isAwaited(purse)) {
      this.#settled(purse);
      return;
    }
    const search = this.#searches.get(purse) ?? { isAsking: false, wanted: 0, isMet: false, reachable: 0 };
    this.#searches.set(purse, search);
    if (search.isAsking && !this.#isStoreAway(now)) return;
    if (!search.isAsking && this.#mayAsk(purse, this.#rights(purse), now)) this.#ask(purse, search, now);
    if (search.isAsking && !this.#isStoreAway(now)) return;
    const need = this.#need(purse, now);
    if (need > this.#rights(purse)) this.#gather(purse, search, need);
    else this.#rest(purse, search);
  }

  /** The rights with which what goes first is done. */
  #need(purse: PurseKey, now: Instant): Amount {
    const first = this.#waiting.first(purse)?.amount;
    const pulled = this.#pulls.sum(purse, this.#isReserveAway(purse, now));
    const need = first ?? this.#rights(purse) + pulled;
    return Math.min(need, Number.MAX_SAFE_INTEGER) as Amount;
  }

  /** There is money that cannot be asked for: who spends keeps what it has. */
  #isReserveAway(purse: PurseKey, now: Instant): boolean {
    return this.#isStoreAway(now) && remainsOf(this.#office, purse, now).reserve > 0;
  }

  #rest(purse: PurseKey, search: Search): void {
    if (search.wanted > 0) this.#want(purse, ZERO, ZERO);
    search.wanted = 0;
  }

  #settled(purse: PurseKey): void {
    const search = this.#searches.get(purse);
    if (search === undefined) return;
    this.#inflows.delete(purse);
    this.#rest(purse, search);
    if (!search.isAsking) this.#searches.delete(purse);
  }

  #gather(purse: PurseKey, search: Search, need: Amount): void {
    if (search.wanted === need && !search.isMet) return;
    search.wanted = need;
    search.isMet = false;
    this.#want(purse, need, Math.max(need, this.#waiting.sum(purse)) as Amount);
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
    if (this.#office.ledger.diskError !== undefined) return false;
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
    let known: AccountEntry | undefined;
    this.#office.send<Granted>(
      {
        budget,
        purse,
        account,
        plan: (view) => {
          known = view.account.value;
          const reserve = view.reserve.value ?? reserveOf(view.definition.value ?? definition);
          return planGrant(view, { ...this.#wish(purse, reserve, now), nonce });
        },
      },
      {
        done: (result, at) => {
          if (!result.ok && result.error.code === 'CONFLICT') this.#opening.refused(account, known, at);
          this.#asked({ purse, budget, account }, search, result, at);
        },
      },
      now,
    );
  }

  #isEmpty(purse: PurseKey, reserve: number, now: Instant): void {
    // Of periods that are over nobody tells.
    if (this.#empty.size > EMPTY_PURSES)
      for (const [other, { atMs }] of this.#empty)
        if (now.monoMs - atMs >= EMPTY_MS && !this.#isAwaited(other)) this.#empty.delete(other);
    this.#empty.set(purse, { atMs: now.monoMs, reserve });
  }

  #wish(purse: PurseKey, { limit, reserve }: { limit: Amount; reserve: Amount }, now: Instant) {
    const { ledger, paces } = this.#office;
    const own = ledger.purses.get(purse);
    const above = own?.granted ?? ZERO;
    const rights = own?.rights ?? ZERO;
    const first = this.#waiting.first(purse)?.amount;
    if (first === undefined) {
      const amount = Math.max(1, Math.min(this.#pulls.sum(purse), limit)) as Amount;
      return { amount, atLeast: 1 as Amount, above };
    }
    const told = this.#searches.get(purse)?.reachable ?? 0;
    const reachable = reserve + Math.max(told, remainsOf(this.#office, purse, now).rights);
    let need = 0;
    for (const { amount } of this.#waiting.at(purse)) if (amount <= reachable) need += amount;
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
      above,
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
      const isConflict = result.error.code === 'CONFLICT';
      const isEmpty = result.error.code === 'BUDGET_EXHAUSTED';
      // What an account was refused that has ended says nothing of what the one in its place is given.
      if (isEmpty || (isConflict && of.account === account)) this.#isEmpty(purse, reserve, now);
      if (isConflict) this.#opening.told(account, now);
      else if (!isEmpty && this.#office.ledger.diskError === undefined) this.#isAway(now);
    }
    this.retry(purse, now);
  }
}
