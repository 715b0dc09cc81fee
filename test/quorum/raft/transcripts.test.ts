import { describe, it } from 'vitest';
import { id, TestCluster } from './cluster.ts';
import { Transcript } from './transcript.ts';

/** A cluster in which `a` is the first to miss a leader, by a good while. */
function firstA(voters: readonly string[], others: readonly string[] = []): TestCluster {
  for (let seed = 1; ; seed++) {
    const cluster = new TestCluster({ voters, others, seed });
    const timeouts = voters.map((voter) => cluster.raft(voter).deadline()!.atMs);
    if (timeouts.slice(1).every((timeout) => timeout > timeouts[0]! + 20)) return cluster;
  }
}

/** The same, and `a` leads. */
function ledByA(voters = ['a', 'b', 'c'], others: readonly string[] = []): TestCluster {
  const cluster = firstA(voters, others);
  cluster.elect();
  cluster.run(5);
  return cluster;
}

/** Cuts `names` off from everybody else. */
const cutOff =
  (...names: string[]) =>
  (from: string, to: string) =>
    names.includes(from) !== names.includes(to);

describe('raft: stories, as files under transcripts/', () => {
  it('an election: pre-vote, vote, the first entry (3.4, 9.6)', () => {
    const cluster = firstA(['a', 'b', 'c']);
    const story = new Transcript(cluster);
    story.say('a is the first to hear nothing for an election timeout');
    cluster.elect();
    story.state();
    story.state();
    story.say('c does not hear a any more, and would stand; but the others hear their leader');
    story.isQuiet = true;
    const isDeaf = (from: string, to: string) => from === 'a' && to === 'c';
    cluster.run(cluster.raft('c').deadline()!.atMs - cluster.nowMs - 1, isDeaf);
    story.isQuiet = false;
    cluster.run(3, isDeaf);
    story.state();
    story.expectFile('election');
  });

  it('K20: two writes of one turn: one write to disk, one message to each, applied everywhere (3.5)', () => {
    const cluster = ledByA();
    const story = new Transcript(cluster);
    story.say('two proposals in one turn');
    cluster.propose('a', 'x=1', 'y=2');
    cluster.settle();
    cluster.run(5);
    story.state();
    story.expectFile('replication');
  });

  it('K21: entries that a deposed leader wrote alone are replaced (3.5)', () => {
    const cluster = ledByA();
    const story = new Transcript(cluster);
    story.say('a is cut off with two writes that nobody else has');
    cluster.propose('a', 'lost 1', 'lost 2');
    cluster.runUntil(
      () => cluster.leader !== undefined && cluster.leader !== cluster.raft('a'),
      500,
      cutOff('a'),
    );
    story.say('the others have a leader; it writes');
    cluster.propose(cluster.leaderName()!, 'kept');
    cluster.run(5, cutOff('a'));
    story.state();
    story.say('a is back');
    cluster.run(15);
    story.state();
    story.expectFile('conflict');
  });

  it('one voter is replaced by joint consensus (4.3)', () => {
    const cluster = ledByA(['a', 'b', 'c'], ['d']);
    const story = new Transcript(cluster);
    story.say('c goes, d comes; d had the log as a learner');
    cluster.tell('a', { kind: 'changeAsked', token: 1, voters: [id('a'), id('b'), id('d')] });
    cluster.settle();
    cluster.run(5);
    story.state();
    story.expectFile('joint-change');
  });

  it('K35: a leader is removed, tells so, and hands over (4.2.2)', () => {
    const cluster = ledByA();
    const story = new Transcript(cluster);
    story.say('a is asked to remove itself');
    cluster.tell('a', { kind: 'changeAsked', token: 1, voters: [id('b'), id('c')] });
    cluster.settle();
    cluster.run(15);
    story.state();
    story.expectFile('leader-removal');
  });

  it('leadership is handed to a chosen server (3.10)', () => {
    const cluster = ledByA();
    const story = new Transcript(cluster);
    story.say('a hands over to c while a proposal comes in: it must wait');
    cluster.propose('a', 'before');
    cluster.tell('a', { kind: 'transferAsked', token: 9, to: id('c') });
    cluster.propose('a', 'during');
    cluster.settle();
    cluster.run(5);
    story.state();
    story.expectFile('transfer');
  });

  it('reads on the leader share a round, those of a follower rest on its asking (6.4)', () => {
    const cluster = ledByA();
    const story = new Transcript(cluster);
    story.say('two reads at the leader in one turn, two at b');
    cluster.tell('a', { kind: 'readAsked', token: 1 });
    cluster.tell('a', { kind: 'readAsked', token: 2 });
    cluster.tell('b', { kind: 'readAsked', token: 3 });
    cluster.tell('b', { kind: 'readAsked', token: 4 });
    cluster.settle();
    story.say('a is cut off: it cannot confirm, and refuses once it steps down');
    cluster.tell('a', { kind: 'readAsked', token: 5 });
    cluster.runUntil(() => cluster.raft('a').role !== 'leader', 200, cutOff('a'));
    story.expectFile('read-index');
  });

  it('K42: a follower that is too far behind gets a snapshot (5)', () => {
    const cluster = ledByA();
    const story = new Transcript(cluster);
    story.say('c is down; so much is written that the tail that is kept does not reach back to it');
    cluster.crash('c');
    cluster.onEffect = () => {};
    cluster.onDeliver = () => {};
    const big = 'x'.repeat(600 * 1024);
    for (let write = 0; write < 10; write++) {
      cluster.propose('a', big);
      cluster.settle();
    }
    for (const name of ['a', 'b']) {
      cluster.tell(name, { kind: 'snapshotted', index: cluster.raft(name).commitIndex });
    }
    const rest = new Transcript(cluster);
    rest.say('c comes back with its first entry only; the log of a begins later');
    cluster.start('c');
    rest.state();
    cluster.run(15);
    rest.state();
    rest.expectFile('snapshot');
  });
});
