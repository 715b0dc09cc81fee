/** Amounts, names, periods, prices and definitions: what comes from outside is parsed here or nowhere. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { minus, parseAmount, plus } from '../../src/budget/amount.ts';
import { chainOf, parseDefinition } from '../../src/budget/definition.ts';
import {
  type AccountId,
  accountOf,
  freshText,
  nodeOfAccount,
  parseAccountId,
  parsePurseKey,
  parseRowKey,
  purseKey,
  rowKey,
} from '../../src/budget/names.ts';
import { parsePeriod, periodAt, periodEndMs, WINDOWS } from '../../src/budget/period.ts';
import { parsePriceTable, parseTokenUse, priceOf } from '../../src/budget/price.ts';
import { amountOf, definitionOf, nodeIdOf, purseOf } from './support.ts';

describe('amounts', () => {
  it.each([
    -1,
    -0,
    Number.NaN,
    1.5,
    2 ** 53,
    2 ** 53 + 1,
    '1e9',
    '5',
    null,
    undefined,
    true,
    5n,
    [5],
    {},
    Number.NEGATIVE_INFINITY,
  ])('%s is none (B25)', (value) => {
    expect(parseAmount(value)).toBeUndefined();
  });

  it('sums and differences are exact or none (B31)', () => {
    const any = fc.maxSafeNat();
    fc.assert(
      fc.property(any, any, (left, right) => {
        const [one, other] = [amountOf(left), amountOf(right)];
        const exact = BigInt(left) + BigInt(right);
        expect(plus(one, other)).toBe(exact < 2n ** 53n ? Number(exact) : undefined);
        expect(minus(one, other)).toBe(left >= right ? left - right : undefined);
      }),
      { seed: 3 },
    );
  });
});

describe('names', () => {
  it('accounts, purses and rows are read back as they were made, and nothing else is', () => {
    const account = accountOf(nodeIdOf(1), 2 ** 53 - 1);
    expect(parseAccountId(account)).toBe(account);
    expect(nodeOfAccount(account)).toBe(nodeIdOf(1));
    const purse = purseOf(definitionOf({ window: 'hour' }), 1e12);
    expect(purseKey(parsePurseKey(purse)!)).toBe(purse);
    expect(parseRowKey(nodeIdOf(1), rowKey(purse, account))).toEqual({ purse, account });
    for (const odd of [
      `${nodeIdOf(1)}/0`,
      `${nodeIdOf(1)}/01`,
      `${nodeIdOf(1)}/A`,
      `${nodeIdOf(1)}/zzzzzzzzzzz`,
      '/1',
      'x/1',
      nodeIdOf(1),
    ])
      expect(parseAccountId(odd as AccountId)).toBeUndefined();
    for (const odd of [
      'team',
      'team/5',
      'team/5/',
      'team/0/all',
      '/5/all',
      'team/5/all/',
      'team/5/2026-13',
      '!account/5/all',
      '../5/all',
    ])
      expect(parsePurseKey(odd)).toBeUndefined();
  });
});

describe('ids that nobody guesses', () => {
  it('tell all bits of both numbers, in a length that does not depend on them', () => {
    const most = Number.MAX_SAFE_INTEGER;
    const numbers = [1, 2, 31, 32, 2 ** 25 - 1, 2 ** 25, 2 ** 50, most - 1, most];
    const texts = numbers.flatMap((left) => numbers.map((right) => freshText(left, right)));
    expect(new Set(texts).size).toBe(numbers.length ** 2);
    for (const text of texts) expect(text).toMatch(/^[0-9a-z]{22}$/);
    for (let bit = 0; bit < 53; bit++) {
      expect(freshText(most - 2 ** bit, most)).not.toBe(freshText(most, most));
      expect(freshText(most, most - 2 ** bit)).not.toBe(freshText(most, most));
    }
  });
});

describe('periods', () => {
  it.each([
    ['none', 'all', Number.POSITIVE_INFINITY],
    ['hour', '2026-12-31T23', Date.UTC(2027, 0, 1)],
    ['day', '2026-12-31', Date.UTC(2027, 0, 1)],
    ['month', '2026-12', Date.UTC(2027, 0, 1)],
  ] as const)('of a window of %s the last moment of 2026 is in %s', (window, period, endMs) => {
    expect(periodAt(window, Date.UTC(2027, 0, 1) - 1)).toBe(period);
    expect(periodEndMs(periodAt(window, Date.UTC(2027, 0, 1) - 1))).toBe(endMs);
  });

  it('periods follow one another without gap or overlap, and sort as text (B28)', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...WINDOWS.slice(1)),
        fc.integer({ min: 0, max: 4e12 }),
        (window, wallMs) => {
          const period = periodAt(window, wallMs);
          const next = periodAt(window, periodEndMs(period));
          expect(parsePeriod(period)).toBe(period);
          expect(periodEndMs(period)).toBeGreaterThan(wallMs);
          expect(periodAt(window, periodEndMs(period) - 1)).toBe(period);
          expect(period < next).toBe(true);
        },
      ),
      { seed: 4 },
    );
  });

  it.each([-5, Number.NaN, 1e18])('a clock that says %s gives a period all the same', (wallMs) => {
    expect(parsePeriod(periodAt('hour', wallMs))).toBeDefined();
  });

  it.each(['', 'al', '2026', '2026-1', '2026-02-30', '2026-01-01T24', '2026-01-01T10:00', 5, null])(
    '%s is no period',
    (text) => {
      expect(parsePeriod(text)).toBeUndefined();
    },
  );
});

describe('prices', () => {
  const table = () => {
    const parsed = parsePriceTable({
      big: { input: 3_000_000, output: 15_000_000, cached: 300_000 },
      small: { input: 1, output: 2 },
    });
    if (!parsed.ok) throw new Error(parsed.error.message);
    return parsed.value;
  };
  const use = (input: number, output: number, cached = 0) => parseTokenUse({ input, output, cached })!;

  it.each([
    ['big', [1, 1, 1], 19],
    ['big', [1_000_000, 0, 0], 3_000_000],
    ['big', [0, 0, 1], 1],
    ['small', [1, 0, 0], 1],
    ['small', [0, 0, 1_000_000], 1],
    ['small', [0, 0, 0], 0],
  ] as const)(
    '%s for %j tokens costs %i micro-USD, never less than it does',
    (model, [input, output, cached], cost) => {
      expect(priceOf(table(), model, use(input, output, cached))).toEqual({ ok: true, value: cost });
    },
  );

  it('a model without a price is not free, and a sum beyond 2^53 is refused', () => {
    expect(priceOf(table(), 'unknown', use(1, 1))).toMatchObject({ error: { code: 'NOT_FOUND' } });
    expect(priceOf(table(), 'big', use(Number.MAX_SAFE_INTEGER, 1))).toMatchObject({
      error: { code: 'TOO_LARGE' },
    });
  });

  it.each([
    null,
    5,
    [],
    { big: 5 },
    { big: { input: 1.5, output: 1 } },
    { big: { input: 1 } },
    { big: { input: -1, output: 1 } },
  ])('the table %j is refused (B25)', (value) => {
    expect(parsePriceTable(value).ok).toBe(false);
  });

  it.each([null, 5, [], { input: -1 }, { input: 1.5 }, { output: '5' }])(
    'the use %j is refused (B25)',
    (value) => {
      expect(parseTokenUse(value)).toBeUndefined();
    },
  );
});

describe('definitions', () => {
  it.each([
    { name: '' },
    { name: 'a/b' },
    { epoch: 0 },
    { limit: 0 },
    { limit: 1.5 },
    { limit: '5' },
    { unit: 'euro' },
    { window: 'week' },
    { expiry: 'never' },
    { parent: 'team' },
    { parent: 7 },
    { thresholds: [50, 50] },
    { thresholds: [0] },
    { thresholds: [101] },
    { thresholds: 'x' },
  ])('%j is refused (B25)', (given) => {
    expect(parseDefinition({ name: 'team', epoch: 5, limit: 10, ...given }).ok).toBe(false);
  });

  it('an ancestor line ends, or is refused', () => {
    const all = [
      definitionOf({ parent: 'b' }),
      definitionOf({ name: 'b', parent: 'c' }),
      definitionOf({ name: 'c' }),
    ];
    const known = new Map(all.map((each) => [each.name, each]));
    expect(chainOf(all[0]!.name, known)).toMatchObject({
      value: [{ name: 'team' }, { name: 'b' }, { name: 'c' }],
    });
    known.set(all[2]!.name, definitionOf({ name: 'c', parent: 'b' }));
    expect(chainOf(all[0]!.name, known)).toMatchObject({
      error: { code: 'CONFLICT', hint: expect.stringContaining('fewer ancestors') },
    });
    known.set(all[2]!.name, definitionOf({ name: 'c', unit: 'microusd' }));
    expect(chainOf(all[0]!.name, known)).toMatchObject({
      error: { code: 'CONFLICT', hint: expect.stringContaining('the unit of this one') },
    });
  });
});
