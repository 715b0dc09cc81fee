/**
 * Where agents spend: reserve, settle, report. The hot path is here, so nothing is worked out that nobody asked for.
 */
import { ok, type Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import type { Instant } from '../kernel/time.ts';
import type { Amount } from './amount.ts';
import type { Report, Reserve, Settle } from './api.ts';
import type { Unit } from './definition.ts';
import type { BudgetName, PurseKey } from './names.ts';
import type { Office } from './office.ts';
import { newReservationId, placeOfReservation, reservationIdOf, spentOf, waitOf } from './requests.ts';
import type { LedgerCall, Reservation, Settlement } from './spending.ts';
import { budgetOf } from './status.ts';
import { lackingPurse } from './supply.ts';
import type { Waiter } from './waiting.ts';

export interface DeskHooks {
  /** Something was spent or held. */
  readonly changed: (now: Instant) => void;
  /** Whether the waiter was let in: there is a bound. */
  readonly wait: (purse: PurseKey, waiter: Waiter, now: Instant) => boolean;
  /** Rights may have become free. */
  readonly freed: (now: Instant) => void;
  readonly settleThere: (id: number, node: NodeId, reservation: string, amount: Amount, now: Instant) => void;
}

export class Desk {
  readonly #office: Office;
  readonly #hooks: DeskHooks;
  readonly #ttlMs: number;
  /** Ids that callers did not give: of this run, then counted. */
  readonly #prefix: string;
  #count = 0;

  constructor(office: Office, ttlMs: number, hooks: DeskHooks) {
    this.#office = office;
    this.#hooks = hooks;
    this.#ttlMs = ttlMs;
    this.#prefix = office.fresh().toString(36);
  }

  reserve(id: number, call: Reserve, now: Instant): void {
    const { ledger, self } = this.#office;
    const amount = spentOf(call, this.#unitOf(call.budget), this.#office.prices, 1);
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
    };
    const result = ledger.perform(asked, now);
    const lacking = lackingPurse(result);
    const waiter = { id, call: asked, amount: amount.value, untilMs: now.monoMs + waitMs.value };
    if (lacking !== undefined && this.#hooks.wait(lacking, waiter, now)) return;
    this.#hooks.changed(now);
    this.#office.absorb(now);
    this.reserved(id, result);
  }

  reserved(id: number, result: Result<Reservation>): void {
    this.#office.answer(
      id,
      result.ok
        ? ok({
            reservationId: reservationIdOf(result.value.id, this.#office.self),
            amount: result.value.amount,
            expiresAt: result.value.expiresAt,
          })
        : result,
    );
  }

  settle(id: number, call: Settle, now: Instant): void {
    const { ledger, self, prices } = this.#office;
    const place = placeOfReservation(call.id);
    const isHere = place?.node === undefined || place.node === self;
    const purse = place === undefined || !isHere ? undefined : ledger.purseOf(place.id);
    const unit = purse === undefined ? undefined : this.#unitOf(budgetOf(purse));
    const amount = spentOf(call, unit, prices);
    if (!amount.ok) {
      this.#office.answer(id, amount);
      return;
    }
    if (place?.node !== undefined && !isHere) {
      this.#hooks.settleThere(id, place.node, place.id, amount.value, now);
      return;
    }
    const result = ledger.perform({ op: 'settle', id: place?.id, amount: amount.value }, now);
    this.#hooks.changed(now);
    this.#office.absorb(now);
    this.settled(id, self, result);
    this.#hooks.freed(now);
  }

  settled(id: number, node: NodeId, result: Result<Settlement>): void {
    if (!result.ok) {
      this.#office.answer(id, result);
      return;
    }
    const { id: reservation, amount, ending, overrun, reserved = amount } = result.value;
    const freed = ending === 'charged' ? 0 : Math.max(0, reserved - amount);
    const reservationId = reservationIdOf(reservation, node);
    this.#office.answer(id, ok({ reservationId, amount, freed, overrun, ending }));
  }

  report(id: number, call: Report, now: Instant): void {
    const amount = spentOf(call, this.#unitOf(call.budget), this.#office.prices, 1);
    if (!amount.ok) {
      this.#office.answer(id, amount);
      return;
    }
    const { budget, agent, id: given = this.#freshId() } = call;
    const asked = { op: 'report', id: given, budget, agent, amount: amount.value } as const;
    const result = this.#office.ledger.perform(asked, now);
    this.#hooks.changed(now);
    this.#office.absorb(now);
    this.#office.answer(
      id,
      result.ok ? ok({ id: given, amount: result.value.amount, overrun: result.value.overrun }) : result,
    );
  }

  #unitOf(budget: string | undefined): Unit | undefined {
    return this.#office.mirror.definitions.get(budget as BudgetName)?.unit;
  }

  #freshId(): string {
    return `${this.#prefix}.${(++this.#count).toString(36)}`;
  }
}
