/**
 * The row of one account in one purse: what it has done with its rights, as totals that only grow (but for what is
 * held). It is the body of a signed record of the account's node, so it has one writer, and taking one in twice, late or
 * out of order changes nothing.
 */

import { limits } from '../kernel/limits.ts';
import { type Amount, parseAmount, ZERO } from './amount.ts';
import { type AccountId, parseAccountId } from './names.ts';

export type Totals = ReadonlyMap<AccountId, Amount>;

export interface Row {
  /** Grows with every change; two rows with one sequence are the same row, or their writer cheats or was doubled. */
  readonly sequence: number;
  /** What the account knew to be granted to it out of the reserve. */
  readonly granted: Amount;
  /** What it took in from other accounts, and what it sent them. */
  readonly received: Totals;
  readonly sent: Totals;
  /** Given back to the reserve. */
  readonly returned: Amount;
  readonly spent: Amount;
  /** Reserved by agents and not settled. */
  readonly held: Amount;
  /** Spent beyond the rights there were, and how much of that later rights have paid: it is in `spent` too. */
  readonly overrun: Amount;
  readonly covered: Amount;
}

/** Of an account that has had nothing. */
export const EMPTY_ROW: Row = {
  sequence: 0,
  granted: ZERO,
  received: new Map(),
  sent: new Map(),
  returned: ZERO,
  spent: ZERO,
  held: ZERO,
  overrun: ZERO,
  covered: ZERO,
};

/** How a row relates to one that was heard before it. */
export type RowStanding = 'same' | 'newer' | 'older' | 'contradicts';

const COUNTERS = ['granted', 'returned', 'spent', 'overrun', 'covered'] as const;

/** What the account may still spend or send; `undefined` where the row claims more out than in. */
export function rightsOf(row: Row): Amount | undefined {
  const inflow = sum([row.granted, ...row.received.values()]);
  const outflow = sum([row.returned, row.spent, row.held, ...row.sent.values()]);
  return inflow === undefined || outflow === undefined ? undefined : parseAmount(inflow - outflow);
}

/** Plain data for a record's body; accounts in order, so that equal rows are equal bytes. */
export function rowBody(row: Row): unknown {
  return { ...row, received: listOf(row.received), sent: listOf(row.sent) };
}

/** `undefined` for whatever no account that keeps the rules would say. `account` wrote it. */
export function parseRow(body: unknown, account: AccountId): Row | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const given = body as Readonly<Record<string, unknown>>;
  const sequence = parseAmount(given.sequence, 1);
  const received = parseTotals(given.received, account);
  const sent = parseTotals(given.sent, account);
  const [granted, returned, spent, overrun, covered] = COUNTERS.map((name) => parseAmount(given[name]));
  const held = parseAmount(given.held);
  if (sequence === undefined || received === undefined || sent === undefined || held === undefined)
    return undefined;
  if (granted === undefined || returned === undefined || spent === undefined) return undefined;
  if (overrun === undefined || covered === undefined || covered > overrun) return undefined;
  const row: Row = { sequence, granted, received, sent, returned, spent, held, overrun, covered };
  return rightsOf(row) === undefined ? undefined : row;
}

/** What `next` is to `known`. Both are of one account and one purse. */
export function standingOf(next: Row, known: Row): RowStanding {
  if (next.sequence === known.sequence) {
    return isAtLeast(next, known) && isAtLeast(known, next) && next.held === known.held
      ? 'same'
      : 'contradicts';
  }
  if (next.sequence > known.sequence) return isAtLeast(next, known) ? 'newer' : 'contradicts';
  return isAtLeast(known, next) ? 'older' : 'contradicts';
}

/** Whether no total of `row` is below that of `other`. */
function isAtLeast(row: Row, other: Row): boolean {
  return (
    COUNTERS.every((name) => row[name] >= other[name]) &&
    covers(row.received, other.received) &&
    covers(row.sent, other.sent)
  );
}

/** The sum; `undefined` from 2^53 on. */
export function sum(amounts: Iterable<Amount>): Amount | undefined {
  let total = 0;
  for (const amount of amounts) total += amount;
  return parseAmount(total);
}

export function listOf(totals: Totals): readonly (readonly [AccountId, Amount])[] {
  return [...totals].sort(([left], [right]) => (left < right ? -1 : 1));
}

/** At most `limits.budgetPartners` different accounts, `self` not among them, with something above zero each. */
export function parseTotals(value: unknown, self: AccountId): Map<AccountId, Amount> | undefined {
  if (!Array.isArray(value) || value.length > limits.budgetPartners) return undefined;
  const totals = new Map<AccountId, Amount>();
  for (const pair of value as readonly unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const account = parseAccountId(pair[0]);
    const total = parseAmount(pair[1], 1);
    if (account === undefined || total === undefined || account === self || totals.has(account))
      return undefined;
    totals.set(account, total);
  }
  return totals;
}

function covers(totals: Totals, others: Totals): boolean {
  for (const [account, total] of others) if ((totals.get(account) ?? ZERO) < total) return false;
  return true;
}
