/** Members of several versions in one store (K45): nobody applies what it does not understand, and nobody votes on it. */
import { describe, expect, it } from 'vitest';
import { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { FOUND_AFTER_MS, quorumConfigOf } from '../../src/node/quorum-config.ts';
import { quorumProblems } from '../../src/node/quorum-problems.ts';
import { quorumViewOf } from '../../src/node/quorum-voters.ts';
import { encodeFrame } from '../../src/quorum/frames.ts';
import type { RangeAnswer } from '../../src/quorum/port.ts';
import { encodeCommand } from '../../src/quorum/register/command.ts';
import { Register } from '../../src/quorum/register/register.ts';
import { Restorer } from '../../src/quorum/register/restorer.ts';
import { parseServerId } from '../../src/quorum/server.ts';
import { ask, put, storeOf, until, votersOf } from './clusters.ts';

/** `newest` may be changed before a node starts anew: its format, by index. */
function clusterOf(seed: number, newest: (number | undefined)[]): Cluster {
  return new Cluster({
    seed,
    nodes: newest.length,
    boards: { boards: [{ name: 'main', mode: 'crdt' }] },
    quorum: (index) => ({
      ...quorumConfigOf({
        voters: 3,
        foundAfterMs: FOUND_AFTER_MS,
        replaceAfterMs: 8_000,
        reads: 'index',
        isToldOfOthers: index > 0,
        roles: ['worker'],
      }),
      newestFormat: newest[index] ?? 1,
    }),
  });
}

function statusOf(machine: SimulatedMachine) {
  return machine.quorum!.status();
}

function problemsOf(machine: SimulatedMachine): readonly string[] {
  const status = statusOf(machine);
  const settled = { upForMs: 60_000, foundAfterMs: FOUND_AFTER_MS };
  return quorumProblems(status, quorumViewOf(status, []), settled).map(({ code }) => code);
}

function upgrade(
  cluster: Cluster,
  machine: SimulatedMachine,
  newest: (number | undefined)[],
  to: number,
): void {
  newest[machine.index] = to;
  machine.crash('kill');
  machine.start();
  until(cluster, 20_000, () => statusOf(machine).leader !== undefined);
}

/** Its process dies right after a checkpoint. */
function crashBehindCheckpoint(machine: SimulatedMachine): void {
  const records = [...machine.core!.checkpoint()];
  machine.crash('kill');
  machine.image.restore({
    ...machine.image.state,
    checkpoint: { number: 1, records, bytes: 0 },
    segments: [],
  });
}

function isVoter(machine: SimulatedMachine): boolean {
  return statusOf(machine).servers.some(({ node, role }) => node === machine.nodeId && role !== 'learner');
}

describe('the format of a store', () => {
  it('is raised once the last of three voters has the new version, and not before (K45, n=3)', () => {
    const newest = [1, 1, 1];
    const cluster = clusterOf(1, newest);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    for (const [at, machine] of cluster.machines.entries()) {
      expect(cluster.machines.map((one) => statusOf(one).format.store)).toEqual([1, 1, 1]);
      upgrade(cluster, machine, newest, 2);
      expect(ask(cluster, machine, put(`k${at}`, '1'))).toMatchObject({ ok: true });
      if (at < 2) cluster.scheduler.runUntil(cluster.nowMs + 3_000);
    }
    until(cluster, 5_000, () => cluster.machines.every((machine) => statusOf(machine).format.store === 2));
    expect(cluster.machines.flatMap(problemsOf)).toEqual([]);
    expect(new Set(cluster.machines.map((machine) => machine.quorum!.register.digest())).size).toBe(1);
  });

  it('is raised at one index everywhere, and survives restarts and snapshots (n=3)', () => {
    const cluster = clusterOf(2, [3, 3, 3]);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    until(cluster, 5_000, () => cluster.machines.every((machine) => statusOf(machine).format.store === 3));
    for (const machine of cluster.machines) machine.crash('kill');
    for (const machine of cluster.machines) machine.start();
    until(cluster, 20_000, () => cluster.machines.every((machine) => statusOf(machine).format.store === 3));
    const restorer = new Restorer(undefined, 3);
    for (const piece of cluster.machine(0).quorum!.register.capture()) restorer.take(piece);
    expect(restorer.finish()?.format).toBe(3);
    const older = new Restorer(undefined, 2);
    for (const piece of cluster.machine(0).quorum!.register.capture()) older.take(piece);
    expect([older.finish(), older.neededFormat]).toEqual([undefined, 3]);
  });

  it('waits for a copy without a vote that can be reached, and goes on without one that cannot (n=4)', () => {
    const cluster = clusterOf(3, [2, 2, 2, 1]);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const old = cluster.machine(3);
    cluster.scheduler.runUntil(cluster.nowMs + 5_000);
    expect(statusOf(cluster.machine(0)).format.store).toBe(1);
    old.crash('kill');
    until(cluster, 40_000, () => statusOf(cluster.machine(0)).format.store === 2);
  });
});

describe('a member whose version is too old for the store', () => {
  it('does not join it, founds none beside it, and says why (K45, n=2)', () => {
    const cluster = clusterOf(4, [2, 1]);
    const [first, old] = cluster.machines as [SimulatedMachine, SimulatedMachine];
    first.start();
    until(cluster, 20_000, () => first.quorum?.status().format.store === 2);
    cluster.startAll();
    cluster.scheduler.runUntil(cluster.nowMs + 20_000);
    expect(storeOf(old)).toBeUndefined();
    expect(problemsOf(old)).toEqual(['QUORUM_FORMAT_TOO_NEW']);
    expect(ask(cluster, old, { op: 'found' })).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    expect(votersOf(first)).toBe(1);
    expect(ask(cluster, first, put('a', '1'))).toMatchObject({ ok: true });
  });

  it.each([
    ['a voter', 1],
    ['a voter that has a checkpoint', 2],
  ])(
    'went back to an older version as %s: neither votes nor applies, is replaced, and comes back whole (K45, n=4)',
    (_, index) => {
      const newest = [2, 2, 2, 2];
      const cluster = clusterOf(5 + index, newest);
      cluster.startAll();
      until(cluster, 30_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
      until(cluster, 5_000, () => cluster.machines.every((machine) => statusOf(machine).format.store === 2));
      const old = cluster.machines.filter(isVoter)[index] as SimulatedMachine;
      const others = cluster.machines.filter((machine) => machine !== old);
      expect(ask(cluster, old, put('a', '1'))).toMatchObject({ ok: true });
      const applied = old.quorum!.replica!.appliedIndex;
      const store = storeOf(old);
      newest[old.index] = 1;
      if (index === 2) crashBehindCheckpoint(old);
      else old.crash('kill');
      old.start();
      until(cluster, 30_000, () => others.every(isVoter));
      expect(problemsOf(old)).toEqual(['QUORUM_FORMAT_TOO_NEW']);
      expect(statusOf(old)).toMatchObject({ store, format: { store: 2, newest: 1 } });
      expect(old.quorum!.replica?.appliedIndex ?? 0).toBeLessThanOrEqual(applied);
      expect(problemsOf(others[0] as SimulatedMachine)).toEqual(['MEMBERS_TOO_OLD']);
      const refused = ask(cluster, old, put('b', '1'));
      expect(refused).toMatchObject({
        ok: false,
        error: { code: 'QUORUM_UNAVAILABLE', details: { format: 2 } },
      });
      for (const op of ['recover', 'found'] as const)
        expect(ask(cluster, old, { op })).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
      expect(ask(cluster, others[0] as SimulatedMachine, put('c', '1'))).toMatchObject({ ok: true });
      // A checkpoint of the older version keeps what it does not understand.
      if (index === 2) crashBehindCheckpoint(old);
      upgrade(cluster, old, newest, 2);
      const read = ask<RangeAnswer>(cluster, old, { op: 'get', key: 'c' });
      expect(read).toMatchObject({ ok: true, value: { found: [{ version: 1 }] } });
      expect(old.quorum!.register.get('a')).toBeDefined();
      expect(storeOf(old)).toBe(store);
    },
  );

  it('stands still at the very command that raises the format, were it raised over its head (n=3)', () => {
    const cluster = clusterOf(9, [1, 1, 1]);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const leader = cluster.machines.find((machine) => machine.quorum?.replica?.isLeader) as SimulatedMachine;
    const replica = leader.quorum!.replica!;
    const now = { monoMs: cluster.nowMs, wallMs: 0 };
    const command = encodeCommand({ kind: 'raiseFormat', format: 2 });
    replica.raft.handle({ kind: 'proposed', proposals: [{ token: 0, command }] }, now);
    cluster.scheduler.runUntil(cluster.nowMs + 5_000);
    for (const machine of cluster.machines) {
      const stuck = machine.quorum!.replica!;
      if (stuck.neededFormat === undefined) continue;
      expect(stuck.register.format).toBe(1);
      expect(problemsOf(machine)).toContain('QUORUM_FORMAT_TOO_NEW');
    }
    expect(
      cluster.machines.filter((machine) => machine.quorum!.replica!.neededFormat === 2).length,
    ).toBeGreaterThan(0);
  });

  it('cannot be made of others by a member without a vote: the command is the leader’s alone (n=3)', () => {
    const cluster = clusterOf(10, [1, 1, 1]);
    cluster.startAll();
    until(cluster, 20_000, () => cluster.machines.every((machine) => votersOf(machine) === 3));
    const leader = cluster.machines.find((machine) => machine.quorum?.replica?.isLeader) as SimulatedMachine;
    const liar = cluster.machines.find((machine) => machine !== leader) as SimulatedMachine;
    const command = encodeCommand({ kind: 'raiseFormat', format: 99 });
    const { carried, server } = leader.quorum!.replica!;
    const own = liar.quorum!.replica!.carried.storage;
    const frame = { kind: 'propose', requests: [{ sequence: 1, command }] } as const;
    const bytes = encodeFrame(carried.store, own, parseServerId(server)!.storage, frame);
    const now = { monoMs: cluster.nowMs, wallMs: 0 };
    expect(leader.quorum!.handle({ kind: 'received', from: liar.nodeId, bytes }, now)).toContainEqual(
      expect.objectContaining({ kind: 'penalise', peer: liar.nodeId }),
    );
    cluster.scheduler.runUntil(cluster.nowMs + 2_000);
    expect(cluster.machines.map((machine) => statusOf(machine).format.store)).toEqual([1, 1, 1]);
  });
});

it('a register keeps the highest format that it was raised to', () => {
  const register = new Register();
  for (const format of [3, 2]) register.apply(format, encodeCommand({ kind: 'raiseFormat', format }));
  expect(register.format).toBe(3);
  expect(register.digest()).not.toBe(new Register().digest());
});
