/** Calls that wait, for a while, until this node has what their session has seen; by board, and by when they give up. */

import { Deadlines } from '../kernel/deadlines.ts';
import type { BoardName } from '../kernel/ids.ts';
import type { BoardCall, Writer } from './api.ts';
import type { Places } from './places.ts';
import type { Session } from './session.ts';

interface Parked {
  readonly id: number;
  readonly call: BoardCall;
  readonly writer: Writer;
  readonly session: Session | undefined;
  readonly deadlineMs: number;
}

export class Parking {
  readonly #places: Places;
  readonly #byId = new Map<number, Parked>();
  readonly #byBoard = new Map<BoardName, Map<number, Parked>>();
  readonly #deadlines = new Deadlines();

  constructor(places: Places) {
    this.#places = places;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** When the next one gives up, on the monotonic clock; infinite where nobody waits. */
  get deadlineMs(): number {
    return this.#deadlines.nextMs;
  }

  /** False where there is no place for the caller. */
  add(parked: Parked): boolean {
    if (!this.#places.take(parked.writer.agent)) return false;
    const { id, call, deadlineMs } = parked;
    this.#byId.set(id, parked);
    const group = this.#byBoard.get(call.board);
    if (group === undefined) this.#byBoard.set(call.board, new Map([[id, parked]]));
    else group.set(id, parked);
    this.#deadlines.add(id, deadlineMs);
    return true;
  }

  delete(id: number): void {
    const parked = this.#byId.get(id);
    if (parked === undefined) return;
    const { call, writer } = parked;
    this.#byId.delete(id);
    this.#deadlines.delete(id);
    this.#places.give(writer.agent);
    const group = this.#byBoard.get(call.board);
    group?.delete(id);
    if (group?.size === 0) this.#byBoard.delete(call.board);
  }

  /** Those that wait for something of the board, in the order in which they came. */
  of(board: BoardName): readonly Parked[] {
    const group = this.#byBoard.get(board);
    return group === undefined ? [] : [...group.values()];
  }

  /** Those that have waited long enough; they are out. */
  takeDue(monoMs: number): readonly Parked[] {
    if (this.#byId.size === 0) return [];
    return this.#deadlines.takeDue(monoMs).flatMap((id) => {
      const parked = this.#byId.get(id);
      this.delete(id);
      return parked === undefined ? [] : [parked];
    });
  }
}
