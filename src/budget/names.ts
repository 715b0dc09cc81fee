/**
 * Names in budgets.
 *
 * An *account* is a node with the data it keeps: whoever lost the data, or found an older state of it, has another
 * account and none of the rights of the former one. A *purse* is what one account has of one budget in one period.
 */
import { type Branded, type NodeId, parseNodeId } from '../kernel/ids.ts';
import { type Period, parsePeriod } from './period.ts';

/** 1 to 64 of `A-Z a-z 0-9 . _ : -`, starting with a letter or digit; what the tools call a task id. */
export type BudgetName = Branded<string, 'BudgetName'>;
/** `NODE/NUMBER`, the number in base 36. */
export type AccountId = Branded<string, 'AccountId'>;
/** `NAME/EPOCH/PERIOD`, the epoch in base 36. */
export type PurseKey = Branded<string, 'PurseKey'>;

/** 53 random bits, never 0: the data of one account, one opening of it, or one minting of a budget. */
export type FreshNumber = number;

/** Without letters that look like others; 32 of them. */
const DIGITS = Uint8Array.from('0123456789abcdefghjkmnpqrstvwxyz', (digit) => digit.charCodeAt(0));
const FRESH_TEXT = Array.from({ length: 22 }, () => 0);

/** Both numbers, whole, as text without signs: `toString(36)` takes more than ten times as long. */
export function freshText(left: FreshNumber, right: FreshNumber): string {
  writeDigits(0, 6, Math.floor(left / 2 ** 25));
  writeDigits(6, 5, left % 2 ** 25);
  writeDigits(11, 6, Math.floor(right / 2 ** 25));
  writeDigits(17, 5, right % 2 ** 25);
  return String.fromCharCode(...FRESH_TEXT);
}

function writeDigits(from: number, count: number, value: number): void {
  let left = value;
  for (let at = from + count - 1; at >= from; at--) {
    FRESH_TEXT[at] = DIGITS[left & 31] as number;
    left >>>= 5;
  }
}

export interface PurseId {
  readonly budget: BudgetName;
  /** A budget that was deleted and made again under its name has another one: their money never mixes. */
  readonly epoch: FreshNumber;
  readonly period: Period;
}

const BUDGET_NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/;
const BASE36 = /^[1-9a-z][0-9a-z]{0,10}$/;

export function parseBudgetName(text: unknown): BudgetName | undefined {
  return typeof text === 'string' && BUDGET_NAME.test(text) ? (text as BudgetName) : undefined;
}

export function parseFreshNumber(value: unknown): FreshNumber | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

export function accountOf(node: NodeId, number: FreshNumber): AccountId {
  return `${node}/${number.toString(36)}` as AccountId;
}

/** `undefined` for anything that `accountOf` would not give. */
export function parseAccountId(text: unknown): AccountId | undefined {
  if (typeof text !== 'string') return undefined;
  const slash = text.indexOf('/');
  const known =
    parseNodeId(text.slice(0, slash)) !== undefined && parseBase36(text.slice(slash + 1)) !== undefined;
  return slash > 0 && known ? (text as AccountId) : undefined;
}

export function nodeOfAccount(account: AccountId): NodeId {
  return account.slice(0, account.indexOf('/')) as NodeId;
}

export function purseKey({ budget, epoch, period }: PurseId): PurseKey {
  return `${seriesOf(budget, epoch)}/${period}` as PurseKey;
}

/** What the purses of all periods of a budget begin with, before a `/`. */
export function seriesOf(budget: BudgetName, epoch: FreshNumber): string {
  return `${budget}/${epoch.toString(36)}`;
}

export function splitPurseKey(purse: PurseKey): readonly [series: string, period: Period] {
  const slash = purse.lastIndexOf('/');
  return [purse.slice(0, slash), purse.slice(slash + 1) as Period];
}

/** `undefined` for anything that `purseKey` would not give. */
export function parsePurseKey(text: unknown): PurseId | undefined {
  if (typeof text !== 'string') return undefined;
  const [name, epochText, periodText, ...rest] = text.split('/');
  const budget = parseBudgetName(name);
  const epoch = parseBase36(epochText ?? '');
  const period = parsePeriod(periodText);
  if (budget === undefined || epoch === undefined || period === undefined || rest.length > 0)
    return undefined;
  return { budget, epoch, period };
}

/** Key of the signed record that holds an account's row: the purse, then the account's number. */
export function rowKey(purse: PurseKey, account: AccountId): string {
  return `${purse}/${account.slice(account.indexOf('/') + 1)}`;
}

/** The purse and the account that a record with this owner and key is about; `undefined` where it is no row's key. */
export function parseRowKey(
  owner: NodeId,
  key: string,
): { readonly purse: PurseKey; readonly account: AccountId } | undefined {
  const slash = key.lastIndexOf('/');
  const number = parseBase36(key.slice(slash + 1));
  const purse = key.slice(0, Math.max(0, slash));
  if (number === undefined || parsePurseKey(purse) === undefined) return undefined;
  return { purse: purse as PurseKey, account: accountOf(owner, number) };
}

function parseBase36(text: string): FreshNumber | undefined {
  return BASE36.test(text) ? parseFreshNumber(Number.parseInt(text, 36)) : undefined;
}
