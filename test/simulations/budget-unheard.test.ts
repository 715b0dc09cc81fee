/** What is on the way in the world of budgets, and will never arrive: nobody has heard of it. */
import { describe, expect, it } from 'vitest';
import { sentUnheard } from '../../simulations/budget/unheard.ts';
import type { Amount } from '../../src/budget/amount.ts';
import type { Position } from '../../src/budget/conservation.ts';
import type { AccountId, PurseKey } from '../../src/budget/names.ts';
import { EMPTY_ROW, type Row } from '../../src/budget/row.ts';

const PURSE = 'org/1/all' as PurseKey;
const [GONE, LIVING, OTHER] = ['gone', 'living', 'other'] as [AccountId, AccountId, AccountId];

function sent(to: AccountId, total: number): Row {
  return { ...EMPTY_ROW, sequence: total, sent: new Map([[to, total as Amount]]) };
}

function ledger(account: AccountId, heard: Row | undefined) {
  const row = (_purse: PurseKey, from: AccountId) => (from === GONE ? heard : undefined);
  return { account, rows: { row } } as unknown as Parameters<typeof sentUnheard>[2][number];
}

function position(account: AccountId, row: Row, lastSequence?: number): Position {
  const entry = { granted: 50, returned: 0, writtenOff: 0, lastSequence } as Position['entry'];
  return { account, row, entry };
}

function received(total: number): Position {
  return position(LIVING, { ...EMPTY_ROW, received: new Map([[GONE, total as Amount]]) });
}

describe('what was sent and nobody has heard of', () => {
  it.each([
    { heard: undefined, had: 0, lost: 20 },
    { heard: 15, had: 0, lost: 5 },
    { heard: 20, had: 0, lost: 0 },
    { heard: undefined, had: 12, lost: 8 },
    { heard: 15, had: 18, lost: 2 },
  ])(
    'of 20 from an account that is gone is $lost where others heard of $heard and $had came',
    ({ heard, had, lost }) => {
      const ledgers = [
        ledger(LIVING, undefined),
        ledger(OTHER, heard === undefined ? undefined : sent(LIVING, heard)),
      ];
      const positions = [position(GONE, sent(LIVING, 20)), received(had)];
      expect(sentUnheard(PURSE, positions, ledgers)).toBe(lost);
    },
  );

  it('is nothing of an account that lives, to one that does not, or after it was written off', () => {
    const living = [ledger(LIVING, undefined), ledger(OTHER, undefined)];
    expect(sentUnheard(PURSE, [position(OTHER, sent(LIVING, 20))], living)).toBe(0);
    expect(sentUnheard(PURSE, [position(GONE, sent('elsewhere' as AccountId, 20))], living)).toBe(0);
    // That is not on the way: the reserve has it.
    expect(sentUnheard(PURSE, [position(GONE, sent(LIVING, 20), 10)], living)).toBe(0);
  });
});
