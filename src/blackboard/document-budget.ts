/**
 * Bounds what Yjs does with one update, by stopping where it has done enough.
 *
 * Yjs compares an insertion with everything that others inserted at the same place. That is little where clients take
 * turns, and quadratic where somebody wants it to be: 60 KB of insertions made for it take half a minute. So each
 * comparison is counted before it is made, and beyond the budget the update ends there. What was taken in until then
 * is whole in itself; the rest comes again by repair, and other work in between.
 *
 * Source: the YATA algorithm (Nicolaescu et al., "Near real-time peer-to-peer shared editing on extensible data
 * types", 2016), as in `Item.integrate` of Yjs 13.6.
 */
import * as Y from 'yjs';

/** Comparisons in one update: some tens of milliseconds. The item that passes it is still put in its place. */
export const MOST_COMPARISONS = 20_000;
/** The same in one that came in parts, or that is a whole document: coming again is dear. */
export const MOST_COMPARISONS_IN_ALL = 200_000;

/** Thrown out of Yjs; never leaves `withinBudget`. */
class BudgetSpent extends Error {}

let left: number | undefined;
const integrate = Y.Item.prototype.integrate;

Y.Item.prototype.integrate = function (this: Y.Item, transaction: Y.Transaction, offset: number): void {
  if (left !== undefined) {
    if (left <= 0) throw new BudgetSpent();
    left -= comparisons(this, transaction.doc.store, offset);
  }
  integrate.call(this, transaction, offset);
};

/** False where the budget was spent before all of it was done. Throws what Yjs throws. */
export function withinBudget(most: number, apply: () => void): boolean {
  left = most;
  try {
    apply();
    return true;
  } catch (error) {
    if (error instanceof BudgetSpent) return false;
    throw error;
  } finally {
    left = undefined;
  }
}

/** How many items Yjs will look at to find the place of this one. */
function comparisons(item: Y.Item, store: Y.Doc['store'], offset: number): number {
  const { id, right, rightOrigin } = item;
  const before = offset > 0 ? Y.getItem(store, Y.createID(id.client, id.clock + offset - 1)) : item.left;
  const isBetween = before === null ? right !== null && right.left === null : before.right === right;
  if (isBetween || !(item.parent instanceof Y.AbstractType)) return 0;
  const origin = before === null ? null : offset > 0 ? before.lastId : item.origin;
  const walked = new Set<Y.Item>();
  let other = before === null ? first(item.parent, item.parentSub) : before.right;
  while (other !== null && other !== right) {
    walked.add(other);
    if (isSame(other.origin, origin)) {
      if (other.id.client >= id.client && isSame(other.rightOrigin, rightOrigin)) break;
    } else if (other.origin === null || !walked.has(Y.getItem(store, other.origin))) {
      break;
    }
    other = other.right;
  }
  return walked.size;
}

function first(parent: Y.AbstractType<unknown>, key: string | null): Y.Item | null {
  if (key === null) return parent._start;
  let item = parent._map.get(key) ?? null;
  while (item !== null && item.left !== null) item = item.left;
  return item;
}

function isSame(one: Y.ID | null, other: Y.ID | null): boolean {
  return one === other || (one !== null && other !== null && Y.compareIDs(one, other));
}
