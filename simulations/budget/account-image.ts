/** A disk whose content a checker can follow: what of an account is certainly kept. */
import { JournalReader } from '../../src/budget/journal.ts';
import type { LedgerState } from '../../src/budget/state.ts';
import { JOURNAL_TAGS } from '../../src/kernel/effects.ts';
import { DiskImage } from '../../src/sim/disk.ts';

export class AccountImage extends DiskImage {
  #reader = new JournalReader();
  #former: LedgerState | undefined;

  /** As a start would read it; `undefined` where there is no account, or none that makes sense. */
  get account(): LedgerState | undefined {
    return this.#reader.damaged ? undefined : this.#reader.state;
  }

  /** The account that ended on this disk last, as it was then: what it had answered for is in its last row. */
  get former(): LedgerState | undefined {
    return this.#former;
  }

  override write(records: readonly Uint8Array[]): void {
    super.write(records);
    for (const record of records) this.#take(record);
  }

  /** The image was changed otherwise, or its log cut short. */
  reread(): void {
    this.#reader = new JournalReader();
    this.#former = undefined;
    const { checkpoint, segments } = this.state;
    for (const pile of [checkpoint, ...segments])
      for (const record of pile?.records ?? []) this.#take(record);
  }

  #take(record: Uint8Array): void {
    if (record[0] !== JOURNAL_TAGS.budget) return;
    const before = this.#reader.state;
    this.#reader.take(record.subarray(1));
    if (before !== undefined && before.account !== this.#reader.state?.account) this.#former = before;
  }
}
