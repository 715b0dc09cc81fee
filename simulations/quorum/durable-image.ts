/** A disk whose content a checker can follow: which votes and entries of the quorum store are certainly kept. */

import type { HardState } from '../../src/quorum/raft/types.ts';
import { StorageReader, type Stored } from '../../src/quorum/store/storage.ts';
import { DiskImage } from '../../src/sim/disk.ts';

export class DurableImage extends DiskImage {
  #reader = newReader();
  get stored(): Stored {
    return this.#reader.stored();
  }

  get hardState(): HardState {
    return this.stored.restored.hardState;
  }

  /** The term of the entry that a restart would find at this index. */
  termAt(index: number): number | undefined {
    const { point, entries } = this.stored.restored;
    if (index === point.index) return point.term;
    const entry = entries[index - point.index - 1];
    return entry?.index === index ? entry.term : undefined;
  }

  /** Whether it holds the entry, or a snapshot that does. */
  holds(index: number, term: number): boolean {
    return index < this.stored.restored.point.index || this.termAt(index) === term;
  }

  override write(records: readonly Uint8Array[]): void {
    super.write(records);
    for (const record of records) this.#reader.take(record.subarray(1));
  }

  /** The image was changed otherwise, or its log cut short. */
  reread(): void {
    this.#reader = newReader();
    const { checkpoint, segments } = this.state;
    for (const pile of [checkpoint, ...segments])
      for (const record of pile?.records ?? []) this.#reader.take(record.subarray(1));
  }
}

/** It understands whatever any version of the program wrote. */
function newReader(): StorageReader {
  return new StorageReader(false, Number.MAX_SAFE_INTEGER);
}
