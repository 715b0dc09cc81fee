/** Real etcd servers on loopback, in a directory of their own, stopped by their process ids. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';

export const INSTALL_ETCD =
  'etcd is not installed: apt-get install etcd-server etcd-client (Debian), or put etcd and etcdctl 3.4 or newer on the PATH';

/** A test that needs etcd fails with what to do, rather than pass without it. */
export function requireEtcd(): void {
  try {
    execFileSync('etcd', ['--version'], { stdio: 'ignore' });
  } catch {
    throw new Error(INSTALL_ETCD);
  }
}

export interface EtcdFiles {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

export interface EtcdSetup {
  readonly members?: number;
  /** Servers present these, and where `askClients` is set want a client's certificate of the same authority. */
  readonly tls?: EtcdFiles & { readonly askClients?: boolean };
  readonly extra?: readonly string[];
}

export class EtcdCluster {
  readonly endpoints: string[] = [];
  readonly #peers: string[] = [];
  readonly #processes: (ChildProcess | undefined)[] = [];
  readonly #paused = new Set<number>();
  readonly #directory = mkdtempSync(join(tmpdir(), 'skein-etcd-'));
  readonly #setup: EtcdSetup;
  #errors = '';

  private constructor(setup: EtcdSetup) {
    this.#setup = setup;
  }

  static async start(setup: EtcdSetup = {}): Promise<EtcdCluster> {
    requireEtcd();
    const cluster = new EtcdCluster(setup);
    const { members = 1 } = setup;
    const ports = await freePorts(members * 2);
    for (let member = 0; member < members; member++) {
      cluster.endpoints.push(`127.0.0.1:${ports[member * 2]}`);
      cluster.#peers.push(`http://127.0.0.1:${ports[member * 2 + 1]}`);
    }
    for (let member = 0; member < members; member++) cluster.#spawn(member);
    try {
      await Promise.all(cluster.endpoints.map((_, member) => cluster.#ready(member)));
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** kill -9. */
  async kill(member: number): Promise<void> {
    const process = this.#processes[member];
    this.#processes[member] = undefined;
    this.#paused.delete(member);
    if (process === undefined || process.exitCode !== null) return;
    const gone = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGKILL');
    await gone;
  }

  async restart(member: number): Promise<void> {
    this.#spawn(member);
    await this.#ready(member);
  }

  pause(member: number): void {
    this.#processes[member]?.kill('SIGSTOP');
    this.#paused.add(member);
  }

  resume(member: number): void {
    this.#processes[member]?.kill('SIGCONT');
    this.#paused.delete(member);
  }

  /** Runs etcdctl against the first member that runs. */
  control(...args: string[]): string {
    const member = this.#processes.findIndex((process) => process !== undefined);
    const { tls } = this.#setup;
    const scheme = tls === undefined ? 'http' : 'https';
    const files = tls === undefined ? [] : ['--cacert', tls.ca, '--cert', tls.certificate, '--key', tls.key];
    return execFileSync(
      'etcdctl',
      ['--endpoints', `${scheme}://${this.endpoints[member]}`, ...files, ...args],
      {
        env: { PATH: process.env.PATH, ETCDCTL_API: '3' },
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
  }

  async close(): Promise<void> {
    for (const member of [...this.#paused]) this.resume(member);
    await Promise.all(this.#processes.map((_, member) => this.kill(member)));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #spawn(member: number): void {
    const { tls, extra = [] } = this.#setup;
    const client = `${tls === undefined ? 'http' : 'https'}://${this.endpoints[member]}`;
    const args = [
      ...['--name', `m${member}`, '--data-dir', join(this.#directory, `m${member}`)],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', this.#peers[member]!, '--initial-advertise-peer-urls', this.#peers[member]!],
      ...['--initial-cluster', this.#peers.map((peer, at) => `m${at}=${peer}`).join(',')],
      ...['--heartbeat-interval', '50', '--election-timeout', '500'],
      ...['--logger', 'zap', '--log-level', 'error'],
      ...(tls === undefined ? [] : ['--cert-file', tls.certificate, '--key-file', tls.key]),
      ...(tls?.askClients === true ? ['--client-cert-auth', '--trusted-ca-file', tls.ca] : []),
      ...extra,
    ];
    const child = spawn('etcd', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (bytes: Buffer) => {
      this.#errors = (this.#errors + bytes).slice(-2000);
    });
    child.on('error', () => undefined);
    this.#processes[member] = child;
  }

  /** A port that answers is not yet a member that does; the tests' own calls wait for the rest. */
  async #ready(member: number): Promise<void> {
    const client = new Client(this.endpoints[member]!, credentials.createInsecure());
    try {
      if (this.#setup.tls === undefined) {
        await new Promise<void>((resolve, reject) => {
          client.waitForReady(Date.now() + 15_000, (error) =>
            error === undefined ? resolve() : reject(error),
          );
        });
      }
    } catch (error) {
      throw new Error(`etcd did not start: ${this.#errors}`, { cause: error });
    } finally {
      client.close();
    }
  }
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
