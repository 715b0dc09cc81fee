import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  askingOrder,
  asksFor,
  Burn,
  chunkOf,
  type Demand,
  giftFor,
  goesBefore,
  type Holder,
  type Request,
  rebalance,
  spareOf,
  TRANSFERS_PER_REQUEST,
} from '../../src/budget/allocation.ts';
import type { AccountId } from '../../src/budget/names.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { amountOf, nodeIdOf } from './support.ts';

const accountAt = (index: number) => `${nodeIdOf(index)}/1` as AccountId;
const holderAt = (index: number, rights: number, burnPerMs = 0): Holder => ({
  account: accountAt(index),
  rights: amountOf(rights),
  burnPerMs,
});
const demandOf = (given: Partial<Record<keyof Demand, number>> = {}): Demand =>
  ({
    limit: 10_000,
    reserve: 10_000,
    rights: 0,
    need: 10,
    burnPerMs: 1,
    horizonMs: 1_000,
    spenders: 5,
    ...given,
  }) as Demand;

describe('allocation: chunks', () => {
  it('no chunk makes a crash strand more than 2 % of the limit, but for what is needed at once', () => {
    const natural = (max: number) => fc.integer({ min: 0, max });
    fc.assert(
      fc.property(
        natural(1e6),
        natural(1e6),
        natural(1e5),
        natural(1e5),
        fc.double({ min: 0, max: 1e3, noNaN: true }),
        natural(50),
        (limit, reserve, rights, need, burnPerMs, spenders) => {
          const { amount, atLeast } = chunkOf(
            demandOf({ limit: limit + 1, reserve, rights, need, burnPerMs, spenders }),
          );
          expect(Number.isSafeInteger(amount) && amount >= atLeast && atLeast >= 0).toBe(true);
          expect(rights + amount).toBeLessThanOrEqual(Math.max(rights, need, (limit + 1) / 50, 1));
          expect(rights + atLeast).toBeGreaterThanOrEqual(need);
        },
      ),
      { numRuns: 1_000, seed: 8 },
    );
  });

  it.each([
    // Who begins to spend gets an eighth of the largest chunk beyond what it needs, since nobody knows yet how fast it will.
    [{ burnPerMs: 0 }, 35],
    [{ burnPerMs: 0, reserve: 30 }, 25],
    [{ burnPerMs: 0, reserve: 10 }, 10],
    [{ burnPerMs: 0.05 }, 60],
    [{ burnPerMs: 100 }, 200],
    [{ burnPerMs: 100, need: 500 }, 500],
    [{ burnPerMs: 100, reserve: 100 }, 25],
    [{ burnPerMs: 0, rights: 10 }, 0],
  ])('of %j a chunk of %i is taken', (given, amount) => {
    expect(chunkOf(demandOf(given)).amount).toBe(amount);
  });

  it('the burn rate follows what is spent, and forgets by half', () => {
    const burn = new Burn(1_000, 0);
    for (let ms = 0; ms < 20_000; ms += 10) burn.note(amountOf(20), ms);
    expect(burn.perMs(20_000)).toBeGreaterThan(1.9);
    expect(burn.perMs(20_000)).toBeLessThan(2.1);
    const before = burn.perMs(20_000);
    expect(burn.perMs(21_000)).toBeCloseTo(before / 2);
    expect(burn.perMs(500)).toBeCloseTo(before / 2);
  });
});

describe('allocation: who gives to whom', () => {
  it('whoever runs short asks the fewest it can, three at most, and nobody where it would not suffice (B24)', () => {
    const holders = [holderAt(1, 10), holderAt(2, 50), holderAt(3, 30), holderAt(4, 40)];
    const need = (amount: number, gather = false) =>
      asksFor(amountOf(amount), holders, 0, gather).map(({ from, amount: asked }) => [
        holders.findIndex((holder) => holder.account === from) + 1,
        asked,
      ]);
    expect(need(45)).toEqual([[2, 45]]);
    expect(need(115)).toEqual([
      [2, 50],
      [4, 40],
      [3, 25],
    ]);
    expect(need(125)).toEqual([]);
    expect(need(125, true)).toEqual([
      [2, 50],
      [4, 40],
      [3, 30],
      [1, 5],
    ]);
    expect(need(131, true)).toEqual([]);
  });

  it('of two that ask each other for their last rights one gets them, whatever the order of the messages (B23)', () => {
    const [left, right] = [holderAt(1, 60, 1), holderAt(2, 50, 1)];
    const [early, late]: Request[] = [
      { account: left.account, askedAt: 5, need: amountOf(50) },
      { account: right.account, askedAt: 5, need: amountOf(60) },
    ];
    expect([goesBefore(early!, late!), goesBefore(late!, early!)]).toEqual([true, false]);
    expect(giftFor(early!, right, 1_000, { gather: true, waiting: late })).toBe(50);
    expect(giftFor(late!, left, 1_000, { gather: true, waiting: early })).toBe(0);
  });

  it.each([1, 2, 3, 4, 5])(
    'all beg at once: at most three transfers for each request that is granted (B24, seed %i)',
    (seed) => {
      const rng = seededRng(seed);
      const rights = Array.from({ length: 12 }, () => rng.below(40));
      let transfers = 0;
      let granted = 0;
      let gathers = 0;
      const begging = rng.shuffled(
        rights.map((_, index) => ({
          account: accountAt(index),
          askedAt: rng.below(5),
          need: amountOf(20 + rng.below(60)),
        })),
      );
      for (const request of begging) {
        const index = rights.findIndex((_, at) => accountAt(at) === request.account);
        const others = rights
          .map((each, at) => holderAt(at, each))
          .filter(({ account }) => account !== request.account);
        const lack = request.need - rights[index]!;
        const waiting = begging.filter((other) => other !== request);
        const isFirst = waiting.every((other) => !goesBefore(other, request));
        if (lack > 0) {
          const gather = isFirst;
          for (const { from, amount } of asksFor(amountOf(lack), others, 0, gather)) {
            const at = rights.findIndex((_, place) => accountAt(place) === from);
            const own = waiting.find(({ account }) => account === from);
            const gift = giftFor({ ...request, need: amount }, holderAt(at, rights[at]!), 0, {
              gather,
              waiting: own,
            });
            if (gift === 0) continue;
            rights[at]! -= gift;
            rights[index]! += gift;
            transfers++;
            if (gather) gathers++;
          }
        }
        if (rights[index]! < request.need) continue;
        rights[index]! -= request.need;
        granted++;
      }
      expect(granted).toBeGreaterThan(0);
      expect(transfers - gathers).toBeLessThanOrEqual(TRANSFERS_PER_REQUEST * granted);
    },
  );

  it('of those that have as much who goes last is asked first, then those of whom nothing is known from the own place on, at last who goes before (B24)', () => {
    const own: Request = { account: accountAt(5), askedAt: 50, need: amountOf(10) };
    const request = (index: number, askedAt: number) =>
      [accountAt(index), { account: accountAt(index), askedAt, need: amountOf(10) }] as const;
    const waiting = new Map([request(1, 60), request(2, 70), request(3, 40)]);
    const holders = [1, 2, 3, 4, 6].map((index) => holderAt(index, 10));
    const asks = asksFor(amountOf(50), holders, 0, true, askingOrder(own, waiting));
    const unknown = [4, 6].sort((one, other) => (accountAt(one) < accountAt(other) ? -1 : 1));
    const isOver = (index: number) => Number(accountAt(index) < own.account);
    unknown.sort((one, other) => isOver(one) - isOver(other));
    expect(asks.map(({ from }) => from)).toEqual([2, 1, ...unknown, 3].map(accountAt));
  });

  it('a remainder scattered over any number is one request away from whoever asked first (B23)', () => {
    const holders = Array.from({ length: 10 }, (_, index) => holderAt(index + 1, 7, 5));
    const asks = asksFor(amountOf(70), holders, 1_000, true);
    const request: Request = { account: accountAt(0), askedAt: 1, need: amountOf(70) };
    const given = asks.map(({ from, amount }) =>
      giftFor({ ...request, need: amount }, holders.find(({ account }) => account === from)!, 1_000, {
        gather: true,
        waiting: undefined,
      }),
    );
    expect(given.reduce((sum, part) => sum + part, 0)).toBe(70);
  });

  it('rebalancing leaves everybody what it will need, and moves nothing where nobody runs short', () => {
    const calm = [holderAt(1, 100, 0.01), holderAt(2, 100, 0.01)];
    expect(rebalance(calm, 1_000, amountOf(5))).toEqual([]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: 500 }), fc.double({ min: 0, max: 1, noNaN: true })), {
          minLength: 2,
          maxLength: 10,
        }),
        (all) => {
          const holders = all.map(([rights, burn], index) => holderAt(index, rights, burn));
          const moves = rebalance(holders, 1_000, amountOf(5));
          for (const holder of holders) {
            const out = moves.filter(({ from }) => from === holder.account);
            const given = out.reduce((sum, { amount }) => sum + amount, 0);
            expect(given).toBeLessThanOrEqual(spareOf(holder, 2_000));
            expect(moves.filter(({ to }) => to === holder.account).length).toBeLessThanOrEqual(
              TRANSFERS_PER_REQUEST,
            );
            expect(out.length === 0 || moves.every(({ to }) => to !== holder.account)).toBe(true);
          }
          expect(moves.every(({ amount }) => amount >= 5 && Number.isSafeInteger(amount))).toBe(true);
        },
      ),
      { numRuns: 300, seed: 9 },
    );
  });
});
