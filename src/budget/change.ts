/** The steps of an account, as they stand in the journal: explicit in every number, so that replaying them needs no rule of today. */
import { type AgentId, parseAgentId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { utf8 } from '../kernel/text.ts';
import { type Amount, parseAmount, ZERO } from './amount.ts';
import { EXPIRIES, type Expiry } from './definition.ts';
import { type FormWriter, type Kind, readForms } from './forms.ts';
import {
  type AccountId,
  type FreshNumber,
  type PurseKey,
  parseAccountId,
  parseFreshNumber,
  parsePurseKey,
} from './names.ts';

/** How a reservation ended: by its holder, by time (counted in full), or by time and given back. */
export const ENDINGS = ['settled', 'charged', 'freed'] as const;
export type Ending = (typeof ENDINGS)[number];

/** What one purse paid out of its rights (and the hold), and what exceeded them. */
export interface Part {
  readonly purse: PurseKey;
  readonly spent: Amount;
  readonly overrun: Amount;
}

export type Change =
  | { readonly kind: 'opening'; readonly nonce: FreshNumber }
  | { readonly kind: 'opened'; readonly nonce: FreshNumber }
  | { readonly kind: 'granted'; readonly purse: PurseKey; readonly total: Amount }
  | {
      readonly kind: 'received';
      readonly purse: PurseKey;
      readonly account: AccountId;
      readonly total: Amount;
    }
  | { readonly kind: 'sent'; readonly purse: PurseKey; readonly account: AccountId; readonly total: Amount }
  | { readonly kind: 'returned'; readonly purse: PurseKey; readonly total: Amount }
  | {
      readonly kind: 'reserved';
      readonly id: string;
      readonly agent: AgentId;
      readonly amount: Amount;
      readonly purses: readonly PurseKey[];
      /** Wall time in ms. */
      readonly expiresAt: number;
      /** From when it was made: whatever the wall clock says after a restart, it does not live longer than that from there. */
      readonly ttlMs: number;
      readonly expiry: Expiry;
    }
  | {
      readonly kind: 'settled';
      readonly id: string;
      readonly amount: Amount;
      readonly ending: Ending;
      readonly parts: readonly Part[];
    }
  /** What exceeded a reservation whose time had run out: `amount` is the whole. */
  | {
      readonly kind: 'settledLate';
      readonly id: string;
      readonly amount: Amount;
      readonly parts: readonly Part[];
    }
  | {
      readonly kind: 'reported';
      readonly id: string;
      readonly agent: string;
      readonly amount: Amount;
      readonly parts: readonly Part[];
    }
  | { readonly kind: 'covered'; readonly purse: PurseKey; readonly agent: string; readonly amount: Amount }
  | { readonly kind: 'closed'; readonly purse: PurseKey }
  | { readonly kind: 'quarantined'; readonly account: AccountId };

type Field = (value: unknown) => unknown;

const FIELDS: { readonly [Kind in Change['kind']]: Readonly<Record<string, Field>> } = {
  opening: { nonce: parseFreshNumber },
  opened: { nonce: parseFreshNumber },
  granted: { purse: parseKey, total: parseAmount1 },
  received: { purse: parseKey, account: parseAccountId, total: parseAmount1 },
  sent: { purse: parseKey, account: parseAccountId, total: parseAmount1 },
  returned: { purse: parseKey, total: parseAmount1 },
  reserved: {
    id: parseRequestId,
    agent: parseAgentId,
    amount: parseAmount1,
    purses: listOf(parseKey, limits.budgetLevels),
    expiresAt: parseAmount0,
    ttlMs: parseAmount0,
    expiry: (value) => EXPIRIES.find((word) => word === value),
  },
  settled: {
    id: parseRequestId,
    amount: parseAmount0,
    ending: (value) => ENDINGS.find((word) => word === value),
    parts: listOf(parsePart, limits.budgetLevels),
  },
  settledLate: {
    id: parseRequestId,
    amount: parseAmount1,
    parts: listOf(parsePart, limits.budgetLevels),
  },
  reported: {
    id: parseRequestId,
    agent: parseAgentId,
    amount: parseAmount1,
    parts: listOf(parsePart, limits.budgetLevels),
  },
  covered: { purse: parseKey, agent: parseAgentId, amount: parseAmount1 },
  closed: { purse: parseKey },
  quarantined: { account: parseAccountId },
};

/** What was paid out of each purse, where that was the whole amount; `undefined` elsewhere. */
export function paidInFull(parts: readonly Part[], amount: Amount): readonly PurseKey[] | undefined {
  const purses: PurseKey[] = [];
  for (const { purse, spent, overrun } of parts) {
    if (spent !== amount || overrun !== 0) return undefined;
    purses.push(purse);
  }
  return purses;
}

export function fullParts(purses: readonly unknown[], amount: unknown): unknown[] {
  return purses.map((purse) => ({ purse, spent: amount, overrun: ZERO }));
}

/** As `readChanges` reads it. */
export function writeChange(writer: FormWriter, change: Change): void {
  if (change.kind === 'reserved') {
    const { id, agent, amount, expiresAt, ttlMs, expiry, purses } = change;
    writer.begin(['reserved', agent, ttlMs, expiry, ...purses]).push(id, amount, expiresAt);
    return;
  }
  const purses = change.kind === 'settled' ? paidInFull(change.parts, change.amount) : undefined;
  if (change.kind === 'settled' && purses !== undefined)
    writer.begin(['settled', change.ending, ...purses]).push(change.id, change.amount);
  else writer.begin(['plain']).push(change);
}

const KINDS: Readonly<Record<string, Kind<Change>>> = {
  plain: { own: 1, make: (_form, [change]) => parseChange(change) },
  reserved: {
    own: 3,
    make: ([kind, agent, ttlMs, expiry, ...purses], [id, amount, expiresAt]) =>
      parseChange({ kind, id, agent, amount, purses, expiresAt, ttlMs, expiry }),
  },
  settled: {
    own: 2,
    make: ([kind, ending, ...purses], [id, amount]) =>
      parseChange({ kind, id, amount, ending, parts: fullParts(purses, amount) }),
  },
};

export function readChanges(forms: unknown, fields: unknown): readonly Change[] | undefined {
  return readForms(forms, fields, KINDS);
}

/** `undefined` for what was never written by this code or a later one that kept its fields. */
export function parseChange(value: unknown): Change | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const given = value as Readonly<Record<string, unknown>>;
  const fields = Object.hasOwn(FIELDS, String(given.kind)) ? FIELDS[given.kind as Change['kind']] : undefined;
  if (fields === undefined) return undefined;
  for (const [name, parse] of Object.entries(fields)) if (parse(given[name]) === undefined) return undefined;
  return value as Change;
}

const PLAIN_ID = new RegExp(`^[ -~]{1,${limits.budgetIdBytes}}$`);

/** Ids that callers give to their requests: 1 to `limits.budgetIdBytes` bytes without control characters. */
export function parseRequestId(value: unknown): string | undefined {
  // Nearly all are.
  if (typeof value === 'string' && PLAIN_ID.test(value)) return value;
  if (typeof value !== 'string' || value === '' || /[\p{Control}\p{Surrogate}]/u.test(value))
    return undefined;
  return utf8(value).length <= limits.budgetIdBytes ? value : undefined;
}

export function parsePart(value: unknown): Part | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { purse, spent, overrun } = value as Readonly<Record<string, unknown>>;
  const known = parseKey(purse) && parseAmount(spent) !== undefined && parseAmount(overrun) !== undefined;
  return known ? (value as Part) : undefined;
}

function parseKey(value: unknown): PurseKey | undefined {
  return parsePurseKey(value) === undefined ? undefined : (value as PurseKey);
}

function parseAmount0(value: unknown): Amount | undefined {
  return parseAmount(value);
}

function parseAmount1(value: unknown): Amount | undefined {
  return parseAmount(value, 1);
}

function listOf(parse: Field, most: number): Field {
  return (value) =>
    Array.isArray(value) && value.length <= most && value.every((item) => parse(item) !== undefined)
      ? value
      : undefined;
}
