/** Names that callers give: of entries, prefixes of them, and documents. */
import { type ErrorCode, failWith, ok, type Result } from './errors.ts';
import { limits } from './limits.ts';
import { utf8 } from './text.ts';

/** Half of a surrogate pair, which UTF-8 cannot carry. */
export const LONE_SURROGATE = /\p{Surrogate}/u;
const UNFIT = /[\p{Surrogate}\p{Control}]/u;
const POISONED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Well-formed text that is not empty, up to `limits.keyBytes` in UTF-8, without control characters; a prefix may be empty. */
export function checkKey(name: unknown, what: 'key' | 'prefix' | 'document' = 'key'): Result<string> {
  if (typeof name !== 'string' || (name === '' && what !== 'prefix')) {
    return refuse('INVALID_ARGUMENT', `The ${what} is empty or no text.`);
  }
  if (
    name.length > limits.keyBytes ||
    (name.length * 3 > limits.keyBytes && utf8(name).length > limits.keyBytes)
  ) {
    return refuse('TOO_LARGE', `The ${what} is longer than ${limits.keyBytes} bytes.`);
  }
  if (UNFIT.test(name)) {
    const reason = LONE_SURROGATE.test(name)
      ? 'is not valid Unicode (a lone surrogate)'
      : 'holds control characters';
    return refuse('INVALID_ARGUMENT', `The ${what} ${reason}.`);
  }
  if (POISONED.has(name) && what !== 'prefix') {
    return refuse('INVALID_ARGUMENT', `The ${what} "${name}" is not allowed.`);
  }
  return ok(name);
}

function refuse(code: ErrorCode, message: string): Result<never> {
  return failWith(code, message, 'Use a short path, such as "plan/step-1".');
}
