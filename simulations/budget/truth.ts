/** What one account has really done, of which its machine's disk is the only witness. */
import type { AccountId, PurseKey } from '../../src/budget/names.ts';
import type { Entry } from '../../src/budget/reserve-register.ts';
import type { Row, Totals } from '../../src/budget/row.ts';

const NOTHING: Totals = new Map();

export class Truth {
  /** Two runs have gone on from one state: there is no one truth any more. */
  forked = false;
  readonly #rows = new Map<PurseKey, Row>();
  /** The first rows with what it had sent by then, oldest first. */
  readonly #sent = new Map<PurseKey, Row[]>();

  get rows(): ReadonlyMap<PurseKey, Row> {
    return this.#rows;
  }

  /** A crash may take back what was done last. */
  set(key: PurseKey, row: Row | undefined): void {
    const before = this.#sent.get(key)?.filter(({ sequence }) => sequence < (row?.sequence ?? 0)) ?? [];
    if (row === undefined) this.#rows.delete(key);
    else {
      this.#rows.set(key, row);
      if (sumOf(row.sent) !== sumOf(before.at(-1)?.sent ?? NOTHING)) before.push(row);
    }
    this.#sent.set(key, before);
  }

  /** What it had sent when its row had this number. */
  sentBy(key: PurseKey, end: number): Totals {
    return this.#sent.get(key)?.findLast(({ sequence }) => sequence <= end)?.sent ?? NOTHING;
  }

  /** Of one that was written off: what it had sent by then to others that were written off, who were given that back. */
  sentToEnded(
    key: PurseKey,
    entry: Entry | undefined,
    entries: ReadonlyMap<AccountId, Entry> | undefined,
  ): Totals {
    const end = entry?.lastSequence;
    if (end === undefined) return NOTHING;
    return new Map([...this.sentBy(key, end)].filter(([to]) => entries?.get(to)?.lastSequence !== undefined));
  }
}

/** Whatever left the account's rights. */
export function outflow(row: Row): number {
  return row.spent + row.held + row.returned + sumOf(row.sent);
}

function sumOf(totals: Totals): number {
  let sum = 0;
  for (const amount of totals.values()) sum += amount;
  return sum;
}
