/**
 * Is there an order of the operations, one after another, that a sequential model allows and in which no operation
 * stands before one that had ended when it began? (Herlihy and Wing 1990.) A depth-first search after Wing and Gong
 * (1993) that remembers where it has been (Lowe 2016).
 *
 * Intuition: whatever is placed next must have begun before the first end among what is not placed yet, so few
 * operations come into question. Two ways that placed the same operations and left the same state have the same
 * future; of them the one that used up fewer operations of unknown outcome has all chances of the other.
 *
 * Limits: to decide is NP-complete in general; a search that takes more than `mostSteps` ends undecided, never with a
 * guess. Sets of placed operations are remembered by a 64-bit random hash: one in 10^7 searches of 10^6 sets might
 * prune what it should not, and then calls a good history bad, never a bad one good.
 */
import { seededRng } from '../../../src/kernel/rng.ts';

export interface SearchOperation {
  readonly start: number;
  /** Infinite where no answer came. */
  readonly end: number;
  /** Otherwise it may have taken hold, or not. */
  readonly isCertain: boolean;
  /** Certain operations that have a number are placed in the order of their numbers, or else some of them never can be. */
  readonly order: number | undefined;
  /** Operations of equal class, none of them certain, that can stand for each other: the earliest will do. */
  readonly twins: string | undefined;
}

export interface Model<State, Operation> {
  readonly initial: State;
  /** What the state may be after the operation, with the output that it had; none where that output is impossible. The same object where nothing changed. */
  step(state: State, operation: Operation): readonly State[];
  /** Equal for equal states only. */
  textOf(state: State): string;
}

export type SearchResult<State, Operation> =
  /** In this order everything is as the model allows; unknown operations that never took hold are absent. */
  | { readonly kind: 'found'; readonly order: readonly Operation[]; readonly steps: number }
  | {
      readonly kind: 'none';
      /** The end of the longest order that could be placed, the state it leaves, and what then could not go on. */
      readonly order: readonly Operation[];
      readonly state: State;
      readonly stuck: readonly Operation[];
      readonly steps: number;
    }
  | { readonly kind: 'undecided'; readonly steps: number };

const MOST_STEPS = 3_000_000;

export function search<State, Operation extends SearchOperation>(
  model: Model<State, Operation>,
  operations: readonly Operation[],
  mostSteps: number = MOST_STEPS,
): SearchResult<State, Operation> {
  return new Search(model, operations, mostSteps).run();
}

/** A known operation by its place among the known, an unknown one by -1 - place. */
type Mark = number;

interface Move<State> {
  readonly mark: Mark;
  readonly state: State;
}

interface Frame<State> {
  readonly state: State;
  readonly moves: readonly Move<State>[];
  next: number;
  /** What was placed to come here. */
  readonly mark: Mark | undefined;
}

class Search<State, Operation extends SearchOperation> {
  readonly #model: Model<State, Operation>;
  readonly #known: readonly Operation[];
  readonly #unknown: readonly Operation[];
  /** Places of the known operations that have an order, by it. */
  readonly #ordered: readonly number[];
  /** Of each known operation its place in `#ordered`, or beyond its end. */
  readonly #placeInOrder: Uint32Array;
  readonly #mostSteps: number;
  readonly #hashes: Uint32Array;
  readonly #placed: Uint8Array;
  readonly #used: Uint8Array;
  /** By placed set and state: which unknown operations had been used. */
  readonly #visited = new Map<string, bigint[]>();
  #usedBits = 0n;
  #hashHigh = 0;
  #hashLow = 0;
  /** All known operations before this are placed; and all before this in `#ordered`. */
  #lowest = 0;
  #lowestOrdered = 0;
  #placedCount = 0;
  #steps = 0;
  #deepest: { count: number; order: readonly Operation[]; state: State; stuck: readonly Operation[] };

  constructor(model: Model<State, Operation>, operations: readonly Operation[], mostSteps: number) {
    const byStart = (left: Operation, right: Operation) => left.start - right.start || left.end - right.end;
    this.#model = model;
    this.#known = operations.filter(({ isCertain }) => isCertain).sort(byStart);
    this.#unknown = operations.filter(({ isCertain }) => !isCertain).sort(byStart);
    this.#ordered = [...this.#known.keys()]
      .filter((at) => this.#known[at]?.order !== undefined)
      .sort((left, right) => this.#orderAt(left) - this.#orderAt(right));
    this.#placeInOrder = new Uint32Array(this.#known.length).fill(this.#known.length);
    for (const [place, at] of this.#ordered.entries()) this.#placeInOrder[at] = place;
    this.#mostSteps = mostSteps;
    this.#placed = new Uint8Array(this.#known.length);
    this.#used = new Uint8Array(this.#unknown.length);
    const rng = seededRng(1);
    this.#hashes = Uint32Array.from({ length: 2 * this.#known.length }, () => rng.uint32());
    this.#deepest = { count: -1, order: [], state: model.initial, stuck: [] };
  }

  run(): SearchResult<State, Operation> {
    const frames: Frame<State>[] = [this.#frame(this.#model.initial, undefined)];
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      if (this.#placedCount === this.#known.length)
        return { kind: 'found', order: this.#orderOf(frames), steps: this.#steps };
      if (this.#placedCount > this.#deepest.count) this.#deepen(frames, frame.state);
      const move = frame.moves[frame.next++];
      if (move === undefined) {
        frames.pop();
        if (frame.mark !== undefined) this.#unplace(frame.mark);
        continue;
      }
      if (this.#steps > this.#mostSteps) return { kind: 'undecided', steps: this.#steps };
      this.#place(move.mark);
      if (this.#isNew(move.state)) frames.push(this.#frame(move.state, move.mark));
      else this.#unplace(move.mark);
    }
    const { order, state, stuck } = this.#deepest;
    return { kind: 'none', order, state, stuck, steps: this.#steps };
  }

  /** All that may be placed next, with the states that it leads to. */
  #frame(state: State, mark: Mark | undefined): Frame<State> {
    const { candidates, firstEnd } = this.#candidates();
    const moves: Move<State>[] = [];
    for (const at of candidates) {
      const states = this.#step(state, this.#known[at] as Operation);
      // It changes nothing and is right here: whatever order there is, it may as well stand first in it.
      if (states.length === 1 && states[0] === state)
        return { state, moves: [{ mark: at, state }], next: 0, mark };
      for (const after of states) moves.push({ mark: at, state: after });
    }
    const offered = new Set<string>();
    for (let at = 0; at < this.#unknown.length; at++) {
      const operation = this.#unknown[at] as Operation;
      const { twins } = operation;
      if (operation.start > firstEnd) break;
      if (this.#used[at] === 1 || (twins !== undefined && offered.has(twins))) continue;
      if (twins !== undefined) offered.add(twins);
      for (const after of this.#step(state, operation))
        if (after !== state) moves.push({ mark: -1 - at, state: after });
    }
    return { state, moves, next: 0, mark };
  }

  #candidates(): { readonly candidates: readonly number[]; readonly firstEnd: number } {
    const candidates: number[] = [];
    let firstEnd = Number.POSITIVE_INFINITY;
    for (let at = this.#lowest; at < this.#known.length; at++) {
      const operation = this.#known[at] as Operation;
      if (operation.start > firstEnd) break;
      if (this.#placed[at] === 1) continue;
      candidates.push(at);
      firstEnd = Math.min(firstEnd, operation.end);
    }
    const next = this.#ordered[this.#lowestOrdered];
    const mostOrder = next === undefined ? Number.POSITIVE_INFINITY : this.#orderAt(next);
    const endOf = (at: number) => (this.#known[at] as Operation).end;
    const inOrder = (at: number) => (this.#known[at]?.order ?? 0) <= mostOrder;
    return {
      candidates: candidates
        .filter((at) => (this.#known[at] as Operation).start <= firstEnd && inOrder(at))
        .sort((left, right) => this.#orderAt(left) - this.#orderAt(right) || endOf(left) - endOf(right)),
      firstEnd,
    };
  }

  #orderAt(at: number): number {
    return this.#known[at]?.order ?? Number.POSITIVE_INFINITY;
  }

  #step(state: State, operation: Operation): readonly State[] {
    this.#steps += 1;
    return this.#model.step(state, operation);
  }

  #place(mark: Mark): void {
    if (mark < 0) {
      this.#used[-1 - mark] = 1;
      this.#usedBits ^= 1n << BigInt(-1 - mark);
      return;
    }
    this.#placed[mark] = 1;
    this.#placedCount += 1;
    this.#mix(mark);
    while (this.#placed[this.#lowest] === 1) this.#lowest += 1;
    while (this.#placed[this.#ordered[this.#lowestOrdered] ?? -1] === 1) this.#lowestOrdered += 1;
  }

  #unplace(mark: Mark): void {
    if (mark < 0) {
      this.#used[-1 - mark] = 0;
      this.#usedBits ^= 1n << BigInt(-1 - mark);
      return;
    }
    this.#placed[mark] = 0;
    this.#placedCount -= 1;
    this.#mix(mark);
    this.#lowest = Math.min(this.#lowest, mark);
    this.#lowestOrdered = Math.min(this.#lowestOrdered, this.#placeInOrder[mark] as number);
  }

  #mix(at: number): void {
    this.#hashLow = (this.#hashLow ^ (this.#hashes[2 * at] as number)) >>> 0;
    this.#hashHigh = (this.#hashHigh ^ (this.#hashes[2 * at + 1] as number)) >>> 0;
  }

  #isNew(state: State): boolean {
    const key = `${this.#hashLow}.${this.#hashHigh}.${this.#model.textOf(state)}`;
    const before = this.#visited.get(key);
    if (before === undefined) {
      this.#visited.set(key, [this.#usedBits]);
      return true;
    }
    if (before.some((used) => (used & this.#usedBits) === used)) return false;
    before.push(this.#usedBits);
    return true;
  }

  #orderOf(frames: readonly Frame<State>[]): readonly Operation[] {
    return frames.flatMap(({ mark }) => (mark === undefined ? [] : [this.#operationOf(mark)]));
  }

  #operationOf(mark: Mark): Operation {
    return (mark < 0 ? this.#unknown[-1 - mark] : this.#known[mark]) as Operation;
  }

  #deepen(frames: readonly Frame<State>[], state: State): void {
    const stuck = this.#candidates().candidates.map((at) => this.#known[at] as Operation);
    this.#deepest = {
      count: this.#placedCount,
      order: this.#orderOf(frames.slice(-SHOWN_ORDER)),
      state,
      stuck,
    };
  }
}

/** Of the longest order, so many at its end are kept: all of it at every step would be quadratic. */
const SHOWN_ORDER = 8;
