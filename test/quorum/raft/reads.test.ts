/** Ongaro 2014, 6.4: reads that see everything that was written before they were asked. */
import { describe, expect, it } from 'vitest';
import { limits } from '../../../src/kernel/limits.ts';
import { id } from './cluster.ts';
import { of, Solo, sent } from './solo.ts';

const ask = (solo: Solo, token: number) => solo.tell({ kind: 'readAsked', token });
const ready = (effects: Parameters<typeof of>[0]) =>
  of(effects, 'readReady').map(({ token, index }) => [token, index]);

describe('raft: linearizable reads', () => {
  it('6.4: a leader waits for an entry of its own term, then for a round that began after the read', () => {
    const solo = new Solo().lead();
    expect(ready(ask(solo, 1))).toEqual([]);
    solo.flush();
    solo.have('b', 0, 1);
    solo.sync();
    expect(ready(solo.have('b', 1, 1))).toEqual([]);
    expect(sent(solo.flush(), 'append').map(({ round }) => round)).toEqual([2, 2]);
    expect(ready(solo.have('b', 1, 1))).toEqual([]);
    expect(ready(solo.have('c', 1, 2))).toEqual([[1, 1]]);
  });

  it('6.4: reads of one turn share a round; those asked meanwhile share the next', () => {
    const solo = new Solo().leadAll();
    ask(solo, 1);
    ask(solo, 2);
    const round = sent(solo.flush(), 'append')[0]!.round;
    ask(solo, 3);
    ask(solo, 4);
    expect(sent(solo.flush(), 'append')).toEqual([]);
    expect(ready(solo.have('b', 1, round))).toEqual([
      [1, 1],
      [2, 1],
    ]);
    expect(sent(solo.flush(), 'append').map((message) => message.round)).toEqual([round + 1, round + 1]);
    expect(ready(solo.have('c', 1, round + 1))).toEqual([
      [3, 1],
      [4, 1],
    ]);
  });

  it('K27: answers to rounds that began before the read, and of servers without a vote, confirm nothing', () => {
    const solo = new Solo({ voters: ['a', 'b', 'c', 'd', 'e'] }).leadAll();
    solo.tell({ kind: 'serversReachable', servers: [id('x'), id('y')] });
    solo.flush();
    ask(solo, 1);
    const round = sent(solo.flush(), 'append')[0]!.round;
    for (const voter of ['b', 'c', 'd', 'e']) expect(ready(solo.have(voter, 1, round - 1))).toEqual([]);
    for (const learner of ['x', 'y']) expect(ready(solo.have(learner, 1, round))).toEqual([]);
    expect(ready(solo.have('b', 1, round + 5))).toEqual([]);
    solo.have('b', 1, round);
    expect(ready(solo.have('c', 1, round))).toEqual([[1, 1]]);
  });

  it('6.4, K21: reads that wait are refused when leadership is lost', () => {
    const solo = new Solo().leadAll();
    ask(solo, 1);
    solo.flush();
    ask(solo, 2);
    solo.nowMs += 500;
    const effects = solo.receive('b', {
      kind: 'append',
      term: 2,
      previousIndex: 0,
      previousTerm: 0,
      entries: [],
      commit: 0,
      round: 1,
      stable: 0,
    });
    expect(of(effects, 'readRefused').map(({ token }) => token)).toEqual([1, 2]);
  });

  it('6.4: a store of one answers in the same turn', () => {
    const solo = new Solo({ voters: ['a'] });
    solo.expire();
    solo.sync();
    ask(solo, 1);
    expect(ready(solo.flush())).toEqual([[1, 1]]);
  });

  it('6.4: a follower asks its leader once for all reads of a turn', () => {
    const solo = new Solo({ term: 1 });
    expect(of(ask(solo, 1), 'readRefused')).toHaveLength(1);
    solo.append('b', 1, [0, 0], []);
    for (const token of [2, 3, 4]) ask(solo, token);
    const requests = sent(solo.flush(), 'readRequest');
    expect(requests).toMatchObject([{ to: 'b' }]);
    const { reads } = requests[0]!;
    expect(reads).toHaveLength(1);
    const answer = { kind: 'readAnswer', term: 1, reads, index: 7, ok: true } as const;
    expect(solo.receive('c', answer)).toEqual([]);
    expect(ready(solo.receive('b', answer))).toEqual([
      [2, 7],
      [3, 7],
      [4, 7],
    ]);
    expect(solo.receive('b', answer)).toEqual([]);
  });

  it('a follower gives up after an election timeout, and a leader answers from after the round', () => {
    const follower = new Solo({ term: 1 });
    follower.append('b', 1, [0, 0], []);
    ask(follower, 1);
    follower.flush();
    expect(of(follower.expire(100), 'readRefused')).toHaveLength(1);

    const leader = new Solo({ voters: ['a', 'b', 'c', 'd', 'e'] }).leadAll();
    const asked = leader.receive('b', { kind: 'readRequest', term: 1, reads: [77] });
    expect(sent(asked, 'readAnswer')).toEqual([]);
    const { round } = sent(leader.flush(), 'append')[0]!;
    expect(sent(leader.have('c', 1, round), 'readAnswer')).toEqual([]);
    expect(sent(leader.have('d', 1, round), 'readAnswer')).toMatchObject([
      { to: 'b', reads: [77], ok: true, index: 1 },
    ]);
  });

  describe('6.4: a follower that asks has elected nobody else', () => {
    const asked = (solo: Solo, from: string, term = solo.raft.term) =>
      sent(solo.receive(from, { kind: 'readRequest', term, reads: [77] }), 'readAnswer');
    const led = (voters: string) => {
      const solo = new Solo({ voters: [...voters] }).leadAll();
      solo.tell({ kind: 'serversReachable', servers: [...'bcdex'].map(id) });
      return solo;
    };

    it.each([
      ['ab', 'b', true],
      ['abc', 'b', true],
      ['abcd', 'b', false],
      ['abcde', 'b', false],
      // Who has no vote proves nothing.
      ['abc', 'x', false],
      ['ab', 'x', false],
    ])('so the leader of %s, asked by %s, answers without asking others: %s', (voters, asker, isAtOnce) => {
      expect(asked(led(voters), asker).map(({ ok, index }) => [ok, index])).toEqual(
        isAtOnce ? [[true, 1]] : [],
      );
    });

    it('but not before an entry of its term is committed, in an earlier term, or with one of two majorities only', () => {
      const early = new Solo().lead();
      expect(asked(early, 'b')).toEqual([]);
      early.sync();
      expect(sent(early.have('b', 1, 1), 'readAnswer')).toEqual([]);
      expect(asked(led('abc'), 'b', 0)).toEqual([]);
      const joint = led('abc');
      joint.tell({ kind: 'changeAsked', token: 1, voters: [...'ade'].map(id) });
      expect(asked(joint, 'b')).toEqual([]);
      expect(asked(joint, 'd')).toEqual([]);
    });
  });

  it('reads that wait are bounded', () => {
    const solo = new Solo().lead();
    for (let token = 0; token < limits.raftReads; token++) ask(solo, token);
    expect(of(ask(solo, -1), 'readRefused')).toHaveLength(1);
  });

  describe('6.4.1: leases', () => {
    const lease = { reads: 'lease', leaseDriftMs: 20 } as const;
    const leased = () => {
      const solo = new Solo({ config: lease }).leadAll();
      const { round } = sent(solo.expire(20), 'append')[0]!;
      solo.nowMs += 10;
      solo.have('b', 1, round);
      return solo;
    };

    it('K28: a leader answers at once until an election timeout less the drift after the round began', () => {
      const solo = leased();
      solo.nowMs += 69;
      expect(ready(ask(solo, 1))).toEqual([[1, 1]]);
      solo.nowMs += 1;
      expect(ready(ask(solo, 2))).toEqual([]);
    });

    it('3.10: not in a term in which another was asked to take over', () => {
      const solo = leased();
      solo.tell({ kind: 'transferAsked', token: 9, to: id('b') });
      expect(ready(ask(solo, 1))).toEqual([]);
      for (let beat = 0; beat < 6; beat++) {
        const { round } = sent(solo.expire(20), 'append')[0]!;
        solo.have('b', 1, round);
      }
      expect(of(solo.effects, 'refused')).toMatchObject([{ token: 9, reason: 'busy' }]);
      expect(ready(ask(solo, 2))).toEqual([]);
    });

    it('a server that restarts gives no vote for an election timeout: it may have promised a lease', () => {
      for (const reads of ['lease', 'index'] as const) {
        const solo = new Solo({ term: 1, config: { reads } });
        const request = {
          kind: 'voteRequest',
          isPreVote: false,
          lastIndex: 0,
          lastTerm: 0,
          isTransfer: false,
        } as const;
        solo.nowMs += 90;
        const early = sent(solo.receive('b', { ...request, term: 2 }), 'voteAnswer');
        expect(early.some(({ granted }) => granted)).toBe(reads === 'index');
        solo.nowMs += 10;
        expect(sent(solo.receive('b', { ...request, term: 2 }), 'voteAnswer')).toMatchObject([
          { granted: true },
        ]);
      }
    });
  });
});
