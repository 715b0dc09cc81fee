/**
 * The account in the journal, and how it is read back.
 *
 * Money does not merge: replaying a record twice would spend it twice, and missing one would give it back. So every
 * record carries the number after that of the one before it, a record holds all changes of one step or of several, and a
 * record with the whole state says what it reflects. A gap in the numbers, or a record that makes no sense, means that what this
 * account promised may be forgotten: `damaged`, and nothing is spent of it any more.
 *
 * A last record that a crash cut off leaves no trace here, and need not: it was never answered for.
 */
import { decode, encode } from '../kernel/codec.ts';
import { journalRecord } from '../kernel/effects.ts';
import { type Change, readChanges, writeChange } from './change.ts';
import { FormWriter } from './forms.ts';
import { parseFreshNumber } from './names.ts';
import { decodeState, type LedgerState } from './state.ts';

/** First element of a record: room for layouts of later versions. */
const RECORD = { state: 2, changes: 3 } as const;

export function changesRecord(sequence: number, changes: readonly Change[]): Uint8Array {
  const writer = new FormWriter();
  for (const change of changes) writeChange(writer, change);
  return journalRecord('budget', encode([RECORD.changes, sequence, writer.forms, writer.fields]));
}

/** The whole state as it is at this call, after all records up to `sequence` and before all others: counts once its last piece is there. */
export function stateRecords(sequence: number, state: LedgerState): Iterable<Uint8Array> {
  return recordsOf(sequence, state.pieces());
}

function* recordsOf(sequence: number, pieces: ReturnType<LedgerState['pieces']>): Generator<Uint8Array> {
  for (const [index, piece] of pieces.entries())
    yield journalRecord('budget', encode([RECORD.state, sequence, index, pieces.length, piece()]));
}

/** Takes the journal's records in order, without their tag. */
export class JournalReader {
  #state: LedgerState | undefined;
  #sequence = 0;
  #damaged = false;
  /** Pieces of a state whose last has not come. */
  #pieces: unknown[] = [];

  /** Nothing: this data never held an account. */
  get state(): LedgerState | undefined {
    return this.#state;
  }

  /** The highest number met. */
  get sequence(): number {
    return this.#sequence;
  }

  get damaged(): boolean {
    return this.#damaged;
  }

  take(record: Uint8Array): void {
    const content = decode(record);
    if (!Array.isArray(content) || content.length < 3) {
      this.#damaged = true;
      return;
    }
    const [kind, number, ...rest] = content as readonly unknown[];
    const sequence = parseFreshNumber(number);
    if (sequence === undefined) this.#damaged = true;
    else if (kind === RECORD.state) this.#takePiece(sequence, rest);
    else if (kind === RECORD.changes) this.#takeChanges(sequence, rest);
    else this.#damaged = true;
  }

  /** A state that a crash cut off changes nothing: what it would have made up for stays as it was. */
  #takePiece(sequence: number, [index, count, piece]: readonly unknown[]): void {
    if (sequence < this.#sequence) return;
    if (index === 0) this.#pieces = [];
    this.#pieces.push(piece);
    if (this.#pieces.length !== count) return;
    const state = decodeState(this.#pieces);
    this.#pieces = [];
    this.#sequence = sequence;
    this.#damaged = state === undefined;
    if (state !== undefined) this.#state = state;
  }

  #takeChanges(sequence: number, [forms, fields]: readonly unknown[]): void {
    // From before the checkpoint was taken, which stands before it.
    if (sequence <= this.#sequence) return;
    const follows = sequence === this.#sequence + 1;
    this.#sequence = sequence;
    const changes = readChanges(forms, fields);
    const state = this.#state;
    if (!follows || this.#damaged || state === undefined || changes === undefined) {
      this.#damaged = true;
      return;
    }
    try {
      for (const change of changes) state.apply(change, sequence);
    } catch {
      this.#damaged = true;
    }
  }
}
