/** Whole nodes whose leader goes in order: writes elsewhere go on without an election's wait. */
import { describe, expect, it } from 'vitest';
import type { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { wishKey, wishValue } from '../../src/quorum/voters/voter-wishes.ts';
import { ask, clusterOf, put, until, votersOf } from './clusters.ts';

/** Who loses the connection to its leader stands after 25 ms at the earliest, who misses it after 600. */
const LEAST_ELECTION_MS = 25;

/** When each of its writes was answered. */
interface Writer {
  endMs: number;
  failed: number;
  readonly atMs: number[];
}

/** Writes one after the other. */
function writesAt(cluster: Cluster, machine: SimulatedMachine): Writer {
  const writer: Writer = { endMs: Number.POSITIVE_INFINITY, failed: 0, atMs: [] };
  const next = (): void => {
    if (cluster.nowMs >= writer.endMs) return;
    machine.askQuorum(put('k', String(writer.atMs.length)), (result) => {
      if (result.ok) writer.atMs.push(cluster.nowMs);
      else writer.failed++;
      next();
    });
  };
  next();
  return writer;
}

function longestPause(atMs: readonly number[]): number {
  return Math.max(...atMs.slice(1).map((endMs, index) => endMs - (atMs[index] as number)));
}

function running(nodes: number, seed: number) {
  const cluster = clusterOf(nodes, seed);
  cluster.startAll();
  until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
  const leader = cluster.machines.find(({ quorum }) => quorum?.replica?.isLeader) as SimulatedMachine;
  const other = cluster.machines.find((machine) => machine !== leader) as SimulatedMachine;
  return { cluster, leader, other };
}

describe('quorum store: a leader that goes', () => {
  it.each([1, 2, 3])(
    'hands over before it stops: no write waits as long as for an election (n=3, seed %i)',
    (seed) => {
      const { cluster, leader, other } = running(3, seed);
      const writer = writesAt(cluster, other);
      cluster.scheduler.runUntil(cluster.nowMs + 300);
      const before = writer.atMs.length;
      leader.handOver();
      until(cluster, 500, () => leader.quorum?.isHandingOver === false);
      expect(leader.quorum?.replica?.isLeader).toBe(false);
      const next = leader.quorum?.replica?.leader;
      expect(next).not.toBe(leader.nodeId);
      leader.stop();
      writer.endMs = cluster.nowMs + 2_000;
      cluster.scheduler.runUntil(writer.endMs + 100);
      expect(writer.failed).toBe(0);
      expect(writer.atMs.length).toBeGreaterThan(before + 100);
      expect(longestPause(writer.atMs)).toBeLessThan(LEAST_ELECTION_MS);
      expect(other.quorum?.replica?.leader).toBe(next);
      expect(cluster.violations).toEqual([]);
    },
  );

  it.each([
    [7, 0],
    [7, 1],
    [8, 0],
    [8, 1],
  ])(
    'passes over a voter that nobody wants to vote, while nobody can take its place (n=3, seed %i, follower %i)',
    (seed, which) => {
      const { cluster, leader } = running(3, seed);
      const followers = cluster.machines.filter((machine) => machine !== leader);
      const [unwanted, other] = [followers[which], followers[1 - which]] as SimulatedMachine[];
      const never = { op: 'put', key: wishKey(unwanted!.nodeId), value: wishValue('never') } as const;
      const transaction = { compares: [], then: [never], otherwise: [] };
      expect(ask(cluster, leader, { op: 'transact', transaction })).toMatchObject({ ok: true });
      cluster.scheduler.runUntil(cluster.nowMs + 1_000);
      expect(votersOf(leader)).toBe(3);
      leader.handOver();
      until(cluster, 500, () => leader.quorum?.isHandingOver === false);
      expect(leader.quorum?.replica?.leader).toBe(other!.nodeId);
      expect(cluster.violations).toEqual([]);
    },
  );

  it('without another voter in reach there is nothing to wait for', () => {
    const { cluster, leader } = running(3, 4);
    for (const machine of cluster.machines) if (machine !== leader) machine.crash('kill');
    cluster.scheduler.runUntil(cluster.nowMs + 50);
    leader.handOver();
    expect(leader.quorum?.isHandingOver).toBe(false);
    expect(leader.quorum?.replica?.isLeader).toBe(true);
  });

  it.each([5, 6])('a leader that is to vote no more hands over with its vote (n=4, seed %i)', (seed) => {
    const { cluster, leader, other } = running(4, seed);
    cluster.scheduler.runUntil(cluster.nowMs + 5_000);
    const never = { op: 'put', key: wishKey(leader.nodeId), value: wishValue('never') } as const;
    const writer = writesAt(cluster, other);
    const transaction = { compares: [], then: [never], otherwise: [] };
    expect(ask(cluster, other, { op: 'transact', transaction })).toMatchObject({ ok: true });
    const isVoter = () =>
      other.quorum?.status().servers.some(({ node, role }) => node === leader.nodeId && role !== 'learner');
    until(cluster, 10_000, () => isVoter() === false && other.quorum?.replica?.leader !== undefined);
    writer.endMs = cluster.nowMs + 2_000;
    cluster.scheduler.runUntil(writer.endMs + 100);
    expect(writer.failed).toBe(0);
    expect(longestPause(writer.atMs)).toBeLessThan(LEAST_ELECTION_MS);
    expect(cluster.violations).toEqual([]);
  });
});
