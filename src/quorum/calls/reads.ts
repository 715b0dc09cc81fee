/** Strong reads of this node: first the log's index that proves them new enough, then the answer from its own copy. */

import type { Instant } from '../../kernel/time.ts';
import type { QuorumCall } from '../messages.ts';
import type { Operation } from '../port.ts';
import { GIVE_UP_MS } from './proposals.ts';

export type ReadCall =
  | Extract<QuorumCall, { op: 'get' | 'range' }>
  /** What a transaction reads that came too late. */
  | { readonly op: 'otherwise'; readonly operations: readonly Operation[] };

interface PendingRead {
  /** The call to answer. */
  readonly id: number;
  readonly call: ReadCall;
  readonly deadlineMs: number;
}

interface Waiting extends PendingRead {
  /** The copy must have applied this much; `undefined` until the leader said. */
  index: number | undefined;
  askAtMs: number;
}

const RETRY_MS = 50;
/** An answer that takes longer was lost on the way. */
const LOST_MS = 400;

export class Reads {
  readonly #waiting = new Map<number, Waiting>();
  /** Those that know their index and wait for the copy. */
  readonly #proved = new Set<number>();
  #lastToken = 0;

  get size(): number {
    return this.#waiting.size;
  }

  /** The token to ask the Raft core with. */
  add(id: number, call: ReadCall, now: Instant): number {
    const token = ++this.#lastToken;
    const deadlineMs = now.monoMs + GIVE_UP_MS;
    this.#waiting.set(token, { id, call, deadlineMs, index: undefined, askAtMs: now.monoMs + LOST_MS });
    return token;
  }

  /** One whose index is known already; it waits no longer than the call that it answers. */
  addProved(id: number, call: ReadCall, index: number, deadlineMs: number): void {
    const token = ++this.#lastToken;
    this.#waiting.set(token, { id, call, deadlineMs, index, askAtMs: deadlineMs });
    this.#proved.add(token);
  }

  ready(token: number, index: number): void {
    const read = this.#waiting.get(token);
    if (read === undefined || read.index !== undefined) return;
    read.index = index;
    this.#proved.add(token);
  }

  refused(token: number, now: Instant): void {
    const read = this.#waiting.get(token);
    if (read === undefined || read.index !== undefined) return;
    read.askAtMs = now.monoMs + RETRY_MS;
  }

  /** Those that may be answered now that the copy has applied up to `index`. */
  takeReady(index: number): readonly PendingRead[] {
    if (this.#proved.size === 0) return [];
    const ready: PendingRead[] = [];
    for (const token of this.#proved) {
      const read = this.#waiting.get(token);
      if (read?.index !== undefined && read.index > index) continue;
      this.#proved.delete(token);
      this.#waiting.delete(token);
      if (read !== undefined) ready.push(read);
    }
    return ready;
  }

  /** Tokens to ask with once more. */
  takeAgain(now: Instant): readonly number[] {
    const tokens: number[] = [];
    for (const [token, read] of this.#waiting) {
      if (read.index !== undefined || read.askAtMs > now.monoMs) continue;
      read.askAtMs = now.monoMs + LOST_MS;
      tokens.push(token);
    }
    return tokens;
  }

  takeLate(now: Instant): readonly PendingRead[] {
    const late: PendingRead[] = [];
    for (const [token, read] of this.#waiting) {
      if (read.deadlineMs > now.monoMs) continue;
      this.#waiting.delete(token);
      this.#proved.delete(token);
      late.push(read);
    }
    return late;
  }

  /**
   * Another store takes the place of the one that was asked: what that one proved says nothing of this one. What can
   * only be answered by the one that is gone comes back.
   */
  restart(now: Instant): readonly PendingRead[] {
    this.#proved.clear();
    const lost: PendingRead[] = [];
    for (const [token, read] of this.#waiting) {
      if (read.call.op === 'otherwise') {
        this.#waiting.delete(token);
        lost.push(read);
      }
      read.index = undefined;
      read.askAtMs = now.monoMs;
    }
    return lost;
  }

  cancel(id: number): void {
    for (const [token, read] of this.#waiting) {
      if (read.id !== id) continue;
      this.#waiting.delete(token);
      this.#proved.delete(token);
    }
  }
}
