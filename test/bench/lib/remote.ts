/**
 * Calls from the coordinator to its child processes and back over Node's IPC. A child whose coordinator is gone
 * exits, so that nothing is left running.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { join } from 'node:path';
import { track } from './scratch.ts';

interface Ask {
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}
interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

const PROFILE_START = 'profile: start';
const PROFILE_STOP = 'profile: stop';
const SAMPLE_US = 250;

let inspector: Session | undefined;

async function startProfile(): Promise<void> {
  inspector = new Session();
  inspector.connect();
  await inspector.post('Profiler.enable');
  await inspector.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
  await inspector.post('Profiler.start');
}

async function stopProfile(file: string): Promise<void> {
  const result = await inspector?.post('Profiler.stop');
  inspector?.disconnect();
  inspector = undefined;
  if (result !== undefined) writeFileSync(file, JSON.stringify(result.profile));
}

const OWN: Methods = { [PROFILE_START]: startProfile, [PROFILE_STOP]: stopProfile };

export type Methods = Readonly<Record<string, (argument: never) => unknown>>;

/** In the child: answer the coordinator's asks until it leaves. */
export function serve(methods: Methods): void {
  process.on('message', (message: Ask) => {
    void answer(methods, message);
  });
  process.on('disconnect', () => process.exit(0));
}

async function answer(methods: Methods, ask: Ask): Promise<void> {
  let reply: Reply;
  try {
    const method = (methods[ask.method] ?? OWN[ask.method]) as ((argument: unknown) => unknown) | undefined;
    if (method === undefined) throw new Error(`no method ${ask.method}`);
    reply = { id: ask.id, value: await method(ask.argument) };
  } catch (error) {
    reply = { id: ask.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  if (process.connected) process.send?.(reply);
}

/** In the coordinator: one child process. */
export class Remote {
  readonly process: ChildProcess;
  readonly name: string;
  #next = 1;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();

  constructor(module: URL, args: readonly string[], name: string) {
    this.name = name;
    this.process = track(
      fork(module, [...args], {
        serialization: 'advanced',
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      }),
    );
    this.process.on('message', (reply: Reply) => {
      const waiter = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (reply.error !== undefined) waiter?.reject(new Error(`${name}: ${reply.error}`));
      else waiter?.resolve(reply.value as never);
    });
    this.process.once('exit', (code, signal) => {
      for (const waiter of this.#waiting.values()) {
        waiter.reject(new Error(`${name} ended (${signal ?? `code ${code}`}) before it answered`));
      }
      this.#waiting.clear();
    });
  }

  ask<T>(method: string, argument?: unknown): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject });
      this.process.send({ id, method, argument } satisfies Ask, (error) => {
        if (error !== null) {
          this.#waiting.delete(id);
          reject(new Error(`${this.name}: ${error.message}`));
        }
      });
    });
  }

  /** Lets the child end by itself, so that a profile is written; insists after `graceMs`. */
  async end(graceMs = 5000): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => this.process.once('exit', () => resolve()));
    const insist = setTimeout(() => this.process.kill('SIGKILL'), graceMs);
    if (this.process.connected) this.process.disconnect();
    await gone;
    clearTimeout(insist);
  }
}

let profileDirectory: string | undefined;

/** From now on measured phases leave a CPU profile of every child in `directory`. */
export function profileInto(directory: string): void {
  profileDirectory = directory;
}

/** Runs one phase; where profiles are wanted, `children` are profiled meanwhile, and nothing else. */
export async function phase<T>(name: string, children: readonly Remote[], run: () => Promise<T>): Promise<T> {
  if (profileDirectory === undefined) return run();
  await Promise.all(children.map((child) => child.ask(PROFILE_START)));
  try {
    return await run();
  } finally {
    const directory = profileDirectory;
    await Promise.all(
      children.map((child) => {
        const file = `${child.name} ${name} ${Date.now()}.cpuprofile`.replaceAll(/[^\w.]+/g, '-');
        return child.ask(PROFILE_STOP, join(directory, file));
      }),
    );
  }
}

/** For a process that cannot be asked: a profile of all its life, once it ends. */
export function profileArguments(name: string): string[] {
  if (profileDirectory === undefined) return [];
  const file = `${name}-${Date.now()}.cpuprofile`;
  return ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`, `--cpu-prof-name=${file}`];
}
