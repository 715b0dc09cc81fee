/**
 * The replicated log in memory: entries after the point where it begins, and which configuration they set.
 *
 * Terms never go back along a log, so what is asked by term is a binary search. Entries are never copied: whoever
 * takes a slice holds the entries themselves, which nobody changes.
 *
 * Limits: entries go only by `compact`; whoever owns the log must have snapshots made. Cutting off a committed
 * entry, a gap or a term that goes back throws: the protocol above is broken then, and the node must stop.
 */
import { Configurations } from './configurations.ts';
import type { Configuration, LogEntry, LogIndex, SnapshotPoint, Term } from './types.ts';

/** What an entry is taken to cost beside its command: its head, here and on the wire. */
const ENTRY_OVERHEAD_BYTES = 32;
const SERVER_BYTES = 80;

export function entryBytes(entry: LogEntry): number {
  if (entry.kind === 'command') return entry.command.length + ENTRY_OVERHEAD_BYTES;
  if (entry.kind === 'blank') return ENTRY_OVERHEAD_BYTES;
  const { incoming, outgoing } = entry.configuration;
  return ENTRY_OVERHEAD_BYTES + (incoming.length + outgoing.length) * SERVER_BYTES;
}

export interface Batch {
  readonly entries: readonly LogEntry[];
  readonly bytes: number;
  /** Index of the last entry. */
  readonly last: LogIndex;
}

export class RaftLog {
  #entries: LogEntry[] = [];
  /** The log begins after this. */
  #start: LogIndex;
  #startTerm: Term;
  #configurations: Configurations;

  /** Entries that do not follow from the point are what an older log left behind it: they and the rest are dropped. */
  constructor(point: SnapshotPoint, entries: readonly LogEntry[]) {
    this.#start = point.index;
    this.#startTerm = point.term;
    this.#configurations = new Configurations(point.index, point.configuration);
    for (const entry of entries) {
      if (entry.index <= this.#start) continue;
      if (entry.index !== this.lastIndex + 1 || entry.term < this.lastTerm) break;
      this.append(entry);
    }
  }

  /** Of the first entry that is here, or would be. */
  get firstIndex(): LogIndex {
    return this.#start + 1;
  }

  get lastIndex(): LogIndex {
    return this.#start + this.#entries.length;
  }

  get lastTerm(): Term {
    return this.#entries.at(-1)?.term ?? this.#startTerm;
  }

  get configuration(): Configuration {
    return this.#configurations.latest;
  }

  /** Index of the entry that set the latest configuration. */
  get configurationIndex(): LogIndex {
    return this.#configurations.latestIndex;
  }

  configurationAt(index: LogIndex): Configuration {
    return this.#configurations.at(index);
  }

  /** The configuration in force at `index`, and all that the log has since. */
  configurationsSince(index: LogIndex): readonly Configuration[] {
    return this.#configurations.since(index);
  }

  /** Undefined before the beginning and behind the end. */
  termAt(index: LogIndex): Term | undefined {
    if (index === this.#start) return this.#startTerm;
    return this.#entries[index - this.#start - 1]?.term;
  }

  entryAt(index: LogIndex): LogEntry | undefined {
    return this.#entries[index - this.#start - 1];
  }

  pointAt(index: LogIndex): SnapshotPoint | undefined {
    const term = this.termAt(index);
    return term === undefined ? undefined : { index, term, configuration: this.configurationAt(index) };
  }

  /** Both ends included. */
  slice(from: LogIndex, to: LogIndex): readonly LogEntry[] {
    return this.#entries.slice(from - this.#start - 1, to - this.#start);
  }

  /** Entries from `from` on, of `maxBytes` together, at least one. */
  batch(from: LogIndex, maxBytes: number): Batch {
    let bytes = 0;
    let end = from - this.#start - 1;
    const begin = end;
    for (; end < this.#entries.length; end++) {
      const size = entryBytes(this.#entries[end] as LogEntry);
      if (end > begin && bytes + size > maxBytes) break;
      bytes += size;
    }
    return { entries: this.#entries.slice(begin, end), bytes, last: this.#start + end };
  }

  /** Whether a log that ends so is at least as up to date as this one (3.6.1). */
  isUpToDate(lastIndex: LogIndex, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  append(entry: LogEntry): void {
    if (entry.index !== this.lastIndex + 1 || entry.term < this.lastTerm) {
      throw new Error(`raft: entry ${entry.index}@${entry.term} behind ${this.lastIndex}@${this.lastTerm}`);
    }
    this.#entries.push(entry);
    if (entry.kind === 'configuration') this.#configurations.append(entry.index, entry.configuration);
  }

  /** Cuts off `from` and all behind it. */
  truncate(from: LogIndex, commitIndex: LogIndex): void {
    if (from <= commitIndex || from <= this.#start) {
      throw new Error(`raft: cutting off ${from}, committed up to ${commitIndex}`);
    }
    this.#entries.length = from - this.#start - 1;
    this.#configurations.truncate(from);
  }

  /** Drops what a snapshot up to `index` holds, but for the last `keepEntries` of `keepBytes` together. */
  compact(index: LogIndex, keepEntries: number, keepBytes: number): void {
    let cut = Math.min(index, this.lastIndex);
    let bytes = 0;
    for (const until = Math.max(this.#start, cut - keepEntries); cut > until; cut--) {
      bytes += entryBytes(this.entryAt(cut) as LogEntry);
      if (bytes > keepBytes) break;
    }
    if (cut <= this.#start) return;
    this.#startTerm = this.termAt(cut) as Term;
    this.#entries = this.#entries.slice(cut - this.#start);
    this.#start = cut;
    this.#configurations.compact(cut);
  }

  /** Begins anew after a snapshot; entries behind it stay where they follow from it (5.2). True if they did. */
  reset(point: SnapshotPoint): boolean {
    const fits = this.termAt(point.index) === point.term && point.index <= this.lastIndex;
    const kept = fits ? this.slice(point.index + 1, this.lastIndex) : [];
    this.#start = point.index;
    this.#startTerm = point.term;
    this.#entries = [];
    this.#configurations = new Configurations(point.index, point.configuration);
    for (const entry of kept) this.append(entry);
    return fits;
  }

  /** The first entry of `term` that is here; where there is none, of the next larger one, or the end. */
  firstOfTerm(term: Term): LogIndex {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#entries[middle] as LogEntry).term < term) low = middle + 1;
      else high = middle;
    }
    return this.#start + 1 + low;
  }

  /** The last index with `term`, if any has it. */
  lastOfTerm(term: Term): LogIndex | undefined {
    const last = this.firstOfTerm(term + 1) - 1;
    return this.termAt(last) === term ? last : undefined;
  }

  entries(): readonly LogEntry[] {
    return this.#entries.slice();
  }
}
