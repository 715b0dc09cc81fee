/** Where all the money is, summed over rows that were heard at different moments. */
import { describe, expect, it } from 'vitest';
import { balanceOf } from '../../src/budget/conservation.ts';
import { type AccountId, accountOf } from '../../src/budget/names.ts';
import type { Entry } from '../../src/budget/reserve-register.ts';
import { parseRow, type Row } from '../../src/budget/row.ts';
import { amountOf, nodeIdOf } from './support.ts';

const [GONE, OTHER] = [0, 1].map((index) => accountOf(nodeIdOf(index), 7)) as [AccountId, AccountId];

function rowOf(account: AccountId, sequence: number, given: Partial<Record<keyof Row, unknown>>): Row {
  const zero = { granted: 0, received: [], sent: [], returned: 0, spent: 0, held: 0, overrun: 0, covered: 0 };
  return parseRow({ sequence, ...zero, ...given }, account)!;
}

function entryOf(granted: number, writtenOff = 0, lastSequence?: number): Entry {
  return {
    granted: amountOf(granted),
    returned: amountOf(0),
    writtenOff: amountOf(writtenOff),
    lastSequence,
  };
}

const reserve = { limit: amountOf(1_000), reserve: amountOf(930), owed: amountOf(0) };

describe('conservation: an account that was written off and went on until it heard of that', () => {
  // Written off with 20 of 100 spent and 10 held, on its row 5: 70 went back.
  const gone = { account: GONE, entry: entryOf(100, 70, 5) };

  it('what it sent then is void: it is neither on the way nor missing, and nobody is said to have been given too much', () => {
    const row = rowOf(GONE, 8, { granted: 100, spent: 20, held: 10, sent: [[OTHER, 30]] });
    const { balance, between, problems } = balanceOf({ ...reserve, reserve: amountOf(970) }, [
      { ...gone, row },
      { account: OTHER, row: undefined, entry: undefined },
    ]);
    expect(problems).toEqual([]);
    expect(balance).toMatchObject({ transfersOnTheWay: 0, lost: 10, spent: 20 });
    expect(between.get(OTHER)).toMatchObject({ onTheWay: 0 });
  });

  it('what it spent then was given back as well: so much too much', () => {
    const row = rowOf(GONE, 8, { granted: 100, spent: 45, held: 0 });
    const { between, problems } = balanceOf({ ...reserve, reserve: amountOf(970) }, [{ ...gone, row }]);
    expect(problems).toEqual([`15 more was written off than ${GONE} had`]);
    expect(between.get(GONE)).toMatchObject({ lost: -15 });
  });

  it('what another took in of it in good faith is lost', () => {
    const { problems } = balanceOf({ ...reserve, reserve: amountOf(970) }, [
      { ...gone, row: rowOf(GONE, 8, { granted: 100, spent: 20, held: 10, sent: [[OTHER, 30]] }) },
      { account: OTHER, row: rowOf(OTHER, 1, { received: [[GONE, 30]] }), entry: undefined },
    ]);
    expect(problems).toEqual([`20 more was written off than ${GONE} had`]);
  });

  it('what it sent before, and is not known to have arrived, is on the way', () => {
    const row = rowOf(GONE, 5, { granted: 100, spent: 20, held: 10, sent: [[OTHER, 30]] });
    const { balance, problems } = balanceOf({ ...reserve, reserve: amountOf(940) }, [
      { account: GONE, entry: entryOf(100, 40, 5), row },
      { account: OTHER, row: undefined, entry: undefined },
    ]);
    expect(problems).toEqual([]);
    expect(balance).toMatchObject({ transfersOnTheWay: 30, lost: 10, spent: 20 });
  });

  it('what it sent before to one that was written off with that is not void: that one had it, and the rest is what it did later', () => {
    // The other was written off first, with 30 that were on the way to it; then this one, on its row 5, and it spent 10 more.
    const rest = rowOf(GONE, 8, { granted: 100, spent: 30, sent: [[OTHER, 30]] });
    const positions = [
      { account: GONE, entry: entryOf(100, 50, 5), row: rest, sentByEnd: rest.sent },
      { account: OTHER, entry: entryOf(0, 30, 0), row: undefined },
    ];
    const { between, problems } = balanceOf({ ...reserve, reserve: amountOf(980) }, positions);
    expect(problems).toEqual([`10 more was written off than ${GONE} had`]);
    expect(between.get(OTHER)).toMatchObject({ onTheWay: 30, lost: 0 });
  });
});
