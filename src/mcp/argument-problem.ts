import type { z } from 'zod';

const KINDS: Readonly<Record<string, string>> = {
  int: 'a whole number',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};
const UNITS: Readonly<Record<string, string>> = { string: ' characters', array: ' items' };

/** What is wrong with an argument, to go after its name: the same words on every face, and not those of the checking library. */
export function argumentProblem(issue: z.core.$ZodIssue): string {
  // What a schema says itself, rather than the library.
  if (issue.message.startsWith('must ')) return issue.message;
  if (issue.message.endsWith('received undefined')) return 'is missing';
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${KINDS[issue.expected] ?? 'of another type'}`;
    case 'too_small':
      return bound('at least', Number(issue.minimum), issue.origin);
    case 'too_big':
      return bound('at most', Number(issue.maximum), issue.origin);
    case 'invalid_value':
      return `must be ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map(String).join(', ')}`;
    case 'unrecognized_keys':
      return `must not have ${JSON.stringify((issue.keys[0] ?? '').slice(0, 64))}`;
    default:
      return 'is not valid';
  }
}

function bound(which: string, number: number, origin: string): string {
  const unit = UNITS[origin];
  return unit === undefined ? `must be ${which} ${number}` : `must have ${which} ${number}${unit}`;
}
