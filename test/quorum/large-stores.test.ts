/** Stores larger than what may wait for the disk at once. */
import { describe, expect, it } from 'vitest';
import type { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import { clusterOf, until } from './clusters.ts';

const VALUE_BYTES = 500 * 1024;
const KEYS = Math.ceil((limits.journalBufferBytes * 1.2) / VALUE_BYTES);

function ask(cluster: Cluster, machine: SimulatedMachine, call: QuorumCall): void {
  let isDone = false;
  machine.askQuorum(call, (result) => {
    expect(result).toMatchObject({ ok: true });
    isDone = true;
  });
  until(cluster, 20_000, () => isDone);
}

function fill(cluster: Cluster, machine: SimulatedMachine): void {
  const value = new Uint8Array(VALUE_BYTES).fill(120);
  for (let key = 0; key < KEYS; key++) {
    const then = [{ op: 'put', key: `k${key}`, value } as const];
    ask(cluster, machine, { op: 'transact', transaction: { compares: [], then, otherwise: [] } });
  }
}

function keysOf(machine: SimulatedMachine): number {
  return machine.quorum?.register.usage.keys ?? 0;
}

describe(`a store of ${Math.floor((KEYS * VALUE_BYTES) / 2 ** 20)} MiB, more than may wait for the disk`, () => {
  it('is given to a new member, which keeps it over a restart (K42)', { timeout: 60_000 }, () => {
    const cluster = clusterOf(2, 91);
    const [first, second] = [cluster.machine(0), cluster.machine(1)];
    first.start();
    until(cluster, 20_000, () => first.quorum?.status().role === 'leader');
    fill(cluster, first);
    second.start();
    until(cluster, 60_000, () => keysOf(second) === KEYS);
    first.crash('kill');
    second.crash('kill');
    second.start();
    expect(keysOf(second)).toBe(KEYS);
  });
});
