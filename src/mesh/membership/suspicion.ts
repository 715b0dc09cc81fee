import type { NodeId } from '../../kernel/ids.ts';
import type { MembershipConfig } from './config.ts';

/** Doubt about one member, on its way to being refuted or confirmed. */
export interface Suspicion {
  /** When the first doubt arose, here or elsewhere. */
  startMs: number;
  /** When this node's own link or probes agreed; before that nothing is declared. */
  evidenceMs: number;
  /** The link closed, which says more than silence. */
  closed: boolean;
  /** Other members that told of the same; each counts once. */
  readonly confirmers: Set<NodeId>;
  nextCheckMs: number;
}

/** However many confirm, a member has this long to answer after this node's own evidence. */
export const LAST_WORD_MS = 500;

/**
 * When a suspicion becomes a death: `min` once enough others confirm it, up to `unconfirmedFactor` times as long while
 * they do not, shrinking with the logarithm of the confirmations (Lifeguard, section IV-B). `witnesses` is how many
 * others could confirm at all: where nobody can, waiting for them would prove nothing.
 */
export function deathMs(suspicion: Suspicion, witnesses: number, config: MembershipConfig): number {
  const min = suspicion.closed ? config.closedDeathMs : config.silentDeathMs;
  const max = min * config.unconfirmedFactor;
  const wanted = Math.min(config.confirmations, witnesses);
  const confirmed = wanted === 0 ? 1 : Math.log(suspicion.confirmers.size + 1) / Math.log(wanted + 1);
  const timeoutMs = Math.max(min, max - (max - min) * confirmed);
  return Math.max(suspicion.startMs + timeoutMs, suspicion.evidenceMs + LAST_WORD_MS);
}

/**
 * Local health (Lifeguard, section IV-A): a node that misses answers or is itself suspected may be the slow one, and
 * gives others more time. Grows by one for each sign of trouble, shrinks by one for each probe that succeeds.
 */
export class LocalHealth {
  readonly #worst: number;
  #score = 0;

  constructor(worst: number) {
    this.#worst = worst;
  }

  /** 0 is well. */
  get score(): number {
    return this.#score;
  }

  /** What probe timeouts are multiplied with. */
  get factor(): number {
    return this.#score + 1;
  }

  improve(): void {
    this.#score = Math.max(0, this.#score - 1);
  }

  worsen(): void {
    this.#score = Math.min(this.#worst, this.#score + 1);
  }
}
