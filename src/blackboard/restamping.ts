/**
 * Gives what this node wrote while its clock was ahead stamps of the present, once the clock is right: gates do not
 * believe stamps from the future, and all that follows in the same lane, or under the same key, would wait with them.
 *
 * Method: each entry that still shows is deleted and written again by the same node, in its running lane, above
 * what it had replaced; others show the old one until they have the new (`deps`), so none is ever missing. The journal has the
 * new one first: a crash in between leaves both, and the work is done again. Those who believed the old
 * stamps, since their clocks were ahead too, restamp their own; of entries under one key the older ones go first.
 *
 * Two nodes may each hold an older copy of what the other has since written above, and believe nothing newer of it: then both would
 * wait. So where nothing moves for a while, who is there is waited for no longer.
 *
 * Limits. Whether the node's clock was ahead or is now behind it cannot tell alone. So where entries of others come
 * from the same future it waits until a neighbour is linked, which proves the clock (links refuse clocks that
 * differ). Of two writes to one key on either side of a partition the one that is restamped later wins, as if it had been made then.
 */
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Deadline, Instant } from '../kernel/time.ts';
import type { Board } from './board.ts';
import { KIND } from './entry.ts';
import { type HybridClock, stampOf } from './hlc.ts';
import { compareItems, type Item } from './lane.ts';
import type { BoardStore } from './store.ts';

/** A clock that is set back while the node runs may be set again at once; and what others must do first may take so long. */
const PATIENCE_MS = 10_000;
/** Until what stood in the way is tried again. */
const RETRY_MS = 2_000;
/** Done at a stretch; the next follows at once. */
const STEP_ITEMS = 1_024;
const STEP_BYTES = 8 * 1024 * 1024;

interface Ahead {
  readonly board: Board;
  readonly item: Item;
}

/** Items of others under one key that are stamped ahead. */
interface Others {
  readonly bases: Item[];
  readonly appends: Item[];
}

export class Restamping {
  readonly #store: BoardStore;
  readonly #clock: HybridClock;
  readonly #isLinked: () => boolean;
  readonly #isUp: (node: NodeId) => boolean;
  #atMs: number | undefined;
  /** Since when everything that is left waits for others. */
  #stuckSinceMs: number | undefined;

  constructor(
    store: BoardStore,
    clock: HybridClock,
    isLinked: () => boolean,
    isUp: (node: NodeId) => boolean,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#isLinked = isLinked;
    this.#isUp = isUp;
  }

  loaded(now: Instant): void {
    if (this.#isAhead(now)) this.#step(now);
  }

  /** Notices that the clock was set back. */
  seen(now: Instant): void {
    if (this.#atMs === undefined && this.#isAhead(now)) this.#atMs = now.monoMs + PATIENCE_MS;
  }

  expire(now: Instant): void {
    if (this.#atMs === undefined || now.monoMs < this.#atMs) return;
    this.#atMs = undefined;
    if (this.#isAhead(now)) this.#step(now);
  }

  deadline(): Deadline | undefined {
    return this.#atMs === undefined ? undefined : { atMs: this.#atMs, reason: 'board.restamp' };
  }

  #isAhead(now: Instant): boolean {
    return this.#clock.aheadMs(now) > limits.clockSkewMs;
  }

  #step(now: Instant): void {
    const most = stampOf(now.wallMs + limits.clockSkewMs);
    const { own, others, greatest } = this.#survey(most);
    this.#atMs = now.monoMs + RETRY_MS;
    if (others.size > 0 && !this.#isLinked()) {
      this.#stuckSinceMs = undefined;
      return;
    }
    const isPatient = now.monoMs - (this.#stuckSinceMs ?? now.monoMs) < PATIENCE_MS;
    let items = 0;
    let bytes = 0;
    let left = 0;
    for (const { board, item } of own) {
      if (item.dead || !board.view.shows(item)) continue;
      const waits = this.#waits(item, others.get(`${board.name} ${item.key}`), isPatient);
      if (waits || !board.settled(item.lane)) {
        left++;
        continue;
      }
      if (items >= STEP_ITEMS || bytes >= STEP_BYTES) {
        this.#atMs = now.monoMs;
        return;
      }
      items++;
      bytes += item.length;
      const running = this.#store.lane(board, this.#store.incarnation);
      board.restamp(item, running, now.wallMs, most);
    }
    if (left > 0) {
      this.#stuckSinceMs = items > 0 ? undefined : (this.#stuckSinceMs ?? now.monoMs);
      return;
    }
    this.#stuckSinceMs = undefined;
    this.#clock.setBack(Math.max(greatest, stampOf(now.wallMs)));
    this.#atMs = undefined;
  }

  /** Another's item must be restamped first, so that the order of the two stays. Appended items need none among themselves. */
  #waits(item: Item, others: Others | undefined, isPatient: boolean): boolean {
    if (others === undefined) return false;
    const precedes = (other: Item) => {
      const { owner } = other.lane;
      const mayPass = !isPatient && owner !== undefined && this.#isUp(owner);
      return !mayPass && compareItems(other, item) < 0;
    };
    return others.bases.some(precedes) || (item.kind !== KIND.append && others.appends.some(precedes));
  }

  /** Items beyond what is believed: one's own, older before newer; those of others by board and key. The greatest own stamp that is not. */
  #survey(most: number) {
    const own: Ahead[] = [];
    const others = new Map<string, Others>();
    let greatest = 0;
    for (const board of this.#store.boards.values()) {
      board.trim();
      for (const lane of board.lanes.values()) {
        for (const item of lane.items()) {
          if (item.revision <= most) {
            if (lane.own && item.revision > greatest) greatest = item.revision;
          } else if (lane.own) own.push({ board, item });
          else {
            const name = `${board.name} ${item.key}`;
            const those = others.get(name) ?? { bases: [], appends: [] };
            others.set(name, those);
            (item.kind === KIND.append ? those.appends : those.bases).push(item);
          }
        }
      }
    }
    own.sort((left, right) => compareItems(left.item, right.item));
    return { own, others, greatest };
  }
}
