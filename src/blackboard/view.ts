/**
 * What readers see of a board: of every key the greatest item, or the log of what was appended since.
 *
 * Intuition: the view is a function of the items in the lanes, whatever order they came in. It is kept up to date
 * item by item. Items that lose stay in their author's lane until the author has seen why, and are merely hidden here.
 *
 * An author that deletes what another's write superseded may be heard before that other write. Until the lane that
 * holds it has caught up (`settled`), the deleted item stays visible as a *ghost*, so that a key neither vanishes nor
 * falls back to something older in between.
 */

import { KIND } from './entry.ts';
import { compareItems, type Item, type Lane } from './lane.ts';
import { SortedKeys } from './sorted-keys.ts';

/** A key with appended items: those that came after the last set or delete, in the order of their identity. */
export class Log {
  base: Item | undefined;
  readonly items: Item[];
  constructor(base: Item | undefined, items: Item[]) {
    this.base = base;
    this.items = items;
  }
}

type State = Item | Log;

export interface ViewHooks {
  /** True once everything that the lane's deletes rely on has arrived. */
  readonly settled: (lane: Lane) => boolean;
  /** An item that no reader sees any more; its author may delete it. */
  readonly hidden: (item: Item) => void;
}

export class View {
  readonly #states = new Map<string, State>();
  readonly #hidden = new Map<string, Item[]>();
  readonly #sorted = new SortedKeys((key) => this.#states.has(key));
  readonly #ghosts = new Set<Item>();
  readonly #hooks: ViewHooks;
  #visible = 0;

  constructor(hooks: ViewHooks) {
    this.#hooks = hooks;
  }

  /** Keys that have a value; those whose time is up and that nobody has removed yet included. */
  get keys(): number {
    return this.#visible;
  }

  get ghosts(): ReadonlySet<Item> {
    return this.#ghosts;
  }

  get(key: string): State | undefined {
    return this.#states.get(key);
  }

  /** The greatest item that a reader of the key takes note of, deletes included. */
  newest(key: string): Item | undefined {
    const state = this.#states.get(key);
    return state instanceof Log ? (state.items.at(-1) ?? state.base) : state;
  }

  /** Every key that may have a value, ascending, strictly after `after`. */
  keysFrom(prefix: string, after: string): Generator<string> {
    return this.#sorted.from(prefix, after);
  }

  /** An item came in. True where readers can tell. */
  add(item: Item): boolean {
    const state = this.#states.get(item.key);
    const before = isVisible(state);
    const changed = item.kind === KIND.append ? this.#addAppend(state, item) : this.#addBase(state, item);
    if (state === undefined) this.#sorted.add(item.key);
    this.#count(before, isVisible(this.#states.get(item.key)));
    return changed;
  }

  /** An item is about to leave its lane (call before the lane forgets its bytes). True where readers can tell. */
  remove(item: Item): boolean {
    if (this.#unhide(item)) return false;
    if (!this.#shows(item)) return false;
    // Tombstones too: without them an older write that comes now would show.
    if (!this.#hooks.settled(item.lane)) {
      item.ghost = true;
      this.#ghosts.add(item);
      return false;
    }
    return this.#drop(item);
  }

  /** Drops ghosts whose lane has settled; the keys that changed for readers. */
  layGhosts(): readonly string[] {
    const changed: string[] = [];
    for (const item of this.#ghosts) {
      if (!this.#hooks.settled(item.lane)) continue;
      this.#ghosts.delete(item);
      item.ghost = false;
      if (this.#drop(item)) changed.push(item.key);
    }
    return changed;
  }

  /** True where some lane still holds an item for the key that no reader sees. */
  hides(key: string): boolean {
    return this.#hidden.has(key);
  }

  *hiddenItems(): Generator<Item> {
    for (const items of this.#hidden.values()) yield* items;
  }

  /** Items that readers see or that stand for a deleted key. */
  *shownItems(): Generator<Item> {
    for (const state of this.#states.values()) {
      if (!(state instanceof Log)) yield state;
      else {
        if (state.base !== undefined) yield state.base;
        yield* state.items;
      }
    }
  }

  shows(item: Item): boolean {
    return this.#shows(item);
  }

  /** A ghost from before a restart: shown as if its author had deleted it just now. */
  haunt(item: Item): void {
    item.ghost = true;
    this.add(item);
    if (item.ghost) this.#ghosts.add(item);
  }

  #addBase(state: State | undefined, item: Item): boolean {
    const { key } = item;
    if (state === undefined) {
      this.#states.set(key, item);
      return true;
    }
    const base = state instanceof Log ? state.base : state;
    const order = base === undefined ? 1 : compareItems(item, base);
    if (base !== undefined && (order < 0 || (order === 0 && !prefers(item, base)))) {
      this.#hide(item);
      return false;
    }
    let shown = 0;
    if (state instanceof Log) {
      const kept = state.items.filter((other) => compareItems(other, item) > 0);
      for (const other of state.items) if (compareItems(other, item) < 0) this.#hide(other);
      shown = state.items.length - kept.length;
      this.#states.set(key, kept.length > 0 ? new Log(item, kept) : item);
    } else {
      this.#states.set(key, item);
    }
    if (base !== undefined) this.#hide(base);
    return order !== 0 || shown > 0;
  }

  #addAppend(state: State | undefined, item: Item): boolean {
    const base = state instanceof Log ? state.base : state;
    if (base !== undefined && compareItems(base, item) > 0) {
      this.#hide(item);
      return false;
    }
    if (!(state instanceof Log)) {
      this.#states.set(item.key, new Log(base, [item]));
      return true;
    }
    const { items } = state;
    let at = items.length;
    while (at > 0 && compareItems(items[at - 1] as Item, item) > 0) at--;
    const twin = items[at - 1];
    if (twin !== undefined && compareItems(twin, item) === 0) {
      const [kept, hidden] = prefers(item, twin) ? [item, twin] : [twin, item];
      items[at - 1] = kept;
      this.#hide(hidden);
      return false;
    }
    items.splice(at, 0, item);
    return true;
  }

  #shows(item: Item): boolean {
    const state = this.#states.get(item.key);
    return state === item || (state instanceof Log && (state.base === item || state.items.includes(item)));
  }

  /** Takes a shown item out; what it had hidden shows again. */
  #drop(item: Item): boolean {
    const { key } = item;
    const state = this.#states.get(key);
    const before = isVisible(state);
    const hidden = this.#hidden.get(key);
    const rest: Item[] = hidden ?? [];
    if (state instanceof Log) {
      for (const other of state.items) if (other !== item) rest.push(other);
      if (state.base !== undefined && state.base !== item) rest.push(state.base);
    }
    this.#hidden.delete(key);
    this.#states.delete(key);
    rest.sort(compareItems);
    let wasTwin = false;
    for (const other of rest) {
      wasTwin ||= compareItems(other, item) === 0;
      const current = this.#states.get(key);
      if (other.kind === KIND.append) this.#addAppend(current, other);
      else this.#addBase(current, other);
    }
    this.#count(before, isVisible(this.#states.get(key)));
    return !wasTwin;
  }

  #hide(item: Item): void {
    if (item.ghost) {
      // What superseded it has come: nothing is left of it anywhere.
      item.ghost = false;
      this.#ghosts.delete(item);
      return;
    }
    const others = this.#hidden.get(item.key);
    if (others === undefined) this.#hidden.set(item.key, [item]);
    else others.push(item);
    this.#hooks.hidden(item);
  }

  #unhide(item: Item): boolean {
    const others = this.#hidden.get(item.key);
    const at = others?.indexOf(item) ?? -1;
    if (others === undefined || at < 0) return false;
    if (others.length === 1) this.#hidden.delete(item.key);
    else others.splice(at, 1);
    return true;
  }

  #count(before: boolean, after: boolean): void {
    this.#visible += (after ? 1 : 0) - (before ? 1 : 0);
  }
}

/** Of a copy and its original any will do, except that the author must not trim the one in its running lane. */
function prefers(item: Item, over: Item): boolean {
  if (item.lane.running !== over.lane.running) return item.lane.running;
  return item.lane.incarnation > over.lane.incarnation;
}

export function isVisible(state: State | undefined): boolean {
  if (state === undefined) return false;
  if (state instanceof Log) return state.items.length > 0 || state.base?.kind === KIND.set;
  return state.kind === KIND.set;
}
