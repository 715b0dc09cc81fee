/** A store that a person orders where no node founds one by itself. */
import { describe, expect, it } from 'vitest';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { ask, clusterOf, put, storeOf, until, votersOf } from './clusters.ts';

const CONFLICT = { ok: false, error: { code: 'CONFLICT' } };

describe('a store is founded at an order', () => {
  it.each([1, 2, 3])(
    'where all were told of others: the others join, and no second one is founded (n=%i)',
    (nodes) => {
      const cluster = clusterOf(nodes, 84, []);
      cluster.startAll();
      const [first] = cluster.machines as [SimulatedMachine, ...SimulatedMachine[]];
      cluster.scheduler.runUntil(cluster.nowMs + 20_000);
      expect(cluster.machines.map(storeOf)).toEqual(cluster.machines.map(() => undefined));
      expect(ask(cluster, first, { op: 'found' })).toMatchObject({ ok: true });
      const store = storeOf(first) as string;
      const voters = nodes === 3 ? 3 : 1;
      until(cluster, 20_000, () => cluster.machines.every((machine) => storeOf(machine) === store));
      until(cluster, 40_000, () => cluster.machines.every((machine) => votersOf(machine) === voters));
      for (const machine of cluster.machines) {
        expect(ask(cluster, machine, { op: 'found' })).toMatchObject(CONFLICT);
        expect(ask(cluster, machine, put('a', '1'))).toMatchObject({ ok: true });
      }
    },
  );

  it('where an empty store gave way to one that is gone, which no node does by itself (n=2)', () => {
    const cluster = clusterOf(2, 85, [0, 1]);
    const [one, two] = cluster.machines as [SimulatedMachine, SimulatedMachine];
    const apart = [[one.nodeId], [two.nodeId]];
    cluster.network.partition(apart);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => storeOf(machine) !== undefined));
    const before = new Map(cluster.machines.map((machine) => [machine, storeOf(machine)]));
    const gaveWay = () => cluster.machines.find((machine) => storeOf(machine) !== before.get(machine));
    cluster.network.mendAll();
    const endMs = cluster.nowMs + 20_000;
    while (gaveWay() === undefined && cluster.nowMs < endMs) cluster.scheduler.runUntil(cluster.nowMs + 1);
    const left = gaveWay() as SimulatedMachine;
    cluster.network.partition(apart);
    // It heard of the other, and got nothing of it.
    until(cluster, 20_000, () => storeOf(left) === undefined);
    cluster.scheduler.runUntil(cluster.nowMs + 20_000);
    expect(storeOf(left)).toBeUndefined();
    expect(ask(cluster, left, put('a', '1'))).toMatchObject({ error: { code: 'QUORUM_UNAVAILABLE' } });
    expect(ask(cluster, left, { op: 'found' })).toMatchObject({ ok: true });
    expect([...before.values()]).not.toContain(storeOf(left));
    expect(ask(cluster, left, put('a', '1'))).toMatchObject({ ok: true });
    // The other turns up with nothing in it: what was written stays, and the other gives way.
    const store = storeOf(left);
    cluster.network.mendAll();
    until(cluster, 30_000, () => cluster.machines.every((machine) => storeOf(machine) === store));
  });

  it('not on an observer', () => {
    const cluster = clusterOf(1, 86, [], ['observer']);
    cluster.startAll();
    expect(ask(cluster, cluster.machine(0), { op: 'found' })).toMatchObject(CONFLICT);
    expect(storeOf(cluster.machine(0))).toBeUndefined();
  });
});
