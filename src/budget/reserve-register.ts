/**
 * The reserve of a budget in the quorum store, changed by transactions that compare what they read.
 *
 * Of each budget and period there is one entry with what is left, and one for each account with what it was granted and
 * what came back, as totals. A wish names the total that its maker knows (`above`): where the register has passed it,
 * the wish was granted before, and asking again changes nothing, whoever asks and however often. Functions here are
 * pure: they turn a wish and what was read into a transaction, or into the reason why there is nothing to do. Where the
 * compares fail, the answer brings what is there now, and the wish is planned anew.
 *
 *     budget/!account/NODE/NUMBER      the start that may spend, and whether the account is fenced off
 *     budget/NAME                      the definition
 *     budget/NAME/EPOCH/PERIOD         limit, reserve, owed
 *     budget/NAME/EPOCH/PERIOD/ACCOUNT granted, returned, written off
 *
 * Always: limit = reserve - owed + sum of (granted - returned - written off), and reserve or owed is 0. `owed` is by
 * how much the limit was lowered below what had been granted: what comes back pays it first.
 */
import { decode, encode } from '../kernel/codec.ts';
import { fail, failWith, ok, type Result } from '../kernel/errors.ts';
import type {
  Compare,
  KeyRange,
  KeyValue,
  Operation,
  QuorumKey,
  Transaction,
  TransactionAnswer,
} from '../quorum/port.ts';
import { type Amount, least, minus, parseAmount, plus, ZERO } from './amount.ts';
import { DEFINITION_FIELDS, type Definition, isClosedIn, noBudget, parseDefinition } from './definition.ts';
import {
  type AccountId,
  type BudgetName,
  type FreshNumber,
  type PurseKey,
  parseAccountId,
  parseFreshNumber,
  parsePurseKey,
} from './names.ts';
import type { Row } from './row.ts';
import { rightsOf } from './row.ts';

/** All budgets and accounts. */
export const ALL_BUDGETS: KeyRange = { from: 'budget/', to: 'budget0' };

export interface Reserve {
  readonly limit: Amount;
  readonly reserve: Amount;
  readonly owed: Amount;
}

export interface Entry {
  readonly granted: Amount;
  readonly returned: Amount;
  /** What an operator gave back to the reserve for it, when it was gone; what it had beyond that counts as spent. */
  readonly writtenOff: Amount;
  /** Sequence of the row that was written off on: later rows count nowhere. */
  readonly lastSequence: number | undefined;
}

export interface AccountEntry {
  readonly nonce: FreshNumber;
  readonly fenced: boolean;
}

/** An entry as it was read: `version` 0 and no value where it does not exist. */
export interface Read<T> {
  readonly key: QuorumKey;
  readonly revision: number;
  readonly value: T | undefined;
}

/** What a wish is planned on. */
export interface View {
  readonly definition: Read<Definition>;
  readonly reserve: Read<Reserve>;
  readonly entry: Read<Entry>;
  readonly account: Read<AccountEntry>;
}

/** The leadership that makes a grant on another's behalf: a key of the quorum store and the revision that created it. */
export interface Fence {
  readonly key: QuorumKey;
  readonly createRevision: number;
}

export type Plan<T> =
  /** Nothing to write: it was done before, or there is nothing to do. */
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'transact'; readonly transaction: Transaction; readonly value: T };

export interface Granted {
  /** In all. */
  readonly total: Amount;
  readonly granted: Amount;
}

export const definitionKey = (budget: BudgetName): QuorumKey => `budget/${budget}`;
export const reserveKey = (purse: PurseKey): QuorumKey => `budget/${purse}`;
export const entryKey = (purse: PurseKey, account: AccountId): QuorumKey => `budget/${purse}/${account}`;
export const accountKey = (account: AccountId): QuorumKey => `budget/!account/${account}`;

/** What a key of the store is about; `undefined` for one that is no budget's. */
export type Place =
  | { readonly kind: 'account'; readonly account: AccountId }
  | { readonly kind: 'definition'; readonly budget: string }
  | { readonly kind: 'reserve'; readonly purse: PurseKey }
  | { readonly kind: 'entry'; readonly purse: PurseKey; readonly account: AccountId };

export function parseBudgetKey(key: QuorumKey): Place | undefined {
  const [root, first, ...rest] = key.split('/');
  if (root !== 'budget' || first === undefined) return undefined;
  if (first === '!account') {
    const account = parseAccountId(rest.join('/'));
    return account === undefined ? undefined : { kind: 'account', account };
  }
  if (rest.length === 0) return { kind: 'definition', budget: first };
  const purse = `${first}/${rest.slice(0, 2).join('/')}` as PurseKey;
  if (parsePurseKey(purse) === undefined) return undefined;
  if (rest.length === 2) return { kind: 'reserve', purse };
  const account = parseAccountId(rest.slice(2).join('/'));
  return account === undefined ? undefined : { kind: 'entry', purse, account };
}

/** The purse that a view is of. */
export function purseOf({ reserve }: View): PurseKey | undefined {
  const place = parseBudgetKey(reserve.key);
  return place?.kind === 'reserve' ? place.purse : undefined;
}

/** That the store does not have the budget which a view is of, or has another under its name. */
export function missing({ definition }: View): Result<never> {
  const place = parseBudgetKey(definition.key);
  return fail(noBudget(place?.kind === 'definition' ? place.budget : ''));
}

/** The gets that a view is made of, in order. */
export function viewOperations(
  budget: BudgetName,
  purse: PurseKey,
  account: AccountId,
): readonly Operation[] {
  return [definitionKey(budget), reserveKey(purse), entryKey(purse, account), accountKey(account)].map(
    (key) => ({
      op: 'get',
      key,
    }),
  );
}

/** The view in an answer to `viewOperations`, or in that of a plan whose compares failed. Errors: INTERNAL where an entry makes no sense: nothing is planned on it. */
export function viewOf(operations: readonly Operation[], answer: TransactionAnswer): Result<View> {
  const found = answer.answers.map((each) => (each.op === 'get' ? each.found : undefined));
  const key = (at: number): QuorumKey => {
    const operation = operations[at];
    return operation?.op === 'get' ? operation.key : '';
  };
  const definition = readOf(key(0), found[0], parseStoredDefinition);
  const reserve = readOf(key(1), found[1], parseReserve);
  const entry = readOf(key(2), found[2], parseEntry);
  const account = readOf(key(3), found[3], parseAccountEntry);
  if (definition === undefined || reserve === undefined || entry === undefined || account === undefined) {
    return failWith(
      'INTERNAL',
      'An entry of the budget cannot be read.',
      'A newer version may have written it: upgrade.',
    );
  }
  return ok({ definition, reserve, entry, account });
}

/** A new budget. Errors: CONFLICT where there is one of that name. The parent's unit is the caller's to check. */
export function planCreation(definition: Definition, view: View): Result<Plan<Definition>> {
  if (view.definition.value !== undefined) {
    return failWith(
      'CONFLICT',
      `There is a budget "${definition.name}" already.`,
      `Change its limit (skein budget limit ${definition.name} N), or take another name.`,
    );
  }
  return ok(planDefinition(view, definition));
}

/**
 * The start with this number may spend: `value` says whether it may. Refused for good where the register holds a start that
 * this data does not know of (an older image, or a copy), or fences the account off.
 */
export function planOpening(
  view: View,
  nonce: FreshNumber,
  known: readonly FreshNumber[],
): Plan<{ readonly isOpen: boolean; readonly isFenced?: boolean }> {
  const { value } = view.account;
  if (value !== undefined && (value.fenced || !known.includes(value.nonce))) {
    return { kind: 'done', value: { isOpen: false, isFenced: value.fenced } };
  }
  if (value?.nonce === nonce) return { kind: 'done', value: { isOpen: true } };
  return transact(view, ['account'], [write(view.account.key, { nonce, fenced: false })], { isOpen: true });
}

export interface GrantWish {
  readonly amount: Amount;
  /** Where the reserve has less than `amount`, no less than this. */
  readonly atLeast: Amount;
  /** What the account is known to have been granted so far. */
  readonly above: Amount;
  /** The account grants itself: the number of its start. */
  readonly nonce?: FreshNumber;
  /** Another grants on its behalf, as long as it holds this. */
  readonly fence?: Fence;
}

/** Errors: NOT_FOUND, CONFLICT (fenced, or another start), BUDGET_EXHAUSTED with what the reserve has. */
export function planGrant(view: View, wish: GrantWish): Result<Plan<Granted>> {
  const { definition, account, entry } = view;
  if (definition.value === undefined) return missing(view);
  const epoch = parsePurseKey(purseOf(view))?.epoch;
  if (definition.value.epoch !== epoch) return missing(view);
  if (isOver(view)) return closedPeriod();
  const { value: state } = account;
  if (state === undefined || state.fenced || (wish.nonce !== undefined && state.nonce !== wish.nonce)) {
    return failWith('CONFLICT', 'The account is fenced off, or was started elsewhere.', 'See skein doctor.');
  }
  const known = entry.value ?? NO_ENTRY;
  if (known.granted > wish.above) {
    return ok({
      kind: 'done',
      value: { total: known.granted, granted: (known.granted - wish.above) as Amount },
    });
  }
  if (known.granted < wish.above || known.lastSequence !== undefined) {
    return failWith(
      'CONFLICT',
      'The register granted less than the account claims, or wrote it off.',
      'See skein doctor.',
    );
  }
  const reserve = view.reserve.value ?? reserveOf(definition.value);
  const amount = least(wish.amount, reserve.reserve);
  const total = plus(known.granted, amount);
  if (amount < wish.atLeast || amount === 0 || total === undefined) {
    return failWith(
      'BUDGET_EXHAUSTED',
      `The reserve has ${reserve.reserve} left.`,
      'Ask those who hold rights.',
      {
        details: { outcome: 'not-done', reserve: reserve.reserve },
      },
    );
  }
  const left = { ...reserve, reserve: (reserve.reserve - amount) as Amount };
  const puts = [write(view.reserve.key, left), write(entry.key, { ...known, granted: total })];
  const plan = transact(view, ['definition', 'reserve', 'entry', 'account'], puts, {
    total,
    granted: amount,
  });
  return ok(wish.fence === undefined ? plan : fenced(plan, wish.fence));
}

/** What the account's row says was given back, in all, goes into the reserve. Errors: NOT_FOUND, CONFLICT (the period is closed, or the account was written off). */
export function planReturn(view: View, returned: Amount): Result<Plan<{ readonly credited: Amount }>> {
  const { entry, reserve } = view;
  if (reserve.value === undefined) return missing(view);
  if (isOver(view)) return closedPeriod();
  const known = entry.value ?? NO_ENTRY;
  const more = minus(returned, known.returned);
  if (more === undefined || more === 0) return ok({ kind: 'done', value: { credited: ZERO } });
  if (known.lastSequence !== undefined)
    return failWith('CONFLICT', 'The account was written off.', 'See budget status.');
  const after = credited(reserve.value, more);
  if (after === undefined) return moreThanGranted();
  const puts = [write(reserve.key, after), write(entry.key, { ...known, returned })];
  return ok(transact(view, ['reserve', 'entry'], puts, { credited: more }));
}

/** Of this period, and of those to come. What was granted beyond a lower limit stays spendable until it comes back (`owed`). Errors: NOT_FOUND, CONFLICT (the period is closed). */
export function planLimit(view: View, limit: Amount): Result<Plan<Reserve>> {
  const { definition, reserve } = view;
  if (definition.value === undefined) return missing(view);
  if (isOver(view)) return closedPeriod();
  const known = reserve.value ?? reserveOf(definition.value);
  const balance = known.reserve - known.owed + (limit - known.limit);
  const after = balanced(known, limit, balance);
  if (after === undefined) return moreThanGranted();
  if (definition.value.limit === limit && known.limit === limit) return ok({ kind: 'done', value: known });
  const puts = [
    write(definition.key, definitionBody({ ...definition.value, limit })),
    write(reserve.key, after),
  ];
  return ok(transact(view, ['definition', 'reserve'], puts, after));
}

/** From now on the account is granted nothing, and ends when it hears of it. Errors: NOT_FOUND. */
export function planFencing(view: View): Result<Plan<AccountEntry>> {
  const { account } = view;
  if (account.value === undefined)
    return failWith('NOT_FOUND', 'There is no such account.', 'See budget status.');
  if (account.value.fenced) return ok({ kind: 'done', value: account.value });
  const fencedOff = { ...account.value, fenced: true };
  return ok(transact(view, ['account'], [write(account.key, fencedOff)], fencedOff));
}

/**
 * An operator says what of a lost account's rights was not spent, by its last known row: that goes back to the reserve, once.
 * `unreceived`: what others sent it that the row does not know of.
 * Errors: CONFLICT where the account is not fenced off or was written off before, INVALID_ARGUMENT where it had less.
 */
export function planWriteOff(
  view: View,
  row: Row | undefined,
  unreceived: Amount,
  value: Amount,
): Result<Plan<Entry>> {
  const { account, entry, reserve } = view;
  if (reserve.value === undefined) return missing(view);
  if (isOver(view)) return closedPeriod();
  if (account.value !== undefined && !account.value.fenced) {
    return failWith('CONFLICT', 'The account is not fenced off: it may be spending.', 'Fence it off first.');
  }
  const known = entry.value ?? NO_ENTRY;
  if (known.lastSequence !== undefined) {
    return failWith(
      'CONFLICT',
      `The account was written off with ${known.writtenOff}.`,
      'It stays as it is.',
    );
  }
  const most = mostToWriteOff(known, row, unreceived);
  if (value > most) {
    return failWith('INVALID_ARGUMENT', 'The account had less than that.', 'See budget status.', {
      details: { outcome: 'not-done', most },
    });
  }
  const after = credited(reserve.value, value);
  if (after === undefined) return moreThanGranted();
  const written: Entry = { ...known, writtenOff: value, lastSequence: row?.sequence ?? 0 };
  const puts = [write(reserve.key, after), write(entry.key, written)];
  return ok(transact(view, ['reserve', 'entry', 'account'], puts, written));
}

/** What an account may still have had: rights and holds by its last row, and what was on its way to it or back. */
export function mostToWriteOff(entry: Entry, row: Row | undefined, unreceived: Amount): Amount {
  const rights = row === undefined ? ZERO : (rightsOf(row) ?? ZERO);
  const grantsUnknown = entry.granted - (row?.granted ?? 0);
  const returnsUnknown = (row?.returned ?? 0) - entry.returned;
  const most = rights + (row?.held ?? 0) + grantsUnknown + returnsUnknown + unreceived;
  return parseAmount(most) ?? ZERO;
}

/**
 * A store that was founded anew from a minority may have forgotten grants. What the account's row says that it was granted
 * is granted again, out of the reserve, and what that does not have is owed. Errors: NOT_FOUND, CONFLICT (the period is closed).
 */
export function planRecovery(view: View, granted: Amount): Result<Plan<Reserve>> {
  const { definition, reserve, entry } = view;
  if (definition.value === undefined) return missing(view);
  if (isOver(view)) return closedPeriod();
  const before = reserve.value ?? reserveOf(definition.value);
  const known = entry.value ?? NO_ENTRY;
  if (known.granted >= granted) return ok({ kind: 'done', value: before });
  const balance = before.reserve - before.owed - (granted - known.granted);
  const after = balanced(before, before.limit, balance);
  if (after === undefined) return moreThanGranted();
  const puts = [write(reserve.key, after), write(entry.key, { ...known, granted })];
  return ok(transact(view, ['definition', 'reserve', 'entry'], puts, after));
}

/**
 * Such a store may have forgotten as well that an account was written off: `before` is what it is known to have had of it. Errors: NOT_FOUND,
 * CONFLICT (the period is closed, or more would come back than there is).
 */
export function planEndAgain(view: View, before: Entry): Result<Plan<Entry>> {
  const { definition, reserve, entry, account } = view;
  if (definition.value === undefined) return missing(view);
  if (isOver(view)) return closedPeriod();
  const known = entry.value ?? NO_ENTRY;
  if (known.lastSequence !== undefined) return ok({ kind: 'done', value: known });
  const now = reserve.value ?? reserveOf(definition.value);
  const { limit, reserve: left, owed } = now;
  const granted = most(known.granted, before.granted);
  const returned = most(known.returned, before.returned);
  const back = returned - known.returned + before.writtenOff;
  const after = balanced(now, limit, left - owed - (granted - known.granted) + back);
  if (after === undefined || after.reserve > limit) return moreThanGranted();
  const ended: Entry = { ...before, granted, returned };
  const puts = [write(reserve.key, after), write(entry.key, ended)];
  // One that the store does not know any more ends as soon as it hears of its entry.
  if (account.value !== undefined) puts.push(write(account.key, { ...account.value, fenced: true }));
  return ok(transact(view, ['definition', 'reserve', 'entry', 'account'], puts, ended));
}

/** The budget becomes `definition`, which is made out of the one in the view. */
export function planDefinition(view: View, definition: Definition): Plan<Definition> {
  const put = write(view.definition.key, definitionBody(definition));
  return transact(view, ['definition'], [put], definition);
}

/** Whether the budget has closed the period that the view is of. */
function isOver(view: View): boolean {
  const definition = view.definition.value;
  const purse = purseOf(view);
  return purse !== undefined && definition !== undefined && isClosedIn(definition, purse);
}

/** What a later version of the program added to a value of the store: this one writes it back as it was. */
function laterFields(value: object, known: readonly string[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !known.includes(name)));
}

/** As the store has it, with what a later version added. */
export function parseStoredDefinition(value: unknown): Definition | undefined {
  const parsed = parseDefinition(value);
  if (!parsed.ok || !isPlain(value)) return undefined;
  return { ...laterFields(value, DEFINITION_FIELDS), ...parsed.value };
}

export function parseReserve(value: unknown): Reserve | undefined {
  if (!isPlain(value)) return undefined;
  const limit = parseAmount(value.limit, 1);
  const reserve = parseAmount(value.reserve);
  const owed = parseAmount(value.owed);
  if (limit === undefined || reserve === undefined || owed === undefined) return undefined;
  if (reserve > 0 && owed > 0) return undefined;
  return { ...laterFields(value, ['limit', 'reserve', 'owed']), limit, reserve, owed };
}

export function parseEntry(value: unknown): Entry | undefined {
  if (!isPlain(value)) return undefined;
  const granted = parseAmount(value.granted);
  const returned = parseAmount(value.returned);
  const writtenOff = parseAmount(value.writtenOff);
  const lastSequence = value.lastSequence === undefined ? undefined : parseAmount(value.lastSequence);
  if (granted === undefined || returned === undefined || writtenOff === undefined) return undefined;
  if (value.lastSequence !== undefined && lastSequence === undefined) return undefined;
  const later = laterFields(value, ['granted', 'returned', 'writtenOff', 'lastSequence']);
  return { ...later, granted, returned, writtenOff, lastSequence };
}

export function parseAccountEntry(value: unknown): AccountEntry | undefined {
  if (!isPlain(value) || typeof value.fenced !== 'boolean') return undefined;
  const nonce = parseFreshNumber(value.nonce);
  if (nonce === undefined) return undefined;
  return { ...laterFields(value, ['nonce', 'fenced']), nonce, fenced: value.fenced };
}

/** Of a period in which nothing was granted yet. */
export function reserveOf(definition: Definition): Reserve {
  return { limit: definition.limit, reserve: definition.limit, owed: ZERO };
}

const NO_ENTRY: Entry = { granted: ZERO, returned: ZERO, writtenOff: ZERO, lastSequence: undefined };

function most(one: Amount, other: Amount): Amount {
  return one > other ? one : other;
}

/** `undefined` where the balance is out of bounds. */
function balanced(known: Reserve, limit: Amount, balance: number): Reserve | undefined {
  const reserve = parseAmount(Math.max(0, balance));
  const owed = parseAmount(Math.max(0, -balance));
  return reserve === undefined || owed === undefined ? undefined : { ...known, limit, reserve, owed };
}

function credited(reserve: Reserve, amount: Amount): Reserve | undefined {
  const paid = least(amount, reserve.owed);
  const after = parseAmount(reserve.reserve + (amount - paid));
  if (after === undefined || after > reserve.limit) return undefined;
  return { ...reserve, reserve: after, owed: (reserve.owed - paid) as Amount };
}

function transact<T>(
  view: View,
  compared: readonly (keyof View)[],
  then: readonly Operation[],
  value: T,
): Plan<T> {
  const compares: Compare[] = compared.map((part) => ({
    target: 'modRevision',
    key: view[part].key,
    is: '=',
    than: view[part].revision,
  }));
  const { definition, reserve, entry, account } = view;
  const otherwise: Operation[] = [definition, reserve, entry, account].map(({ key }) => ({ op: 'get', key }));
  return { kind: 'transact', transaction: { compares, then, otherwise }, value };
}

function fenced<T>(plan: Plan<T>, { key, createRevision }: Fence): Plan<T> {
  if (plan.kind === 'done') return plan;
  const compare: Compare = { target: 'createRevision', key, is: '=', than: createRevision };
  const { transaction } = plan;
  return { ...plan, transaction: { ...transaction, compares: [...transaction.compares, compare] } };
}

function readOf<T>(
  key: QuorumKey,
  found: KeyValue | undefined,
  parse: (value: unknown) => T | undefined,
): Read<T> | undefined {
  if (found === undefined) return { key, revision: 0, value: undefined };
  const value = parse(decode(found.value));
  return value === undefined ? undefined : { key, revision: found.modRevision, value };
}

function write(key: QuorumKey, value: object): Operation {
  return { op: 'put', key, value: encode(value).slice() };
}

function definitionBody(definition: Definition): object {
  const { closed, over, ...rest } = definition;
  const periods = { ...(closed && { closed }), ...(over && { over }) };
  return { ...rest, parent: definition.parent ?? null, ...periods };
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function closedPeriod(): ReturnType<typeof failWith> {
  return failWith('CONFLICT', 'The period is closed.', 'Check the clock of this machine.', {
    details: { outcome: 'not-done' },
  });
}

function moreThanGranted(): ReturnType<typeof failWith> {
  return failWith('CONFLICT', 'More would come back than was ever granted.', 'See budget status.');
}
