/** What a member without a vote can do to the store with frames of its own making. */
import { describe, expect, it } from 'vitest';
import { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine } from '../../simulations/lib/machine.ts';
import { nodeCryptography } from '../../src/adapters/node/cryptography.ts';
import { utf8 } from '../../src/kernel/codec.ts';
import type { PeerUp, Received } from '../../src/kernel/effects.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { FOUND_AFTER_MS, quorumConfigOf } from '../../src/node/quorum-config.ts';
import { encodeFrame, encodeGreeting, type Greeting } from '../../src/quorum/frames.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import { Quorum } from '../../src/quorum/quorum.ts';
import { encodeCommand } from '../../src/quorum/register/command.ts';
import { Register } from '../../src/quorum/register/register.ts';
import { parseServerId, type StoreId, storeName } from '../../src/quorum/server.ts';
import { abandonCommand, dissolveCommand } from '../../src/quorum/store/endings.ts';
import { nodeNumber, storeNumber } from './names.ts';

function put(key: string, lease?: number): QuorumCall {
  const then = [{ op: 'put', key, value: utf8('v'), ...(lease === undefined ? {} : { lease }) } as const];
  return { op: 'transact', transaction: { compares: [], then, otherwise: [] } };
}

/** Four members, three of them voters; the last has no vote and lies. */
function running() {
  const cluster = new Cluster({
    seed: 91,
    nodes: 4,
    boards: { boards: [{ name: 'main', mode: 'crdt' }] },
    quorum: (index) =>
      quorumConfigOf({
        voters: 3,
        foundAfterMs: FOUND_AFTER_MS,
        replaceAfterMs: 60_000,
        reads: 'index',
        isToldOfOthers: index > 0,
        roles: [index === 3 ? 'observer' : 'worker'],
      }),
  });
  const until = (mostMs: number, condition: () => boolean) => {
    const endMs = cluster.nowMs + mostMs;
    while (!condition() && cluster.nowMs < endMs) cluster.scheduler.runUntil(cluster.nowMs + 10);
    expect(condition()).toBe(true);
  };
  const ask = (machine: SimulatedMachine, call: QuorumCall): unknown => {
    let answer: unknown;
    machine.askQuorum(call, (result) => {
      answer = result;
    });
    until(5_000, () => answer !== undefined);
    return answer;
  };
  const honest = cluster.machines.slice(0, 3);
  const serversOf = () =>
    honest.map((machine) => machine.quorum?.replica?.server).map((server) => String(server));
  cluster.startAll();
  until(40_000, () =>
    cluster.machines.every(
      (machine) => machine.quorum?.status().servers.filter(({ role }) => role !== 'learner').length === 3,
    ),
  );
  const leader = honest.find((machine) => machine.quorum?.replica?.isLeader) as SimulatedMachine;
  const liar = cluster.machine(3);
  /** As if it came from the liar, who is a member. */
  const forge = (to: SimulatedMachine, bytes: Uint8Array) =>
    to.quorum?.handle({ kind: 'received', from: liar.nodeId, bytes }, nowOf(cluster)) ?? [];
  return { cluster, until, ask, honest, leader, liar, forge, serversOf };
}

function nowOf(cluster: Cluster) {
  return { monoMs: cluster.nowMs, wallMs: 0 };
}

describe('a member that lies', () => {
  it('cannot end the store, nor a lease, by a command that only the leader gives', () => {
    const { cluster, ask, leader, liar, forge, honest } = running();
    const granted = ask(honest[1] as SimulatedMachine, { op: 'grantLease', ttlMs: 60_000 });
    const lease = (granted as { value: { id: number } }).value.id;
    expect(ask(leader, put('held', lease))).toMatchObject({ ok: true });
    const { carried, server } = leader.quorum!.replica!;
    const own = parseServerId(liar.quorum!.replica!.server)!;
    const commands = [
      abandonCommand(12_345 as StoreId),
      dissolveCommand(12_345 as StoreId),
      encodeCommand({ kind: 'expireLeases', leases: [{ id: lease, renewals: 0 }] }),
    ];
    for (const command of commands) {
      const frame = { kind: 'propose', requests: [{ sequence: 1, command }] } as const;
      const bytes = encodeFrame(carried.store, own.storage, parseServerId(server)!.storage, frame);
      expect(forge(leader, bytes)).toContainEqual(
        expect.objectContaining({ kind: 'penalise', peer: liar.nodeId }),
      );
    }
    cluster.scheduler.runUntil(cluster.nowMs + 3_000);
    expect(ask(leader, { op: 'get', key: 'held' })).toMatchObject({ value: { found: [{ lease }] } });
  });

  it.each([0, 1, 1_000])('cannot put a snapshot of its own in the place of a copy (term + %i)', (more) => {
    const { honest, leader, liar, forge } = running();
    const { carried: own } = liar.quorum!.replica!;
    for (const machine of honest.filter((one) => one !== leader)) {
      const { carried, raft, appliedPoint } = machine.quorum!.replica!;
      const term = raft.term + more;
      const point = { ...appliedPoint, index: appliedPoint.index + 100, term };
      const pieces = [...new Register().capture()];
      for (const [piece, bytes] of pieces.entries()) {
        const isLast = piece === pieces.length - 1;
        const frame = { kind: 'snapshot', transfer: 1, term, point, piece, isLast, bytes } as const;
        const effects = forge(machine, encodeFrame(own.store, own.storage, carried.storage, frame));
        expect(effects.filter(({ kind }) => kind === 'persist' || kind === 'awaitDisk')).toEqual([]);
      }
    }
  });

  it.each([false, true])(
    'cannot keep a new member for ever in a store that it made up (restarted=%s)',
    (isRestarted) => {
      const { cluster, liar, leader } = running();
      const journal: Uint8Array[] = [];
      const make = () =>
        new Quorum({
          self: nodeNumber(9),
          config: quorumConfigOf({
            voters: 3,
            foundAfterMs: FOUND_AFTER_MS,
            replaceAfterMs: 60_000,
            reads: 'index',
            isToldOfOthers: true,
            roles: ['worker'],
          }),
          cryptography: nodeCryptography,
          nonce: Uint8Array.of(9),
          rng: seededRng(9),
          now: nowOf(cluster),
        });
      let fresh = make();
      const made = storeNumber(77);
      const { storage } = liar.quorum!.replica!.carried;
      const greeting: Greeting = {
        format: { newest: 1, store: 1 },
        ...{ kind: 'greeting', version: 5, heard: 0, store: made, storage, hasData: true },
        ...{ mayFound: false, mayVote: true, boot: 7, claim: { term: 0, lastIndex: 0 }, doubted: undefined },
        ...{ dissolved: [], replaced: [], voters: [liar.quorum!.replica!.server] },
      };
      const hear = (from: SimulatedMachine, said: Greeting) => {
        fresh.handle({ kind: 'peerUp', peer: from.nodeId } as PeerUp, nowOf(cluster));
        const event = { kind: 'received', from: from.nodeId, bytes: encodeGreeting(said) } as Received;
        for (const effect of fresh.handle(event, nowOf(cluster)))
          if (effect.kind === 'persist') journal.push(...effect.records);
      };
      const store = () => fresh.status().store;
      hear(liar, greeting);
      expect(store()).toBe(storeName(made));
      if (isRestarted) {
        fresh = make();
        fresh.load(
          journal.map((record) => record.subarray(1)),
          false,
          nowOf(cluster),
        );
        hear(liar, greeting);
        expect(store()).toBe(storeName(made));
      }
      const later = (ms: number) => {
        cluster.scheduler.runUntil(cluster.nowMs + ms);
        fresh.expire(nowOf(cluster));
      };
      for (let passed = 0; passed < 6_000; passed += 200) later(200);
      expect(store()).toBeUndefined();
      const { carried, server } = leader.quorum!.replica!;
      hear(leader, { ...greeting, ...carried, version: 6, voters: [server] });
      expect(store()).toBe(storeName(carried.store));
    },
  );

  it('cannot take the votes of servers that run by doubting their storages', () => {
    const { cluster, ask, honest, leader, liar, forge, serversOf } = running();
    for (const machine of honest) {
      machine.crash('kill');
      machine.start();
      cluster.scheduler.runUntil(cluster.nowMs + 5_000);
    }
    const before = serversOf();
    for (const machine of honest) {
      const { carried } = machine.quorum!.replica!;
      const { carried: own, server } = liar.quorum!.replica!;
      forge(
        machine,
        encodeGreeting({
          kind: 'greeting',
          format: { newest: 1, store: 1 },
          version: 1_000,
          heard: 1_000,
          store: own.store,
          storage: own.storage,
          hasData: true,
          mayFound: false,
          mayVote: true,
          boot: 77,
          claim: { term: 0, lastIndex: 0 },
          doubted: carried.storage,
          dissolved: [],
          replaced: [],
          voters: [server],
        }),
      );
    }
    cluster.scheduler.runUntil(cluster.nowMs + 3_000);
    expect(serversOf()).toEqual(before);
    expect(ask(leader, put('a'))).toMatchObject({ ok: true });
  });
});
