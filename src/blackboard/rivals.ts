/**
 * All items of one key, where there are several or appended ones, and which of them readers see: the greatest set or
 * delete (`base`), and what was appended above it.
 *
 * Intuition: what is shown follows from the order alone, so nothing is moved between what is shown and what is hidden.
 * Each item that comes or goes costs the logarithm of their number, whatever a member sends in whatever sequence.
 */
import { KIND } from './entry.ts';
import { compareItems, type Item } from './lane.ts';
import { SortedItems } from './sorted-items.ts';

const NONE: readonly Item[] = [];

interface Added {
  /** Readers can tell. */
  readonly changed: boolean;
  /** No longer shown, or never: ghosts, items of this node's own lanes, and perhaps others. */
  readonly hidden: readonly Item[];
}

export class Rivals {
  readonly #bases = new SortedItems(order);
  #appends: SortedItems | undefined;
  /** Of the appended, ghosts and those of this node's own lanes: whoever hides them must know. */
  #near: SortedItems | undefined;
  /** Appended items that stand right below one of the same identity and content. */
  #twins = 0;
  /** What `items` says, once asked. */
  #items: Item[] | undefined;
  #itemBytes = 0;

  get size(): number {
    return this.#bases.size + (this.#appends?.size ?? 0);
  }

  /** What readers see of sets and deletes. */
  get base(): Item | undefined {
    return this.#bases.last;
  }

  /** Readers see appended items. */
  get isLog(): boolean {
    const last = this.#appends?.last;
    return last !== undefined && this.#isAboveBase(last);
  }

  /** The appended items that readers see, in the order of their identity. */
  get items(): readonly Item[] {
    if (this.#items === undefined) {
      this.#items = [];
      this.#itemBytes = 0;
      for (const item of this.#appends?.above(this.base) ?? NONE) {
        const twin = this.#items.at(-1);
        if (twin !== undefined && compareItems(twin, item) === 0) {
          this.#items.pop();
          this.#itemBytes -= twin.length;
        }
        this.#items.push(item);
        this.#itemBytes += item.length;
      }
    }
    return this.#items;
  }

  /** What `items` take. */
  get itemBytes(): number {
    return this.items.length === 0 ? 0 : this.#itemBytes;
  }

  get newest(): Item | undefined {
    return this.isLog ? this.#appends?.last : this.base;
  }

  /** Some item is not shown. */
  get hides(): boolean {
    const first = this.#appends?.first;
    return this.#bases.size > 1 || this.#twins > 0 || (first !== undefined && !this.#isAboveBase(first));
  }

  shows(item: Item): boolean {
    if (item.kind !== KIND.append) return this.base === item;
    return this.#isAboveBase(item) && !isTwin(this.#appends?.after(item), item);
  }

  *all(): Generator<Item> {
    yield* this.#bases.above(undefined);
    yield* this.#appends?.above(undefined) ?? NONE;
  }

  add(item: Item): Added {
    return item.kind === KIND.append ? this.#addAppend(item) : this.#addBase(item);
  }

  /** Takes an item out, shown or not. True where readers can tell. */
  remove(item: Item): boolean {
    if (item.kind === KIND.append) return this.#removeAppend(item);
    const wasShown = this.base === item;
    this.#bases.remove(item);
    if (!wasShown) return false;
    this.#items = undefined;
    return !isTwin(this.base, item);
  }

  /** Another of the same identity and content takes its place, if it goes. */
  hasTwin(item: Item): boolean {
    const items = item.kind === KIND.append ? this.#appends : this.#bases;
    return isTwin(items?.before(item), item) || isTwin(items?.after(item), item);
  }

  /** The item has become a ghost, or one of a lane of this node's own. */
  draws(item: Item): void {
    if (item.kind !== KIND.append) return;
    this.#near ??= new SortedItems(order);
    this.#near.remove(item);
    this.#near.add(item);
  }

  #addBase(item: Item): Added {
    const old = this.base;
    this.#bases.add(item);
    if (old !== undefined && isTwin(old, item)) {
      this.#items = undefined;
      return { changed: false, hidden: [loserOf(item, old, this.base !== item)] };
    }
    if (this.base !== item) return { changed: false, hidden: [item] };
    const hidden: Item[] = old === undefined ? [] : [old];
    for (const other of this.#near?.above(old) ?? NONE) {
      if (order(other, item) > 0) break;
      hidden.push(other);
    }
    this.#items = undefined;
    return { changed: true, hidden };
  }

  #addAppend(item: Item): Added {
    this.#appends ??= new SortedItems(order);
    const appends = this.#appends;
    const { last } = appends;
    appends.add(item);
    if (item.ghost || item.lane.own) {
      this.#near ??= new SortedItems(order);
      this.#near.add(item);
    }
    const isNewest = appends.last === item;
    const before = isNewest ? last : appends.before(item);
    const after = isNewest ? undefined : appends.after(item);
    const isLess = isTwin(after, item);
    const isMore = isTwin(before, item);
    if (isLess || isMore) this.#twins++;
    if (!this.#isAboveBase(item)) return { changed: false, hidden: [item] };
    const twin = isLess ? after : isMore ? before : undefined;
    if (twin !== undefined) {
      const loser = loserOf(item, twin, isLess);
      if (loser !== item) this.#items = undefined;
      return { changed: false, hidden: [loser] };
    }
    if (after !== undefined) this.#items = undefined;
    else if (this.#items !== undefined) {
      this.#items.push(item);
      this.#itemBytes += item.length;
    }
    return { changed: true, hidden: NONE };
  }

  #removeAppend(item: Item): boolean {
    const appends = this.#appends;
    if (appends === undefined) return false;
    const isLess = isTwin(appends.after(item), item);
    const isMore = isTwin(appends.before(item), item);
    if (!appends.remove(item)) return false;
    this.#near?.remove(item);
    if (isLess || isMore) this.#twins--;
    if (isLess || !this.#isAboveBase(item)) return false;
    this.#items = undefined;
    return !isMore;
  }

  #isAboveBase(item: Item): boolean {
    const { base } = this;
    return base === undefined || order(item, base) > 0;
  }
}

function isTwin(neighbour: Item | undefined, item: Item): boolean {
  return neighbour !== undefined && compareItems(neighbour, item) === 0;
}

/**
 * Which of two that are the same readers need not see. What lives takes the place of a ghost: whoever owns it would else trim it for
 * one that is no longer in any lane.
 */
function loserOf(item: Item, twin: Item, isLess: boolean): Item {
  if (item.ghost !== twin.ghost) return item.ghost ? item : twin;
  return isLess ? item : twin;
}

/**
 * The greater is shown. Of a copy and its original any would do, except that the author must not trim the one in its
 * running lane, nor a copy for its original: an older image of its disk may be put back, which says that the original's lane was given up
 * for the copy's. And what lives comes before its ghost.
 */
function order(left: Item, right: Item): number {
  return (
    compareItems(left, right) ||
    Number(left.lane.running) - Number(right.lane.running) ||
    Number(left.folded !== undefined) - Number(right.folded !== undefined) ||
    left.lane.incarnation - right.lane.incarnation ||
    right.clock - left.clock ||
    Number(right.ghost) - Number(left.ghost)
  );
}
