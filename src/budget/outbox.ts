/**
 * What an account orders, in order. Whatever changed stands in one record of the journal, in front of what tells of it: changes
 * gather until something is ordered or somebody takes what there is, so that many calls share a record.
 */
import type { Change } from './change.ts';
import { changesRecord } from './journal.ts';
import type { LedgerEffect } from './ledger-messages.ts';

const STREAM = 'budget';
/** Bounds what one record holds. */
const CHANGES_IN_RECORD = 1_000;
const NOTHING: readonly LedgerEffect[] = [];

export class Outbox {
  #sequence = 0;
  #changes: Change[] = [];
  #effects: LedgerEffect[] = [];

  /** Of the last record, whether it is complete or not. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Goes on behind records that were read back. */
  resume(sequence: number): void {
    this.#sequence = sequence;
  }

  get isEmpty(): boolean {
    return this.#changes.length === 0 && this.#effects.length === 0;
  }

  /** Gives the number of the record that will hold them. */
  enter(changes: readonly Change[]): number {
    if (this.#changes.length >= CHANGES_IN_RECORD) this.seal();
    if (this.#changes.length === 0) this.#sequence++;
    for (const change of changes) this.#changes.push(change);
    return this.#sequence;
  }

  /** What is entered later stands in another record, so that what this one left can be told under its number. */
  seal(): void {
    if (this.#changes.length === 0) return;
    const records = [changesRecord(this.#sequence, this.#changes)];
    this.#changes = [];
    this.#effects.push({ kind: 'persist', stream: STREAM, records, durable: true });
  }

  /** The whole state, under a number of its own. */
  restate(recordsOf: (sequence: number) => Iterable<Uint8Array>): void {
    this.seal();
    const records = [...recordsOf(++this.#sequence)];
    this.#effects.push({ kind: 'persist', stream: STREAM, records, durable: true });
  }

  push(effect: LedgerEffect): void {
    this.seal();
    this.#effects.push(effect);
  }

  take(): readonly LedgerEffect[] {
    this.seal();
    if (this.#effects.length === 0) return NOTHING;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
