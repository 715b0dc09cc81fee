/** What a voter promised to one, told to the other voters soon after, and no more often than it must be (K37). */
import { describe, expect, it } from 'vitest';
import type { RaftMessage } from '../../../src/quorum/raft/types.ts';
import { Promises } from '../../../src/quorum/store/promises.ts';
import { serverNumber } from '../names.ts';

const LEADER = serverNumber(1);
const head = { from: serverNumber(0), to: LEADER };

function acknowledge(term: number, index: number): RaftMessage {
  return { ...head, kind: 'appendAnswer', term, ok: true, index, conflictTerm: 0, round: 1 };
}

function vote(term: number, part: { isPreVote?: boolean; granted?: boolean } = {}): RaftMessage {
  return { ...head, kind: 'voteAnswer', term, isPreVote: false, granted: true, ...part };
}

describe('promises to tell', () => {
  it('nothing promised is nothing to tell, now or later', () => {
    const promises = new Promises(150);
    expect([promises.deadlineMs, promises.take(1e9)]).toEqual([undefined, undefined]);
  });

  it.each<[string, RaftMessage]>([
    ['a vote', vote(3)],
    ['the first acknowledgement in a term', acknowledge(3, 0)],
  ])('%s is told at once', (_, message) => {
    const promises = new Promises(150);
    promises.note(message);
    expect(promises.deadlineMs).toBe(Number.NEGATIVE_INFINITY);
    expect(promises.take(1_000)).toEqual({ promised: { term: 3, lastIndex: 0 }, knows: LEADER });
    expect(promises.deadlineMs).toBeUndefined();
  });

  it('a vote in a later term is told at once, however lately something was', () => {
    const promises = new Promises(150);
    promises.note(acknowledge(3, 10));
    promises.take(1_000);
    promises.note(vote(4));
    expect(promises.take(1_001)?.promised).toEqual({ term: 4, lastIndex: 0 });
  });

  it('of many acknowledgements the last is told, 150 ms after the one before', () => {
    const promises = new Promises(150);
    promises.note(acknowledge(3, 10));
    promises.take(1_000);
    for (let index = 11; index < 1_000; index++) promises.note(acknowledge(3, index));
    expect(promises.deadlineMs).toBe(1_150);
    expect(promises.take(1_149)).toBeUndefined();
    expect(promises.take(1_150)?.promised).toEqual({ term: 3, lastIndex: 999 });
  });

  it.each<[string, RaftMessage]>([
    ['a refusal', { ...acknowledge(9, 99), ok: false } as RaftMessage],
    ['a vote that is not given', vote(9, { granted: false })],
    ['what would be voted', vote(9, { isPreVote: true })],
    ['an acknowledgement of before', acknowledge(3, 9)],
    ['one of an earlier term', acknowledge(2, 99)],
  ])('%s is no news', (_, message) => {
    const promises = new Promises(150);
    promises.note(acknowledge(3, 10));
    promises.take(1_000);
    promises.note(message);
    expect(promises.deadlineMs).toBeUndefined();
  });
});
