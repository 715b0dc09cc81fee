/** One board's entries: its lanes, what readers see of them, and what this node changed since the last flush. */

import { ByteWriter, decodeUtf8 } from '../kernel/bytes.ts';
import type { BoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { type EntryHead, type EntryToWrite, headOf, KIND, writeEntry } from './entry.ts';
import { stampOf, wallMsOf } from './hlc.ts';
import { type Item, Lane, type Page, pageOf } from './lane.ts';
import { type LaneUpdate, rangesOf } from './lane-update.ts';
import { itemsOf } from './read.ts';
import { View } from './view.ts';

export interface BoardConfig {
  readonly name: string;
  readonly mode: 'crdt' | 'quorum';
  readonly quotaKeys?: number;
  readonly quotaBytes?: number;
}

/** By incarnation, the clock that must have been reached. */
export type Clocks = ReadonlyMap<number, number>;

/** What this node did to one of its lanes: to be pushed and persisted. */
export interface OwnChange {
  readonly board: BoardName;
  readonly lane: Lane;
  readonly update: Uint8Array;
  /** What a reader of the update finds there. */
  readonly read: LaneUpdate;
  /** Clocks of other lanes that this change relies on and that were not announced before. */
  readonly deps: Clocks;
  /** Receivers hold the change back until they have `deps`, for a while. */
  readonly hold: boolean;
}

interface Pending {
  fromClock: number;
  readonly deletes: number[];
  readonly deps: Map<number, number>;
  hold: boolean;
}

/** Trims of items that another's write superseded are gathered up to this many. */
const TRIM_BATCH = 512;
const scratch = new ByteWriter(1024);

export class Board {
  readonly name: BoardName;
  readonly declared: BoardConfig | undefined;
  readonly view: View;
  readonly lanes = new Map<number, Lane>();
  /** True for a lane that was folded away, once what it held is here in another lane. */
  readonly #isGone: (board: Board, incarnation: number) => boolean;
  /** Keys changed for readers since `takeChanged`, in order. */
  #changed: string[] = [];
  /** Some may be among them twice: most that are written, or taken over, are new. */
  #repeats = false;
  readonly #pending = new Map<Lane, Pending>();
  #trims: Item[] = [];
  #bytes = 0;
  #hasExpiring = false;
  /** Grows with every change of any lane. */
  version = 0;

  constructor(
    name: BoardName,
    declared: BoardConfig | undefined,
    isGone: (board: Board, incarnation: number) => boolean,
  ) {
    this.name = name;
    this.declared = declared;
    this.#isGone = isGone;
    this.view = new View({
      settled: (lane) => this.settled(lane),
      hidden: (item) => {
        if (item.lane.own) this.#trims.push(item);
      },
    });
  }

  get quotaKeys(): number {
    return this.declared?.quotaKeys ?? limits.boardKeys;
  }

  get quotaBytes(): number {
    return this.declared?.quotaBytes ?? limits.boardBytes;
  }

  /** Live bytes in all lanes, those that readers do not see included. */
  get bytes(): number {
    return this.#bytes;
  }

  get trimsWaiting(): number {
    return this.#trims.length;
  }

  /** Some item here has, or had, a time to live. */
  get hasExpiring(): boolean {
    return this.#hasExpiring;
  }

  /** Readers are told of the key; also where no item changed, but its time is up. */
  touch(key: string): void {
    this.#repeats = true;
    this.#changed.push(key);
  }

  /** Own items that lost while it was not known that they are own: after loading. */
  findTrims(): void {
    this.view.reclaim();
    for (const item of this.view.hiddenItems()) if (item.lane.own) this.#trims.push(item);
  }

  get mustTrim(): boolean {
    return this.#trims.length >= TRIM_BATCH;
  }

  get hasPending(): boolean {
    return this.#pending.size > 0;
  }

  lane(incarnation: number): Lane {
    let lane = this.lanes.get(incarnation);
    if (lane === undefined) {
      lane = new Lane(incarnation, false);
      this.lanes.set(incarnation, lane);
    }
    return lane;
  }

  clockOf(incarnation: number): number {
    return this.lanes.get(incarnation)?.clock ?? 0;
  }

  /** True where this board has reached the clock, or the lane was folded away. */
  reached(incarnation: number, clock: number): boolean {
    return this.clockOf(incarnation) >= clock || this.#isGone(this, incarnation);
  }

  /**
   * Everything that the lane relies on has arrived, and what that relies on in turn: a lane that is far enough may have
   * trimmed what was relied on, for something that is not here yet.
   */
  settled(lane: Lane): boolean {
    if (lane.open.size === 0) return true;
    const relied = new Set([lane]);
    for (const each of relied) {
      for (const [incarnation, clock] of each.open) {
        if (!this.reached(incarnation, clock)) return false;
        const other = this.lanes.get(incarnation);
        if (other === undefined || other.open.size === 0) each.open.delete(incarnation);
        else relied.add(other);
      }
    }
    for (const each of relied) each.open.clear();
    return true;
  }

  /** False where the lane would then rely on more others than a board can have. */
  mayRely(lane: Lane, deps: Clocks): boolean {
    if (lane.deps.size + deps.size <= limits.boardLanes) return true;
    let others = lane.deps.size;
    for (const incarnation of deps.keys()) if (!lane.deps.has(incarnation)) others++;
    return others <= limits.boardLanes;
  }

  addDeps(lane: Lane, deps: Clocks): void {
    for (const [incarnation, clock] of deps) {
      if ((lane.deps.get(incarnation) ?? 0) >= clock || incarnation === lane.incarnation) continue;
      lane.deps.set(incarnation, clock);
      const isSettled = (this.lanes.get(incarnation)?.open.size ?? 0) === 0;
      if (!isSettled || !this.reached(incarnation, clock)) lane.open.set(incarnation, clock);
    }
  }

  /** Keys that changed for readers since the last call, once each. */
  takeChanged(): readonly string[] {
    const changed = this.#changed;
    if (changed.length === 0) return changed;
    const repeats = this.#repeats && changed.length > 1;
    this.#changed = [];
    this.#repeats = false;
    return repeats ? [...new Set(changed)] : changed;
  }

  /** Appends to one's own lane; the item, already visible. `deps` are what the writer's session has seen. */
  write(lane: Lane, entry: EntryToWrite, deps?: Clocks): Item {
    scratch.clear();
    writeEntry(scratch, entry);
    const bytes = scratch.view();
    const head = headOf(entry);
    const pending = this.#pendingOf(lane);
    if (deps !== undefined) {
      for (const [incarnation, clock] of deps) {
        if (incarnation === lane.incarnation || (lane.deps.get(incarnation) ?? 0) >= clock) continue;
        if (!this.lanes.has(incarnation)) continue;
        pending.deps.set(incarnation, clock);
        pending.hold = true;
      }
      this.addDeps(lane, pending.deps);
    }
    const waiting = this.#trims.length;
    const item = this.#append(lane, head, bytes, 0, bytes.length);
    this.version++;
    // What this write superseded of one's own goes at once, in the same change.
    const old = this.#predecessor(item);
    if (old !== undefined) {
      if (old.clock < pending.fromClock) pending.deletes.push(old.clock);
      this.#replace(old, item);
    } else {
      this.#show(item);
      if (this.#trims.length > waiting) this.#trimFrom(waiting);
    }
    return item;
  }

  /** Copies an own item of an earlier lane into the running one, identity and all. */
  copy(lane: Lane, item: Item): void {
    const { author, value } = item.body();
    this.write(lane, {
      kind: item.kind,
      revision: item.revision,
      key: item.key,
      author,
      ttlSeconds: item.expiresMs === 0 ? 0 : Math.round((item.expiresMs - wallMsOf(item.revision)) / 1_000),
      origin: item.origin,
      value: decodeUtf8(value) ?? '',
    });
  }

  /**
   * Writes an own item that shows once more, stamped now or above what it replaced, and deletes it as it was. `most` is
   * the greatest stamp that counts as one of the present.
   */
  restamp(item: Item, running: Lane, wallMs: number, most: number): void {
    const { author, value } = item.body();
    const entry = {
      kind: item.kind,
      key: item.key,
      author,
      ttlSeconds: item.expiresMs === 0 ? 0 : Math.round((item.expiresMs - wallMsOf(item.revision)) / 1_000),
      value: decodeUtf8(value) ?? '',
    };
    // The running lane's record comes first: a journal that ends in between has both, not neither.
    this.#pendingOf(running);
    this.#deleteOwn(item);
    let floor = 0;
    for (const { revision } of itemsOf(this.view, item.key)) {
      if (revision <= most && revision > floor) floor = revision;
    }
    const copy = this.write(running, { ...entry, revision: Math.max(stampOf(wallMs), floor + 1) });
    if (item.lane !== running) this.#relies(item.lane, running.incarnation, copy.clock + 1);
  }

  /** Deletes one's own items that nobody sees any more. */
  trim(): void {
    this.#trimFrom(0);
  }

  /** Deletes an own item although readers may see it: an expired one that is buried, a tombstone that has served. */
  deleteOwn(item: Item): void {
    if (!item.dead) this.#deleteOwn(item);
  }

  /** What changed in one's own lanes since the last call, in pieces of about `maxBytes`. */
  takeOwnChanges(maxBytes: number): readonly OwnChange[] {
    if (this.#pending.size === 0) return [];
    const changes: OwnChange[] = [];
    for (const [lane, pending] of this.#pending) {
      let deletes = rangesOf(pending.deletes);
      let fromClock = pending.fromClock;
      let deps: Clocks = pending.deps;
      do {
        const { bytes, read, toClock } = lane.encodeRead(fromClock, maxBytes, deletes);
        if (toClock > fromClock || deletes.length > 0) {
          changes.push({ board: this.name, lane, update: bytes.slice(), read, deps, hold: pending.hold });
        }
        fromClock = toClock;
        deletes = [];
        deps = new Map();
      } while (fromClock < lane.clock);
    }
    this.#pending.clear();
    return changes;
  }

  /** Takes in a checked update: `heads` are those of its new items, in order. True where anything was new. */
  apply(lane: Lane, update: LaneUpdate, bytes: Uint8Array, heads: readonly EntryHead[]): boolean {
    const before = lane.clock;
    let deleted = false;
    let nextHead = 0;
    const { structs, deletes } = update;
    const page = pageOf(bytes, newBytesOf(update, before));
    for (let at = 0; at < structs.length; at += 3) {
      const clock = structs[at] as number;
      const offset = structs[at + 1] as number;
      const length = structs[at + 2] as number;
      if (offset < 0) {
        const missing = clock + length - lane.clock;
        if (missing > 0) lane.appendDeleted(missing);
      } else if (clock >= lane.clock) {
        const item = this.#append(lane, heads[nextHead++] as EntryHead, bytes, offset, length, page);
        const old = deletes.length === 0 ? undefined : this.#predecessor(item);
        // Most writes come with the delete of what they supersede: nobody need see both.
        if (old !== undefined && old.clock < before && isWithin(deletes, old.clock)) this.#replace(old, item);
        else this.#show(item);
      }
    }
    for (let at = 0; at < deletes.length; at += 2) {
      const from = deletes[at] as number;
      for (const item of lane.items(from, from + (deletes[at + 1] as number))) {
        this.#delete(item);
        deleted = true;
      }
    }
    if (lane.clock === before && !deleted) return false;
    this.version++;
    this.settle();
    return true;
  }

  /** Lets go of ghosts whose time has come. */
  settle(): void {
    if (this.view.ghostBytes > 0) for (const key of this.view.layGhosts()) this.touch(key);
  }

  /** Forgets a lane, its items and what they showed. */
  drop(lane: Lane): void {
    for (const item of lane.items()) {
      if (this.view.remove(item)) this.touch(item.key);
      this.#bytes -= item.length;
      lane.kill(item);
    }
    this.lanes.delete(lane.incarnation);
    this.#pending.delete(lane);
    for (const other of this.lanes.values()) {
      other.deps.delete(lane.incarnation);
      if (!other.open.delete(lane.incarnation)) continue;
      for (const [incarnation, clock] of lane.open) {
        if (incarnation === other.incarnation) continue;
        other.open.set(incarnation, Math.max(other.open.get(incarnation) ?? 0, clock));
      }
    }
    this.version++;
    this.settle();
  }

  #append(lane: Lane, head: EntryHead, bytes: Uint8Array, from: number, length: number, page?: Page): Item {
    const item = lane.append(head, bytes, from, length, page);
    this.#bytes += length;
    if (item.expiresMs > 0) this.#hasExpiring = true;
    return item;
  }

  #show(item: Item): void {
    const { size } = this.view;
    if (!this.view.add(item)) return;
    if (this.view.size === size) this.#repeats = true;
    this.#changed.push(item.key);
  }

  /** What a new item supersedes, where that stands in the same lane and is all that there is under the key. */
  #predecessor({ key, kind, lane, revision }: Item): Item | undefined {
    const old = this.view.alone(key);
    if (old === undefined || old.lane !== lane || old.dead) return undefined;
    return kind !== KIND.append && revision > old.revision ? old : undefined;
  }

  #replace(old: Item, item: Item): void {
    this.view.replace(old, item);
    this.touch(item.key);
    this.#bytes -= old.length;
    old.lane.kill(old);
  }

  #delete(item: Item): void {
    if (this.view.remove(item)) this.touch(item.key);
    this.#bytes -= item.length;
    item.lane.kill(item);
  }

  #trimFrom(index: number): void {
    // What was hidden when it was queued may show again: while the journal replays, copies and originals come apart.
    for (const item of this.#trims.splice(index))
      if (!item.dead && !this.view.shows(item)) this.#deleteOwn(item);
  }

  #deleteOwn(item: Item): void {
    const { lane } = item;
    const pending = this.#pendingOf(lane);
    if (item.clock < pending.fromClock) pending.deletes.push(item.clock);
    const winner = this.view.newest(item.key);
    if (winner !== undefined && winner !== item && winner.lane !== lane) {
      this.#relies(lane, winner.lane.incarnation, winner.clock + 1);
    }
    this.#delete(item);
    this.version++;
  }

  /** The lane's pending change shows a gap to whoever has less than this of another lane. */
  #relies(lane: Lane, incarnation: number, clock: number): void {
    if ((lane.deps.get(incarnation) ?? 0) >= clock) return;
    this.#pendingOf(lane).deps.set(incarnation, clock);
    lane.deps.set(incarnation, clock);
  }

  #pendingOf(lane: Lane): Pending {
    let pending = this.#pending.get(lane);
    if (pending === undefined) {
      pending = { fromClock: lane.clock, deletes: [], deps: new Map(), hold: false };
      this.#pending.set(lane, pending);
    }
    return pending;
  }
}

/** Whether a clock is in one of the ranges, which are given as pairs of first clock and count, ascending. */
function isWithin(ranges: readonly number[], clock: number): boolean {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[2 * middle] as number) <= clock) low = middle + 1;
    else high = middle;
  }
  return low > 0 && clock < (ranges[2 * low - 2] as number) + (ranges[2 * low - 1] as number);
}

/** Bytes of the items that stand at or behind a clock. */
function newBytesOf({ structs }: LaneUpdate, clock: number): number {
  let bytes = 0;
  for (let at = 0; at < structs.length; at += 3) {
    const isItem = (structs[at + 1] as number) >= 0;
    if (isItem && (structs[at] as number) >= clock) bytes += structs[at + 2] as number;
  }
  return bytes;
}
