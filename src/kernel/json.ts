/** JSON values as agents write them, checked before they are stored: bounded, plain, free of poisoned keys. */
import { failWith, ok, type Result } from './errors.ts';
import { limits } from './limits.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const POISONED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Checks depth, element count and keys; `what` names the value in the error. */
export function checkJson(value: unknown, what: string): Result<Json> {
  let elements = 0;
  const problemIn = (node: unknown, depth: number): string | undefined => {
    if (++elements > limits.jsonElements) return `has more than ${limits.jsonElements} elements`;
    if (depth > limits.jsonDepth) return `is nested more than ${limits.jsonDepth} levels deep`;
    if (node === null || typeof node === 'string' || typeof node === 'boolean') return undefined;
    if (typeof node === 'number')
      return Number.isFinite(node) ? undefined : 'holds a number that is not finite';
    if (typeof node !== 'object') return `holds a ${typeof node}, which JSON does not have`;
    const children = Array.isArray(node) ? node.entries() : Object.entries(node);
    for (const [key, child] of children) {
      if (typeof key === 'string' && POISONED.has(key)) return `has the key "${key}", which is not allowed`;
      const problem = problemIn(child, depth + 1);
      if (problem !== undefined) return problem;
    }
    return undefined;
  };
  const problem = problemIn(value, 0);
  if (problem === undefined) return ok(value as Json);
  const code = elements > limits.jsonElements ? 'TOO_LARGE' : 'INVALID_ARGUMENT';
  return failWith(
    code,
    `${what} ${problem}.`,
    problem.startsWith('has the key')
      ? 'Rename the key.'
      : 'Send a smaller, plain JSON value; split large data over several keys.',
  );
}
