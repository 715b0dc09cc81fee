/** Stores that end or begin badly: given up, with all voters lost, or with a founder that dies at once. */
import { describe, expect, it } from 'vitest';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { ask, clusterOf, put, storeOf, until, votersOf } from './clusters.ts';

describe('nobody is left behind with a store that nobody can lead', () => {
  it.each([2, 3, 4, 5])(
    'every member of a store with data that is given up joins the other (%i members)',
    (size) => {
      const cluster = clusterOf(size + 1, 81, [0, size]);
      const group = cluster.machines.slice(0, size);
      const other = cluster.machine(size);
      cluster.network.partition([group.map((machine) => machine.nodeId), [other.nodeId]]);
      cluster.startAll();
      const voters = Math.min(size % 2 === 0 ? size - 1 : size, 3);
      until(cluster, 40_000, () => group.every((machine) => votersOf(machine) === voters));
      until(cluster, 20_000, () => other.quorum?.status().role === 'leader');
      expect(ask(cluster, group[0] as SimulatedMachine, put('a', 'gone'))).toMatchObject({ ok: true });
      expect(ask(cluster, other, put('a', 'kept'))).toMatchObject({ ok: true });
      const keep = storeOf(other) as string;
      cluster.network.mendAll();
      until(cluster, 30_000, () => group.every((machine) => machine.quorum?.status().others.length === 1));
      const leader = group.find((machine) => machine.quorum?.status().role === 'leader') as SimulatedMachine;
      expect(ask(cluster, leader, { op: 'abandon', keep })).toMatchObject({ ok: true });
      until(cluster, 60_000, () => cluster.machines.every((machine) => storeOf(machine) === keep));
    },
  );

  it('a member without a vote can recover when all voters are lost, and another learner follows it (n=5)', () => {
    const cluster = clusterOf(5, 82, [0]);
    cluster.startAll();
    until(cluster, 40_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    expect(ask(cluster, cluster.machine(0), put('a', '1'))).toMatchObject({ ok: true });
    const isVoter = (machine: SimulatedMachine) =>
      machine.quorum
        ?.status()
        .servers.some(({ node, role }) => node === machine.nodeId && role !== 'learner') === true;
    const learners = cluster.machines.filter((machine) => !isVoter(machine));
    expect(learners).toHaveLength(2);
    for (const machine of cluster.machines) if (isVoter(machine)) machine.crash('kill');
    const [one, two] = learners as [SimulatedMachine, SimulatedMachine];
    until(cluster, 10_000, () => one.quorum?.status().leader === undefined);
    expect(ask(cluster, one, put('a', '2'))).toMatchObject({
      ok: false,
      error: { code: 'QUORUM_UNAVAILABLE', details: { outcome: 'not-done' } },
    });
    expect(ask(cluster, one, { op: 'recover' })).toMatchObject({ ok: true });
    until(cluster, 40_000, () => storeOf(two) === storeOf(one));
    expect(ask(cluster, two, put('a', '2'))).toMatchObject({ ok: true });
  });

  it.each([0, 1, 2, 3, 5, 8])(
    'a founder killed %i ms after it founded, its disk slow, is followed by one that founds (n=3)',
    (afterMs) => {
      const cluster = clusterOf(3, 83, [0]);
      cluster.startAll();
      const founder = cluster.machine(0);
      Object.assign(founder.diskConditions, { minSyncMs: 40, maxSyncMs: 50 });
      const endMs = cluster.nowMs + 10_000;
      while (storeOf(founder) === undefined && cluster.nowMs < endMs)
        cluster.scheduler.runUntil(cluster.nowMs + 1);
      cluster.scheduler.runUntil(cluster.nowMs + afterMs);
      founder.crash('kill');
      cluster.scheduler.runUntil(cluster.nowMs + 2_000);
      founder.start();
      until(cluster, 60_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    },
  );
});
