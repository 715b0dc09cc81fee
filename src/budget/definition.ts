/** What a budget is, as it stands in the quorum store. */
import { type ErrorBody, errorBody, fail, failWith, ok, type Result } from '../kernel/errors.ts';
import { type NodeId, parseNodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { type Amount, parseAmount } from './amount.ts';
import {
  type BudgetName,
  type FreshNumber,
  type PurseKey,
  parseBudgetName,
  parseFreshNumber,
  parsePurseKey,
} from './names.ts';
import { type Period, parsePeriod, WINDOWS, type Window, windowOf } from './period.ts';

export const UNITS = ['tokens', 'microusd'] as const;
export type Unit = (typeof UNITS)[number];
/** What becomes of a reservation that nobody settled: it counts as spent, or is given back. */
export const EXPIRIES = ['charge', 'free'] as const;
export type Expiry = (typeof EXPIRIES)[number];

export interface Definition {
  readonly name: BudgetName;
  readonly epoch: FreshNumber;
  /** Of each period; a period that has begun keeps its own, which only a change of the limit for it moves. */
  readonly limit: Amount;
  readonly unit: Unit;
  /** What is spent here is spent there too. Of the same unit. */
  readonly parent: BudgetName | undefined;
  readonly window: Window;
  readonly expiry: Expiry;
  /** Percent of the limit, ascending: an event is raised when spending passes one. */
  readonly thresholds: readonly number[];
  /** This period and all before it are closed for good: nothing is granted in them, and the store's entries of them may be gone. Only grows. */
  readonly closed: Period | undefined;
  /** What one node says is over; another one's clock has to agree before it is closed. */
  readonly over: Over | undefined;
}

export interface Over {
  readonly period: Period;
  readonly by: NodeId;
}

/** All that this version knows of one. */
export const DEFINITION_FIELDS: readonly (keyof Definition)[] = [
  'name',
  'epoch',
  'limit',
  'unit',
  'parent',
  'window',
  'expiry',
  'thresholds',
  'closed',
  'over',
];

/** Of what a caller or the store gave; everything but name, epoch and limit has a default. Errors: INVALID_ARGUMENT. */
export function parseDefinition(value: unknown): Result<Definition> {
  if (typeof value !== 'object' || value === null) return invalid('A budget is an object.');
  const given = value as Readonly<Record<string, unknown>>;
  const name = parseBudgetName(given.name);
  if (name === undefined) return invalid('The name of a budget is 1 to 64 of A-Z a-z 0-9 . _ : - .');
  const epoch = parseFreshNumber(given.epoch);
  if (epoch === undefined) return invalid('The epoch of a budget is a positive whole number.');
  const limit = parseAmount(given.limit, 1);
  if (limit === undefined) return invalid('The limit is no whole number from 1 to 2^53 - 1.');
  const unit = oneOf(UNITS, given.unit ?? 'tokens');
  if (unit === undefined) return invalid(`The unit is one of ${UNITS.join(', ')}.`);
  const window = oneOf(WINDOWS, given.window ?? 'none');
  if (window === undefined) return invalid(`The window is one of ${WINDOWS.join(', ')}.`);
  const expiry = oneOf(EXPIRIES, given.expiry ?? 'charge');
  if (expiry === undefined) return invalid(`The expiry is one of ${EXPIRIES.join(', ')}.`);
  const parent =
    given.parent === undefined || given.parent === null ? undefined : parseBudgetName(given.parent);
  if (parent === undefined && given.parent !== undefined && given.parent !== null)
    return invalid('The parent is no name of a budget.');
  if (parent === name) return invalid('A budget is not its own parent.');
  const thresholds = parseThresholds(given.thresholds ?? []);
  if (thresholds === undefined)
    return invalid('Thresholds are up to 16 ascending percentages from 1 to 100.');
  const closed = parseOwnPeriod(given.closed, window);
  const over = parseOver(given.over, window);
  if (closed === null || over === null) return invalid('That is no period of this budget.');
  return ok({ name, epoch, limit, unit, parent, window, expiry, thresholds, closed, over });
}

/** Of a purse of this budget; one of another epoch is none of it. */
export function isClosedIn({ name, epoch, closed }: Definition, purse: PurseKey): boolean {
  const id = closed === undefined ? undefined : parsePurseKey(purse);
  if (id === undefined || closed === undefined || id.budget !== name || id.epoch !== epoch) return false;
  return windowOf(id.period) === windowOf(closed) && id.period <= closed;
}

/**
 * The budget and its ancestors, nearest first. Errors: NOT_FOUND where one is not known here, CONFLICT where they form a
 * ring, are too many, or count in different units.
 */
export function chainOf(
  name: BudgetName,
  definitions: ReadonlyMap<BudgetName, Definition>,
): Result<readonly Definition[]> {
  const chain: Definition[] = [];
  for (let next: BudgetName | undefined = name; next !== undefined; ) {
    const definition = definitions.get(next);
    if (definition === undefined) {
      return fail(noBudget(next));
    }
    chain.push(definition);
    if (chain.length > limits.budgetLevels) {
      return failWith(
        'CONFLICT',
        `The budget "${name}" has more than ${limits.budgetLevels} levels, or is its own ancestor.`,
        'Give the budget a parent with fewer ancestors.',
      );
    }
    const unit = chain[0]?.unit;
    if (definition.unit !== unit)
      return failWith(
        'CONFLICT',
        `"${name}" counts ${unit}, and "${next}", of which it is a part, ${definition.unit}.`,
        'Give the budget another parent, or the unit of this one.',
      );
    next = definition.parent;
  }
  return ok(chain);
}

/** `null` for what is no period of such a window. */
function parseOwnPeriod(value: unknown, window: Window): Period | undefined | null {
  if (value === undefined || value === null) return undefined;
  const period = parsePeriod(value);
  return period === undefined || windowOf(period) === undefined || windowOf(period) !== window
    ? null
    : period;
}

function parseOver(value: unknown, window: Window): Over | undefined | null {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object') return null;
  const given = value as Readonly<Record<string, unknown>>;
  const period = parseOwnPeriod(given.period, window);
  const by = parseNodeId(given.by);
  return period === undefined || period === null || by === undefined ? null : { period, by };
}

function parseThresholds(value: unknown): readonly number[] | undefined {
  if (!Array.isArray(value) || value.length > 16) return undefined;
  const thresholds = value as readonly unknown[];
  let last = 0;
  for (const percent of thresholds) {
    if (typeof percent !== 'number' || !Number.isInteger(percent) || percent <= last || percent > 100)
      return undefined;
    last = percent;
  }
  return thresholds as readonly number[];
}

function oneOf<T extends string>(words: readonly T[], value: unknown): T | undefined {
  return words.find((word) => word === value);
}

function invalid(message: string): { readonly ok: false; readonly error: ReturnType<typeof errorBody> } {
  return failWith('INVALID_ARGUMENT', message, 'See skein budget create --help.');
}

export function noBudget(name: string): ErrorBody {
  return errorBody(
    'NOT_FOUND',
    `There is no budget "${name}" here.`,
    'Create it (skein budget create), or see which there are (skein budget status).',
    { details: { outcome: 'not-done', budget: name } },
  );
}
