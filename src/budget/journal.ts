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
import { type Change, parseChange } from './change.ts';
import { parseFreshNumber } from './names.ts';
import { decodeState, type LedgerState } from './state.ts';

/** First element of a record: room for layouts of later versions. */
const RECORD = { state: 2, changes: 3 } as const;
/** How a change is written: the two of the hot path field by field, any other as it is. */
const WRITTEN = { plain: 0, reserved: 1, settled: 2 } as const;

export function changesRecord(sequence: number, changes: readonly Change[]): Uint8Array {
  const writer = new ChangesWriter();
  for (const change of changes) writer.write(change);
  return journalRecord('budget', encode([RECORD.changes, sequence, writer.words, writer.fields]));
}

/** One flat list of numbers and texts; what many changes have in common is written once and named by its place in `words`. */
class ChangesWriter {
  readonly words: string[] = [];
  readonly fields: unknown[] = [];
  readonly #places = new Map<string, number>();

  write(change: Change): void {
    const { fields } = this;
    switch (change.kind) {
      case 'reserved': {
        const { id, agent, amount, expiresAt, ttlMs, expiry, purses } = change;
        fields.push(WRITTEN.reserved, id, this.#place(agent), amount, expiresAt, ttlMs);
        fields.push(this.#place(expiry), purses.length);
        for (const purse of purses) fields.push(this.#place(purse));
        return;
      }
      case 'settled': {
        const { id, amount, ending, parts } = change;
        fields.push(WRITTEN.settled, id, amount, this.#place(ending), parts.length);
        for (const { purse, spent, overrun } of parts) fields.push(this.#place(purse), spent, overrun);
        return;
      }
      default:
        fields.push(WRITTEN.plain, change);
    }
  }

  #place(word: string): number {
    const known = this.#places.get(word);
    if (known !== undefined) return known;
    this.#places.set(word, this.words.length);
    return this.words.push(word) - 1;
  }
}

/** `undefined` for what `ChangesWriter` never wrote. */
function readChanges(words: unknown, fields: unknown): readonly Change[] | undefined {
  if (!Array.isArray(words) || !Array.isArray(fields)) return undefined;
  let at = 0;
  const next = (): unknown => fields[at++];
  const word = (): unknown => words[Number(next())];
  /** Bounded by what is there. */
  const listOf = <T>(read: () => T): T[] => {
    const length = Math.min(Number(next()), fields.length - at);
    return Array.from({ length: Number.isNaN(length) ? 0 : length }, read);
  };
  const readers: Readonly<Record<number, () => unknown>> = {
    [WRITTEN.plain]: next,
    [WRITTEN.reserved]: () => ({
      kind: 'reserved',
      id: next(),
      agent: word(),
      amount: next(),
      expiresAt: next(),
      ttlMs: next(),
      expiry: word(),
      purses: listOf(word),
    }),
    [WRITTEN.settled]: () => ({
      kind: 'settled',
      id: next(),
      amount: next(),
      ending: word(),
      parts: listOf(() => ({ purse: word(), spent: next(), overrun: next() })),
    }),
  };
  const changes: Change[] = [];
  while (at < fields.length) {
    const change = parseChange(readers[Number(next())]?.());
    if (change === undefined) return undefined;
    changes.push(change);
  }
  return at === fields.length ? changes : undefined;
}

/** The whole state, after all records up to `sequence` and before all others: counts once its last piece is there. */
export function stateRecords(sequence: number, state: LedgerState): readonly Uint8Array[] {
  const pieces = state.encode();
  return pieces.map((piece, index) =>
    journalRecord('budget', encode([RECORD.state, sequence, index, pieces.length, piece])),
  );
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

  #takeChanges(sequence: number, [words, fields]: readonly unknown[]): void {
    // From before the checkpoint was taken, which stands before it.
    if (sequence <= this.#sequence) return;
    const follows = sequence === this.#sequence + 1;
    this.#sequence = sequence;
    const changes = readChanges(words, fields);
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
