/** Real nodes and real commands as child processes of a test, ended by pid whatever happens. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'src/cli/main.js');
const READY_MS = 15_000;
const STOP_MS = 8_000;
/** A process with children of its own must get the chance to take them along. */
const LEAVE_MS = 15_000;
/** Free ports on loopback, and no multicast. */
export const LOCAL = ['--mesh-listen', '127.0.0.1', '--mesh-port', '0', '--http-port', '0', '--no-mdns'];

export interface Ready {
  readonly ready: true;
  readonly nodeId: string;
  readonly name: string;
  readonly swarm: string;
  readonly httpUrl: string;
  readonly mcpUrl: string;
  readonly meshAddresses: readonly string[];
}

export interface NodeSetting {
  readonly data: string;
  /** Absent: the node takes the machine's. */
  readonly name?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Network namespace to run in. */
  readonly namespace?: string;
  /** How long its start may take. */
  readonly readyMs?: number;
  /** Told of the process before it is ready, so that it can be ended whatever happens. */
  readonly onSpawn?: (pid: number) => void;
}

export const SECRET = 'a secret that only these tests know';

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly error: string;
}

interface LaunchOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly uid?: number;
  /** Script to run instead of the command line's. */
  readonly script?: string;
  /** Network namespace to run in. */
  readonly namespace?: string;
}

/** One process of the command line, with all that it printed. */
class Launched {
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  out = '';
  error = '';

  constructor(argv: readonly string[], options: LaunchOptions = {}) {
    const { environment = {}, uid, script = MAIN, namespace } = options;
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SKEIN_'));
    const entered = namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${namespace}`];
    const [program = '', ...args] = [...entered, process.execPath, script, ...argv];
    this.process = spawn(program, args, {
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

export class NodeProcess {
  readonly ready: Ready;
  readonly setting: NodeSetting;
  readonly launched: Launched;

  private constructor(setting: NodeSetting, launched: Launched, ready: Ready) {
    this.setting = setting;
    this.launched = launched;
    this.ready = ready;
  }

  /** On loopback with free ports and without mDNS, unless the arguments say otherwise. */
  static async start(setting: NodeSetting): Promise<NodeProcess> {
    const { data, name, args = LOCAL, env, namespace, readyMs = READY_MS } = setting;
    const named = name === undefined ? [] : ['--name', name];
    const launched = new Launched(['up', '--json', '--data', data, ...named, ...args], {
      environment: { SKEIN_SWARM_SECRET: SECRET, ...env },
      ...(namespace === undefined ? {} : { namespace }),
    });
    const { pid } = launched.process;
    if (pid !== undefined) setting.onSpawn?.(pid);
    const timer = setTimeout(() => launched.process.kill('SIGKILL'), readyMs);
    try {
      return new NodeProcess(setting, launched, await launched.outputs(readyIn));
    } catch (cause) {
      throw new Error(`the node did not become ready:\n${launched.error}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  get pid(): number {
    return this.launched.process.pid as number;
  }

  get log(): string {
    return this.launched.error;
  }

  /** Resolves once the process is gone, with the signal that ended it where one did. */
  async ended(): Promise<NodeJS.Signals | undefined> {
    return (await this.launched.ended).signal ?? undefined;
  }

  signal(signal: NodeJS.Signals): void {
    this.launched.process.kill(signal);
  }

  /** Sends the signal and waits until the process is gone; its exit code, or `undefined` where a signal ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | undefined> {
    const { process: child } = this.launched;
    child.kill('SIGCONT');
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    const { code } = await this.launched.ended;
    clearTimeout(timer);
    return code ?? undefined;
  }

  /** The same machine started again. */
  again(changes: Partial<NodeSetting> = {}): Promise<NodeProcess> {
    return NodeProcess.start({ ...this.setting, ...changes });
  }
}

/** What a node says of itself once it is ready, in a line of its own. */
function readyIn(out: string): Ready | undefined {
  for (const line of out.split('\n').slice(0, -1)) {
    const parsed = JSON.parse(line) as Partial<Ready>;
    if (parsed.ready === true) return parsed as Ready;
  }
  return undefined;
}

/** Everything that a test starts and writes, ended and removed with it. */
export class Machine implements AsyncDisposable {
  readonly #launched: Launched[] = [];
  #scratch: ReturnType<typeof scratch> | undefined;

  get folder(): string {
    this.#scratch ??= scratch('e2e');
    return this.#scratch.path();
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
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly launched: Launched; readonly ready: Ready; readonly data: string }> {
    const data = this.data(name);
    const { launched, ready } = await NodeProcess.start({ data, name, args: [...LOCAL, ...flags], env });
    this.#launched.push(launched);
    return { launched, ready, data };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const launched of this.#launched) launched.process.kill('SIGTERM');
    const timer = setTimeout(() => {
      for (const launched of this.#launched) launched.process.kill('SIGKILL');
    }, LEAVE_MS);
    await Promise.all(this.#launched.map(({ ended }) => ended));
    clearTimeout(timer);
    this.#scratch?.remove();
  }
}

export function tcpOf({ meshAddresses }: Ready): string {
  const address = meshAddresses.find((candidate) => !candidate.includes('/ws'));
  if (address === undefined) throw new Error('the node has no TCP address');
  return address;
}

/** A data directory's parent for one test file; `remove` takes all of it away. */
export function scratch(name: string): { path(...parts: string[]): string; remove(): void } {
  const root = mkdtempSync(join(tmpdir(), `skein-${name}-`));
  return {
    path: (...parts) => join(root, ...parts),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Polls until the condition gives a value; fails with what it last saw. */
export async function eventually<T>(
  what: string,
  condition: () => T | undefined | Promise<T | undefined>,
  timeoutMs = 10_000,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}
