/** Ongaro 2014, 3.5 to 3.7, 5, 10.2: entries, commit, conflicts, snapshots. */
import { describe, expect, it } from 'vitest';
import type { LogEntry } from '../../../src/quorum/raft/types.ts';
import { id, TestCluster } from './cluster.ts';
import { brief, commandAt, logOf, of, Solo, sent } from './solo.ts';

/** Answers everything that `solo` sends to `b` from a log that starts as `entries`, until nothing more is sent. */
function mirror(solo: Solo, entries: LogEntry[]): readonly LogEntry[] {
  const follower = new Solo({ voters: ['a', 'b', 'c'], term: 1, log: entries });
  let from = 0;
  for (let turn = 0; turn < 100; turn++) {
    solo.flush();
    const appends = sent(solo.effects.slice(from), 'append', 'b');
    from = solo.effects.length;
    if (appends.length === 0) break;
    for (const append of appends) {
      const answers = follower.receive('l', append);
      for (const { ok, index, conflictTerm, round: echo, term: at } of sent(answers, 'appendAnswer')) {
        solo.receive('b', { kind: 'appendAnswer', term: at, ok, index, conflictTerm, round: echo });
      }
    }
  }
  return follower.raft.entries();
}

describe('raft: log replication', () => {
  it('10.2.1, 10.2.2: proposals of one turn are one write and one message to each; both leave together', () => {
    const solo = new Solo().leadAll();
    expect(of(solo.propose('x', 'y'), 'appended').map(({ token, index }) => [token, index])).toEqual([
      [0, 2],
      [1, 3],
    ]);
    solo.propose('z');
    expect(solo.raft.deadline()!.atMs).toBeLessThanOrEqual(solo.nowMs);
    const effects = solo.flush();
    expect(of(effects, 'persistEntries').map(({ entries }) => brief(entries))).toEqual(['2@1 3@1 4@1']);
    expect(
      sent(effects, 'append').map(({ to, entries, afterDisk }) => [to, brief(entries), afterDisk]),
    ).toEqual([
      ['b', '2@1 3@1 4@1', false],
      ['c', '2@1 3@1 4@1', false],
    ]);
  });

  it('3.5, 10.2.1: an entry is committed once a majority has it on disk, the leader without its own if need be', () => {
    const slow = new Solo().leadAll();
    slow.propose('x');
    slow.flush();
    slow.have('b', 2);
    expect(slow.raft.commitIndex).toBe(1);
    expect(brief(of(slow.have('c', 2), 'apply')[0]!.entries)).toBe('2@1');

    const quick = new Solo().leadAll();
    quick.propose('x');
    quick.flush();
    quick.sync();
    expect(quick.raft.commitIndex).toBe(1);
    quick.have('b', 2);
    expect(quick.raft.commitIndex).toBe(2);
  });

  it('3.5: followers learn of a commit in the same turn, with the next entries if there are any', () => {
    const solo = new Solo().leadAll();
    solo.propose('x');
    solo.flush();
    solo.sync();
    solo.have('b', 2);
    expect(solo.raft.deadline()).toEqual({ atMs: solo.nowMs, reason: 'raft: flush' });
    expect(sent(solo.flush(), 'append').map(({ commit, entries }) => [commit, entries.length])).toEqual([
      [2, 0],
      [2, 0],
    ]);
    expect(solo.raft.deadline()!.reason).toBe('raft: heartbeat');
  });

  it('4.2.1: who has no vote hears of every commit, and of an idle leader every eleventh heartbeat', () => {
    const solo = new Solo().leadAll();
    solo.tell({ kind: 'serversReachable', servers: [id('b'), id('c'), id('x')] });
    solo.flush();
    solo.have('x', 1);
    solo.flush();
    const heard: number[] = [];
    for (let beat = 1; beat <= 80; beat++) {
      const appends = sent(solo.expire(20), 'append');
      expect(appends.filter(({ to }) => to !== 'x').map(({ to }) => to)).toEqual(['b', 'c']);
      if (appends.some(({ to }) => to === 'x')) heard.push(beat * 20);
      solo.have('b', 1);
      solo.have('c', 1);
    }
    const gaps = heard.slice(1).map((at, place) => at - (heard[place] ?? 0));
    expect(heard.length).toBeLessThanOrEqual(8);
    expect(Math.max(...gaps)).toBe(220);
    solo.propose('x');
    solo.flush();
    solo.have('x', 2);
    solo.have('b', 2);
    solo.have('c', 2);
    expect(sent(solo.flush(), 'append').map(({ to, commit }) => [to, commit])).toContainEqual(['x', 2]);
  });

  it('3.5: a follower commits what the leader has committed, and never beyond what it was shown to share', () => {
    const solo = new Solo({ term: 1, log: logOf(1, 1, 1) });
    solo.append('b', 1, [1, 1], [], 3);
    expect(solo.raft.commitIndex).toBe(1);
    solo.append('b', 1, [2, 1], logOf(1, 1, 1).slice(2), 9, 2);
    expect(solo.raft.commitIndex).toBe(3);
  });

  it.each([
    { ours: [1, 1], previous: [3, 1], hint: 3, conflictTerm: 0, why: 'is too short' },
    { ours: [1, 2, 2, 2], previous: [4, 3], hint: 2, conflictTerm: 2, why: 'has another term there' },
  ] as const)(
    '3.5: a follower whose log $why refuses and says where that term begins',
    ({ ours, previous, hint, conflictTerm }) => {
      const solo = new Solo({ term: 3, log: logOf(...ours) });
      const answers = sent(solo.append('b', 3, previous, []), 'appendAnswer');
      expect(answers).toMatchObject([{ ok: false, index: hint, conflictTerm }]);
      expect(solo.raft.lastIndex).toBe(ours.length);
    },
  );

  it('3.5: what conflicts is replaced, and the disk told so before the answer', () => {
    const solo = new Solo({ term: 3, log: logOf(1, 2, 2) });
    const effects = solo.append('b', 3, [1, 1], [commandAt(2, 3)]);
    expect(brief(solo.raft.entries())).toBe('1@1 2@3');
    expect(of(effects, 'persistEntries').map(({ entries }) => brief(entries))).toEqual(['2@3']);
    expect(sent(effects, 'appendAnswer').at(-1)).toMatchObject({ ok: true, index: 2, afterDisk: true });
  });

  it('3.5, figure 3.2: a leader only appends to its own log, whatever a second one of its term says', () => {
    const solo = new Solo().leadAll();
    solo.propose('x', 'y');
    const before = brief(solo.raft.entries());
    const effects = solo.append('b', 1, [1, 1], [commandAt(2, 1, 'other')], 2);
    expect(of(effects, 'mark').map(({ name }) => name)).toEqual(['raft.twoLeaders']);
    expect([solo.raft.role, brief(solo.raft.entries()), solo.raft.commitIndex]).toEqual([
      'leader',
      before,
      1,
    ]);
  });

  it('3.7: a follower that was down gets what it missed once it is back; others need not wait for it', () => {
    const cluster = new TestCluster({ voters: ['a', 'b', 'c'] });
    cluster.elect();
    const leader = cluster.leaderName()!;
    const down = leader === 'a' ? 'b' : 'a';
    cluster.crash(down);
    cluster.propose(leader, 'x', 'y', 'z');
    cluster.settle();
    expect(cluster.raft(leader).commitIndex).toBe(4);
    cluster.start(down);
    cluster.run(100);
    expect([cluster.raft(down).commitIndex, brief(cluster.raft(down).entries())]).toEqual([
      4,
      '1@1 2@1 3@1 4@1',
    ]);
  });

  it('3.8: what is committed is not on disk: after a restart nothing is, until a leader says so, and nothing is applied twice', () => {
    const restored = { voters: ['a', 'b', 'c'], term: 1, log: logOf(1, 1, 1) };
    const solo = new Solo(restored);
    expect([solo.raft.commitIndex, of(solo.effects, 'apply')]).toEqual([0, []]);
    const applied = of(solo.append('b', 1, [3, 1], [], 2), 'apply').map(({ entries }) => brief(entries));
    expect(applied).toEqual(['1@1 2@1']);
    expect(of(solo.append('b', 1, [3, 1], [], 2, 2), 'apply')).toEqual([]);
    const led = new Solo(restored).lead();
    expect(led.raft.commitIndex).toBe(0);
  });

  it('3.5, 3.7, K29: a message that comes twice or late changes nothing: entries behind it stay', () => {
    const solo = new Solo({ term: 1 });
    solo.append('b', 1, [0, 0], logOf(1, 1, 1));
    solo.sync();
    const late = solo.append('b', 1, [0, 0], logOf(1, 1));
    expect(of(late, 'persistEntries')).toEqual([]);
    expect(sent(late, 'appendAnswer')).toMatchObject([{ ok: true, index: 2, afterDisk: false }]);
    expect(solo.raft.lastIndex).toBe(3);
  });

  // Figure 3.6: a missing entry, many missing, extra ones, extra terms, and both.
  const leaderLog = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  it.each([
    ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['b', [1, 1, 1, 4]],
    ['c', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['e', [1, 1, 1, 4, 4, 4, 4]],
    ['f', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
    ['empty', []],
  ])('3.5, figure 3.6 (%s): any follower is brought to the log of the leader', (_, theirs) => {
    const solo = new Solo({ term: 7, log: logOf(...leaderLog) }).lead();
    expect(brief(mirror(solo, logOf(...theirs)))).toBe(brief(solo.raft.entries()));
  });

  it('3.5: a conflict costs one message for each term, not for each entry', () => {
    const solo = new Solo({ term: 7, log: logOf(1, 1, ...Array.from({ length: 500 }, () => 5)) }).lead();
    mirror(solo, logOf(1, 1, ...Array.from({ length: 400 }, () => 3)));
    expect(sent(solo.effects, 'append', 'b').length).toBeLessThan(8);
  });

  it('3.6.2, figure 3.7: entries of an older term are not committed by counting, but with one of the own term', () => {
    const solo = new Solo({ term: 3, log: logOf(1, 2) }).lead();
    solo.sync();
    solo.have('b', 2);
    solo.have('c', 2);
    expect(solo.raft.commitIndex).toBe(0);
    solo.have('b', 3);
    expect(solo.raft.commitIndex).toBe(3);
  });

  it('3.6.2: a new leader appends an entry at once, the very first one the configuration', () => {
    expect(new Solo().lead().raft.entryAt(1)).toMatchObject({ kind: 'configuration' });
    const log = new Solo().lead().raft.entries();
    expect(new Solo({ term: 1, log }).lead().raft.entryAt(2)).toMatchObject({ kind: 'blank', term: 2 });
  });

  it('K41: a follower acknowledges entries from its disk only, and shows at once that it heard the leader', () => {
    const solo = new Solo({ term: 1 });
    solo.append('b', 1, [0, 0], []);
    const effects = solo.append('b', 1, [0, 0], logOf(1, 1), 0, 2);
    expect(sent(effects, 'appendAnswer')).toMatchObject([
      { ok: true, index: 0, round: 2, afterDisk: false },
      { ok: true, index: 2, round: 2, afterDisk: true },
    ]);
    expect(sent(solo.append('b', 1, [2, 1], [], 0, 3), 'appendAnswer')).toMatchObject([
      { ok: true, index: 0, round: 3, afterDisk: false },
    ]);
  });

  it('10.2.2: messages run ahead of answers up to a window, and are split', () => {
    const solo = new Solo({ config: { inFlightBytes: 300, appendBytes: 100 } }).leadAll();
    solo.propose(...Array.from({ length: 20 }, (_, place) => 'x'.repeat(10 + (place % 2))));
    const first = sent(solo.flush(), 'append', 'b');
    expect(first.map(({ entries }) => entries.length)).toEqual([2, 2, 2, 2]);
    expect(first.map(({ previousIndex }) => previousIndex)).toEqual([1, 3, 5, 7]);
    expect(sent(solo.flush(), 'append', 'b')).toEqual([]);
    solo.have('b', 3);
    expect(sent(solo.flush(), 'append', 'b').map(({ previousIndex }) => previousIndex)).toEqual([9]);
  });

  it('a lost message shows when the next arrives: the leader goes on where the follower says', () => {
    const solo = new Solo().leadAll();
    solo.propose('lost');
    solo.flush();
    const refusal = {
      kind: 'appendAnswer',
      term: 1,
      ok: false,
      index: 2,
      conflictTerm: 0,
      round: 1,
    } as const;
    solo.receive('b', refusal);
    expect(sent(solo.flush(), 'append', 'b').map(({ entries }) => brief(entries))).toEqual(['2@1']);
  });

  it('more than `uncommittedBytes` that nobody acknowledges is refused as busy', () => {
    const solo = new Solo({ config: { uncommittedBytes: 200 } }).leadAll();
    const text = 'x'.repeat(60);
    expect(of(solo.propose(text, text, text), 'refused')).toMatchObject([{ token: 2, reason: 'busy' }]);
    solo.flush();
    solo.sync();
    solo.have('b', 3);
    expect(of(solo.propose(text), 'appended')).toHaveLength(1);
  });

  it('4.2.1: a learner gets every entry and counts for nothing', () => {
    const cluster = new TestCluster({ voters: ['a', 'b', 'c'], others: ['l'] });
    cluster.elect();
    const name = cluster.leaderName()!;
    const voters = ['a', 'b', 'c'].filter((voter) => voter !== name);
    for (const voter of voters) cluster.crash(voter);
    cluster.propose(name, 'x');
    cluster.run(30);
    expect([cluster.raft('l').lastIndex, cluster.raft(name).commitIndex]).toEqual([2, 1]);
    for (const voter of voters) cluster.start(voter);
    cluster.run(300);
    expect(cluster.raft('l').commitIndex).toBeGreaterThanOrEqual(2);
  });

  describe('5: snapshots', () => {
    it('a snapshot drops entries but for a tail', () => {
      const solo = new Solo({ config: { tailEntries: 2 } }).leadAll();
      solo.propose('2', '3', '4', '5');
      solo.flush();
      solo.sync();
      solo.have('b', 5);
      solo.tell({ kind: 'snapshotted', index: 4 });
      expect([solo.raft.firstIndex, solo.raft.lastIndex, solo.raft.point.index]).toEqual([3, 5, 2]);
      solo.tell({ kind: 'snapshotted', index: 99 });
      expect(solo.raft.firstIndex).toBe(3);
    });

    it('K42: whoever needs what is gone gets a snapshot, several at once, and then what follows it', () => {
      const solo = new Solo({ voters: ['a', 'b', 'c', 'd', 'e'], config: { tailEntries: 0 } }).leadAll();
      solo.propose('2', '3');
      solo.flush();
      solo.sync();
      for (const voter of ['b', 'c']) solo.have(voter, 3);
      solo.tell({ kind: 'snapshotted', index: 3 });
      const refusal = {
        kind: 'appendAnswer',
        term: 1,
        ok: false,
        index: 1,
        conflictTerm: 0,
        round: 1,
      } as const;
      for (const voter of ['d', 'e']) solo.receive(voter, { ...refusal, index: 2 });
      expect(of(solo.flush(), 'snapshotWanted').map(({ to }) => to)).toEqual(['d', 'e']);
      solo.propose('4');
      expect(sent(solo.flush(), 'append', 'd')).toEqual([]);
      const to = solo.raft.progress().find(({ server }) => server === 'd')!.server;
      solo.tell({ kind: 'snapshotSent', to, index: 3, ok: true });
      expect(sent(solo.flush(), 'append', 'd').map(({ entries }) => brief(entries))).toEqual(['4@1']);
    });

    it('an installed snapshot replaces the log, or keeps what follows from it; an older one is ignored', () => {
      const { configuration } = new Solo().raft;
      const install = (solo: Solo, index: number, term: number) =>
        solo.tell({
          kind: 'snapshotInstalled',
          point: { index, term, configuration },
          from: configuration.incoming[1]!,
          term: 3,
        });
      const fits = new Solo({ term: 3, log: logOf(1, 1, 2) });
      expect(sent(install(fits, 2, 1), 'appendAnswer')).toMatchObject([{ ok: true, index: 2 }]);
      expect([brief(fits.raft.entries()), fits.raft.commitIndex]).toEqual(['3@2', 2]);
      const other = new Solo({ term: 3, log: logOf(1, 1, 1) });
      install(other, 2, 2);
      expect([brief(other.raft.entries()), other.raft.lastIndex]).toEqual(['', 2]);
      expect(install(other, 1, 1)).toEqual([]);
      expect(other.raft.firstIndex).toBe(3);
    });

    it('entries that do not follow from the snapshot on disk are left out at the start', () => {
      const point = { index: 5, term: 4, configuration: new Solo().raft.configuration };
      const stale = [commandAt(6, 3), commandAt(7, 3)];
      const solo = new Solo();
      const { raft } = solo;
      expect(raft.lastIndex).toBe(0);
      const cluster = new TestCluster({ voters: ['a', 'b', 'c'] });
      Object.assign(cluster.server('a').disk, { point, entries: stale, applied: 5 });
      cluster.crash('a');
      cluster.start('a');
      expect(cluster.raft('a').lastIndex).toBe(5);
    });
  });

  describe('K31: a disk that fails', () => {
    it('a leader steps down, and acknowledges, votes and proposes nothing until it is well', () => {
      const solo = new Solo().leadAll();
      solo.tell({ kind: 'diskFailed' });
      expect(solo.raft.role).toBe('follower');
      expect(of(solo.propose('x'), 'refused')).toHaveLength(1);
      expect(solo.append('b', 5, [0, 0], [])).toEqual([]);
      expect(solo.expire(10_000)).toEqual([]);
      expect(solo.raft.deadline()).toBeUndefined();
    });

    it('once it is well, term, vote and entries that were not certain are written anew before anything is said', () => {
      const solo = new Solo();
      const request = {
        kind: 'voteRequest',
        isPreVote: false,
        lastIndex: 0,
        lastTerm: 0,
        isTransfer: false,
      } as const;
      solo.receive('b', { ...request, term: 1 });
      solo.append('b', 1, [0, 0], logOf(1, 1));
      const sequence = of(solo.effects, 'awaitDisk').at(-1)!.sequence;
      solo.tell({ kind: 'diskFailed' });
      const effects = solo.tell({ kind: 'diskRecovered' });
      expect(of(effects, 'persistHardState')).toMatchObject([{ state: { term: 1, votedFor: 'b' } }]);
      expect(of(effects, 'persistEntries').map(({ entries }) => brief(entries))).toEqual(['1@1 2@1']);
      // What the disk says of before the failure proves nothing.
      solo.tell({ kind: 'diskReached', sequence });
      expect(sent(solo.append('b', 1, [2, 1], [], 0, 2), 'appendAnswer')).toMatchObject([
        { index: 0, afterDisk: true },
      ]);
      solo.sync();
      expect(sent(solo.append('b', 1, [2, 1], [], 0, 3), 'appendAnswer')).toMatchObject([
        { index: 2, afterDisk: false },
      ]);
    });

    it('entries that were cut off on their way to the disk do not count when they get there', () => {
      const solo = new Solo({ term: 1 });
      solo.append('b', 1, [0, 0], logOf(1, 1, 1));
      const sequence = of(solo.effects, 'awaitDisk').at(-1)!.sequence;
      solo.append('c', 2, [1, 1], [commandAt(2, 2)]);
      solo.tell({ kind: 'diskReached', sequence });
      expect(sent(solo.append('c', 2, [2, 2], [], 0, 2), 'appendAnswer')).toMatchObject([{ index: 1 }]);
    });
  });

  describe('nonsense neither throws nor changes anything', () => {
    const nonsense: readonly (readonly [string, Parameters<Solo['receive']>[1]])[] = [
      [
        'entries with a gap',
        {
          kind: 'append',
          term: 3,
          previousIndex: 1,
          previousTerm: 1,
          entries: [commandAt(3, 1)],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
      [
        'terms that go back',
        {
          kind: 'append',
          term: 3,
          previousIndex: 0,
          previousTerm: 0,
          entries: [commandAt(1, 2), commandAt(2, 1)],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
      [
        'entries of a later term than their leader',
        {
          kind: 'append',
          term: 3,
          previousIndex: 0,
          previousTerm: 0,
          entries: [commandAt(1, 4)],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
      [
        'a configuration of nobody',
        {
          kind: 'append',
          term: 3,
          previousIndex: 2,
          previousTerm: 2,
          entries: [
            { kind: 'configuration', index: 3, term: 3, configuration: { incoming: [], outgoing: [] } },
          ],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
      [
        'another entry where one is committed',
        {
          kind: 'append',
          term: 3,
          previousIndex: 0,
          previousTerm: 0,
          entries: [commandAt(1, 3)],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
      [
        'an index that is no number of entries',
        {
          kind: 'append',
          term: 3,
          previousIndex: -1,
          previousTerm: 0,
          entries: [],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
      [
        'a term that is no term',
        {
          kind: 'append',
          term: Number.NaN,
          previousIndex: 0,
          previousTerm: 0,
          entries: [],
          commit: 0,
          round: 1,
          stable: 0,
        },
      ],
    ];
    it.each(nonsense)('%s', (_, body) => {
      const solo = new Solo({ term: 2, log: logOf(1, 2) });
      solo.append('b', 2, [2, 2], [], 2);
      solo.receive('c', body);
      expect([brief(solo.raft.entries()), solo.raft.commitIndex]).toEqual(['1@1 2@2', 2]);
    });

    it('acknowledgements of more than there is, and of strangers, commit nothing', () => {
      const solo = new Solo().leadAll();
      solo.propose('x');
      solo.flush();
      solo.have('b', 99);
      for (const stranger of ['x', 'y', 'z']) solo.have(stranger, 2);
      expect(solo.raft.commitIndex).toBe(1);
    });

    it('a message for another server is ignored', () => {
      const solo = new Solo();
      const { incoming } = solo.raft.configuration;
      const message = { kind: 'timeoutNow', from: incoming[1]!, to: incoming[2]!, term: 9 } as const;
      expect(solo.tell({ kind: 'received', message })).toEqual([]);
      expect(solo.raft.term).toBe(0);
    });
  });
});
