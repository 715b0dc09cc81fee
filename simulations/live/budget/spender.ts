/**
 * An agent that spends as fast as it can: it reserves, calls the provider, settles. Some calls are repeated under the same
 * id, there or on another machine; some reservations are never settled.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Client, Told } from '../clients.ts';
import { nowMs, type Operation, type Outcome } from './operations.ts';
import { serve } from './provider.ts';

const MOST_TOKENS = 60;
const TRIES = 3;
/** Shorter than a process may be stopped for. */
const SHORT_TTL_SECONDS = 2;

export interface Place {
  readonly machine: string;
  readonly client: Client;
}

export interface SpenderOptions {
  readonly name: string;
  /** The first is its own; it turns to the others now and then. */
  readonly places: readonly [Place, ...Place[]];
  readonly budgets: readonly string[];
  /** Where it reports what it spent without reserving. */
  readonly reported: string;
  readonly provider: string;
  readonly dice: () => number;
  readonly record: (operation: Operation) => void;
}

export class Spender {
  readonly #of: SpenderOptions;
  #count = 0;

  constructor(options: SpenderOptions) {
    this.#of = options;
  }

  async work(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      const { dice } = this.#of;
      const isGranted = dice() < 0.05 ? await this.#report() : await this.#spend();
      const restMs = isGranted ? 5 + 10 * dice() : 100 + 200 * dice();
      await delay(restMs, undefined, { signal: until }).catch(() => {});
    }
    await Promise.all(this.#of.places.map(({ client }) => client.close()));
  }

  async #spend(): Promise<boolean> {
    const { dice, provider } = this.#of;
    const budget = this.#of.budgets[Math.floor(dice() * this.#of.budgets.length)] as string;
    const tokens = 1 + Math.floor(dice() * MOST_TOKENS);
    const reservationId = await this.#reserve(budget, tokens);
    if (reservationId === undefined) return false;
    if (dice() < 0.1) await delay(400 * dice());
    const used = dice() < 0.5 ? tokens : 1 + Math.floor(dice() * tokens);
    await serve(provider, { budget, reservationId, tokens: used });
    if (dice() < 0.06) return true;
    const isTold = await this.#settle(this.#place(0.1), reservationId, used);
    if (isTold && dice() < 0.05) await this.#settle(this.#place(0.5), reservationId, used);
    return true;
  }

  /** What it may spend under; `undefined`: nothing, as far as it knows. */
  async #reserve(budget: string, tokens: number): Promise<string | undefined> {
    const { name: agent, dice } = this.#of;
    const id = `${agent}-${++this.#count}`;
    const own = dice() < 0.7 ? { reservation_id: id } : {};
    const ttl = dice() < 0.2 ? { ttl_seconds: SHORT_TTL_SECONDS } : {};
    let place = this.#place(0);
    let reserved: string | undefined;
    for (let tries = 0; tries < TRIES; tries++) {
      const args = { task_id: budget, tokens, agent_id: agent, ...own, ...ttl };
      const { told, called } = await this.#call(place, 'budget_reserve', args);
      const reservationId = told.kind === 'done' ? String(told.value.reservation_id) : undefined;
      this.#of.record({
        kind: 'reserve',
        ...called,
        budget,
        tokens,
        ...(own.reservation_id === undefined ? {} : { id }),
        ...(reservationId === undefined ? {} : { reservationId }),
      });
      if (told.kind === 'refused') return reserved;
      reserved = reservationId ?? reserved;
      // Now and then what was answered is asked again as well, once.
      const isRepeated = reserved !== undefined && tries === 0 && dice() < 0.05;
      if (reserved !== undefined && !isRepeated) return reserved;
      if (!isRepeated) place = this.#place(0.3);
    }
    return reserved;
  }

  async #settle(first: Place, reservationId: string, tokens: number): Promise<boolean> {
    let place = first;
    for (let tries = 0; tries < TRIES; tries++) {
      const { told, called } = await this.#call(place, 'budget_settle', {
        reservation_id: reservationId,
        tokens,
      });
      const { freed, overrun, ending } = told.kind === 'done' ? told.value : {};
      this.#of.record({
        kind: 'settle',
        ...called,
        reservationId,
        tokens,
        ...(told.kind === 'done'
          ? { freed: Number(freed), overrun: Number(overrun), ending: String(ending) }
          : {}),
      });
      if (told.kind === 'done') return true;
      place = this.#place(0.3);
      await delay(100);
    }
    return false;
  }

  /** Repeated until it is told that it counts, so that what was not told is little. */
  async #report(): Promise<boolean> {
    const { name: agent, reported: budget, dice } = this.#of;
    const id = `${agent}-${++this.#count}`;
    const tokens = 1 + Math.floor(dice() * 20);
    const place = this.#place(0);
    for (let tries = 0; tries < TRIES; tries++) {
      const args = { task_id: budget, tokens, report_id: id, agent_id: agent };
      const { told, called } = await this.#call(place, 'budget_report', args);
      this.#of.record({ kind: 'report', ...called, budget, tokens, id });
      if (told.kind !== 'unknown') return true;
    }
    return true;
  }

  async #call(place: Place, tool: 'budget_reserve' | 'budget_settle' | 'budget_report', args: object) {
    const start = nowMs();
    const told = await place.client.call(tool, args as Readonly<Record<string, unknown>>);
    const { machine } = place;
    const code = codeOf(told);
    const called = { agent: this.#of.name, machine, start, end: nowMs(), outcome: outcomeOf(told), ...code };
    return { told, called };
  }

  /** Elsewhere with this probability. */
  #place(elsewhere: number): Place {
    const { places, dice } = this.#of;
    const [own, ...others] = places;
    if (others.length === 0 || dice() >= elsewhere) return own;
    return others[Math.floor(dice() * others.length)] ?? own;
  }
}

function outcomeOf({ kind }: Told): Outcome {
  return kind === 'done' ? 'ok' : kind;
}

function codeOf(told: Told): { readonly code?: string } {
  return told.kind === 'done' ? {} : { code: told.error?.code ?? 'NO_ANSWER' };
}
