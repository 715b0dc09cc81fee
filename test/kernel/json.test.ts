/** What is refused as a value, and what the one who sent it is told to do. */
import { describe, expect, it } from 'vitest';
import { checkJson } from '../../src/kernel/json.ts';
import { limits } from '../../src/kernel/limits.ts';

describe('checkJson', () => {
  it.each(['__proto__', 'constructor', 'prototype'])('has the key %s renamed (S77)', (key) => {
    const value: unknown = JSON.parse(`{"a":[{"${key}":1}]}`);
    expect(checkJson(value, 'The value')).toMatchObject({
      ok: false,
      error: {
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining(key) as string,
        hint: 'Rename the key.',
      },
    });
  });

  it('has values of too many elements made smaller', () => {
    const value = Array.from({ length: limits.jsonElements }, () => 1);
    expect(checkJson(value, 'The value')).toMatchObject({
      ok: false,
      error: { code: 'TOO_LARGE', hint: expect.stringContaining('smaller') as string },
    });
  });
});
