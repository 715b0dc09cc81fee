/**
 * Money and tokens: whole micro-units, never fractions. Every amount that comes from a caller, a peer or the disk
 * passes through here.
 */
import type { Branded } from '../kernel/ids.ts';

/** An integer from 0 to 2^53 - 1, in millionths of the budget's unit or in whole tokens: the budget says which. */
export type Amount = Branded<number, 'Amount'>;

export const ZERO = 0 as Amount;

/** An amount of at least `least`; `undefined` for fractions, texts, negative zero, NaN and whatever else is no whole number. */
export function parseAmount(value: unknown, least = 0): Amount | undefined {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return undefined;
  return value >= least && !Object.is(value, -0) ? (value as Amount) : undefined;
}

/** The sum; `undefined` where it is no amount any more. */
export function plus(left: Amount, right: Amount): Amount | undefined {
  return parseAmount(left + right);
}

/** The difference; `undefined` below zero. */
export function minus(left: Amount, right: Amount): Amount | undefined {
  return parseAmount(left - right);
}

export function least(left: Amount, right: Amount): Amount {
  return left < right ? left : right;
}
