/**
 * What readers see of a board: of every key the greatest item, or the log of what was appended since.
 *
 * Intuition: the view is a function of the items in the lanes, whatever order they came in. It is kept up to date
 * item by item, see `rivals.ts`. Items that lose stay in their author's lane until the author has seen why, and are merely hidden here.
 *
 * An author that deletes what another's write superseded may be heard before that other write. Until the lane that
 * holds it has caught up (`settled`), the deleted item stays visible as a *ghost*, so that a key neither vanishes nor
 * falls back to something older in between.
 */

import { KIND } from './entry.ts';
import type { Item, Lane } from './lane.ts';
import { Rivals } from './rivals.ts';
import { SortedKeys } from './sorted-keys.ts';

/** What readers see of a key: a set or a delete; with what was appended since, the `Rivals` that hold it. */
export type State = Item | Rivals;

interface ViewHooks {
  /** True once everything that the lane's deletes rely on has arrived. */
  readonly settled: (lane: Lane) => boolean;
  /** An item that no reader sees any more; its author may delete it. */
  readonly hidden: (item: Item) => void;
}

export class View {
  /** A set or delete that is alone under its key, as most are, stands for itself. */
  readonly #states = new Map<string, State>();
  readonly #sorted = new SortedKeys((key) => this.#states.has(key));
  readonly #ghosts = new Map<Lane, Set<Item>>();
  readonly #hooks: ViewHooks;
  #ghostBytes = 0;
  #visible = 0;

  constructor(hooks: ViewHooks) {
    this.#hooks = hooks;
  }

  /** Keys that have a value; those whose time is up and that nobody has removed yet included. */
  get keys(): number {
    return this.#visible;
  }

  /** Keys of which anything is held, those that are deleted included. */
  get size(): number {
    return this.#states.size;
  }

  /** Bytes of items that stand in no lane any more and are still shown. */
  get ghostBytes(): number {
    return this.#ghostBytes;
  }

  *ghosts(): Generator<Item> {
    for (const items of this.#ghosts.values()) yield* items;
  }

  get(key: string): State | undefined {
    const state = this.#states.get(key);
    return state instanceof Rivals && !state.isLog ? state.base : state;
  }

  /** The greatest item that a reader of the key takes note of, deletes included. */
  newest(key: string): Item | undefined {
    const state = this.#states.get(key);
    return state instanceof Rivals ? state.newest : state;
  }

  /** The set or delete that is alone under its key. */
  alone(key: string): Item | undefined {
    const state = this.#states.get(key);
    return state instanceof Rivals ? undefined : state;
  }

  /** A greater set or delete came in, and what was alone under its key leaves its lane: `add` and `remove` in one. */
  replace(old: Item, item: Item): void {
    this.#states.set(item.key, item);
    this.#count(isVisible(old), isVisible(item));
  }

  /** Every key that may have a value, ascending, strictly after `after`. */
  keysFrom(prefix: string, after: string): Generator<string> {
    return this.#sorted.from(prefix, after);
  }

  /** An item came in. True where readers can tell. */
  add(item: Item): boolean {
    const { key } = item;
    const state = this.#states.get(key);
    if (state === undefined) this.#sorted.add(key);
    if (state === undefined && item.kind !== KIND.append) {
      this.#states.set(key, item);
      if (item.kind === KIND.set) this.#visible++;
      return true;
    }
    const before = isVisible(state);
    const rivals = state instanceof Rivals ? state : new Rivals();
    if (rivals !== state) {
      if (state !== undefined && !(state instanceof Rivals)) rivals.add(state);
      this.#states.set(key, rivals);
    }
    const { changed, hidden } = rivals.add(item);
    for (const each of hidden) this.#hide(rivals, each);
    this.#reduce(key, rivals);
    this.#count(before, isVisible(this.#states.get(key)));
    return changed;
  }

  /** An item is about to leave its lane (call before the lane forgets its bytes). True where readers can tell. */
  remove(item: Item): boolean {
    // Tombstones too: without them an older write that comes now would show.
    if (this.shows(item) && !this.#hooks.settled(item.lane) && !this.#hasTwin(item)) {
      item.ghost = true;
      this.#haunts(item);
      return false;
    }
    return this.#drop(item);
  }

  /** Drops ghosts whose lane has settled; the keys that changed for readers. */
  layGhosts(): readonly string[] {
    const changed: string[] = [];
    for (const [lane, items] of this.#ghosts) {
      if (!this.#hooks.settled(lane)) continue;
      this.#ghosts.delete(lane);
      for (const item of items) {
        this.#ghostBytes -= item.length;
        if (this.#drop(item)) changed.push(item.key);
        item.ghost = false;
      }
    }
    return changed;
  }

  /** True where some lane still holds an item for the key that no reader sees. */
  hides(key: string): boolean {
    const state = this.#states.get(key);
    return state instanceof Rivals && state.hides;
  }

  *hiddenItems(): Generator<Item> {
    for (const state of this.#states.values()) {
      if (!(state instanceof Rivals) || !state.hides) continue;
      for (const item of state.all()) if (!state.shows(item)) yield item;
    }
  }

  /** Items that readers see or that stand for a deleted key. */
  *shownItems(): Generator<Item> {
    for (const state of this.#states.values()) {
      if (!(state instanceof Rivals)) yield state;
      else {
        if (state.base !== undefined) yield state.base;
        yield* state.items;
      }
    }
  }

  shows(item: Item): boolean {
    const state = this.#states.get(item.key);
    return state === item || (state instanceof Rivals && state.shows(item));
  }

  /** A ghost from before a restart: shown as if its author had deleted it just now. */
  haunt(item: Item): void {
    item.ghost = true;
    this.add(item);
    if (item.ghost) this.#haunts(item);
  }

  /** Lanes turned out to be this node's own. */
  reclaim(): void {
    for (const state of this.#states.values()) {
      if (!(state instanceof Rivals)) continue;
      for (const item of state.all()) if (item.lane.own) state.draws(item);
    }
  }

  #hasTwin(item: Item): boolean {
    const state = this.#states.get(item.key);
    return state instanceof Rivals && state.hasTwin(item);
  }

  /** Takes an item out; what it had hidden shows again. True where readers can tell. */
  #drop(item: Item): boolean {
    const { key } = item;
    const state = this.#states.get(key);
    if (state === undefined || (!(state instanceof Rivals) && state !== item)) return false;
    const before = isVisible(state);
    let changed = true;
    if (state instanceof Rivals) {
      changed = state.remove(item);
      this.#reduce(key, state);
    } else {
      this.#states.delete(key);
    }
    this.#count(before, isVisible(this.#states.get(key)));
    return changed;
  }

  #hide(rivals: Rivals, item: Item): void {
    if (!item.ghost) {
      this.#hooks.hidden(item);
      return;
    }
    // What superseded it has come: nothing is left of it anywhere.
    rivals.remove(item);
    item.ghost = false;
    const others = this.#ghosts.get(item.lane);
    if (!others?.delete(item)) return;
    this.#ghostBytes -= item.length;
    if (others.size === 0) this.#ghosts.delete(item.lane);
  }

  #haunts(item: Item): void {
    const state = this.#states.get(item.key);
    if (state instanceof Rivals) state.draws(item);
    const others = this.#ghosts.get(item.lane);
    if (others === undefined) this.#ghosts.set(item.lane, new Set([item]));
    else others.add(item);
    this.#ghostBytes += item.length;
  }

  /** What is alone again stands for itself. */
  #reduce(key: string, rivals: Rivals): void {
    if (rivals.size > 1) return;
    if (rivals.size === 0) this.#states.delete(key);
    else if (rivals.base !== undefined) this.#states.set(key, rivals.base);
  }

  #count(before: boolean, after: boolean): void {
    this.#visible += (after ? 1 : 0) - (before ? 1 : 0);
  }
}

export function isVisible(state: State | undefined): boolean {
  if (state === undefined) return false;
  if (state instanceof Rivals) return state.isLog || state.base?.kind === KIND.set;
  return state.kind === KIND.set;
}
