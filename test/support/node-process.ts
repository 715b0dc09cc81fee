/** Real nodes as child processes of a test: `skein up --json`, ended by pid whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.js');
const READY_MS = 15_000;
const STOP_MS = 8_000;

export interface Ready {
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

export class NodeProcess {
  readonly ready: Ready;
  readonly setting: NodeSetting;
  readonly #child: ChildProcess;
  readonly #log: string[];

  private constructor(setting: NodeSetting, child: ChildProcess, ready: Ready, log: string[]) {
    this.setting = setting;
    this.#child = child;
    this.ready = ready;
    this.#log = log;
  }

  /** On loopback with free ports and without mDNS, unless the arguments say otherwise. */
  static async start(setting: NodeSetting): Promise<NodeProcess> {
    const args = setting.args ?? [
      '--mesh-listen',
      '127.0.0.1',
      '--mesh-port',
      '0',
      '--http-port',
      '0',
      '--no-mdns',
    ];
    const named = setting.name === undefined ? [] : ['--name', setting.name];
    const command = [MAIN, 'up', '--json', '--data', setting.data, ...named, ...args];
    const [program, programArgs] =
      setting.namespace === undefined
        ? [process.execPath, command]
        : ['nsenter', [`--net=/run/netns/${setting.namespace}`, process.execPath, ...command]];
    const child = spawn(program, programArgs, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, SKEIN_SWARM_SECRET: SECRET, ...setting.env },
    });
    if (child.pid !== undefined) setting.onSpawn?.(child.pid);
    const log: string[] = [];
    child.stderr?.on('data', (chunk: Buffer) => {
      log.push(chunk.toString());
      if (log.length > 500) log.shift();
    });
    const ready = await readyLine(child, log, setting.readyMs);
    return new NodeProcess(setting, child, ready, log);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get log(): string {
    return this.#log.join('');
  }

  /** Resolves once the process is gone, with the signal that ended it where one did. */
  async ended(): Promise<NodeJS.Signals | undefined> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    return this.#child.signalCode ?? undefined;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends the signal and waits until the process is gone; its exit code, or `undefined` where a signal ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | undefined> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode ?? undefined;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGCONT');
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    const [code] = (await exit) as [number | null];
    clearTimeout(timer);
    return code ?? undefined;
  }

  /** The same machine started again. */
  again(changes: Partial<NodeSetting> = {}): Promise<NodeProcess> {
    return NodeProcess.start({ ...this.setting, ...changes });
  }
}

async function readyLine(child: ChildProcess, log: string[], readyMs = READY_MS): Promise<Ready> {
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const timer = setTimeout(() => child.kill('SIGKILL'), readyMs);
  try {
    for await (const line of lines) {
      const parsed = JSON.parse(line) as { ready?: boolean } & Ready;
      if (parsed.ready === true) return parsed;
    }
  } finally {
    clearTimeout(timer);
  }
  throw new Error(`the node did not become ready:\n${log.join('')}`);
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
