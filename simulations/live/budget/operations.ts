/**
 * What is written down of a live run with budgets, an object a line. All times are ms of the clock of durations, which all
 * processes of a machine share.
 */

export type Outcome = 'ok' | 'refused' | 'unknown';

interface Called {
  readonly agent: string;
  /** The machine that was asked. */
  readonly machine: string;
  readonly start: number;
  readonly end: number;
  readonly outcome: Outcome;
  /** Of an answer that is none of `ok`. */
  readonly code?: string;
}

export interface Reserved extends Called {
  readonly kind: 'reserve';
  readonly budget: string;
  readonly tokens: number;
  readonly id?: string;
  readonly reservationId?: string;
}

export interface Settled extends Called {
  readonly kind: 'settle';
  readonly reservationId: string;
  readonly tokens: number;
  readonly freed?: number;
  readonly overrun?: number;
  readonly ending?: string;
}

export interface Reported extends Called {
  readonly kind: 'report';
  readonly budget: string;
  readonly tokens: number;
  readonly id: string;
}

/** By the provider, at the moment of serving; `total` and `limit` are of the budget then. */
export interface Served {
  readonly kind: 'serve';
  readonly at: number;
  readonly budget: string;
  readonly reservationId: string;
  readonly tokens: number;
  readonly total: number;
  readonly limit: number;
}

export interface Limited {
  readonly kind: 'limit';
  readonly at: number;
  readonly budget: string;
  readonly limit: number;
  readonly outcome: 'asked' | 'done';
}

export interface Struck {
  readonly kind: 'fault';
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** The disk of the machine was lost, or what was on it since then. */
export interface Forgot {
  readonly kind: 'forgot';
  readonly machine: string;
  readonly at: number;
}

/** What a machine said that can be had from it. */
export interface Sampled {
  readonly kind: 'sample';
  readonly at: number;
  readonly machine: string;
  readonly budget: string;
  readonly remaining: number;
}

export interface WrittenOff {
  readonly kind: 'writeOff';
  readonly at: number;
  readonly budget: string;
  readonly account: string;
  readonly writtenOff: number;
  readonly lost: number;
}

export type Operation =
  | Reserved
  | Settled
  | Reported
  | Served
  | Limited
  | Struck
  | Forgot
  | Sampled
  | WrittenOff;

export function nowMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
