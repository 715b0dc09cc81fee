/**
 * What was ordered to disk, and what is certainly there.
 *
 * The disk writes in the order in which it is told to, so one number says how far it is. Entries that are cut off
 * while they are on their way no longer count when they arrive.
 */
import type { LogIndex } from './types.ts';

interface Awaited {
  readonly sequence: number;
  /** The log up to here is on disk then. */
  index: LogIndex;
}

export class Durability {
  #sequence = 0;
  #reached = 0;
  #awaited: Awaited[] = [];
  #stableIndex: LogIndex;
  #orderedIndex: LogIndex;
  #hardStateSequence = 0;
  #entriesOrdered = false;
  #hardStateOrdered = false;
  #failed = false;

  constructor(lastIndex: LogIndex) {
    this.#stableIndex = lastIndex;
    this.#orderedIndex = lastIndex;
  }

  /** The log up to here is on disk. */
  get stableIndex(): LogIndex {
    return this.#stableIndex;
  }

  /** The log up to here was ordered to disk. */
  get orderedIndex(): LogIndex {
    return this.#orderedIndex;
  }

  /** Term and vote, as they are now, are on disk. */
  get isHardStateStable(): boolean {
    return !this.#hardStateOrdered && this.#hardStateSequence <= this.#reached;
  }

  get hasFailed(): boolean {
    return this.#failed;
  }

  orderEntries(lastIndex: LogIndex): void {
    this.#orderedIndex = lastIndex;
    this.#entriesOrdered = true;
  }

  orderHardState(): void {
    this.#hardStateOrdered = true;
  }

  /** The number to await for all that was ordered since the last call; undefined where nothing was. */
  takeSequence(): number | undefined {
    if (!this.#entriesOrdered && !this.#hardStateOrdered) return undefined;
    const sequence = ++this.#sequence;
    if (this.#hardStateOrdered) this.#hardStateSequence = sequence;
    if (this.#entriesOrdered) this.#awaited.push({ sequence, index: this.#orderedIndex });
    this.#entriesOrdered = false;
    this.#hardStateOrdered = false;
    return sequence;
  }

  /** True where the stable index moved. */
  reach(sequence: number): boolean {
    if (this.#failed || sequence <= this.#reached || sequence > this.#sequence) return false;
    this.#reached = sequence;
    const before = this.#stableIndex;
    let first = this.#awaited[0];
    while (first !== undefined && first.sequence <= sequence) {
      this.#stableIndex = Math.max(this.#stableIndex, first.index);
      this.#awaited.shift();
      first = this.#awaited[0];
    }
    return this.#stableIndex > before;
  }

  truncate(from: LogIndex): void {
    this.#stableIndex = Math.min(this.#stableIndex, from - 1);
    this.#orderedIndex = Math.min(this.#orderedIndex, from - 1);
    for (const awaited of this.#awaited) awaited.index = Math.min(awaited.index, from - 1);
  }

  /** A snapshot up to `index` is on disk; what was behind it in the log has stayed or has not. */
  reset(index: LogIndex, stays: boolean): void {
    if (!stays) this.truncate(index + 1);
    this.#stableIndex = Math.max(this.#stableIndex, index);
    this.#orderedIndex = Math.max(this.#orderedIndex, index);
  }

  /** Whatever was ordered and not reached may be on disk or not, in part or as a whole. */
  fail(): void {
    this.#failed = true;
    this.#awaited = [];
    this.#orderedIndex = this.#stableIndex;
    this.#entriesOrdered = false;
    if (this.#hardStateOrdered) this.#hardStateSequence = this.#sequence + 1;
    this.#hardStateOrdered = false;
  }

  /** The caller orders hard state and entries from `orderedIndex` on anew. */
  recover(): void {
    this.#failed = false;
  }
}
