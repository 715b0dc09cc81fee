import { describe, expect, it } from 'vitest';
import type { Holder } from '../../../src/budget/allocation.ts';
import { decide } from '../../../src/budget/orchestrator/planning.ts';
import { amountOf } from '../support.ts';

const LIMIT = amountOf(1_000);
const EMPTY = { limit: LIMIT, reserve: amountOf(0), owed: amountOf(0) };

/** Eight that spend so much a second and have nothing left, and one that has something. */
function holders(perSecond: number, rights: number): readonly Holder[] {
  const spenders = Array.from({ length: 8 }, (_, index) => ({
    account: `spender-${index}` as Holder['account'],
    rights: amountOf(0),
    burnPerMs: perSecond / 1_000,
  }));
  const other = { account: 'other' as Holder['account'], rights: amountOf(rights), burnPerMs: 0 };
  return [...spenders, other];
}

describe('orchestrator: what it does about a budget without a reserve', () => {
  it('moves rights ahead of need to who runs short', () => {
    const { moves } = decide(EMPTY, holders(10, 100));
    expect(moves.length).toBeGreaterThan(3);
    for (const { from, amount } of moves) expect([from, amount >= 10]).toEqual(['other', true]);
  });

  it.each([0.2, 0.5, 1, 1.4])(
    'leaves crumbs alone where %d tokens of 1,000 are spent a second: whoever needs one asks for it',
    (perSecond) => {
      expect(decide(EMPTY, holders(perSecond, 30)).moves).toEqual([]);
    },
  );
});
