/**
 * Where all the money of one budget and period is. Nothing may be missing and nothing be there twice:
 *
 *     limit + owed = reserve + rights + held + spent + on the way + lost
 *
 * Of one moment this holds exactly. Of rows that were heard at different moments, what is on the way may look negative
 * for a while; so `problems` counts as a finding only where the rows are of one cut, or where it stays.
 */
import { type Amount, ZERO } from './amount.ts';
import type { AccountId } from './names.ts';
import type { Entry, Reserve } from './reserve-register.ts';
import { type Row, rightsOf } from './row.ts';

export interface Position {
  readonly account: AccountId;
  /** Newest known; `undefined` where none was heard. */
  readonly row: Row | undefined;
  /** `undefined` where the register has none. */
  readonly entry: Entry | undefined;
}

export interface Balance {
  readonly limit: number;
  readonly owed: number;
  readonly reserve: number;
  readonly rights: number;
  readonly held: number;
  readonly spent: number;
  /** Granted and not known to the account, sent and not taken in, given back and not in the reserve. */
  readonly grantsOnTheWay: number;
  readonly transfersOnTheWay: number;
  readonly returnsOnTheWay: number;
  /** Of accounts that were written off: what did not go back to the reserve. */
  readonly lost: number;
  /** Spent beyond rights and not paid by later ones: on top of all the above. */
  readonly overrun: number;
}

/** Empty `problems` on a consistent cut, or money was made or lost. */
export function balanceOf(
  { limit, owed, reserve }: Reserve,
  known: readonly Position[],
): { readonly balance: Balance; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const sums = {
    rights: 0,
    held: 0,
    spent: 0,
    grantsOnTheWay: 0,
    transfersOnTheWay: 0,
    returnsOnTheWay: 0,
    lost: 0,
    overrun: 0,
  };
  const positions = withReceivers(known);
  const rows = new Map(positions.map(({ account, row }) => [account, row]));
  const onTheWayTo = transfersOnTheWay(positions, rows, problems);
  for (const { account, row, entry } of positions) {
    const rights = row === undefined ? ZERO : rightsOf(row);
    if (rights === undefined) problems.push(`${account} has less than nothing`);
    const grants = (entry?.granted ?? 0) - (row?.granted ?? 0);
    const returns = (row?.returned ?? 0) - (entry?.returned ?? 0);
    if (grants < 0) problems.push(`${account} knows of ${-grants} that were not granted`);
    if (returns < 0) problems.push(`${-returns} came back from ${account} that it did not return`);
    const transfers = onTheWayTo.get(account) ?? 0;
    sums.spent += row?.spent ?? 0;
    sums.overrun += (row?.overrun ?? 0) - (row?.covered ?? 0);
    if (entry?.lastSequence !== undefined) {
      const lost = (rights ?? 0) + (row?.held ?? 0) + grants + returns + transfers - entry.writtenOff;
      if (lost < 0) problems.push(`${-lost} more was written off than ${account} had`);
      sums.lost += lost;
      continue;
    }
    sums.rights += rights ?? 0;
    sums.held += row?.held ?? 0;
    sums.grantsOnTheWay += grants;
    sums.returnsOnTheWay += returns;
    sums.transfersOnTheWay += transfers;
  }
  const { overrun, ...within } = sums;
  const found = Object.values(within).reduce((whole, part) => whole + part, reserve);
  if (found !== limit + owed) problems.push(`${found} found, of ${limit + owed}`);
  if (reserve > 0 && owed > 0) problems.push('there is a reserve, and yet something is owed');
  return { balance: { limit, owed, reserve, ...within, overrun }, problems };
}

/** With those of whom nothing is known but that something was sent to them. */
function withReceivers(known: readonly Position[]): readonly Position[] {
  const receivers = new Set(known.flatMap(({ row }) => [...(row?.sent.keys() ?? [])]));
  for (const { account } of known) receivers.delete(account);
  return [...known, ...[...receivers].map((account) => ({ account, row: undefined, entry: undefined }))];
}

/** By receiver. */
function transfersOnTheWay(
  positions: readonly Position[],
  rows: ReadonlyMap<AccountId, Row | undefined>,
  problems: string[],
): ReadonlyMap<AccountId, number> {
  const onTheWay = new Map<AccountId, number>();
  for (const { account, row } of positions) {
    for (const [to, total] of row?.sent ?? []) {
      const rest = total - (rows.get(to)?.received.get(account) ?? 0);
      onTheWay.set(to, (onTheWay.get(to) ?? 0) + rest);
    }
    for (const [from, total] of row?.received ?? []) {
      const sent = rows.get(from)?.sent.get(account) ?? 0;
      if (total > sent) problems.push(`${account} took in ${total - sent} more than ${from} sent`);
      if (sent === 0) onTheWay.set(account, (onTheWay.get(account) ?? 0) - total);
    }
  }
  return onTheWay;
}

/** What can be spent at least, of what is known: the reserve, and the rights of accounts that can be reached. */
export function remainingAtLeast(reserve: Amount, rows: Iterable<Row>): number {
  let remaining: number = reserve;
  for (const row of rows) remaining += rightsOf(row) ?? 0;
  return remaining;
}
