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
import { type Row, rightsOf, type Totals } from './row.ts';

export interface Position {
  readonly account: AccountId;
  /** Newest known; `undefined` where none was heard. */
  readonly row: Row | undefined;
  /** `undefined` where the register has none. */
  readonly entry: Entry | undefined;
  /** Of one that was written off and went on, what it had sent by the row that it was written off on, where that is known. */
  readonly sentByEnd?: Totals;
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

/** What is between an account and others. */
export interface Between {
  /** Granted or sent to it and not known to it, or given back by it and not in the reserve. Below zero where its row is older than what it is compared with. */
  readonly onTheWay: number;
  /** What others took in from it and its row does not know of: it is with them. */
  readonly passedOn: number;
  /** Of one that was written off, what did not go back to the reserve; below zero where more did than it had. Else 0. */
  readonly lost: number;
}

const TOO_EARLY = ' more was written off than ';

/** Empty `problems` on a consistent cut, or money was made or lost. */
export function balanceOf(
  { limit, owed, reserve }: Reserve,
  known: readonly Position[],
): {
  readonly balance: Balance;
  readonly between: ReadonlyMap<AccountId, Between>;
  readonly problems: readonly string[];
} {
  const problems: string[] = [];
  const between = new Map<AccountId, Between>();
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
  const positions = withPartners(known);
  const rows = new Map(positions.map(({ account, row }) => [account, row]));
  const onTheWayTo = transfersOnTheWay(positions, rows);
  const passedOnBy = passedOnUnseen(positions, rows);
  for (const position of positions) {
    const { account, row, entry } = position;
    const rights = row === undefined ? ZERO : rightsOf(row);
    if (rights === undefined) problems.push(`${account} has less than nothing`);
    const grants = (entry?.granted ?? 0) - (row?.granted ?? 0);
    const returns = (row?.returned ?? 0) - (entry?.returned ?? 0);
    if (grants < 0) problems.push(`${account} knows of ${-grants} that were not granted`);
    if (returns < 0) problems.push(`${-returns} came back from ${account} that it did not return`);
    const transfers = onTheWayTo.get(account) ?? 0;
    const passedOn = passedOnBy.get(account) ?? 0;
    const onTheWay = grants + returns + transfers;
    sums.spent += row?.spent ?? 0;
    sums.overrun += (row?.overrun ?? 0) - (row?.covered ?? 0);
    if (entry?.lastSequence !== undefined) {
      const had = (rights ?? 0) + (row?.held ?? 0) + voided(position, rows);
      const lost = had + onTheWay - passedOn - entry.writtenOff;
      between.set(account, { onTheWay, passedOn, lost });
      if (lost < 0) problems.push(`${-lost}${TOO_EARLY}${account} had`);
      sums.lost += lost;
      continue;
    }
    between.set(account, { onTheWay, passedOn, lost: 0 });
    sums.rights += rights ?? 0;
    sums.held += row?.held ?? 0;
    sums.grantsOnTheWay += grants;
    sums.returnsOnTheWay += returns;
    sums.transfersOnTheWay += transfers - passedOn;
    if (passedOn > 0) problems.push(`others took in ${passedOn} more than ${account} sent`);
  }
  const { overrun, ...within } = sums;
  const found = Object.values(within).reduce((whole, part) => whole + part, reserve);
  if (found !== limit + owed) problems.push(`${found} found, of ${limit + owed}`);
  if (reserve > 0 && owed > 0) problems.push('there is a reserve, and yet something is owed');
  return { balance: { limit, owed, reserve, ...within, overrun }, between, problems };
}

/** Of a finding: no error, but an account that went on after it was written off. */
export function wasWrittenOffEarly(problem: string): boolean {
  return problem.includes(TOO_EARLY);
}

/** With those of whom nothing is known but that something was sent to them, or that others say they got something of them. */
export function withPartners(known: readonly Position[]): readonly Position[] {
  const partners = new Set(
    known.flatMap(({ row }) => [...(row?.sent.keys() ?? []), ...(row?.received.keys() ?? [])]),
  );
  for (const { account } of known) partners.delete(account);
  return [...known, ...[...partners].map((account) => ({ account, row: undefined, entry: undefined }))];
}

/** By receiver: what senders say beyond what it says. */
function transfersOnTheWay(
  positions: readonly Position[],
  rows: ReadonlyMap<AccountId, Row | undefined>,
): ReadonlyMap<AccountId, number> {
  const onTheWay = new Map<AccountId, number>();
  for (const position of positions) {
    for (const { to, counts } of unreceived(position, rows))
      onTheWay.set(to, (onTheWay.get(to) ?? 0) + counts);
  }
  return onTheWay;
}

/** It was written off, and did more than that was based on before it heard of it. */
export function wentOn({ row, entry }: Position): boolean {
  return entry?.lastSequence !== undefined && (row?.sequence ?? 0) > entry.lastSequence;
}

/** What it sent after it was written off is believed by nobody, and counts as what it still had: the reserve has it. */
function voided(position: Position, rows: ReadonlyMap<AccountId, Row | undefined>): number {
  let sum = 0;
  for (const { isVoid } of unreceived(position, rows)) sum += isVoid;
  return sum;
}

/** By receiver, what it sent and they do not say that they have: how much of that counts, and how much was sent too late. */
function* unreceived(
  position: Position,
  rows: ReadonlyMap<AccountId, Row | undefined>,
): Generator<{ readonly to: AccountId; readonly counts: number; readonly isVoid: number }> {
  const { account, row, sentByEnd } = position;
  for (const [to, total] of row?.sent ?? []) {
    const rest = Math.max(0, total - (rows.get(to)?.received.get(account) ?? 0));
    const isVoid = wentOn(position) ? Math.min(rest, Math.max(0, total - (sentByEnd?.get(to) ?? 0))) : 0;
    yield { to, counts: rest - isVoid, isVoid };
  }
}

/** By sender: what receivers say beyond what it says. Of a lost account that row may be older than what it did last. */
function passedOnUnseen(
  positions: readonly Position[],
  rows: ReadonlyMap<AccountId, Row | undefined>,
): ReadonlyMap<AccountId, number> {
  const passedOn = new Map<AccountId, number>();
  for (const { account, row } of positions) {
    for (const [from, total] of row?.received ?? []) {
      const unseen = Math.max(0, total - (rows.get(from)?.sent.get(account) ?? 0));
      passedOn.set(from, (passedOn.get(from) ?? 0) + unseen);
    }
  }
  return passedOn;
}

/** What can be spent at least, of what is known: the reserve, and the rights of accounts that can be reached. */
export function remainingAtLeast(reserve: Amount, rows: Iterable<Row>): number {
  let remaining: number = reserve;
  for (const row of rows) remaining += rightsOf(row) ?? 0;
  return remaining;
}
