/**
 * Rights on their way back to the reserve: the row says first that they are gone from here, and then the store is told, until
 * it knows. Rights of a period that is over go back by themselves once nothing is held in it.
 */
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import { type PurseKey, parsePurseKey } from './names.ts';
import type { Office } from './office.ts';
import { periodEndMs } from './period.ts';
import { planReturn } from './reserve-register.ts';

const TICK_MS = 30_000;
const RETRY_MS = 1_000;
/** A period that is over by this much takes no new reservations on any machine whose clock is about right. */
const OVER_MS = 60_000;

export class Returns {
  readonly #office: Office;
  readonly #rng: Rng;
  readonly #asking = new Set<PurseKey>();
  /** Purses whose return the store does not know yet. */
  readonly #open = new Set<PurseKey>();
  #retry: Deadline | undefined;
  #tickMs: number;

  constructor(office: Office, rng: Rng, now: Instant) {
    this.#office = office;
    this.#rng = rng;
    this.#tickMs = now.monoMs + TICK_MS;
  }

  deadline(): Deadline | undefined {
    if (this.#retry !== undefined) return this.#retry;
    return this.#office.ledger.purses.size === 0
      ? undefined
      : { atMs: this.#tickMs, reason: 'budget.returns' };
  }

  /** The ledger gave something of this purse back. */
  returned(purse: PurseKey, now: Instant): void {
    this.#open.add(purse);
    this.#ask(purse, now);
  }

  /** What the store knows of this node's returns was read: what it lacks is told again. */
  compare(now: Instant): void {
    const { ledger, mirror } = this.#office;
    if (!mirror.isFilled) return;
    for (const [purse, { returned }] of ledger.purses) {
      if (ledger.isClosed(purse)) continue;
      const known = mirror.entries(purse).get(ledger.account)?.returned ?? 0;
      if (returned > known) this.returned(purse, now);
    }
  }

  expire(now: Instant): void {
    if (isDue(this.#retry, now)) {
      this.#retry = undefined;
      for (const purse of [...this.#open]) this.#ask(purse, now);
    }
    if (this.#tickMs > now.monoMs) return;
    this.#tickMs = now.monoMs + TICK_MS;
    this.#giveBackOver(now);
  }

  #giveBackOver(now: Instant): void {
    const { ledger } = this.#office;
    for (const [purse, { rights, held, returned }] of ledger.purses) {
      const period = parsePurseKey(purse)?.period;
      if (period === undefined || rights === 0 || held > 0 || ledger.isClosed(purse)) continue;
      if (periodEndMs(period) + OVER_MS > now.wallMs) continue;
      const result = ledger.perform({ op: 'return', purse, amount: rights, above: returned }, now);
      this.#office.absorb(now);
      if (result.ok) this.returned(purse, now);
    }
  }

  #ask(purse: PurseKey, now: Instant): void {
    const { ledger } = this.#office;
    const budget = parsePurseKey(purse)?.budget;
    const own = ledger.purses.get(purse);
    if (budget === undefined || own === undefined || this.#asking.has(purse)) return;
    const { account } = ledger;
    const { returned } = own;
    this.#asking.add(purse);
    this.#office.send(
      { budget, purse, account, plan: (view) => planReturn(view, returned) },
      {
        done: (result, at) => {
          this.#asking.delete(purse);
          const later = ledger.purses.get(purse)?.returned ?? 0;
          const isOver = result.ok || result.error.code === 'CONFLICT' || result.error.code === 'NOT_FOUND';
          if (isOver && later === returned) this.#open.delete(purse);
          else if (isOver) this.#ask(purse, at);
          else this.#askLater(at);
        },
      },
      now,
    );
  }

  #askLater(now: Instant): void {
    const waitMs = RETRY_MS * (0.5 + this.#rng.float());
    this.#retry ??= { atMs: now.monoMs + waitMs, reason: 'budget.returns' };
  }
}
