/** Ongaro 2014, chapter 4: changing the voters. */
import { describe, expect, it } from 'vitest';
import type { Configuration } from '../../../src/quorum/raft/types.ts';
import { id, TestCluster } from './cluster.ts';
import { commandAt, of, Solo, sent } from './solo.ts';

const change = (solo: Solo, ...voters: string[]) =>
  solo.tell({ kind: 'changeAsked', token: 1, voters: voters.map(id) });
const set = (incoming: string, outgoing = ''): Configuration => ({
  incoming: [...incoming].map(id),
  outgoing: [...outgoing].map(id),
});

describe('raft: membership changes', () => {
  it.each([
    ['b', 'd'],
    ['d', 'b'],
  ])(
    '4.1, 4.3: a joint configuration is in force once appended, and both majorities must agree (%s, then %s)',
    (first, second) => {
      const solo = new Solo().leadAll();
      change(solo, 'a', 'd', 'e');
      expect(solo.raft.configuration).toEqual(set('ade', 'abc'));
      expect(solo.raft.committedConfiguration).toEqual(set('abc'));
      expect(
        sent(solo.flush(), 'append')
          .map(({ to }) => to)
          .sort(),
      ).toEqual(['b', 'c', 'd', 'e']);
      solo.sync();
      solo.have(first, 2);
      expect(solo.raft.commitIndex).toBe(1);
      solo.have(second, 2);
      expect(solo.raft.commitIndex).toBe(2);
    },
  );

  it('4.3: then the new one alone follows by itself; once committed the change is reported', () => {
    const solo = new Solo().leadAll();
    change(solo, 'a', 'd', 'e');
    solo.flush();
    solo.sync();
    solo.have('b', 2);
    solo.have('d', 2);
    expect(solo.raft.configuration).toEqual(set('ade'));
    solo.flush();
    solo.sync();
    solo.have('b', 3);
    expect(of(solo.effects, 'reconfigured')).toEqual([]);
    expect(of(solo.have('d', 3), 'reconfigured')).toMatchObject([{ token: 1, configuration: set('ade') }]);
    expect(solo.raft.isChanging).toBe(false);
  });

  it('4.3: but not when only what was before the joint one is committed', () => {
    const solo = new Solo().leadAll();
    solo.propose('x');
    change(solo, 'a', 'd', 'e');
    solo.flush();
    solo.sync();
    for (const voter of ['b', 'd']) solo.have(voter, 2);
    expect([solo.raft.commitIndex, solo.raft.configuration]).toEqual([2, set('ade', 'abc')]);
  });

  it('4.3: a vote in a joint configuration needs both majorities', () => {
    const solo = new Solo({ term: 1 });
    const joint = { kind: 'configuration', index: 1, term: 1, configuration: set('ade', 'abc') } as const;
    solo.append('b', 1, [0, 0], [joint]);
    solo.expire(500);
    const yes = { kind: 'voteAnswer', term: 2, isPreVote: true, granted: true } as const;
    solo.receive('d', yes);
    solo.receive('e', yes);
    expect(solo.raft.role).toBe('preCandidate');
    solo.receive('c', yes);
    expect(solo.raft.role).toBe('candidate');
  });

  it('4.1: a configuration that is cut off is no longer in force', () => {
    const solo = new Solo({ term: 1 });
    const joint = { kind: 'configuration', index: 1, term: 1, configuration: set('ade', 'abc') } as const;
    solo.append('b', 1, [0, 0], [joint]);
    expect(solo.raft.isChanging).toBe(true);
    solo.append('c', 2, [0, 0], [commandAt(1, 2)]);
    expect([solo.raft.configuration, solo.raft.isChanging]).toEqual([set('abc'), false]);
  });

  it('K36: of two changes at once one is refused', () => {
    const solo = new Solo().leadAll();
    change(solo, 'a', 'b');
    expect(of(change(solo, 'a', 'c'), 'refused')).toMatchObject([{ reason: 'changing' }]);
  });

  it.each([
    { why: 'of nobody', voters: [], reason: 'invalid' },
    { why: 'to more than nine', voters: [...'abcdefghij'], reason: 'invalid' },
  ])('a change $why is refused', ({ voters, reason }) => {
    expect(of(change(new Solo().leadAll(), ...voters), 'refused')).toMatchObject([{ reason }]);
  });

  it('a change to what is already so is done at once; a follower refuses all', () => {
    expect(of(change(new Solo().leadAll(), 'c', 'b', 'a'), 'reconfigured')).toHaveLength(1);
    expect(of(change(new Solo(), 'a'), 'refused')).toMatchObject([{ reason: 'notLeader' }]);
  });

  it('4.1 (erratum of 2015): no change before an entry of the own term is committed', () => {
    const solo = new Solo({ term: 1, log: new Solo().leadAll().raft.entries() });
    solo.append('b', 1, [1, 1], [], 1);
    solo.lead();
    solo.sync();
    expect([solo.raft.commitIndex, solo.raft.isChanging]).toEqual([1, false]);
    expect(of(change(solo, 'a', 'b'), 'refused')).toMatchObject([{ reason: 'busy' }]);
    solo.have('b', 2);
    expect(of(change(solo, 'a', 'b'), 'refused')).toEqual([]);
  });

  it('4.3: a leader completes the change that it finds in its log', () => {
    const joint = { kind: 'configuration', index: 1, term: 1, configuration: set('abd', 'abc') } as const;
    const solo = new Solo({ term: 1, log: [joint] }).lead();
    solo.flush();
    solo.sync();
    for (const voter of ['b', 'c', 'd']) solo.have(voter, 2);
    expect(solo.raft.configuration).toEqual(set('abd'));
  });

  it.each([
    { side: 'old', incoming: 'bcd', outgoing: 'abe', isLeaderAfter: false },
    { side: 'new', incoming: 'ade', outgoing: 'bcf', isLeaderAfter: true },
  ])(
    '4.3: while a change is under way a server of the $side voters alone may be elected, and completes it',
    ({ incoming, outgoing, isLeaderAfter }) => {
      const joint = {
        kind: 'configuration',
        index: 1,
        term: 1,
        configuration: set(incoming, outgoing),
      } as const;
      const solo = new Solo({ voters: [...outgoing], term: 1 });
      solo.append('b', 1, [0, 0], [joint]);
      solo.lead();
      solo.flush();
      solo.sync();
      const others = [...new Set(incoming + outgoing)].filter((name) => name !== 'a');
      for (const voter of others) solo.have(voter, 2);
      expect(solo.raft.configuration).toEqual(set(incoming));
      solo.flush();
      solo.sync();
      for (const voter of others) solo.have(voter, 3);
      expect([solo.raft.commitIndex, solo.raft.isChanging]).toEqual([3, false]);
      expect(solo.raft.role).toBe(isLeaderAfter ? 'leader' : 'follower');
    },
  );

  it('K35, 4.2.2: a leader that is removed counts others only, tells them, and asks one to go on', () => {
    const solo = new Solo().leadAll();
    change(solo, 'b', 'c');
    solo.flush();
    solo.sync();
    solo.have('b', 2);
    solo.have('c', 2);
    solo.flush();
    solo.sync();
    solo.have('b', 3);
    expect(solo.raft.commitIndex).toBe(2);
    const effects = solo.have('c', 3);
    expect(solo.raft.role).toBe('follower');
    expect(sent(effects, 'append').map(({ to, commit }) => [to, commit])).toEqual([
      ['b', 3],
      ['c', 3],
    ]);
    expect(sent(effects, 'timeoutNow')).toHaveLength(1);
    expect(solo.raft.deadline()).toBeUndefined();
  });

  it('4.2.2: a server whose removal is not committed still stands: it may be the only one to finish it', () => {
    const cluster = new TestCluster({ voters: ['a', 'b'] });
    cluster.elect();
    const leader = cluster.leaderName()!;
    const other = leader === 'a' ? 'b' : 'a';
    cluster.tell(leader, { kind: 'changeAsked', token: 1, voters: [id(other)] });
    // Only the old leader has the entry that leaves it out when it crashes.
    cluster.runUntil(() => cluster.raft(leader).configuration.outgoing.length === 0, 50);
    cluster.syncDisk(leader);
    cluster.crash(leader);
    cluster.network.splice(0);
    cluster.start(leader);
    cluster.runUntil(() => cluster.leaderName() === other && !cluster.raft(other).isChanging, 3_000);
    expect(cluster.raft(other).committedConfiguration).toEqual(set(other));
  });

  it('4.2.2: also where it joined later, and restarts without knowing what is committed', () => {
    const solo = new Solo({ voters: [], term: 1 });
    const configurations = [set('b'), set('ab', 'b'), set('ab'), set('b', 'ab'), set('b')];
    const log = configurations.map(
      (configuration, place) =>
        ({ kind: 'configuration', index: place + 1, term: 1, configuration }) as const,
    );
    solo.append('b', 1, [0, 0], log);
    expect(solo.raft.deadline()?.reason).toBe('raft: election timeout');
    solo.append('b', 1, [5, 1], [], 5, 2);
    expect(solo.raft.deadline()?.reason).toBe('raft: leader silent');
  });

  it('a server without a vote that hears no leader for long forgets it, and stands for nothing', () => {
    const solo = new Solo({ voters: ['b'], term: 1 });
    solo.append('b', 1, [0, 0], [], 0, 1);
    expect(solo.raft.leader).toBe(id('b'));
    const { atMs } = solo.raft.deadline() as { atMs: number };
    solo.raft.expire({ wallMs: atMs, monoMs: atMs });
    expect([solo.raft.leader, solo.raft.role, solo.raft.term]).toEqual([undefined, 'follower', 1]);
    expect(solo.raft.deadline()).toBeUndefined();
  });

  it('K34, 4.2.3: a removed server that heard nothing of it disturbs nobody', () => {
    const cluster = new TestCluster({ voters: ['a', 'b', 'c', 'd'] });
    cluster.elect();
    const leader = cluster.leaderName()!;
    const removed = ['a', 'b', 'c', 'd'].find((name) => name !== leader)!;
    const rest = ['a', 'b', 'c', 'd'].filter((name) => name !== removed);
    cluster.tell(leader, { kind: 'changeAsked', token: 1, voters: rest.map(id) });
    const isCut = (from: string, to: string) => to === removed && from !== removed;
    cluster.run(3_000, isCut);
    expect([cluster.leaderName(), cluster.raft(leader).term]).toEqual([leader, 1]);
    expect(cluster.raft(leader).configuration).toEqual(set(rest.join('')));
  });

  it('4.2.1: a new voter without a log is brought up to date and then counts', () => {
    const cluster = new TestCluster({ voters: ['a'], others: ['b', 'c'] });
    cluster.elect();
    cluster.propose('a', 'x', 'y');
    cluster.tell('a', { kind: 'changeAsked', token: 1, voters: [id('a'), id('b'), id('c')] });
    cluster.run(100);
    expect(cluster.raft('c').committedConfiguration).toEqual(set('abc'));
    cluster.crash('a');
    cluster.runUntil(() => cluster.leader !== undefined, 1_000);
    cluster.propose(cluster.leaderName()!, 'z');
    cluster.run(50);
    expect(cluster.raft('b').commitIndex).toBe(cluster.raft('c').commitIndex);
  });
});
