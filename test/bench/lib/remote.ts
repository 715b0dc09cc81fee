/**
 * Calls from the coordinator to its child processes and back over Node's IPC. A child whose coordinator is gone
 * exits, so that nothing is left running.
 */
import { type ChildProcess, fork } from 'node:child_process';
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
    const method = methods[ask.method] as ((argument: unknown) => unknown) | undefined;
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
        execArgv: profileArguments(name),
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

/** From now on every child writes a CPU profile named after it into `directory`. */
export function profileChildrenInto(directory: string): void {
  profileDirectory = directory;
}

function profileArguments(name: string): string[] {
  if (profileDirectory === undefined) return [];
  return [
    '--cpu-prof',
    `--cpu-prof-dir=${profileDirectory}`,
    `--cpu-prof-name=${name}-${Date.now()}.cpuprofile`,
  ];
}
