/**
 * Folding: the lanes of earlier runs are emptied into the running one, so that a node that restarts often does not
 * leave a lane behind each time.
 *
 * Method: items that still show are copied with their identity (so no reader can tell), a bounded number at a time;
 * copying makes the original superseded, so the usual trimming removes it. When a lane is empty on every board, it is
 * struck off the node's `lanes` record, and others drop it once they have the copies (`LanesBody.folded`).
 *
 * Which lanes: like the levels of a log-structured merge tree. A lane is folded only when what is newer than it has
 * grown as large as it, or it is tiny, or lanes are too many; so each item is copied a number of times that grows
 * with the logarithm of the board's size, not with the number of restarts.
 */
import { limits } from '../kernel/limits.ts';
import type { Deadline, Instant } from '../kernel/time.ts';
import type { LanesBody } from '../replication/record.ts';
import type { Board } from './board.ts';
import type { Item, Lane } from './lane.ts';
import { type BoardStore, retiredIn } from './store.ts';

/** Lanes below this are always worth folding. */
const TINY_BYTES = 64 * 1024;
/** After a start, so that what others still have of an old lane has come back first. */
const SETTLE_MS = 10_000;
const STEP_MS = 20;
const STEP_ITEMS = 128;
const STEP_BYTES = 128 * 1024;
const REPLAN_MS = 60_000;
/**
 * Folded incarnations that are named in the record, for session tokens that still name them; and of those which this
 * disk holds nothing of, so that nodes that start often without writing do not crowd out the others.
 */
const RETIRED = 256;
const EMPTY = 64;

export class Folding {
  readonly #store: BoardStore;
  readonly #folded = new Map<string, number>();
  #folding: number[] = [];
  #atMs: number;

  constructor(store: BoardStore, now: Instant) {
    this.#store = store;
    this.#atMs = now.monoMs + SETTLE_MS;
  }

  /** Takes over what the node's own record said before. */
  loaded(now: Instant): void {
    const { self, own, incarnation: running } = this.#store;
    const body = this.#store.bodyOf(self);
    for (const [key, clock] of Object.entries(body?.folded ?? {})) this.#folded.set(key, clock);
    for (const incarnation of new Set([...own, ...(body?.incarnations ?? [])])) {
      if (incarnation === running) continue;
      if (this.#holds(incarnation)) own.add(incarnation);
      else {
        own.delete(incarnation);
        if (!this.#folded.has(`@${incarnation}`)) this.#disclaim(incarnation);
      }
    }
    for (const incarnation of retiredIn({ incarnations: [], folded: Object.fromEntries(this.#folded) })) {
      if (!own.has(incarnation)) this.#store.retired.set(incarnation, self);
    }
    this.#atMs = now.monoMs + SETTLE_MS;
  }

  /** A list that this node does not remember came back: nothing that it names may lose its proof by that. */
  returned(body: LanesBody): void {
    const { self, own, retired } = this.#store;
    for (const incarnation of [...retiredIn(body), ...body.incarnations]) {
      if (own.has(incarnation) || this.#folded.has(`@${incarnation}`)) continue;
      this.#disclaim(incarnation);
      retired.set(incarnation, self);
    }
  }

  /** The node's `lanes` record. */
  body(): LanesBody {
    const { own, incarnation } = this.#store;
    for (const each of own) {
      // Its own again: more of it came back than there was when it was folded.
      if (this.#folded.has(`@${each}`)) this.#forget(each);
    }
    const older = [...own].filter((each) => each !== incarnation && this.#holds(each));
    return { incarnations: [...older, incarnation], folded: Object.fromEntries(this.#folded) };
  }

  deadline(): Deadline | undefined {
    return this.#store.own.size > 1 ? { atMs: this.#atMs, reason: 'board.fold' } : undefined;
  }

  /** A step of the work; the lanes that are now empty everywhere, and the record that says so. */
  expire(now: Instant): {
    readonly dropped: readonly { readonly board: Board; readonly lane: Lane }[];
    readonly body: LanesBody | undefined;
  } {
    const nothing = { dropped: [], body: undefined };
    if (this.#store.own.size < 2 || now.monoMs < this.#atMs) return nothing;
    this.#folding = this.#folding.filter((incarnation) => this.#store.own.has(incarnation));
    if (this.#folding.length === 0) this.#folding = this.#plan();
    const [incarnation] = this.#folding;
    if (incarnation === undefined) {
      this.#atMs = now.monoMs + REPLAN_MS;
      return nothing;
    }
    this.#atMs = now.monoMs + STEP_MS;
    if (this.#step(incarnation)) return nothing;
    const dropped = this.#lanesOf(incarnation);
    // Trims of the last step may still be waiting to be pushed; only an empty lane goes.
    if (dropped.some(({ lane }) => lane.liveItems > 0)) return nothing;
    this.#retire(incarnation, dropped);
    return { dropped, body: this.body() };
  }

  #plan(): number[] {
    const { own, incarnation } = this.#store;
    const older = [...own]
      .filter((each) => each !== incarnation && this.#isComplete(each))
      .map((each) => ({ incarnation: each, bytes: this.#bytesOf(each) }))
      .sort((left, right) => left.bytes - right.bytes);
    let newer = this.#bytesOf(incarnation);
    let left = older.length;
    const chosen: number[] = [];
    for (const lane of older) {
      const tooMany = left > limits.incarnations / 2;
      if (lane.bytes > TINY_BYTES && lane.bytes > newer && !tooMany) break;
      chosen.push(lane.incarnation);
      newer += lane.bytes;
      left--;
    }
    return chosen;
  }

  /** Copies some items of a lane; false where none is left to copy. */
  #step(incarnation: number): boolean {
    let items = STEP_ITEMS;
    let bytes = STEP_BYTES;
    for (const { board, lane } of this.#lanesOf(incarnation)) {
      const running = this.#store.lane(board, this.#store.incarnation);
      board.trim();
      for (const item of [...first(lane, STEP_ITEMS)]) {
        if (items-- <= 0 || bytes <= 0) return true;
        bytes -= item.length;
        if (item.dead) continue;
        if (board.view.shows(item)) board.copy(running, item);
        board.trim();
        // Superseded, and not trimmed with its winner: nobody needs it.
        if (!item.dead && !board.view.shows(item)) board.deleteOwn(item);
      }
      if (lane.liveItems > 0) return true;
    }
    return false;
  }

  #retire(incarnation: number, lanes: readonly { readonly board: Board; readonly lane: Lane }[]): void {
    const { own, incarnation: running } = this.#store;
    for (const board of this.#store.boards.values()) {
      const clock = board.clockOf(running);
      if (clock > 0) this.#folded.set(`${board.name}@${running}`, clock);
    }
    own.delete(incarnation);
    this.#store.retired.set(incarnation, this.#store.self);
    // What was folded into this lane before has moved on with it.
    for (const { board, lane } of lanes) this.#folded.set(`${board.name}@${incarnation}`, lane.clock);
    this.#name(incarnation);
  }

  /** Names a lane of which this disk holds nothing: whatever others hold of it makes it one's own again. */
  #disclaim(incarnation: number): void {
    // Clocks noted while it was in use are not what it had when it was folded.
    this.#forget(incarnation);
    this.#name(incarnation);
  }

  /** As folded away: what others may hold of it beyond the clocks noted makes it one's own again. */
  #name(incarnation: number): void {
    this.#folded.set(`@${incarnation}`, 0);
    const retired = retiredIn({ incarnations: [], folded: Object.fromEntries(this.#folded) });
    const empty = retired.filter(
      (each) => ![...this.#folded.keys()].some((key) => key.endsWith(`@${each}`) && !key.startsWith('@')),
    );
    for (const each of empty.slice(0, Math.max(0, empty.length - EMPTY))) this.#forget(each);
    for (const each of retired.slice(0, Math.max(0, retired.length - RETIRED))) this.#forget(each);
  }

  #forget(incarnation: number): void {
    for (const key of [...this.#folded.keys()]) {
      if (key.endsWith(`@${incarnation}`)) this.#folded.delete(key);
    }
  }

  /** False where others may still hold more of it than this node does: it lost its disk, or has an old one. */
  #isComplete(incarnation: number): boolean {
    const adopted = this.#store.adopted.has(incarnation);
    return this.#lanesOf(incarnation).every(
      ({ lane }) =>
        lane.clock >= lane.seenClock &&
        lane.clock >= (lane.head?.clock ?? (adopted ? Number.POSITIVE_INFINITY : 0)),
    );
  }

  #lanesOf(incarnation: number): { readonly board: Board; readonly lane: Lane }[] {
    return [...this.#store.boards.values()].flatMap((board) => {
      const lane = board.lanes.get(incarnation);
      return lane === undefined ? [] : [{ board, lane }];
    });
  }

  #bytesOf(incarnation: number): number {
    return this.#lanesOf(incarnation).reduce((sum, { lane }) => sum + lane.liveBytes, 0);
  }

  #holds(incarnation: number): boolean {
    return this.#lanesOf(incarnation).length > 0;
  }
}

function* first(lane: Lane, count: number): Generator<Item> {
  let left = count;
  for (const item of lane.items()) {
    if (left-- <= 0) return;
    yield item;
  }
}
