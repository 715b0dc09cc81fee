/** The quorum store in whole nodes: mesh, links and disk around it, in one simulated world. */
import { describe, expect, it } from 'vitest';
import { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { FOUND_AFTER_MS, quorumConfigOf } from '../../src/node/quorum-config.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import type { RangeAnswer, TransactionAnswer } from '../../src/quorum/port.ts';

function clusterOf(nodes: number, seed: number, founders = 1): Cluster {
  return new Cluster({
    seed,
    nodes,
    boards: { boards: [{ name: 'main', mode: 'crdt' }] },
    quorum: (index) =>
      quorumConfigOf({
        voters: 3,
        foundAfterMs: FOUND_AFTER_MS,
        replaceAfterMs: 60_000,
        reads: 'index',
        isToldOfOthers: index >= founders,
        roles: ['worker'],
      }),
  });
}

function ask<T>(cluster: Cluster, machine: SimulatedMachine, call: QuorumCall): Result<T> {
  let answer: Result<unknown> | undefined;
  machine.askQuorum(call, (result) => {
    answer = result;
  });
  until(cluster, 10_000, () => answer !== undefined);
  return answer as Result<T>;
}

function until(cluster: Cluster, mostMs: number, condition: () => boolean): void {
  const endMs = cluster.nowMs + mostMs;
  while (!condition() && cluster.nowMs < endMs) cluster.scheduler.runUntil(cluster.nowMs + 10);
  expect(cluster.violations).toEqual([]);
  expect(condition()).toBe(true);
}

function votersOf(machine: SimulatedMachine): number {
  return (
    machine.quorum?.status().servers.filter(({ role }) => role === 'leader' || role === 'voter').length ?? 0
  );
}

function put(key: string, value: string): QuorumCall {
  return {
    op: 'transact',
    transaction: { compares: [], then: [{ op: 'put', key, value: utf8(value) }], otherwise: [] },
  };
}

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
    const cluster = clusterOf(5, 11, 5);
    cluster.startAll();
    until(cluster, 30_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const stores = new Set(cluster.machines.map((machine) => machine.quorum?.status().store));
    expect(stores.size).toBe(1);
  });
});
