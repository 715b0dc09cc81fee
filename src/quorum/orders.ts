/**
 * What a person orders where the rules alone must not decide: to found a store, to go on from this node's copy, to give one
 * up for another. A store that was begun so is on disk before that is said.
 */
import { type ErrorBody, fail, ok, type Result } from '../kernel/errors.ts';
import type { Instant } from '../kernel/time.ts';
import { conflict } from './calls/requests.ts';
import type { QuorumCall, QuorumEffect } from './messages.ts';
import { parseStoreId, storeName } from './server.ts';
import type { Carrier } from './store/carrier.ts';
import { abandonCommand } from './store/endings.ts';
import type { Replica } from './store/replica.ts';
import { formatConflict } from './voters/formats.ts';
import type { Neighbours } from './voters/neighbours.ts';

type Order = Extract<QuorumCall, { op: 'found' | 'recover' | 'abandon' }>;

/** What the node does at an order. */
interface Actions {
  /** The store that was carried is no more; what was asked of it may have taken effect. */
  restart(now: Instant): void;
  began(effects: readonly QuorumEffect[], now: Instant): void;
  propose(replica: Replica, command: Uint8Array, now: Instant): void;
  answer(id: number, result: Result<unknown>): void;
  answerBehindDisk(id: number, result: Result<unknown>): void;
}

export class Orders {
  readonly #carrier: Carrier;
  readonly #neighbours: Neighbours;
  readonly #mayVote: boolean;
  readonly #actions: Actions;
  /** Answers that wait for a store to be written. */
  readonly #waiting = new Map<number, Result<unknown>>();

  constructor(carrier: Carrier, neighbours: Neighbours, mayVote: boolean, actions: Actions) {
    this.#carrier = carrier;
    this.#neighbours = neighbours;
    this.#mayVote = mayVote;
    this.#actions = actions;
  }

  handle(id: number, order: Order, now: Instant): void {
    const wrong = this.#carryOut(order, now);
    if (wrong !== undefined) {
      this.#actions.answer(id, fail(wrong));
      return;
    }
    const { store } = this.#carrier;
    const result = ok({ store: store === undefined ? undefined : storeName(store) });
    if (this.#carrier.isBeginning) this.#waiting.set(id, result);
    else this.#actions.answerBehindDisk(id, result);
  }

  cancel(id: number): void {
    this.#waiting.delete(id);
  }

  /** What was given to the disk is on it. */
  diskReached(): void {
    if (this.#carrier.isBeginning) return;
    for (const [id, result] of this.#waiting) this.#actions.answerBehindDisk(id, result);
    this.#waiting.clear();
  }

  failAll(error: ErrorBody): void {
    for (const id of this.#waiting.keys()) this.#actions.answer(id, fail(error));
    this.#waiting.clear();
  }

  /** Why it is not done. */
  #carryOut(order: Order, now: Instant): ErrorBody | undefined {
    const { replica } = this.#carrier;
    if (this.#carrier.isBeginning) return conflict('The store is being written to the disk.');
    const wrong = formatConflict(this.#carrier);
    if (wrong !== undefined) return wrong;
    if (order.op === 'found') return this.#found(now);
    if (replica === undefined) return conflict('This node carries no store.');
    if (order.op === 'abandon') return this.#abandon(replica, order.keep, now);
    if (replica.raft.leader !== undefined)
      return conflict('The store has a leader: its voters are not lost.');
    this.#actions.restart(now);
    this.#actions.began(this.#carrier.recover(now), now);
    return undefined;
  }

  #found(now: Instant): ErrorBody | undefined {
    const { store, identity } = this.#carrier;
    if (store !== undefined) return conflict('This node carries a store already.');
    if (!this.#mayVote) return conflict('This node is an observer, and observers do not vote.');
    // Those that have ended are about to be given up, here and there.
    for (const other of this.#neighbours.otherStores(undefined).keys())
      if (!identity.dissolved.includes(other))
        return conflict(`A member that can be reached carries the store ${storeName(other)}.`);
    this.#actions.began(this.#carrier.found(now), now);
    return undefined;
  }

  #abandon(replica: Replica, name: string, now: Instant): ErrorBody | undefined {
    const keep = parseStoreId(Number.parseInt(name, 36));
    if (keep === undefined || !this.#neighbours.otherStores(replica.carried.store).has(keep))
      return conflict(`No member that can be reached carries the store ${name}.`);
    if (!replica.isLeader) return conflict('Only the leader of the store that is given up can do this.');
    this.#actions.propose(replica, abandonCommand(keep), now);
    return undefined;
  }
}
