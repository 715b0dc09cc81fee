/** Clusters of three that strong stores are measured on, all on loopback and with their data on the same disk. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '../../adapters/etcd-server.ts';
import { sleep, until } from './clock.ts';
import { phase, Remote } from './remote.ts';
import { removeScratch, scratchDirectory, start, stop } from './scratch.ts';
import { usageOf } from './skein-process.ts';

export const MEMBERS = 3;
const DRIVER = new URL('../quorum-driver.ts', import.meta.url);
const READY_MS = 60_000;

export type Engine = 'disk' | 'bare' | 'nats' | 'etcd' | 'skein';

/** Where a driver's client belongs. */
export type ClientSetup =
  | { readonly engine: 'skein'; readonly directory: string; readonly name: string; readonly peers: string[] }
  | { readonly engine: 'etcd' | 'nats'; readonly endpoint: string }
  | { readonly engine: 'bare'; readonly directory: string; readonly leader?: string }
  | { readonly engine: 'disk'; readonly directory: string };

/** One driver process beside each member; a Skein node is within its driver. */
export interface Cluster {
  readonly drivers: readonly Remote[];
  phase<T>(name: string, run: () => Promise<T>): Promise<T>;
  /** Of all processes, drivers included. */
  cpuMs(): number;
  close(): Promise<void>;
}

export async function openCluster(engine: Engine): Promise<Cluster> {
  const directory = scratchDirectory();
  const servers = engine === 'etcd' || engine === 'nats' ? await serversOf(engine, directory) : undefined;
  const drivers: Remote[] = [];
  const cluster: Cluster = {
    drivers,
    phase: (name, run) => phase(name, drivers, run),
    cpuMs: () => [...drivers.map(({ process }) => process.pid), ...(servers?.pids ?? [])].reduce(cpuOf, 0),
    close: async () => {
      await Promise.all(drivers.map((driver) => driver.end()));
      await servers?.stop();
      removeScratch(directory);
    },
  };
  try {
    const peers: string[] = [];
    const members = engine === 'disk' ? 1 : MEMBERS;
    for (let member = 0; member < members; member++) {
      const driver = new Remote(DRIVER, [], `quorum-${engine}-${member}`);
      drivers.push(driver);
      const address = await driver.ask<string>('open', setupOf(engine, directory, member, peers, servers));
      if (engine === 'skein' || engine === 'bare') peers.push(address);
    }
    if (engine === 'skein') await votersAre(drivers, MEMBERS);
    return cluster;
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

function cpuOf(sum: number, pid: number | undefined): number {
  return pid === undefined ? sum : sum + usageOf(pid).cpuMs;
}

function setupOf(
  engine: Engine,
  directory: string,
  member: number,
  peers: readonly string[],
  servers: Servers | undefined,
): ClientSetup {
  if (engine === 'disk') return { engine, directory };
  if (engine === 'skein') return skeinSetup(directory, member, peers);
  if (engine === 'bare') {
    const [leader] = peers;
    return { engine, directory: join(directory, `${member}`), ...(leader === undefined ? {} : { leader }) };
  }
  return { engine, endpoint: servers?.endpoints[member] ?? '' };
}

export function skeinSetup(directory: string, member: number, peers: readonly string[]): ClientSetup {
  return {
    engine: 'skein',
    directory: join(directory, `${member}`),
    name: `member-${member}`,
    peers: [...peers],
  };
}

export function driverFor(engine: Engine): Remote {
  return new Remote(DRIVER, [], `quorum-${engine}`);
}

export async function startMember(setup: ClientSetup): Promise<{ driver: Remote; address: string }> {
  const driver = driverFor(setup.engine);
  return { driver, address: await driver.ask<string>('open', setup) };
}

export function votersAre(drivers: readonly Remote[], count: number): Promise<void> {
  const all = async () =>
    (await Promise.all(drivers.map((driver) => driver.ask<number>('voters')))).every(
      (voters) => voters === count,
    );
  return until(`${count} voters`, all, READY_MS, 50);
}

/** The driver beside the leader, and one beside a follower. */
export async function places(
  drivers: readonly Remote[],
): Promise<readonly (readonly [place: 'leader' | 'follower', driver: Remote])[]> {
  const [first] = drivers;
  if (first === undefined) throw new Error('a cluster has members');
  for (let tries = 0; tries < 200; tries++) {
    const leads = await Promise.all(drivers.map((driver) => driver.ask<boolean>('isLeader')));
    const leader = drivers[leads.indexOf(true)];
    const follower = drivers[leads.indexOf(false)];
    if (leader !== undefined && drivers.length === 1) return [['leader', leader]];
    if (leader !== undefined && follower !== undefined)
      return [
        ['leader', leader],
        ['follower', follower],
      ];
    await sleep(50);
  }
  throw new Error('nobody leads');
}

interface Servers {
  readonly endpoints: readonly string[];
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

/** How each is had where it is missing. */
const INSTALL = { etcd: 'apt-get install etcd-server', nats: 'apt-get install nats-server' } as const;
const BINARY = { etcd: 'etcd', nats: 'nats-server' } as const;

async function serversOf(engine: 'etcd' | 'nats', directory: string): Promise<Servers> {
  try {
    execFileSync(BINARY[engine], ['--version'], { stdio: 'ignore' });
  } catch {
    throw new Error(`${BINARY[engine]} is not installed: ${INSTALL[engine]} (Debian)`);
  }
  const ports = await freePorts(MEMBERS * 2);
  const client = ports.slice(0, MEMBERS).map((port) => `127.0.0.1:${port}`);
  const peer = ports.slice(MEMBERS).map((port) => `127.0.0.1:${port}`);
  const children = client.map((_, member) => {
    const data = join(directory, `${engine}-${member}`);
    mkdirSync(data, { mode: 0o700 });
    const args =
      engine === 'etcd' ? etcdArgs(client, peer, member, data) : natsArgs(client, peer, member, data);
    return start(BINARY[engine], args, { stdio: 'ignore' });
  });
  return {
    endpoints: client,
    pids: children.flatMap(({ pid }) => pid ?? []),
    stop: async () => {
      await Promise.all(children.map((child) => stop(child)));
    },
  };
}

/** Timing of elections about as Skein's; all else at its default, so that every write is synced. */
function etcdArgs(
  client: readonly string[],
  peer: readonly string[],
  member: number,
  data: string,
): string[] {
  return [
    ...['--name', `m${member}`, '--data-dir', data, '--logger', 'zap', '--log-level', 'error'],
    ...['--listen-client-urls', `http://${client[member]}`],
    ...['--advertise-client-urls', `http://${client[member]}`],
    ...['--listen-peer-urls', `http://${peer[member]}`],
    ...['--initial-advertise-peer-urls', `http://${peer[member]}`],
    ...['--initial-cluster', peer.map((address, at) => `m${at}=http://${address}`).join(',')],
    ...['--heartbeat-interval', '100', '--election-timeout', '1000'],
  ];
}

function natsArgs(
  client: readonly string[],
  peer: readonly string[],
  member: number,
  data: string,
): string[] {
  const [host = '', port = ''] = client[member]?.split(':') ?? [];
  return [
    ...['--name', `m${member}`, '--addr', host, '--port', port],
    ...['--jetstream', '--store_dir', data],
    ...['--cluster_name', 'bench', '--cluster', `nats://${peer[member]}`],
    ...['--routes', peer.map((address) => `nats://${address}`).join(',')],
  ];
}
