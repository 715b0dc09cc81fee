/** Real nodes and real commands as processes of this machine: loopback, free ports, nothing announced. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'src/cli/main.js');
export const SECRET = 'a swarm secret of these tests';
/** Free ports on loopback, and no multicast. */
export const LOCAL = ['--mesh-port', '0', '--http-port', '0', '--mesh-listen', '127.0.0.1', '--no-mdns'];

export interface Ready {
  readonly ready: true;
  readonly nodeId: string;
  readonly name: string;
  readonly swarm: string;
  readonly httpUrl: string;
  readonly mcpUrl: string;
  readonly meshAddresses: readonly string[];
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly error: string;
}

export interface LaunchOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly uid?: number;
  /** Script to run instead of the command line's. */
  readonly script?: string;
}

/** One process, with all that it printed. */
export class Launched {
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  out = '';
  error = '';

  constructor(argv: readonly string[], { environment = {}, uid, script = MAIN }: LaunchOptions = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SKEIN_'));
    this.process = spawn(process.execPath, [script, ...argv], {
      cwd: ROOT,
      env: { ...Object.fromEntries(inherited), ...environment },
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    this.process.stdin.on('error', () => {});
    this.process.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.error += text;
    });
    this.ended = once(this.process, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      out: this.out,
      error: this.error,
    }));
  }

  /** Resolves with what `found` gives of the standard output so far; throws where the process ends before. */
  async outputs<Found>(found: (out: string) => Found | undefined): Promise<Found> {
    const onEnd = new AbortController();
    void this.ended.then(() => onEnd.abort());
    for (;;) {
      const value = found(this.out);
      if (value !== undefined) return value;
      if (onEnd.signal.aborted) throw new Error(`ended before: ${this.out}\n${this.error}`);
      await Promise.race([once(this.process.stdout, 'data'), this.ended]);
    }
  }

  kill(signal: NodeJS.Signals): Promise<Ended> {
    this.process.kill(signal);
    return this.ended;
  }
}

/** Everything that a test starts and writes, ended and removed with it. */
export class Machine implements AsyncDisposable {
  readonly #launched: Launched[] = [];
  #folder: string | undefined;

  get folder(): string {
    this.#folder ??= mkdtempSync(join(tmpdir(), 'skein-e2e-'));
    return this.#folder;
  }

  launch(argv: readonly string[], options?: LaunchOptions): Launched {
    const launched = new Launched(argv, options);
    this.#launched.push(launched);
    return launched;
  }

  data(name: string): string {
    return join(this.folder, name);
  }

  /** `skein up --json`, ready. */
  async up(
    name: string,
    flags: readonly string[] = [],
    environment: Readonly<Record<string, string>> = { SKEIN_SWARM_SECRET: SECRET },
  ): Promise<{ readonly launched: Launched; readonly ready: Ready; readonly data: string }> {
    const data = this.data(name);
    const argv = ['up', '--json', '--name', name, '--data', data, ...LOCAL, ...flags];
    const launched = this.launch(argv, { environment });
    const line = await launched.outputs((out) =>
      out.includes('\n') ? out.slice(0, out.indexOf('\n')) : undefined,
    );
    return { launched, ready: JSON.parse(line) as Ready, data };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A process with children of its own must get the chance to take them along.
    for (const launched of this.#launched) launched.process.kill('SIGTERM');
    const timer = setTimeout(() => {
      for (const launched of this.#launched) launched.process.kill('SIGKILL');
    }, 15_000);
    await Promise.all(this.#launched.map(({ ended }) => ended));
    clearTimeout(timer);
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }
}

export function tcpOf({ meshAddresses }: Ready): string {
  const address = meshAddresses.find((candidate) => !candidate.includes('/ws'));
  if (address === undefined) throw new Error('the node has no TCP address');
  return address;
}
