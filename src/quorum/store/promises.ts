/**
 * What a voter promised to a leader or candidate, told to the other voters as well: should that one be gone when this
 * voter's disk goes back in time, the others still know.
 *
 * Votes and a first acknowledgement in a term are told at once, further ones a heartbeat after the last at the latest:
 * writes cost no more for it, and who has nothing new to say is silent.
 */
import type { RaftMessage, ServerId } from '../raft/types.ts';
import { type Claim, isLess, promiseIn } from './evidence.ts';

export class Promises {
  readonly #everyMs: number;
  #promised: Claim = { term: 0, lastIndex: 0 };
  /** Who has heard it by the message itself. */
  #knows: ServerId | undefined;
  #told: Claim = { term: 0, lastIndex: 0 };
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
  }

  /** On its way to one server. What a leader or candidate says of itself all voters are told anyway. */
  note(message: RaftMessage): void {
    if (message.kind !== 'appendAnswer' && message.kind !== 'voteAnswer') return;
    const promised = promiseIn(message);
    if (promised === undefined || !isLess(this.#promised, promised)) return;
    this.#promised = promised;
    this.#knows = message.to;
  }

  get deadlineMs(): number | undefined {
    if (!isLess(this.#told, this.#promised)) return undefined;
    if (this.#told.term < this.#promised.term) return Number.NEGATIVE_INFINITY;
    return this.#toldMs + this.#everyMs;
  }

  /** What is to be told now, to all voters but `knows`. */
  take(nowMs: number): { readonly promised: Claim; readonly knows: ServerId | undefined } | undefined {
    const dueMs = this.deadlineMs;
    if (dueMs === undefined || dueMs > nowMs) return undefined;
    this.#told = this.#promised;
    this.#toldMs = nowMs;
    return { promised: this.#promised, knows: this.#knows };
  }
}
