import { describe, expect, it } from 'vitest';
import { TestCluster } from './cluster.ts';

describe('raft: elections, replication and commit (chapter 3)', () => {
  it.each([1, 2, 3, 4, 5])('K20, K46: a cluster of %i elects one leader and commits', (count) => {
    const voters = Array.from({ length: count }, (_, place) => `s${place}`);
    const cluster = new TestCluster({ voters });
    cluster.elect();
    cluster.propose(cluster.leaderName()!, 'x=1', 'y=2');
    cluster.run(50);
    for (const voter of voters) expect(cluster.raft(voter).commitIndex).toBe(3);
  });
});
