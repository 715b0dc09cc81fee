/** The quorum store in whole nodes: mesh, links and disk around it, in one simulated world. */
import { describe, expect, it } from 'vitest';
import type { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { RangeAnswer, TransactionAnswer } from '../../src/quorum/port.ts';
import { ask, clusterOf, put, storeOf, until, votersOf } from './clusters.ts';

describe('the quorum store in whole nodes', () => {
  it('is founded by the node that was told of nobody, and three members are three voters within 20 s (n=3)', () => {
    const cluster = clusterOf(3, 1);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const stores = new Set(cluster.machines.map((machine) => machine.quorum?.status().store));
    expect(stores.size).toBe(1);
  });

  it.each([0, 1, 2, 3])('answers writes and strong reads through member %i, voter or not (n=4)', (index) => {
    const cluster = clusterOf(4, 7);
    cluster.startAll();
    until(cluster, 25_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const machine = cluster.machine(index);
    const written = ask<TransactionAnswer>(cluster, machine, put('a', `by ${index}`));
    expect(written).toMatchObject({ ok: true, value: { succeeded: true } });
    for (const reader of cluster.machines) {
      const read = ask<RangeAnswer>(cluster, reader, { op: 'get', key: 'a' });
      expect(read.ok && new TextDecoder().decode(read.value.found[0]?.value)).toBe(`by ${index}`);
    }
  });

  it('keeps what was acknowledged when all are killed at once and come back (K26, n=3)', () => {
    const cluster = clusterOf(3, 3);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    expect(ask(cluster, cluster.machine(1), put('a', '1'))).toMatchObject({ ok: true });
    for (const machine of cluster.machines) machine.crash('kill');
    for (const machine of cluster.machines) machine.start();
    const read = ask<RangeAnswer>(cluster, cluster.machine(2), { op: 'get', key: 'a' });
    expect(read.ok && new TextDecoder().decode(read.value.found[0]?.value)).toBe('1');
  });

  it('one of several that see each other founds, none twice (n=5, all may found)', () => {
    const cluster = clusterOf(5, 11, [0, 1, 2, 3, 4]);
    cluster.startAll();
    until(cluster, 30_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const stores = new Set(cluster.machines.map((machine) => machine.quorum?.status().store));
    expect(stores.size).toBe(1);
  });

  /** Two groups that cannot see each other, each with a founder, until each has a store. */
  function apart(seed: number): { cluster: Cluster; left: SimulatedMachine; right: SimulatedMachine } {
    const cluster = clusterOf(2, seed, [0, 1]);
    const [left, right] = [cluster.machine(0), cluster.machine(1)];
    cluster.network.partition([[left.nodeId], [right.nodeId]]);
    cluster.startAll();
    until(cluster, 20_000, () =>
      cluster.machines.every((machine) => machine.quorum?.status().role === 'leader'),
    );
    expect(storeOf(left)).not.toBe(storeOf(right));
    return { cluster, left, right };
  }

  it('two stores that meet without data become one by themselves (seed=5)', () => {
    const { cluster, left, right } = apart(5);
    cluster.network.mendAll();
    until(cluster, 30_000, () => storeOf(left) !== undefined && storeOf(left) === storeOf(right));
    expect(ask(cluster, right, put('a', '1'))).toMatchObject({ ok: true });
    expect(ask(cluster, left, put('b', '1'))).toMatchObject({ ok: true });
  });

  it.each([0, 1])('of two stores that meet the one with data stays (data at %i)', (index) => {
    const { cluster, left, right } = apart(6);
    const kept = cluster.machine(index);
    const store = storeOf(kept);
    expect(ask(cluster, kept, put('a', 'kept'))).toMatchObject({ ok: true });
    cluster.network.mendAll();
    until(cluster, 30_000, () => storeOf(left) === store && storeOf(right) === store);
    const read = ask<RangeAnswer>(cluster, cluster.machine(1 - index), { op: 'get', key: 'a' });
    expect(read.ok && new TextDecoder().decode(read.value.found[0]?.value)).toBe('kept');
  });

  const lives = [['lives on', false] as const, ['is killed as it gives it up', true] as const];
  it.each(lives)(
    'two stores that meet with data stay apart and say so, until a person gives one up (its node %s)',
    (_, isKilled) => {
      const { cluster, left, right } = apart(8);
      const [keep, gone] = [storeOf(left), storeOf(right)];
      expect(ask(cluster, left, put('a', 'left'))).toMatchObject({ ok: true });
      for (const key of 'abcde') expect(ask(cluster, right, put(key, 'right'))).toMatchObject({ ok: true });
      const goneRevision = right.quorum?.register.revision ?? 0;
      cluster.network.mendAll();
      until(cluster, 30_000, () =>
        cluster.machines.every(
          (machine) => machine.quorum?.status().others.some(({ hasData }) => hasData) === true,
        ),
      );
      cluster.scheduler.runUntil(cluster.nowMs + 20_000);
      expect([storeOf(left), storeOf(right)]).toEqual([keep, gone]);
      expect(ask(cluster, right, { op: 'abandon', keep: keep as string })).toMatchObject({ ok: true });
      if (isKilled) {
        until(cluster, 30_000, () => storeOf(right) === keep);
        expect(left.quorum?.register.revision).toBeLessThan(goneRevision);
        right.crash('kill');
        right.start();
      }
      until(cluster, 30_000, () => storeOf(right) === keep);
      const read = ask<RangeAnswer>(cluster, right, { op: 'get', key: 'a' });
      expect(read.ok && new TextDecoder().decode(read.value.found[0]?.value)).toBe('left');
      // Fencing tokens of the store that went are not handed out again.
      until(cluster, 5_000, () => (left.quorum?.register.revision ?? 0) >= goneRevision);
      expect(left.quorum?.register.get('a')).toBeDefined();
    },
  );

  it('refuses on the minority side within 2 s and says who is missing, reads of the mirror go on (K21, n=3)', () => {
    const cluster = clusterOf(3, 21);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const [a, b, c] = cluster.machines as [SimulatedMachine, SimulatedMachine, SimulatedMachine];
    expect(ask(cluster, a, put('a', '1'))).toMatchObject({ ok: true });
    cluster.network.partition([[a.nodeId], [b.nodeId, c.nodeId]]);
    const startMs = cluster.nowMs;
    const refused = ask(cluster, a, put('a', '2'));
    expect(cluster.nowMs - startMs).toBeLessThan(2_000);
    expect(refused).toMatchObject({ ok: false, error: { code: 'QUORUM_UNAVAILABLE' } });
    expect(a.quorum?.register.get('a')?.version).toBe(1);
    until(cluster, 10_000, () => [b, c].some((machine) => machine.quorum?.status().role === 'leader'));
    expect(ask(cluster, b, put('a', '3'))).toMatchObject({ ok: true });
    const late = ask(cluster, a, { op: 'get', key: 'a' });
    expect(late).toMatchObject({
      ok: false,
      error: {
        code: 'QUORUM_UNAVAILABLE',
        details: { outcome: 'not-done', missing: [b.nodeId, c.nodeId].sort() },
      },
    });
  });

  it('goes on from one node by order when the majority is lost for good, and takes the others along (n=3)', () => {
    const cluster = clusterOf(3, 31);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const [a, b, c] = cluster.machines as [SimulatedMachine, SimulatedMachine, SimulatedMachine];
    expect(ask(cluster, c, put('a', '1'))).toMatchObject({ ok: true });
    expect(ask(cluster, a, { op: 'recover' })).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    const before = storeOf(a);
    const lostRevision = a.quorum?.register.revision ?? 0;
    b.crash('kill');
    c.crash('kill');
    until(cluster, 10_000, () => a.quorum?.status().leader === undefined);
    expect(ask(cluster, a, { op: 'recover' })).toMatchObject({ ok: true });
    const read = ask<RangeAnswer>(cluster, a, { op: 'get', key: 'a' });
    expect(read.ok && new TextDecoder().decode(read.value.found[0]?.value)).toBe('1');
    expect(storeOf(a)).not.toBe(before);
    expect(a.quorum?.register.revision).toBeGreaterThan(lostRevision + 1_000_000);
    expect(ask(cluster, a, put('a', '2'))).toMatchObject({ ok: true });
    b.start();
    until(cluster, 40_000, () => storeOf(b) === storeOf(a));
    const there = ask<RangeAnswer>(cluster, b, { op: 'get', key: 'a' });
    expect(there.ok && new TextDecoder().decode(there.value.found[0]?.value)).toBe('2');
  });

  it('finds out a voter whose disk went back in time, and counts it under another name only (K37, n=3)', () => {
    const cluster = clusterOf(3, 38);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const leader = cluster.machines.find((machine) => machine.quorum?.status().role === 'leader');
    const old = cluster.machines.find((machine) => machine !== leader) as SimulatedMachine;
    const server = serverOf(old);
    old.crash('kill');
    const { state } = old.image;
    const before = structuredClone(state);
    old.start();
    until(cluster, 20_000, () => old.quorum?.status().leader !== undefined);
    for (let count = 0; count < 20; count++)
      expect(ask(cluster, old, put(`k${count}`, '1'))).toMatchObject({ ok: true });
    old.crash('kill');
    old.image.state = before;
    old.start();
    until(cluster, 30_000, () => serverOf(old) !== server && votersOf(old) === 3);
    expect(ask(cluster, old, { op: 'get', key: 'k19' })).toMatchObject({
      ok: true,
      value: { found: [{ version: 1 }] },
    });
  });

  it.each([
    ['leader', 41],
    ['leader', 42],
    ['follower', 43],
    ['follower', 44],
  ])(
    'a %s of whose log a record is damaged counts on as another server only, and nothing is lost (K38, n=3, seed=%i)',
    (role, seed) => {
      const cluster = clusterOf(3, seed);
      cluster.startAll();
      until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
      const spoilt = cluster.machines.find((machine) => machine.quorum?.status().role === role);
      const other = cluster.machines.find((machine) => machine !== spoilt) as SimulatedMachine;
      if (spoilt === undefined) throw new Error(`nobody is ${role}`);
      for (let count = 0; count < 20; count++)
        expect(ask(cluster, spoilt, put(`k${count}`, '1'))).toMatchObject({ ok: true });
      const server = serverOf(spoilt);
      spoilt.crash('power');
      spoilt.image.spoil(seededRng(seed));
      spoilt.start();
      until(cluster, 30_000, () => serverOf(spoilt) !== server && votersOf(spoilt) === 3);
      until(
        cluster,
        30_000,
        () => other.quorum?.status().servers.some((info) => info.server === server) === false,
      );
      for (const machine of [spoilt, other])
        for (let count = 0; count < 20; count++)
          expect(ask(cluster, machine, { op: 'get', key: `k${count}` })).toMatchObject({
            ok: true,
            value: { found: [{ version: 1 }] },
          });
      expect(cluster.violations).toEqual([]);
    },
  );

  it('keeps a wiped voter from counting: its node comes back as another server and is admitted anew (K37, n=3)', () => {
    const cluster = clusterOf(3, 37);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const wiped = cluster.machine(2);
    const server = serverOf(wiped);
    wiped.crash('kill');
    wiped.image.lose();
    wiped.start();
    const servers = () => cluster.machine(0).quorum?.status().servers ?? [];
    until(cluster, 30_000, () =>
      servers().every((info) => info.server !== server && info.role !== 'learner'),
    );
    expect(serverOf(wiped)).not.toBe(server);
    until(cluster, 5_000, () => votersOf(wiped) === 3);
  });
});

function serverOf(machine: SimulatedMachine): string | undefined {
  return machine.quorum?.status().servers.find(({ node }) => node === machine.nodeId)?.server;
}
