/** Which store a node carries, as tables: one store among members that see each other, and none given up that holds data. */
import { describe, expect, it } from 'vitest';
import { seededRng } from '../../../src/kernel/rng.ts';
import type { Greeting } from '../../../src/quorum/frames.ts';
import type { StorageId } from '../../../src/quorum/server.ts';
import { type Decision, decide, type Situation, yields } from '../../../src/quorum/voters/founding.ts';
import { nodeNumber, serverNumber, storeNumber } from '../names.ts';

const NOBODY: Greeting = {
  kind: 'greeting',
  format: { newest: 1, store: 0 },
  version: 1,
  heard: 0,
  store: undefined,
  storage: undefined,
  hasData: false,
  mayFound: false,
  mayVote: true,
  boot: 1,
  claim: { term: 0, lastIndex: 0 },
  doubted: undefined,
  dissolved: [],
  replaced: [],
  voters: [],
};
const SELF = 5;
const OWN = storeNumber(10);

type Around = Readonly<Record<number, Partial<Greeting> | undefined>>;

function situation(around: Around, part: Partial<Situation> = {}): Situation {
  return {
    self: nodeNumber(SELF),
    greetings: new Map(
      Object.entries(around).map(([node, greeting]) => [
        nodeNumber(Number(node)),
        greeting && { ...NOBODY, ...greeting },
      ]),
    ),
    carried: undefined,
    hasLeader: part.isLeaderless !== true,
    isLeaderless: false,
    dissolved: [],
    newestFormat: 1,
    avoided: new Set(),
    mayFound: true,
    hasWaited: true,
    ...part,
  };
}

function carries(store: number, hasData = false): Partial<Greeting> {
  return { store: storeNumber(store), storage: 1 as StorageId, hasData, voters: [serverNumber(1)] };
}

const STAY: Decision = { kind: 'stay' };
const FOUND: Decision = { kind: 'found' };
const DROP: Decision = { kind: 'drop', tookNoEffect: false };
const EMPTY: Decision = { kind: 'drop', tookNoEffect: true };
const join = (store: number): Decision => ({ kind: 'join', store: storeNumber(store) });

describe('founding', () => {
  it.each<[string, Around, Partial<Situation>, Decision]>([
    ['alone and fresh, after a while', {}, {}, FOUND],
    ['alone and fresh, before', {}, { hasWaited: false }, STAY],
    ['told of others', {}, { mayFound: false }, STAY],
    ['a lower one may as well', { 4: { mayFound: true } }, {}, STAY],
    ['only higher ones may as well', { 6: { mayFound: true }, 7: { mayFound: true } }, {}, FOUND],
    ['a lower one may not', { 4: {} }, {}, FOUND],
    ['one has not said yet who it is', { 6: undefined }, {}, STAY],
    ['one carries a store', { 4: carries(3) }, {}, join(3)],
    ['one carries a store, at once', { 4: carries(3) }, { hasWaited: false, mayFound: false }, join(3)],
    ['of several the lowest', { 4: carries(3), 6: carries(2), 7: carries(9) }, {}, join(2)],
    ['of several one with data', { 4: carries(3), 6: carries(9, true) }, {}, join(9)],
    ['of several with data the first is as good', { 4: carries(3, true), 6: carries(2, true) }, {}, join(3)],
    ['not one that was given up here', { 4: carries(3) }, { dissolved: [storeNumber(3)] }, STAY],
    ['not by who knows no voters', { 4: { ...carries(3), voters: [] } }, {}, STAY],
    [
      'of a format that is not understood here',
      { 4: { ...carries(3), format: { newest: 2, store: 2 } } },
      {},
      STAY,
    ],
    [
      'of a format that the other does not need yet',
      { 4: { ...carries(3), format: { newest: 2, store: 1 } } },
      {},
      join(3),
    ],
    ['not by who named one in vain', { 4: carries(3) }, { avoided: new Set([nodeNumber(4)]) }, STAY],
    ['by another', { 4: carries(3), 6: carries(3) }, { avoided: new Set([nodeNumber(4)]) }, join(3)],
    ['the other one then', { 4: carries(3, true), 6: carries(9) }, { dissolved: [storeNumber(3)] }, join(9)],
  ])('without a store: %s', (_, around, part, decision) => {
    expect(decide(situation(around, part))).toEqual(decision);
  });

  const gone = { dissolved: [OWN] };
  const replaced = { ...carries(11, true), replaced: [OWN] };
  it.each<[string, Around, boolean, boolean, Decision]>([
    ['alone', {}, false, false, STAY],
    ['another store is around', { 4: carries(3, true) }, false, false, STAY],
    ['a voter says that it is gone, and it is empty', { 4: gone }, false, false, EMPTY],
    ['who has no vote says so, and it is empty and led', { 7: gone }, false, false, STAY],
    ['who has no vote says so, and it is empty and not led', { 7: gone }, false, true, EMPTY],
    ['it is gone elsewhere, but led here, with data', { 4: gone }, true, false, STAY],
    ['with data and no leader, one of three voters says that it is gone', { 4: gone }, true, true, STAY],
    ['with data and no leader, two without a vote say so', { 7: gone, 8: gone }, true, true, STAY],
    ['with data and no leader, two of three voters say so', { 4: gone, 6: gone }, true, true, DROP],
    ['with data and no leader, a voter dropped it, one goes on', { 4: gone, 6: replaced }, true, true, DROP],
    ['who goes on from it had no vote', { 7: replaced, 8: replaced }, true, true, STAY],
    ['another goes on from it, but it has a leader', { 4: replaced }, true, false, STAY],
    ['another goes on from it, and it has no leader for long', { 4: replaced }, true, true, DROP],
    ['it has no leader for long', { 4: carries(3, true) }, true, true, STAY],
  ])('with a store: %s', (_, around, hasData, isLeaderless, decision) => {
    const carried = {
      store: OWN,
      hasData,
      voters: [4, SELF, 6].map((node) => nodeNumber(node)),
      isUnknown: false,
    };
    expect(decide(situation(around, { carried, isLeaderless }))).toEqual(decision);
  });

  it.each<[string, Around, readonly number[], Decision]>([
    ['who has no vote follows who goes on, whoever it is', { 7: replaced }, [1, 2, 3], DROP],
    ['but not while a voter that keeps it can be reached', { 7: replaced, 2: carries(10) }, [1, 2, 3], STAY],
    [
      'nor does a member without a vote that keeps it count',
      { 7: replaced, 8: carries(10) },
      [1, 2, 3],
      DROP,
    ],
    ['but gives up nothing because one without a vote says it is gone', { 7: gone }, [1, 2, 3], STAY],
    ['nor one of four voters', { 1: gone }, [1, 2, 3, 4], STAY],
    ['it does where two of four voters say so', { 1: gone, 2: gone }, [1, 2, 3, 4], DROP],
    ['it does where the only voter says so', { 1: gone }, [1], DROP],
  ])('with a store with data and no leader, without a vote: %s', (_, around, voters, decision) => {
    const carried = {
      store: OWN,
      hasData: true,
      voters: voters.map((node) => nodeNumber(node)),
      isUnknown: false,
    };
    expect(decide(situation(around, { carried, isLeaderless: true }))).toEqual(decision);
  });

  it.each<[string, boolean, boolean, Decision]>([
    ['nothing of which came here, for a while', true, false, STAY],
    ['nothing of which came here, and nobody leads it', true, true, { kind: 'release' }],
    ['of which it has something, and nobody leads it', false, true, STAY],
  ])('with a store %s', (_, isUnknown, isLeaderless, decision) => {
    const carried = { store: OWN, hasData: false, voters: [], isUnknown };
    expect(decide(situation({ 4: carries(10, true) }, { carried, isLeaderless }))).toEqual(decision);
  });

  it('of members that see each other exactly one founds (1 to 9 members, 500 sets)', () => {
    const rng = seededRng(1);
    for (let count = 0; count < 500; count++) {
      const members = rng.shuffled(Array.from({ length: 30 }, (_, at) => at)).slice(0, 1 + rng.below(9));
      const may = new Set(members.filter(() => rng.chance(0.7)));
      const founders = members.filter((self) => {
        const around = Object.fromEntries(
          members.filter((node) => node !== self).map((node) => [node, { mayFound: may.has(node) }]),
        );
        const part = { self: nodeNumber(self), mayFound: may.has(self) };
        return decide(situation(around, part)).kind === 'found';
      });
      expect(founders).toEqual(may.size === 0 ? [] : [Math.min(...may)]);
    }
  });

  it('of two stores that meet at most one gives way, never one with data, and of two empty ones always one', () => {
    for (const ours of [1, 2])
      for (const theirs of [1, 2])
        for (const ourData of [false, true])
          for (const theirData of [false, true]) {
            const [a, b] = [
              { store: storeNumber(ours), hasData: ourData },
              { store: storeNumber(theirs), hasData: theirData },
            ];
            const both = [yields(a, b), yields(b, a)];
            const expected = ours === theirs || (ourData && theirData) ? 0 : 1;
            expect(both.filter(Boolean)).toHaveLength(expected);
            if (ourData) expect(both[0]).toBe(false);
          }
  });
});
