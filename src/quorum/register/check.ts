/** What a well-formed call is. Both engines ask here before anything leaves the node, and the register asks again. */
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type { Compare, KeyRange, Operation, QuorumKey, Transaction } from '../port.ts';
import { compareKeys, successor, utf8Length } from './key-order.ts';

/** The first thing wrong with it: INVALID_ARGUMENT or TOO_LARGE. */
export function checkTransaction(transaction: Transaction): ErrorBody | undefined {
  const { compares, then, otherwise } = transaction;
  if (compares.length + then.length + otherwise.length > limits.quorumOperations) {
    return tooLarge(`more than ${limits.quorumOperations} compares and operations`, 'split the transaction');
  }
  const size = { bytes: 0 };
  for (const compare of compares) {
    const wrong = checkCompare(compare, size);
    if (wrong !== undefined) return wrong;
  }
  for (const operations of [then, otherwise]) {
    for (const operation of operations) {
      const wrong = checkOperation(operation, size);
      if (wrong !== undefined) return wrong;
    }
  }
  if (size.bytes > limits.quorumTransactionBytes) {
    return tooLarge(
      `more than ${limits.quorumTransactionBytes} bytes in one transaction`,
      'split the transaction',
    );
  }
  return checkWrites(then) ?? checkWrites(otherwise);
}

export function checkKey(key: QuorumKey): ErrorBody | undefined {
  return checkBytes(key, 1, limits.quorumKeyBytes);
}

/** A range may be empty, and its ends may be what stands between two of the longest keys. */
export function checkRange(range: KeyRange): ErrorBody | undefined {
  return (
    checkBytes(range.from, 0, limits.quorumKeyBytes + 1) ?? checkBytes(range.to, 0, limits.quorumKeyBytes + 1)
  );
}

export function checkLimit(limit: number): ErrorBody | undefined {
  if (Number.isInteger(limit) && limit >= 1 && limit <= limits.listPage) return undefined;
  return invalid(`a limit is 1 to ${limits.listPage}`, 'ask for fewer keys at a time and page');
}

export function checkTtl(ttlMs: number): ErrorBody | undefined {
  if (Number.isInteger(ttlMs) && ttlMs >= 1000 && ttlMs <= limits.ttlSeconds * 1000) return undefined;
  return invalid(`a lease lasts 1000 to ${limits.ttlSeconds * 1000} ms`, 'give whole milliseconds');
}

export function checkLease(id: number): ErrorBody | undefined {
  if (Number.isSafeInteger(id) && id > 0) return undefined;
  return invalid('a lease is named by a positive whole number', 'give the id that granting it answered');
}

function checkCompare(compare: Compare, size: { bytes: number }): ErrorBody | undefined {
  size.bytes += utf8Length(compare.key);
  if (compare.target === 'value') {
    if (!(compare.than instanceof Uint8Array)) return invalid('a value is compared with bytes', 'give bytes');
    size.bytes += compare.than.length;
  } else if (!Number.isSafeInteger(compare.than) || compare.than < 0) {
    return invalid(`a ${compare.target} is compared with a whole number`, 'give 0 or more');
  }
  return checkKey(compare.key);
}

function checkOperation(operation: Operation, size: { bytes: number }): ErrorBody | undefined {
  if (operation.op === 'deleteRange' || operation.op === 'range') {
    size.bytes += utf8Length(operation.range.from) + utf8Length(operation.range.to);
    const wrong = checkRange(operation.range);
    return wrong ?? (operation.op === 'range' ? checkLimit(operation.limit) : undefined);
  }
  size.bytes += utf8Length(operation.key);
  if (operation.op !== 'put') return checkKey(operation.key);
  size.bytes += operation.value.length;
  if (operation.value.length > limits.quorumValueBytes) {
    return tooLarge(
      `a value of ${operation.value.length} bytes`,
      `keep values to ${limits.quorumValueBytes} bytes`,
    );
  }
  if (operation.lease !== undefined && operation.lease !== 0) {
    return checkKey(operation.key) ?? checkLease(operation.lease);
  }
  return checkKey(operation.key);
}

/** Half-open ranges that are written must not touch. */
function checkWrites(operations: readonly Operation[]): ErrorBody | undefined {
  if (operations.length < 2) return undefined;
  const written: KeyRange[] = [];
  for (const operation of operations) {
    if (operation.op === 'put' || operation.op === 'delete') {
      written.push({ from: operation.key, to: successor(operation.key) });
    } else if (operation.op === 'deleteRange' && compareKeys(operation.range.from, operation.range.to) < 0) {
      written.push(operation.range);
    }
  }
  written.sort((left, right) => compareKeys(left.from, right.from));
  for (let at = 1; at < written.length; at++) {
    const before = written[at - 1] as KeyRange;
    const here = written[at] as KeyRange;
    if (compareKeys(here.from, before.to) < 0) {
      return invalid(`key ${JSON.stringify(here.from.slice(0, 80))} is written twice`, 'write each key once');
    }
  }
  return undefined;
}

function checkBytes(text: string, least: number, most: number): ErrorBody | undefined {
  const bytes = typeof text === 'string' ? utf8Length(text) : -1;
  if (bytes < 0) return invalid('a key is well-formed text', 'give text without halves of surrogate pairs');
  if (bytes < least) return invalid('a key is empty', 'give at least one character');
  if (bytes > most) return tooLarge(`a key of ${bytes} bytes`, `keep keys to ${limits.quorumKeyBytes} bytes`);
  return undefined;
}

function invalid(message: string, hint: string): ErrorBody {
  return errorBody('INVALID_ARGUMENT', message, hint);
}

function tooLarge(message: string, hint: string): ErrorBody {
  return errorBody('TOO_LARGE', message, hint);
}
