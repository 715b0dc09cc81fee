import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Amount } from '../../src/budget/amount.ts';
import { type Finished, FinishedRequests } from '../../src/budget/finished.ts';
import type { PurseKey } from '../../src/budget/names.ts';
import type { AgentId } from '../../src/kernel/ids.ts';

const amount = fc
  .oneof(fc.nat(9), fc.constantFrom(2 ** 31, 2 ** 40 + 1, Number.MAX_SAFE_INTEGER))
  .map((number) => number as Amount);
const finished: fc.Arbitrary<Finished> = fc
  .record({
    id: fc.nat(30).map((number) => `r${number}`),
    what: fc.constantFrom('reservation', 'report'),
    agent: fc.constantFrom('a', 'b', 'c').map((name) => name as AgentId),
    reserved: amount,
    amount,
    ending: fc.constantFrom('settled', 'charged', 'freed'),
    purses: fc.subarray(['team/1/all', 'org/1/all', 'org/1/2026-11'] as PurseKey[]),
    spent: fc.option(amount),
    overrun: fc.constantFrom(0, 0, 0, 7),
  })
  .map(({ purses, spent, overrun, ...rest }) => ({
    ...rest,
    parts: purses.map((purse) => ({ purse, spent: spent ?? rest.amount, overrun: overrun as Amount })),
  })) as fc.Arbitrary<Finished>;

describe('requests that are over', () => {
  it.each([1, 3, 8, 20])('of %i the last are remembered as they were, in their order', (most) => {
    fc.assert(
      fc.property(fc.array(finished, { maxLength: 200 }), (given) => {
        const remembered = new FinishedRequests(most);
        const model = new Map<string, Finished>();
        for (const each of given) {
          if (remembered.get(each.id) === undefined) model.delete(each.id);
          model.set(each.id, each);
          remembered.set(each);
          const kept = [...model.values()].slice(-remembered.size);
          expect(remembered.size).toBeGreaterThanOrEqual(Math.min(most, model.size));
          for (const known of kept) expect(remembered.get(known.id)).toEqual(known);
        }
        expect(remembered.values()).toEqual([...model.values()].slice(-remembered.size));
      }),
      { numRuns: 100, seed: 5 },
    );
  });

  it.each([1, 4, 100])(
    'are given %i at a time as they were when that was asked for, whatever is over later',
    (size) => {
      fc.assert(
        fc.property(
          fc.array(finished, { maxLength: 60 }),
          fc.array(finished, { maxLength: 60 }),
          (before, after) => {
            const remembered = new FinishedRequests(20);
            for (const each of before) remembered.set(each);
            const then = remembered.values();
            const chunks = remembered.chunks(size);
            for (const each of after) remembered.set(each);
            expect(chunks.flatMap((chunk) => chunk())).toEqual(then);
            for (const chunk of chunks) expect(chunk().length).toBeLessThanOrEqual(size);
          },
        ),
        { numRuns: 100, seed: 6 },
      );
    },
  );

  it('of more agents than their forms are kept of are all remembered', () => {
    const remembered = new FinishedRequests(5_000);
    const one = (index: number): Finished => ({
      id: `r${index}`,
      what: 'report',
      agent: `agent-${index % 2_500}` as AgentId,
      reserved: 0 as Amount,
      amount: index as Amount,
      ending: 'settled',
      parts: [{ purse: 'team/1/all' as PurseKey, spent: index as Amount, overrun: 0 as Amount }],
    });
    for (let index = 0; index < 5_000; index++) remembered.set(one(index));
    for (let index = 0; index < 5_000; index++) expect(remembered.get(`r${index}`)).toEqual(one(index));
  });
});
