/** Who should vote, as tables, and that the rules come to rest (K34, K35, K36, K46). */
import { describe, expect, it } from 'vitest';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { ServerId } from '../../../src/quorum/raft/types.ts';
import {
  type Member,
  MOST_VOTERS,
  nextVoters,
  type VoterPolicy,
} from '../../../src/quorum/voters/voter-policy.ts';
import type { Wish } from '../../../src/quorum/voters/voter-wishes.ts';
import { serverNumber } from '../names.ts';

const POLICY: VoterPolicy = { target: 3, stableMs: 3_000, replaceAfterMs: 60_000 };
const NOW_MS = 1_000_000;
const SELF = serverNumber(0);

function up(number: number, part: Partial<Member> = {}): Member {
  return {
    server: serverNumber(number),
    mayVote: true,
    wish: undefined,
    isReachable: true,
    sinceMs: NOW_MS - 100_000 + number,
    isCurrent: true,
    ...part,
  };
}

function down(number: number, forMs: number): Member {
  return up(number, { isReachable: false, sinceMs: NOW_MS - forMs, isCurrent: false });
}

function again(number: number): Member {
  return up(number, { server: serverNumber(number, 900) });
}

interface Case {
  readonly voters: readonly number[];
  readonly members: readonly Member[];
  readonly target?: number;
  readonly ownWish?: Wish;
}

function next({ voters, members, target = 3, ownWish }: Case): readonly ServerId[] | undefined {
  const configuration = { incoming: voters.map((number) => serverNumber(number)), outgoing: [] };
  const known = new Map(members.map((member) => [member.server, member]));
  return nextVoters({ ...POLICY, target }, SELF, configuration, known, ownWish, NOW_MS);
}

const THREE = { voters: [0, 1, 2], members: [up(1), up(2)] };

describe('the policy on voters', () => {
  it.each<[string, Case, readonly number[] | undefined]>([
    ['one of one stays', { voters: [0], members: [] }, undefined],
    ['two members are one voter: either could stop two (K46)', { voters: [0], members: [up(1)] }, undefined],
    ['two members are two voters where two are wanted', { voters: [0], members: [up(1)], target: 2 }, [0, 1]],
    ['three members are three voters at once', { voters: [0], members: [up(1), up(2)] }, [0, 1, 2]],
    ['four members are three voters (K46)', { voters: [0], members: [up(1), up(2), up(3)] }, [0, 1, 2]],
    ['all is well', THREE, undefined],
    [
      'no change of which half only is there',
      { voters: [0, 1, 2], members: [down(1, 1), down(2, 1), up(3, { wish: 'always' })] },
      undefined,
    ],
    [
      'from three to five',
      { voters: [0, 1, 2], members: [up(1), up(2), up(3), up(4)], target: 5 },
      [0, 1, 2, 3, 4],
    ],
    [
      'four where five are wanted stay three',
      { voters: [0, 1, 2], members: [up(1), up(2), up(3)], target: 5 },
      undefined,
    ],
    [
      'four where four are wanted',
      { voters: [0, 1, 2], members: [up(1), up(2), up(3)], target: 4 },
      [0, 1, 2, 3],
    ],
    ['more than wanted stay', { voters: [0, 1, 2, 3, 4], members: [up(1), up(2), up(3), up(4)] }, undefined],
    ['who was up longest comes first', { voters: [0], members: [up(5), up(4), up(3)] }, [0, 3, 4]],
    [
      'who just came must wait',
      { voters: [0], members: [up(1), up(2, { sinceMs: NOW_MS - 2_999 })] },
      undefined,
    ],
    ['who is behind must wait', { voters: [0], members: [up(1), up(2, { isCurrent: false })] }, undefined],
    ['an observer never votes', { voters: [0], members: [up(1), up(2, { mayVote: false })] }, undefined],
    [
      'one is gone, for less than a minute',
      { ...THREE, members: [up(1), down(2, 59_999), up(3)] },
      undefined,
    ],
    [
      'one is gone for long, another takes its place (K34)',
      { ...THREE, members: [up(1), down(2, 60_000), up(3)] },
      [0, 1, 3],
    ],
    [
      'one is gone for long, and nobody takes its place',
      { ...THREE, members: [up(1), down(2, 1e6)] },
      undefined,
    ],
    [
      'one came back with another storage (K37)',
      { ...THREE, members: [up(1), down(2, 0), again(2)] },
      [0, 1, '2 again' as unknown as number],
    ],
    [
      'the same, not stable yet: two voters would be worse than three of which one is gone',
      { ...THREE, members: [up(1), down(2, 0), { ...again(2), sinceMs: NOW_MS }] },
      undefined,
    ],
    [
      'the same of four voters: three are better at once',
      { voters: [0, 1, 2, 3], members: [up(1), down(2, 0), up(3), { ...again(2), sinceMs: NOW_MS }] },
      [0, 1, 3],
    ],
    [
      'one is gone for long, and another came back with another storage, whose place is given first',
      {
        voters: [0, 1, 2, 3, 4],
        members: [down(1, 1e6), up(2), up(3), down(4, 0), { ...again(4), sinceMs: NOW_MS }, up(5)],
        target: 5,
      },
      [0, 1, 2, 3, 5],
    ],
    [
      'a person wants one more',
      { ...THREE, members: [up(1), up(2), up(3, { wish: 'always' })] },
      [0, 1, 2, 3],
    ],
    [
      'who is not wanted stays while nobody can take its place: of two voters the disk of either would be the end',
      { ...THREE, members: [up(1), up(2, { wish: 'never' })] },
      undefined,
    ],
    [
      'who is not wanted gives its place to another, in one change',
      { ...THREE, members: [up(1), up(2, { wish: 'never' }), up(3)] },
      [0, 1, 3],
    ],
    [
      'two of three are not wanted, and nobody can take their places: one is better than two',
      { ...THREE, members: [up(1, { wish: 'never' }), up(2, { wish: 'never' })] },
      [0],
    ],
    [
      'two of four wanted are not wanted: three',
      {
        voters: [0, 1, 2, 3],
        members: [up(1), up(2, { wish: 'never' }), up(3, { wish: 'never' })],
        target: 4,
      },
      [0, 1, 3],
    ],
    ['one of two is not wanted', { voters: [0, 1], members: [up(1, { wish: 'never' })], target: 2 }, [0]],
    [
      'who is not wanted does not come back',
      { voters: [0, 1], members: [up(1), up(2, { wish: 'never' })] },
      undefined,
    ],
    [
      'the leader is not wanted, and gives its place to another (K35)',
      { ...THREE, members: [up(1), up(2), up(3)], ownWish: 'never' },
      [1, 2, 3],
    ],
    ['the leader is not wanted, and nobody can take its place', { ...THREE, ownWish: 'never' }, undefined],
    [
      'the last one stays although nobody wants it',
      { voters: [0], members: [], ownWish: 'never' },
      undefined,
    ],
    [
      'a wish for who cannot be reached waits',
      { ...THREE, members: [up(1), up(2), { ...down(3, 1), wish: 'always' }] },
      undefined,
    ],
  ])('%s', (_, given, expected) => {
    const wanted = expected?.map((voter) =>
      typeof voter === 'number' ? serverNumber(voter) : serverNumber(2, 900),
    );
    expect(next(given)?.toSorted()).toEqual(wanted?.toSorted());
  });

  it('nothing while a change is under way: two at once never are (K36)', () => {
    const configuration = { incoming: [SELF], outgoing: [serverNumber(1)] };
    const members = new Map([up(1), up(2)].map((member) => [member.server, member]));
    expect(nextVoters(POLICY, SELF, configuration, members, undefined, NOW_MS)).toBeUndefined();
  });

  it('never more than nine, whatever is wanted', () => {
    const members = Array.from({ length: 20 }, (_, at) => up(at + 1, { wish: 'always' }));
    let voters: readonly ServerId[] = [SELF];
    for (let change = 0; change < 30; change++)
      voters =
        nextVoters(
          { ...POLICY, target: 20 },
          SELF,
          { incoming: voters, outgoing: [] },
          new Map(members.map((member) => [member.server, member])),
          undefined,
          NOW_MS,
        ) ?? voters;
    expect(voters).toHaveLength(MOST_VOTERS);
  });

  it('comes to rest, keeps a leader that is wanted, and never names anyone twice (2,000 clusters)', () => {
    const rng = seededRng(1);
    for (let count = 0; count < 2_000; count++) {
      const members = membersAtRandom(rng);
      const policy = { ...POLICY, target: 1 + rng.below(9) };
      const known = new Map(members.map((member) => [member.server, member]));
      let voters: readonly ServerId[] = [SELF, ...members.slice(0, rng.below(5)).map(({ server }) => server)];
      let changes = 0;
      for (let again = true; again; changes++) {
        const after = nextVoters(policy, SELF, { incoming: voters, outgoing: [] }, known, undefined, NOW_MS);
        again = after !== undefined;
        voters = after ?? voters;
        expect(new Set(voters).size).toBe(voters.length);
        expect(voters).toContain(SELF);
        expect(voters.length).toBeLessThanOrEqual(MOST_VOTERS);
        expect(changes).toBeLessThan(20);
      }
      const isThere = (server: ServerId) => server === SELF || known.get(server)?.isReachable === true;
      const canAgree = (next: readonly ServerId[]) => next.filter(isThere).length * 2 > next.length;
      const able = members.find(
        ({ server, mayVote, wish, isReachable, isCurrent }) =>
          !voters.includes(server) && mayVote && wish !== 'never' && isReachable && isCurrent,
      );
      for (const voter of voters) {
        if (able === undefined || voter === SELF || known.get(voter)?.wish !== 'never') continue;
        // Who is not wanted keeps a place that another could take only where they could not agree on it.
        expect(canAgree([...voters.filter((other) => other !== voter), able.server])).toBe(false);
      }
    }
  });
});

function membersAtRandom(rng: Rng): Member[] {
  return Array.from({ length: rng.below(10) }, (_, at) => {
    const member = rng.chance(0.7) ? up(at + 1) : down(at + 1, rng.below(120_000));
    const wish = rng.pick(['always', 'never', undefined, undefined, undefined] as const);
    return { ...member, wish, mayVote: rng.chance(0.9), isCurrent: rng.chance(0.9) };
  });
}
