/** Ongaro 2014, chapter 3 up to 3.4, 3.6.1, 3.8, 3.10, 4.2.3, 6.2 and 9.6: who leads. */
import { describe, expect, it } from 'vitest';
import { id, TEST_CONFIG, TestCluster } from './cluster.ts';
import { logOf, of, Solo, sent } from './solo.ts';

const voteRequest = {
  kind: 'voteRequest',
  isPreVote: false,
  lastIndex: 0,
  lastTerm: 0,
  isTransfer: false,
} as const;

describe('raft: terms and elections', () => {
  it.each(['follower', 'leader'])('3.3: a %s that sees a later term adopts it and follows', (role) => {
    const solo = new Solo();
    if (role === 'leader') solo.leadAll();
    solo.nowMs += 1_000;
    const term = solo.raft.term + 3;
    solo.receive('b', { kind: 'appendAnswer', term, ok: false, index: 0, conflictTerm: 0, round: 0 });
    expect([solo.raft.role, solo.raft.term, solo.raft.leader]).toEqual(['follower', term, undefined]);
  });

  it('3.3, K29: a request of an older term is answered with the newer one, an answer of an older term is ignored', () => {
    const solo = new Solo({ term: 5 });
    expect(sent(solo.append('b', 4, [0, 0], logOf(4)), 'appendAnswer')).toMatchObject([
      { ok: false, term: 5 },
    ]);
    expect(sent(solo.receive('b', { ...voteRequest, term: 3 }), 'voteAnswer')).toMatchObject([
      { granted: false, term: 5 },
    ]);
    expect(solo.have('b', 9)).toEqual([]);
    expect([solo.raft.lastIndex, solo.raft.term]).toEqual([0, 5]);
  });

  it('3.4: a server starts as a follower and remains one as long as it hears a leader', () => {
    const solo = new Solo({ term: 1 });
    for (let beat = 1; beat < 50; beat++) {
      solo.append('b', 1, [0, 0], [], 0, beat);
      solo.expire(99);
      expect(solo.raft.role).toBe('follower');
    }
  });

  it('3.4: election timeouts are spread between one and two times the configured one', () => {
    const timeouts = Array.from(
      { length: 100 },
      (_, seed) => new Solo({ seed }).raft.deadline()!.atMs - 1_000,
    );
    expect(Math.min(...timeouts)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...timeouts)).toBeLessThan(200);
    expect(new Set(timeouts).size).toBeGreaterThan(40);
  });

  it('3.4: a candidate raises its term, votes for itself on disk, and only then asks all others', () => {
    const solo = new Solo({ term: 2 });
    solo.expire(500);
    const effects = solo.receive('b', { kind: 'voteAnswer', term: 3, isPreVote: true, granted: true });
    expect(of(effects, 'persistHardState')).toMatchObject([{ state: { term: 3, votedFor: 'a' } }]);
    expect(sent(effects, 'voteRequest')).toMatchObject([
      { to: 'b', term: 3, afterDisk: true },
      { to: 'c', term: 3, afterDisk: true },
    ]);
  });

  it('3.4, 3.8: one vote in a term, first come first served, on disk before it is said', () => {
    const solo = new Solo();
    const first = solo.receive('b', { ...voteRequest, term: 1 });
    expect(of(first, 'persistHardState').at(-1)).toMatchObject({ state: { term: 1, votedFor: 'b' } });
    expect(sent(first, 'voteAnswer')).toMatchObject([{ granted: true, afterDisk: true }]);
    expect(sent(solo.receive('c', { ...voteRequest, term: 1 }), 'voteAnswer')).toMatchObject([
      { granted: false },
    ]);
    expect(sent(solo.receive('b', { ...voteRequest, term: 1 }), 'voteAnswer')).toMatchObject([
      { granted: true },
    ]);
  });

  it('3.8, K26: a server that restarts remembers for whom it voted', () => {
    const solo = new Solo({ term: 4, votedFor: 'c' });
    expect(sent(solo.receive('b', { ...voteRequest, term: 4 }), 'voteAnswer')).toMatchObject([
      { granted: false },
    ]);
    expect(sent(solo.receive('c', { ...voteRequest, term: 4 }), 'voteAnswer')).toMatchObject([
      { granted: true },
    ]);
  });

  it('3.4: votes of a majority elect, and of nobody else: strangers and doubles do not count', () => {
    const solo = new Solo({ voters: ['a', 'b', 'c', 'd', 'e'] });
    solo.expire(500);
    for (const voter of ['b', 'c']) {
      solo.receive(voter, { kind: 'voteAnswer', term: 1, isPreVote: true, granted: true });
    }
    solo.sync();
    const yes = { kind: 'voteAnswer', term: 1, isPreVote: false, granted: true } as const;
    for (const voter of ['b', 'b', 'x', 'y', 'z']) solo.receive(voter, yes);
    expect(solo.raft.role).toBe('candidate');
    solo.receive('d', yes);
    expect(solo.raft.role).toBe('leader');
  });

  it('3.4: two candidates of one term with two votes of four each: neither leads, and both stand again later', () => {
    const solo = new Solo({ voters: ['a', 'b', 'c', 'd'] });
    solo.expire(500);
    for (const voter of ['b', 'c', 'd'])
      solo.receive(voter, { kind: 'voteAnswer', term: 1, isPreVote: true, granted: true });
    solo.sync();
    expect([solo.raft.role, solo.raft.term]).toEqual(['candidate', 1]);
    solo.receive('d', { ...voteRequest, term: 1 });
    const answer = (voter: string, granted: boolean) =>
      solo.receive(voter, { kind: 'voteAnswer', term: 1, isPreVote: false, granted });
    answer('b', true);
    answer('c', false);
    expect(solo.raft.role).toBe('candidate');
    answer('d', false);
    expect([solo.raft.role, solo.raft.term]).toEqual(['follower', 1]);
    solo.expire(500);
    expect([solo.raft.role, solo.raft.term]).toEqual(['preCandidate', 1]);
  });

  it('3.4: a candidate that hears a leader of its term follows it, one of an older term is refused', () => {
    const solo = new Solo({ term: 2 });
    solo.expire(500);
    solo.receive('b', { kind: 'voteAnswer', term: 3, isPreVote: true, granted: true });
    solo.append('c', 2, [0, 0], []);
    expect(solo.raft.role).toBe('candidate');
    solo.append('c', 3, [0, 0], []);
    expect([solo.raft.role, solo.raft.leader]).toEqual(['follower', 'c']);
  });

  it('3.4: a candidate that a majority refuses waits for another timeout', () => {
    const solo = new Solo();
    solo.expire(500);
    const no = { kind: 'voteAnswer', term: 0, isPreVote: true, granted: false } as const;
    solo.receive('b', no);
    expect(solo.raft.role).toBe('preCandidate');
    solo.receive('c', no);
    expect(solo.raft.role).toBe('follower');
    expect(solo.raft.deadline()!.atMs).toBeGreaterThanOrEqual(solo.nowMs + 100);
  });

  it('3.4: a leader says so at once and on every heartbeat', () => {
    const solo = new Solo().lead();
    expect(sent(solo.effects, 'append').map(({ to }) => to)).toEqual(['b', 'c']);
    expect(solo.raft.deadline()).toEqual({ atMs: solo.nowMs + 20, reason: 'raft: heartbeat', earlyMs: 0 });
    expect(sent(solo.expire(20), 'append').map(({ to }) => to)).toEqual(['b', 'c']);
  });

  it('a heartbeat leaves 5 ms early where the leader is awake then, no earlier, and the next a period after it', () => {
    const solo = new Solo({ config: { heartbeatEarlyMs: 5 } }).lead();
    const deadline = { atMs: solo.nowMs + 20, reason: 'raft: heartbeat', earlyMs: 5 };
    expect(solo.raft.deadline()).toEqual(deadline);
    expect(sent(solo.expire(14), 'append')).toEqual([]);
    expect(sent(solo.expire(1), 'append').map(({ to }) => to)).toEqual(['b', 'c']);
    expect(solo.raft.deadline()).toEqual({ ...deadline, atMs: solo.nowMs + 20 });
  });

  it.each([
    { ours: [1, 1, 2], lastIndex: 3, lastTerm: 2, granted: true, why: 'equal' },
    { ours: [1, 1, 2], lastIndex: 2, lastTerm: 2, granted: false, why: 'same term, shorter' },
    { ours: [1, 1, 2], lastIndex: 4, lastTerm: 2, granted: true, why: 'same term, longer' },
    { ours: [1, 1, 2], lastIndex: 1, lastTerm: 3, granted: true, why: 'later term, shorter' },
    { ours: [1, 1, 2], lastIndex: 9, lastTerm: 1, granted: false, why: 'earlier term, longer' },
  ])('3.6.1: a log that is $why: granted is $granted', ({ ours, lastIndex, lastTerm, granted }) => {
    for (const isPreVote of [true, false]) {
      const solo = new Solo({ term: 3, log: logOf(...ours) });
      const answers = solo.receive('b', { ...voteRequest, isPreVote, term: 4, lastIndex, lastTerm });
      expect(sent(answers, 'voteAnswer')).toMatchObject([{ granted }]);
    }
  });

  it('9.6: a pre-vote changes nothing: no term, no vote, nothing on disk', () => {
    const solo = new Solo({ term: 2 });
    const effects = solo.receive('b', { ...voteRequest, isPreVote: true, term: 3 });
    expect(sent(effects, 'voteAnswer')).toMatchObject([{ granted: true, term: 3 }]);
    expect(effects).toHaveLength(1);
    expect(solo.raft.hardState).toEqual({ term: 2, votedFor: undefined });
  });

  it('9.6, K21, K23: a server that is cut off for long comes back without raising the term', () => {
    const cluster = new TestCluster({ voters: ['a', 'b', 'c'] });
    const leader = cluster.elect();
    const lonely = cluster.leaderName() === 'a' ? 'b' : 'a';
    cluster.run(2_000, (from, to) => from === lonely || to === lonely);
    cluster.run(200);
    expect([cluster.leader, leader.term, cluster.raft(lonely).term]).toEqual([leader, 1, 1]);
  });

  it.each([true, false])(
    '4.2.3: who hears a leader gives no vote, and keeps its term (pre-vote: %s)',
    (isPreVote) => {
      const solo = new Solo({ term: 1 });
      solo.append('b', 1, [0, 0], []);
      solo.nowMs += 99;
      const effects = solo.receive('c', { ...voteRequest, isPreVote, term: 2, lastIndex: 9, lastTerm: 1 });
      expect(sent(effects, 'voteAnswer').filter(({ granted }) => granted)).toEqual([]);
      expect(solo.raft.term).toBe(1);
      solo.nowMs += 1;
      const later = solo.receive('c', { ...voteRequest, isPreVote, term: 2, lastIndex: 9, lastTerm: 1 });
      expect(sent(later, 'voteAnswer')).toMatchObject([{ granted: true }]);
    },
  );

  it('4.2.3: but where the leader itself asked for the election (3.10)', () => {
    const solo = new Solo({ term: 1 });
    solo.append('b', 1, [0, 0], []);
    const effects = solo.receive('c', {
      ...voteRequest,
      term: 2,
      lastIndex: 9,
      lastTerm: 1,
      isTransfer: true,
    });
    expect(sent(effects, 'voteAnswer')).toMatchObject([{ granted: true, term: 2 }]);
  });

  it('6.2, K21, K27: a leader that a majority did not answer for an election timeout steps down', () => {
    const solo = new Solo({ voters: ['a', 'b', 'c', 'd', 'e'] }).leadAll();
    for (let beat = 0; beat < 20; beat++) {
      solo.expire(20);
      solo.have('b', 1);
      solo.have('c', 1);
    }
    expect(solo.raft.role).toBe('leader');
    for (let beat = 0; beat < 6; beat++) {
      solo.expire(20);
      solo.have('b', 1);
    }
    expect([solo.raft.role, solo.raft.leader]).toEqual(['follower', undefined]);
  });

  describe('a follower that sees its leader go', () => {
    const led = (reads: 'index' | 'lease') => {
      const solo = new Solo({ term: 1, config: { reads } });
      solo.tell({ kind: 'serversReachable', servers: [id('b'), id('c')] });
      solo.append('b', 1, [0, 0], []);
      return solo;
    };
    const ask = (solo: Solo) =>
      sent(solo.receive('c', { ...voteRequest, isPreVote: true, term: 2 }), 'voteAnswer');

    it('asks soon, and would vote for who asks', () => {
      const solo = led('index');
      solo.expire(10);
      expect(ask(solo)).toMatchObject([{ granted: false }]);
      solo.tell({ kind: 'serversReachable', servers: [id('c')] });
      expect(ask(solo)).toMatchObject([{ granted: true }]);
      expect(solo.raft.deadline()!.atMs - solo.nowMs).toBeLessThan(30);
      expect(sent(solo.expire(30), 'voteRequest')).toMatchObject([
        { to: 'b', isPreVote: true },
        { to: 'c', isPreVote: true },
      ]);
    });

    it.each(['comes back', 'is heard all the same'])('wants nobody else where it %s', (how) => {
      const solo = led('index');
      solo.tell({ kind: 'serversReachable', servers: [id('c')] });
      solo.nowMs += 3;
      if (how === 'comes back') solo.tell({ kind: 'serversReachable', servers: [id('b'), id('c')] });
      else solo.append('b', 1, [0, 0], [], 0, 2);
      expect(solo.raft.deadline()!.atMs - solo.nowMs).toBeGreaterThanOrEqual(100);
      expect(ask(solo)).toMatchObject([{ granted: false }]);
    });

    it('waits an election timeout all the same where a leader may count on its lease', () => {
      const solo = led('lease');
      const { atMs } = solo.raft.deadline()!;
      solo.tell({ kind: 'serversReachable', servers: [id('c')] });
      expect(solo.raft.deadline()!.atMs).toBe(atMs);
      expect(ask(solo)).toMatchObject([{ granted: false }]);
    });
  });

  it('K46: a new store of one elects itself at once, and says nothing before its disk has the term', () => {
    const solo = new Solo({ voters: ['a'] });
    expect(solo.raft.deadline()!.atMs).toBeLessThanOrEqual(solo.nowMs);
    solo.tell({ kind: 'serversReachable', servers: [id('x')] });
    solo.expire();
    expect([solo.raft.role, solo.raft.commitIndex]).toEqual(['leader', 0]);
    expect(sent(solo.effects, 'append').every(({ afterDisk }) => afterDisk)).toBe(true);
    solo.sync();
    expect(solo.raft.commitIndex).toBe(1);
  });

  it('K37, K46: after a restart it first leaves others, whom its disk may be too old to know, the time to be heard', () => {
    const again = new Solo({ voters: ['a'], term: 1, log: logOf(1, 1) });
    const waitMs = again.raft.deadline()!.atMs - again.nowMs;
    expect(waitMs).toBeGreaterThan(2 * TEST_CONFIG.electionTimeoutMs);
    expect(waitMs).toBeLessThan(3 * TEST_CONFIG.electionTimeoutMs);
    again.append('b', 1, [2, 1], []);
    expect(again.raft.leader).toBe(id('b'));
    const alone = new Solo({ voters: ['a'], term: 1, log: logOf(1, 1) });
    alone.expire(waitMs);
    expect(alone.raft.role).toBe('leader');
  });

  it('4.2.1: a server without a vote never stands', () => {
    const solo = new Solo({ voters: ['b', 'c'] });
    expect(solo.raft.deadline()).toBeUndefined();
    expect(solo.expire(10_000)).toEqual([]);
  });

  describe('3.10: leadership transfer', () => {
    it('takes no proposals, brings the other up to date, and then tells it to stand', () => {
      const solo = new Solo().leadAll();
      solo.propose('x');
      solo.flush();
      expect(sent(solo.tell({ kind: 'transferAsked', token: 1, to: id('b') }), 'timeoutNow')).toEqual([]);
      expect(of(solo.propose('y'), 'refused')).toMatchObject([{ reason: 'busy' }]);
      expect(sent(solo.have('c', 2), 'timeoutNow')).toEqual([]);
      expect(sent(solo.have('b', 2), 'timeoutNow')).toMatchObject([{ to: 'b' }]);
    });

    it('is given up after an election timeout; proposals are taken again', () => {
      const solo = new Solo().leadAll();
      solo.tell({ kind: 'transferAsked', token: 1, to: id('b') });
      for (let beat = 0; beat < 5; beat++) {
        solo.expire(20);
        solo.have('c', 1);
      }
      expect(of(solo.effects, 'refused')).toMatchObject([{ token: 1, reason: 'busy' }]);
      expect(of(solo.propose('y'), 'appended')).toHaveLength(1);
    });

    it.each([
      ['a', 'invalid'],
      ['x', 'invalid'],
    ])('to %s is refused: %s', (to, reason) => {
      const solo = new Solo().leadAll();
      expect(solo.tell({ kind: 'transferAsked', token: 1, to: id(to) })).toMatchObject([{ reason }]);
    });

    it('to who has no vote is refused, so is a second one meanwhile, and any at who does not lead', () => {
      const asked = (to: string) => ({ kind: 'transferAsked', token: 2, to: id(to) }) as const;
      const solo = new Solo().leadAll();
      solo.tell({ kind: 'serversReachable', servers: [id('b'), id('c'), id('x')] });
      expect(solo.tell(asked('x'))).toMatchObject([{ kind: 'refused', reason: 'invalid' }]);
      solo.tell({ kind: 'transferAsked', token: 1, to: id('b') });
      expect(solo.tell(asked('c'))).toMatchObject([{ kind: 'refused', token: 2, reason: 'busy' }]);
      expect(new Solo().tell(asked('b'))).toMatchObject([{ kind: 'refused', reason: 'notLeader' }]);
    });

    it('allows no change of voters meanwhile, and tells who leads in the end: the one that was wanted, or another', () => {
      const handing = () => {
        const solo = new Solo().leadAll();
        solo.tell({ kind: 'transferAsked', token: 1, to: id('b') });
        return solo;
      };
      const solo = handing();
      const change = { kind: 'changeAsked', token: 3, voters: [id('a')] } as const;
      expect(of(solo.tell(change), 'refused')).toMatchObject([{ token: 3, reason: 'busy' }]);
      expect(of(solo.append('b', 2, [1, 1], []), 'transferred')).toEqual([
        { kind: 'transferred', token: 1, leader: 'b' },
      ]);
      expect(of(handing().append('c', 2, [1, 1], []), 'refused')).toMatchObject([
        { token: 1, reason: 'notLeader' },
      ]);
    });

    it('the other stands without asking first, and with the next term unseats the leader that hears of it', () => {
      const cluster = new TestCluster({ voters: ['a', 'b', 'c'] });
      const { term } = cluster.elect();
      const before = cluster.leaderName()!;
      const next = before === 'a' ? 'b' : 'a';
      cluster.tell(before, { kind: 'transferAsked', token: 1, to: id(next) });
      cluster.settle();
      expect([cluster.leaderName(), cluster.raft(next).term]).toEqual([next, term + 1]);
      expect(cluster.raft(before).role).toBe('follower');
    });

    it('timeoutNow of anybody but the leader is ignored', () => {
      const solo = new Solo({ term: 1 });
      solo.append('b', 1, [0, 0], []);
      solo.receive('c', { kind: 'timeoutNow', term: 1 });
      expect(solo.raft.role).toBe('follower');
      solo.receive('b', { kind: 'timeoutNow', term: 1 });
      expect([solo.raft.role, solo.raft.term]).toEqual(['candidate', 2]);
    });
  });
});
