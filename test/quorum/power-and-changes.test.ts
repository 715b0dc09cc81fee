/** Whole nodes that lose power while clients write, and changes of voters that meet (K33, K36). */
import { describe, expect, it } from 'vitest';
import type { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { ServerId } from '../../src/quorum/raft/types.ts';
import { nodeOf } from '../../src/quorum/server.ts';
import { wishKey, wishValue } from '../../src/quorum/voters/voter-wishes.ts';
import { ask, clusterOf, put, until, votersOf } from './clusters.ts';

function settled(nodes: number, seed: number): Cluster {
  const cluster = clusterOf(nodes, seed);
  cluster.startAll();
  const wanted = Math.min(3, nodes);
  until(cluster, 30_000, () => cluster.machines.every((machine) => votersOf(machine) === wanted));
  return cluster;
}

function leaderOf(cluster: Cluster): SimulatedMachine {
  return cluster.machines.find((machine) => machine.quorum?.replica?.isLeader) as SimulatedMachine;
}

/** Writes new keys through every machine, one after the other on each; gathers those that were acknowledged. */
function load(cluster: Cluster): { readonly acknowledged: Set<string>; stop(): void } {
  const acknowledged = new Set<string>();
  let count = 0;
  let isStopped = false;
  const write = (machine: SimulatedMachine) => {
    if (isStopped) return;
    const key = `k${++count}`;
    machine.askQuorum(put(key, '1'), (result: Result<unknown>) => {
      if (result.ok) acknowledged.add(key);
      cluster.scheduler.after(5, () => write(machine));
    });
  };
  for (const machine of cluster.machines) write(machine);
  return {
    acknowledged,
    stop: () => {
      isStopped = true;
    },
  };
}

describe('power is lost under load', () => {
  const ways = ['a minority', 'a majority', 'all'] as const;
  it.each(ways.flatMap((way) => [1, 2, 3, 4].map((seed) => [way, seed] as const)))(
    'of %s of three, four times over: every acknowledged write is there afterwards, on every copy (K33, seed=%i)',
    (way, seed) => {
      const cluster = settled(3, 100 + seed);
      const { acknowledged, stop } = load(cluster);
      const struck = { 'a minority': 1, 'a majority': 2, all: 3 }[way];
      for (let round = 0; round < 4; round++) {
        cluster.scheduler.runUntil(cluster.nowMs + 700);
        const leader = leaderOf(cluster) ?? cluster.machine(0);
        // The leader first: what it has not sent is on its disk alone.
        const victims = [leader, ...cluster.machines.filter((machine) => machine !== leader)].slice(
          0,
          struck,
        );
        for (const machine of victims) machine.crash('power');
        cluster.scheduler.runUntil(cluster.nowMs + 300);
        for (const machine of victims) machine.start();
        until(cluster, 30_000, () => cluster.machines.some((machine) => machine.quorum?.replica?.isLeader));
      }
      cluster.scheduler.runUntil(cluster.nowMs + 1_000);
      stop();
      expect(acknowledged.size).toBeGreaterThan(100);
      const has = (machine: SimulatedMachine) =>
        [...acknowledged].every((key) => machine.quorum?.register.get(key) !== undefined);
      until(cluster, 30_000, () => cluster.machines.every(has));
    },
  );
});

/** Configurations as each server took them up, in order; every one with those that went. */
function watchConfigurations(cluster: Cluster): string[] {
  const seen: string[] = [];
  let before: ServerId | string = '';
  const look = () => {
    const configuration = leaderOf(cluster)?.quorum?.replica?.raft.committedConfiguration;
    const text = JSON.stringify(configuration);
    if (configuration !== undefined && text !== before) {
      before = text;
      seen.push(text);
    }
    cluster.scheduler.after(1, look);
  };
  look();
  return seen;
}

function wish(machine: SimulatedMachine, about: SimulatedMachine, wanted: 'always' | 'never') {
  const then = [{ op: 'put', key: wishKey(about.nodeId), value: wishValue(wanted) } as const];
  const call = { op: 'transact', transaction: { compares: [], then, otherwise: [] } } as const;
  machine.askQuorum(call, () => undefined);
}

describe('two changes of voters at once (K36)', () => {
  it.each([1, 2, 3])(
    'ordered through two members in one moment are carried out one after the other, never both at once (n=5, seed=%i)',
    (seed) => {
      const cluster = settled(5, 200 + seed);
      const votes = () =>
        new Set(leaderOf(cluster)?.quorum?.replica?.raft.committedConfiguration.incoming.map(nodeOf) ?? []);
      const before = votes();
      const leaving = cluster.machines.filter(
        (machine) => before.has(machine.nodeId) && machine !== leaderOf(cluster),
      ) as [SimulatedMachine, SimulatedMachine];
      const configurations = watchConfigurations(cluster);
      const [one, other] = cluster.machines.filter((machine) => !before.has(machine.nodeId));
      wish(one as SimulatedMachine, leaving[0], 'never');
      wish(other as SimulatedMachine, leaving[1], 'never');
      until(
        cluster,
        40_000,
        () => leaving.every((machine) => !votes().has(machine.nodeId)) && votes().size === 3,
      );
      for (const text of configurations) {
        const { incoming, outgoing } = JSON.parse(text) as { incoming: ServerId[]; outgoing: ServerId[] };
        if (outgoing.length === 0) continue;
        // From what was to what will be, by one voter that goes and those that come for it.
        expect(outgoing.filter((server) => !incoming.includes(server)).length).toBeLessThanOrEqual(1);
      }
      expect(ask(cluster, cluster.machine(0), put('after', '1'))).toMatchObject({ ok: true });
    },
  );

  it.each([1, 2, 3])(
    'begun by a leader that is cut off and by its successor: the one of the majority wins, the other never was (n=5, seed=%i)',
    (seed) => {
      const cluster = settled(5, 300 + seed);
      const old = leaderOf(cluster);
      const { incoming } = old.quorum!.replica!.raft.committedConfiguration;
      const voters = cluster.machines.filter(({ nodeId }) => incoming.map(nodeOf).includes(nodeId));
      const learners = cluster.machines.filter((machine) => !voters.includes(machine));
      const others = voters.filter((machine) => machine !== old) as [SimulatedMachine, SimulatedMachine];
      const [left, right] = learners as [SimulatedMachine, SimulatedMachine];
      cluster.network.partition([[old.nodeId, left.nodeId], [...others, right].map(({ nodeId }) => nodeId)]);
      const serverOf = (machine: SimulatedMachine) => machine.quorum!.replica!.server;
      const wanted = [...incoming.filter((server) => server !== serverOf(others[0])), serverOf(left)];
      const now = { monoMs: cluster.nowMs, wallMs: 0 };
      // By its own rules it would not, as it cannot end it; what it orders now is told to who joins with its next heartbeat.
      old.quorum!.replica!.step({ kind: 'changeAsked', token: 0, voters: wanted }, now);
      expect(old.quorum!.replica!.raft.configuration.outgoing).not.toEqual([]);
      const successor = () => others.find((machine) => machine.quorum?.replica?.isLeader);
      until(cluster, 20_000, () => successor() !== undefined);
      expect(ask(cluster, others[1], put('a', '1'))).toMatchObject({ ok: true });
      wish(others[1], right, 'always');
      const votesOf = (machine: SimulatedMachine) =>
        machine.quorum?.replica?.raft.committedConfiguration.incoming ?? [];
      until(cluster, 20_000, () => votesOf(others[1]).includes(serverOf(right)));
      expect(votesOf(old)).toEqual(incoming);
      cluster.network.mendAll();
      until(cluster, 30_000, () => votesOf(old).includes(serverOf(right)));
      expect(ask(cluster, old, put('b', '1'))).toMatchObject({ ok: true });
      for (const machine of cluster.machines)
        until(cluster, 10_000, () => machine.quorum?.register.get('b') !== undefined);
    },
  );
});
