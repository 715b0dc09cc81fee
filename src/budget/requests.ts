/** What callers give, checked and turned into what the ledger takes. */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type NodeId, parseNodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { type Amount, parseAmount } from './amount.ts';
import type { Spent } from './api.ts';
import { parseRequestId } from './change.ts';
import type { Unit } from './definition.ts';
import { type PriceTable, parseTokenUse, priceOf } from './price.ts';

export const DEFAULT_TTL_MS = 600_000;
/** `@NODE` behind an id. */
const SUFFIX_BYTES = 53;

/** Errors: INVALID_ARGUMENT, NOT_FOUND (a model without a price), TOO_LARGE. */
export function spentOf(spent: Spent, unit: Unit | undefined, prices: PriceTable, least = 0): Result<Amount> {
  const { amount, use } = spent;
  if ((amount === undefined) === (use === undefined)) {
    return invalid('Give either an amount or the use of a model.', 'One of amount and use.');
  }
  if (use !== undefined) {
    if (unit !== undefined && unit !== 'microusd') {
      return invalid('This budget counts tokens, which have no price.', 'Give an amount of tokens.');
    }
    const tokens = parseTokenUse(use);
    if (tokens === undefined || typeof use.model !== 'string') {
      return invalid(
        'The use of a model is its name and whole numbers of tokens.',
        'Give model, input, output, cached.',
      );
    }
    return priceOf(prices, use.model, tokens);
  }
  const parsed = parseAmount(amount, least);
  return parsed === undefined
    ? invalid(
        `An amount is a whole number from ${least} to 2^53 - 1.`,
        'Give whole tokens, or whole micro-USD.',
      )
    : ok(parsed);
}

/** The reservation as its holder knows it: the id under which it stands here, and the node that keeps it. */
export function reservationIdOf(id: string, self: NodeId): string {
  return `${id}@${self}`;
}

export interface ReservationPlace {
  readonly id: string;
  /** `undefined` where the text names none. */
  readonly node: NodeId | undefined;
}

export function placeOfReservation(text: unknown): ReservationPlace | undefined {
  if (typeof text !== 'string') return undefined;
  const at = text.lastIndexOf('@');
  const node = at > 0 ? parseNodeId(text.slice(at + 1)) : undefined;
  const id = parseRequestId(node === undefined ? text : text.slice(0, at));
  return id === undefined ? undefined : { id, node };
}

/** The id that a caller gives to a new reservation, which must leave room for the node behind it. Errors: INVALID_ARGUMENT. */
export function newReservationId(text: unknown, self: NodeId): Result<string> {
  const place = placeOfReservation(text);
  if (place === undefined || place.id.length + SUFFIX_BYTES > limits.budgetIdBytes) {
    return invalid(
      `The id of a reservation is text of 1 to ${limits.budgetIdBytes - SUFFIX_BYTES} bytes.`,
      'Shorten it.',
    );
  }
  if (place.node !== undefined && place.node !== self) {
    return invalid('That reservation belongs to another node.', 'Reserve there, or under another id.');
  }
  return ok(place.id);
}

/** 0 to `limits.budgetWaitMs`; that too where nothing was given. */
export function waitOf(waitMs: unknown): Result<number> {
  if (waitMs === undefined) return ok(limits.budgetWaitMs);
  const parsed = parseAmount(waitMs);
  return parsed === undefined || parsed > limits.budgetWaitMs
    ? invalid(`The time to wait is 0 to ${limits.budgetWaitMs} ms.`, 'Wait for less.')
    : ok(parsed);
}

export function invalid(message: string, hint: string): ReturnType<typeof failWith> {
  return failWith('INVALID_ARGUMENT', message, hint, { details: { outcome: 'not-done' } });
}
