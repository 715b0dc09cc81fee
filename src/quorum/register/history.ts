/** The latest changes, by revision, for watches that fell behind. Each node keeps its own; it is no part of the replicated state. */
import type { KeyChange, KeyRange } from '../port.ts';
import { compareKeys } from './key-order.ts';
import { roughBytes } from './outcome.ts';

export interface HistoryBounds {
  readonly quorumHistoryChanges: number;
  readonly quorumHistoryBytes: number;
}

export interface Revision {
  readonly revision: number;
  /** Never empty. */
  readonly changes: readonly KeyChange[];
}

export type ChangesAnswer =
  | {
      readonly kind: 'changes';
      /** One for each revision that changed something in the range, in order. */
      readonly revisions: readonly Revision[];
      /** Everything before this was looked through: go on here. One more than the newest revision at the end. */
      readonly next: number;
    }
  | { readonly kind: 'compacted'; readonly compactRevision: number };

export class History {
  readonly #bounds: HistoryBounds;
  /** Consecutive revisions from `#first` on, behind `#head` places that are empty. */
  #revisions: (Revision | undefined)[] = [];
  #head = 0;
  #first: number;
  #changes = 0;
  #bytes = 0;

  /** Holds nothing before `compactRevision`, which is the next to come. */
  constructor(bounds: HistoryBounds, compactRevision: number) {
    this.#bounds = bounds;
    this.#first = compactRevision;
  }

  /** The oldest revision from which on every change is here. */
  get compactRevision(): number {
    return this.#first;
  }

  get newest(): number {
    return this.#first + this.#revisions.length - this.#head - 1;
  }

  /** `revision` is one more than the newest. */
  add(revision: number, changes: readonly KeyChange[]): void {
    this.#revisions.push({ revision, changes });
    this.#changes += changes.length;
    this.#bytes += bytesOf(changes);
    const { quorumHistoryChanges, quorumHistoryBytes } = this.#bounds;
    while (this.#changes > quorumHistoryChanges || this.#bytes > quorumHistoryBytes) this.#dropOldest();
  }

  /** The changes in the range from a revision on, until `most` changes are together. */
  changesFrom(fromRevision: number, range: KeyRange, most: number): ChangesAnswer {
    if (fromRevision < this.#first) return { kind: 'compacted', compactRevision: this.#first };
    const revisions: Revision[] = [];
    let count = 0;
    let revision = fromRevision;
    for (; revision <= this.newest && count < most; revision++) {
      const here = this.#revisions[this.#head + revision - this.#first] as Revision;
      const changes = changesIn(here.changes, range);
      if (changes.length === 0) continue;
      count += changes.length;
      revisions.push(changes.length === here.changes.length ? here : { revision, changes });
    }
    return { kind: 'changes', revisions, next: revision };
  }

  capture(): readonly Revision[] {
    return this.#revisions.slice(this.#head) as Revision[];
  }

  #dropOldest(): void {
    const oldest = this.#revisions[this.#head] as Revision;
    this.#revisions[this.#head] = undefined;
    this.#head++;
    this.#first++;
    this.#changes -= oldest.changes.length;
    this.#bytes -= bytesOf(oldest.changes);
    if (this.#head >= 1024 && this.#head * 2 >= this.#revisions.length) {
      this.#revisions = this.#revisions.slice(this.#head);
      this.#head = 0;
    }
  }
}

/** Those of the changes whose keys are in the range. */
export function changesIn(changes: readonly KeyChange[], range: KeyRange): readonly KeyChange[] {
  return changes.filter(
    ({ entry }) => compareKeys(entry.key, range.from) >= 0 && compareKeys(entry.key, range.to) < 0,
  );
}

function bytesOf(changes: readonly KeyChange[]): number {
  let bytes = 0;
  for (const { entry } of changes) bytes += roughBytes(entry);
  return bytes;
}
