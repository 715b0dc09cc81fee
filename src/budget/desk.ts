/**
 * Where agents spend: reserve, settle, report. The hot path is here, so nothing is worked out that nobody asked for.
 *
 * What was spent beyond the rights of this node waits for rights to come before it is counted, so that nobody is in debt while
 * there is money. It is counted in any case: with what came, when nothing more does.
 */
import { ok, type Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { Amount } from './amount.ts';
import type { BudgetAnswers, Report, Reserve, Settle, Spent } from './api.ts';
import type { Unit } from './definition.ts';
import { type BudgetName, freshText, type PurseKey } from './names.ts';
import type { Office } from './office.ts';
import type { Pull } from './pulls.ts';
import { foundIn, lackingPurse } from './refusals.ts';
import {
  newReservationId,
  placeOfReservation,
  type ReservationPlace,
  reservationIdOf,
  spentOf,
  waitOf,
} from './requests.ts';
import type { LedgerCall, Reservation, Settlement } from './spending.ts';
import { budgetOf } from './status.ts';
import type { Supply } from './supply.ts';
import type { Waiter } from './waiting.ts';

export interface DeskHooks {
  /** Something was spent or held. */
  readonly changed: (now: Instant) => void;
  /** Whether the waiter was let in: there is a bound. */
  readonly wait: (purse: PurseKey, waiter: Waiter, now: Instant) => boolean;
  /** Rights may have become free. */
  readonly freed: (now: Instant) => void;
  readonly supply: Pick<Supply, 'hasRoom' | 'bring' | 'drop' | 'owes'>;
  readonly settleThere: (id: number, node: NodeId, reservation: string, amount: Amount, now: Instant) => void;
}

type Spending = Extract<LedgerCall, { op: 'settle' | 'report' }>;

/** Waits to be counted. */
interface Late {
  readonly pulls: Pull[];
  readonly count: (now: Instant) => void;
}

export class Desk {
  readonly #office: Office;
  readonly #hooks: DeskHooks;
  readonly #ttlMs: number;
  readonly #late = new Map<number, Late>();
  /** Of the ids of reservations that were made here. */
  readonly #suffix: string;

  constructor(office: Office, ttlMs: number, hooks: DeskHooks) {
    this.#office = office;
    this.#hooks = hooks;
    this.#ttlMs = ttlMs;
    this.#suffix = reservationIdOf('', office.self);
  }

  reserve(id: number, call: Reserve, now: Instant): void {
    const { ledger, mirror, self } = this.#office;
    const amount = spentOf(call, this.#unitFor(call, call.budget), this.#office.prices, 1);
    const waitMs = waitOf(call.waitMs);
    const reservation = call.id === undefined ? ok(this.#freshId()) : newReservationId(call.id, self);
    if (!amount.ok || !waitMs.ok || !reservation.ok) {
      this.#office.answer(id, amount.ok ? (waitMs.ok ? reservation : waitMs) : amount);
      return;
    }
    const { budget, agent, ttlMs = this.#ttlMs } = call;
    const asked: Extract<LedgerCall, { op: 'reserve' }> = {
      op: 'reserve',
      id: reservation.value,
      budget,
      agent,
      amount: amount.value,
      ttlMs,
      isFresh: call.id === undefined,
    };
    const result = foundIn(mirror, ledger.perform(asked, now));
    const lacking = lackingPurse(result);
    if (lacking !== undefined) {
      this.#office.absorb(now);
      const waiter = { id, call: asked, amount: amount.value, untilMs: now.monoMs + waitMs.value };
      if (this.#hooks.wait(lacking, waiter, now)) return;
    }
    this.#hooks.changed(now);
    this.#office.answerRecorded(id, this.#reservedAs(result));
  }

  /** What waited is made, or cannot be. */
  reserved(id: number, result: Result<Reservation>): void {
    this.#office.answer(id, this.#reservedAs(result));
  }

  #reservedAs(result: Result<Reservation>): Result<BudgetAnswers['reserve']> {
    if (!result.ok) return result;
    const { id, amount, expiresAt } = result.value;
    return ok({ reservationId: id + this.#suffix, amount, expiresAt });
  }

  settle(id: number, call: Settle, now: Instant): void {
    const { ledger, self, prices } = this.#office;
    const place = this.#placeOf(call.id);
    const isHere = place?.node === undefined || place.node === self;
    const purse = place === undefined || !isHere ? undefined : ledger.purseOf(place.id);
    const unit = purse === undefined || call.use === undefined ? undefined : this.#unitOf(budgetOf(purse));
    const amount = spentOf(call, unit, prices);
    if (!amount.ok) {
      this.#office.answer(id, amount);
      return;
    }
    if (place?.node !== undefined && !isHere) {
      this.#hooks.settleThere(id, place.node, place.id, amount.value, now);
      return;
    }
    const asked = { op: 'settle', id: place?.id, amount: amount.value } as const;
    const isBeyond = place !== undefined && amount.value > (ledger.reservedBy(place.id) ?? amount.value);
    if (isBeyond) {
      this.#countSpent(id, asked, now, (result, at) => {
        this.settled(id, self, result);
        this.#hooks.freed(at);
      });
      return;
    }
    const result = ledger.perform(asked, now);
    this.#hooks.changed(now);
    this.#office.answerRecorded(id, settledAs(self, result));
    this.#hooks.freed(now);
  }

  #placeOf(text: unknown): ReservationPlace | undefined {
    // Nearly all were made here.
    if (typeof text !== 'string' || !text.endsWith(this.#suffix)) return placeOfReservation(text);
    const id = text.slice(0, -this.#suffix.length);
    return id === '' ? placeOfReservation(text) : { id, node: this.#office.self };
  }

  /** Its caller has gone. What was spent is counted nevertheless. */
  cancel(id: number, now: Instant): void {
    const late = this.#late.get(id);
    for (const pull of late?.pulls ?? []) this.#hooks.supply.drop(pull, now);
    late?.count(now);
  }

  settled(id: number, node: NodeId, result: Result<Settlement>): void {
    this.#office.answer(id, settledAs(node, result));
  }

  report(id: number, call: Report, now: Instant): void {
    const amount = spentOf(call, this.#unitFor(call, call.budget), this.#office.prices, 1);
    if (!amount.ok) {
      this.#office.answer(id, amount);
      return;
    }
    const { budget, agent, id: given = this.#freshId() } = call;
    const asked = { op: 'report', id: given, budget, agent, amount: amount.value } as const;
    this.#countSpent(id, asked, now, (counted) => {
      const result = foundIn(this.#office.mirror, counted);
      this.#office.answer(
        id,
        result.ok ? ok({ id: given, amount: result.value.amount, overrun: result.value.overrun }) : result,
      );
    });
  }

  /** What may be beyond the rights. */
  #countSpent(
    id: number,
    call: Spending,
    now: Instant,
    answer: (result: Result<Settlement>, now: Instant) => void,
  ): void {
    const { ledger } = this.#office;
    const { supply } = this.#hooks;
    const count = (at: Instant): void => {
      this.#late.delete(id);
      const result = ledger.perform(call, at);
      this.#hooks.changed(at);
      this.#office.absorb(at);
      answer(result, at);
      if (result.ok && result.value.overrun > 0) supply.owes(at);
    };
    const lacking = supply.hasRoom ? ledger.overrunsOf(call, now) : [];
    if (lacking.length === 0) {
      count(now);
      return;
    }
    this.#office.absorb(now);
    const late: Late = { pulls: [], count };
    this.#late.set(id, late);
    let open = lacking.length;
    const done = (_got: number, at: Instant): void => {
      open--;
      if (open === 0) count(at);
    };
    const untilMs = now.monoMs + limits.budgetWaitMs;
    for (const { purse, overrun } of lacking)
      late.pulls.push(supply.bring(purse, overrun, untilMs, done, now));
  }

  #unitFor({ use }: Spent, budget: string): Unit | undefined {
    return use === undefined ? undefined : this.#unitOf(budget);
  }

  #unitOf(budget: string | undefined): Unit | undefined {
    return this.#office.mirror.definitions.get(budget as BudgetName)?.unit;
  }

  /** Who knows an id may settle the reservation, so none tells of another. */
  #freshId(): string {
    const { drawn } = this.#office;
    return freshText(drawn(), drawn());
  }
}

/** `node`: that made the reservation. */
function settledAs(node: NodeId, result: Result<Settlement>): Result<BudgetAnswers['settle']> {
  if (!result.ok) return result;
  const { id, amount, ending, overrun, reserved = amount } = result.value;
  const freed = ending === 'charged' ? 0 : Math.max(0, reserved - amount);
  return ok({ reservationId: reservationIdOf(id, node), amount, freed, overrun, ending });
}
