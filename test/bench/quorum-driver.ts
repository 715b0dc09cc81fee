/** One process of the benchmark of strong stores: a client beside one member; of Skein the member itself. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { etcdStore } from '../../src/adapters/etcd/store.ts';
import type { RunningNode } from '../../src/node/node.ts';
import type { Operation } from '../../src/quorum/port.ts';
import { bareClient } from './lib/bare-client.ts';
import { nowUs, sleep, until } from './lib/clock.ts';
import { diskClient } from './lib/disk-client.ts';
import { natsClient } from './lib/nats-client.ts';
import { FILLED, type QuorumClient, storeClient, VALUE_BYTES } from './lib/quorum-client.ts';
import type { ClientSetup } from './lib/quorum-clusters.ts';
import { serve } from './lib/remote.ts';
import { addressOf, msSince, startBenchNode } from './lib/skein-node.ts';
import { percentile } from './lib/stats.ts';

export interface LoadRequest {
  readonly kind: 'put' | 'read' | 'increment';
  readonly clients: number;
  readonly forMs: number;
  /**
   * Each client's calls are due so often; one after the other where left out. One that is due while another is still under
   * way is timed from when it was due. That a client's own timer is late is not the store's doing.
   */
  readonly everyMs?: number;
}

export interface Load {
  readonly ops: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of increments: writes that were tried. */
  readonly tries: number;
}

/** One write of a steady load; `endUs` is 0 where it failed. */
export interface Stamp {
  readonly startUs: number;
  readonly endUs: number;
}

/** Keys that puts go to, and reads come from. */
const KEYS = 10_000;
const HOT_KEY = 'hot';
const OPERATIONS = 100;
const VALUE = new Uint8Array(VALUE_BYTES).fill(0x61);
const READY_MS = 30_000;

let node: RunningNode | undefined;
let client: QuorumClient | undefined;
let directory = '';
let steady: { isEnded: boolean; readonly stamps: Stamp[]; readonly done: Promise<void> } | undefined;

function running(): RunningNode {
  if (node === undefined) throw new Error('no Skein node runs here');
  return node;
}

function opened(): QuorumClient {
  if (client === undefined) throw new Error('no client was opened');
  return client;
}

async function open(setup: ClientSetup): Promise<string> {
  switch (setup.engine) {
    case 'skein': {
      const started = await startBenchNode(setup);
      node = started;
      directory = setup.directory;
      const isLeader = async () => started.quorum.status()?.role === 'leader';
      client = storeClient(started.quorum.store, isLeader, () => started.stop());
      return addressOf(started);
    }
    case 'etcd': {
      const store = etcdStore({ endpoints: [setup.endpoint] });
      client = storeClient(
        store,
        () => leadsEtcd(setup.endpoint),
        async () => store.close(),
      );
      break;
    }
    case 'nats':
      client = await retried(() => natsClient(`nats://${setup.endpoint}`));
      break;
    case 'bare': {
      const bare = await bareClient(setup.directory, setup.leader);
      client = bare.client;
      return bare.address;
    }
    case 'disk':
      client = diskClient(setup.directory);
  }
  await retried(() => opened().put('ready', VALUE));
  return '';
}

/** A cluster that has just been started takes its time. */
async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  const endUs = nowUs() + READY_MS * 1000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (nowUs() > endUs) throw error;
      await sleep(100);
    }
  }
}

async function leadsEtcd(endpoint: string): Promise<boolean> {
  const metrics = await (await fetch(`http://${endpoint}/metrics`)).text();
  return /^etcd_server_is_leader 1$/m.test(metrics);
}

async function load({ kind, clients, forMs, everyMs }: LoadRequest): Promise<Load> {
  const { put, read, increment } = opened();
  const latencies: number[] = [];
  let next = 0;
  let tries = 0;
  const call = async (): Promise<void> => {
    const key = `key-${next++ % KEYS}`;
    if (kind === 'put') await put(key, VALUE);
    else if (kind === 'read') await read(key);
    else tries += await increment(HOT_KEY);
  };
  const startUs = nowUs();
  const endUs = startUs + forMs * 1000;
  const worker = async () => {
    let beganUs = nowUs();
    for (let dueUs = beganUs; beganUs < endUs; ) {
      await call();
      const doneUs = nowUs();
      latencies.push(doneUs - beganUs);
      dueUs = everyMs === undefined ? doneUs : dueUs + everyMs * 1000;
      const isEarly = dueUs > doneUs;
      if (isEarly) await sleep((dueUs - doneUs) / 1000);
      beganUs = isEarly ? nowUs() : dueUs;
    }
  };
  await Promise.all(Array.from({ length: clients }, worker));
  return {
    ops: latencies.length,
    perSecond: latencies.length / ((nowUs() - startUs) / 1e6),
    p50Us: percentile(latencies, 0.5),
    p99Us: percentile(latencies, 0.99),
    tries,
  };
}

/** Writes one after the other until `endSteady`, each with its times. */
function beginSteady(): void {
  const stamps: Stamp[] = [];
  const state = { isEnded: false, stamps, done: Promise.resolve() };
  const run = async () => {
    while (!state.isEnded) {
      const startUs = nowUs();
      const isDone = await opened()
        .put('steady', VALUE)
        .then(
          () => true,
          () => false,
        );
      stamps.push({ startUs, endUs: isDone ? nowUs() : 0 });
    }
  };
  state.done = run();
  steady = state;
}

async function endSteady(): Promise<readonly Stamp[]> {
  const state = steady;
  if (state === undefined) throw new Error('nothing is written steadily');
  state.isEnded = true;
  await state.done;
  return state.stamps;
}

/** As many puts as fit in a transaction at a time, sixteen of these on their way. */
async function fill({ keys, round }: { keys: number; round: number }): Promise<void> {
  const { store } = running().quorum;
  let next = 0;
  const worker = async () => {
    while (next < keys) {
      const first = next;
      next += OPERATIONS;
      const then: Operation[] = [];
      for (let at = first; at < Math.min(next, keys); at++)
        then.push({ op: 'put', key: `${FILLED}${at}`, value: VALUE.slice().fill(0x61 + (round % 26)) });
      const answer = await store.transact({ compares: [], then, otherwise: [] });
      if (!answer.ok) throw new Error(`${answer.error.code}: ${answer.error.message}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

/** Of the node's own copy. */
async function size(): Promise<{ keys: number; revision: number }> {
  const { revision } = running().quorum.status() ?? { revision: 0 };
  return { keys: await filledKeys(), revision };
}

/** Of those that `fill` wrote, in this node's own copy. */
async function filledKeys(): Promise<number> {
  let keys = 0;
  for (let from = FILLED; ; ) {
    const page = await running().quorum.store.range({ from, to: `${FILLED.slice(0, -1)}.` }, 1000, 'mirror');
    if (!page.ok) return keys;
    keys += page.value.found.length;
    const last = page.value.found.at(-1);
    if (!page.value.more || last === undefined) return keys;
    from = `${last.key}\0`;
  }
}

function filesUnder(folder: string): { readonly name: string; readonly bytes: number }[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    try {
      const found = statSync(path);
      return found.isDirectory() ? filesUnder(path) : [{ name, bytes: found.size }];
    } catch {
      // A segment that has just been removed takes no room.
      return [];
    }
  });
}

function sumOf(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Starts a node against a running store; when its copy had reached `revision`, and when it voted. */
async function joinStore({ setup, revision }: { setup: ClientSetup; revision: number }) {
  const startUs = nowUs();
  await open(setup);
  const readyMs = msSince(startUs);
  const copy = () => running().quorum.status()?.revision ?? 0;
  await until('the whole store', () => copy() >= revision, 120_000, 5);
  const caughtUpMs = msSince(startUs);
  const isVoter = () =>
    running()
      .quorum.status()
      ?.servers.some(({ node: id, role }) => id === running().ready.nodeId && role === 'voter') === true;
  await until('a vote', isVoter, 120_000, 20);
  return { readyMs, caughtUpMs, voterMs: msSince(startUs) };
}

serve({
  open,
  load,
  beginSteady,
  endSteady,
  fill,
  size,
  diskBytes: () => {
    const files = filesUnder(directory);
    return { all: sumOf(files), log: sumOf(files.filter(({ name }) => name.endsWith('.log'))) };
  },
  join: joinStore,
  total: () => opened().total(HOT_KEY),
  isLeader: () => opened().isLeader(),
  voters: () =>
    running()
      .quorum.status()
      ?.servers.filter(({ role }) => role !== 'learner').length ?? 0,
});
