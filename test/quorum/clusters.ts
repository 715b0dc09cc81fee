/** Whole nodes with a quorum store in one simulated world, and what tests ask of them. */
import { expect } from 'vitest';
import { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import { FOUND_AFTER_MS, quorumConfigOf } from '../../src/node/quorum-config.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';

/** `founders` were told of nobody. */
export function clusterOf(
  nodes: number,
  seed: number,
  founders: readonly number[] = [0],
  roles: readonly string[] = ['worker'],
): Cluster {
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
        isToldOfOthers: !founders.includes(index),
        roles,
      }),
  });
}

export function ask<T>(cluster: Cluster, machine: SimulatedMachine, call: QuorumCall): Result<T> {
  let answer: Result<unknown> | undefined;
  machine.askQuorum(call, (result) => {
    answer = result;
  });
  until(cluster, 10_000, () => answer !== undefined);
  return answer as Result<T>;
}

export function until(cluster: Cluster, mostMs: number, condition: () => boolean): void {
  const endMs = cluster.nowMs + mostMs;
  while (!condition() && cluster.nowMs < endMs) cluster.scheduler.runUntil(cluster.nowMs + 10);
  expect(cluster.violations).toEqual([]);
  expect(condition()).toBe(true);
}

export function votersOf(machine: SimulatedMachine): number {
  return (
    machine.quorum?.status().servers.filter(({ role }) => role === 'leader' || role === 'voter').length ?? 0
  );
}

export function storeOf(machine: SimulatedMachine): string | undefined {
  return machine.quorum?.status().store;
}

export function put(key: string, value: string): QuorumCall {
  return {
    op: 'transact',
    transaction: { compares: [], then: [{ op: 'put', key, value: utf8(value) }], otherwise: [] },
  };
}
