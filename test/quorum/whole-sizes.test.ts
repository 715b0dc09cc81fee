/** What the quorum store keeps when keys are overwritten again and again: on disk and in the log in memory. */
import { describe, expect, it } from 'vitest';
import { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import { limits } from '../../src/kernel/limits.ts';
import { FOUND_AFTER_MS, quorumConfigOf } from '../../src/node/quorum-config.ts';
import type { Operation } from '../../src/quorum/port.ts';

const KEYS = 1_000;
const TIMES = 100;
const AT_ONCE = 20;
const VALUE_BYTES = 400;
/** However little lives: 1 MiB of history in a checkpoint, three quarters of a checkpoint in the journal behind it. */
const FLOOR_BYTES = 2 * 1024 * 1024;
/** The log in memory is cut when so much was applied since it last was. */
const CUT_BYTES = 8 * 1024 * 1024;

function contentOf(key: number, time: number): Uint8Array {
  return utf8(`${key} ${time} `.padEnd(VALUE_BYTES, 'x'));
}

describe('sizes of the quorum store in a whole node', () => {
  it(`${KEYS} keys overwritten ${TIMES} times each stay below three times the live data on disk, and the log in memory is cut`, () => {
    const cluster = new Cluster({
      seed: 1,
      nodes: 1,
      boards: { boards: [{ name: 'main', mode: 'crdt' }] },
      quorum: () =>
        quorumConfigOf({
          voters: 3,
          foundAfterMs: FOUND_AFTER_MS,
          replaceAfterMs: 60_000,
          reads: 'index',
          isToldOfOthers: false,
          roles: ['worker'],
        }),
    });
    cluster.startAll();
    const machine = cluster.machine(0);
    runUntil(cluster, () => machine.quorum?.status().role === 'leader');
    const seen = { disk: 0, entries: 0, bytes: 0 };
    let written = 0;
    for (let time = 0; time < TIMES; time++) {
      for (let key = 0; key < KEYS; key += AT_ONCE) {
        const then = Array.from({ length: AT_ONCE }, (_, at): Operation => {
          const value = contentOf(key + at, time);
          written += value.length;
          return { op: 'put', key: `key-${key + at}`, value };
        });
        write(cluster, machine, then);
      }
      const entries = machine.quorum?.replica?.raft.entries() ?? [];
      seen.disk = Math.max(seen.disk, diskBytes(machine));
      seen.entries = Math.max(seen.entries, entries.length);
      const bytes = entries.reduce(
        (sum, entry) => sum + (entry.kind === 'command' ? entry.command.length : 0),
        0,
      );
      seen.bytes = Math.max(seen.bytes, bytes);
    }
    const live = KEYS * (VALUE_BYTES + 'key-000'.length);
    expect(machine.quorum?.register.usage).toMatchObject({ keys: KEYS });
    expect(written).toBeGreaterThan(10 * FLOOR_BYTES);
    expect(seen.disk).toBeLessThan(3 * live + FLOOR_BYTES);
    // What was applied since the log was last cut, and the tail that stays for slow followers.
    expect(seen.bytes).toBeLessThan(CUT_BYTES + limits.raftTailBytes + 1024 * 1024);
    expect(machine.quorum?.replica?.raft.firstIndex).toBeGreaterThan(1);

    machine.crash('kill');
    machine.start();
    runUntil(cluster, () => machine.quorum?.register.get(`key-${KEYS - 1}`)?.version === TIMES);
    for (let key = 0; key < KEYS; key++) {
      const found = machine.quorum?.register.get(`key-${key}`);
      expect(found).toMatchObject({ version: TIMES, value: contentOf(key, TIMES - 1) });
    }
  });
});

function diskBytes({ image }: SimulatedMachine): number {
  const { segments, checkpoint } = image.state;
  return segments.reduce((sum, { bytes }) => sum + bytes, checkpoint?.bytes ?? 0);
}

function write(cluster: Cluster, machine: SimulatedMachine, then: readonly Operation[]): void {
  let isDone = false;
  machine.askQuorum({ op: 'transact', transaction: { compares: [], then, otherwise: [] } }, (result) => {
    isDone = result.ok;
  });
  runUntil(cluster, () => isDone);
}

function runUntil(cluster: Cluster, condition: () => boolean): void {
  const endMs = cluster.nowMs + 20_000;
  while (!condition() && cluster.nowMs < endMs) cluster.scheduler.runUntil(cluster.nowMs + 1);
  expect(cluster.violations).toEqual([]);
  expect(condition()).toBe(true);
}
