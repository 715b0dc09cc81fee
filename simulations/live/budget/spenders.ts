/** The agents of one machine as a process of their own, so that it can be stopped with all that they are about to do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Operation } from './operations.ts';

export interface SpendersTerms {
  readonly machine: { readonly name: string; readonly data: string };
  readonly others: readonly { readonly name: string; readonly data: string }[];
  readonly mcpUrl: string;
  readonly agents: number;
  readonly budgets: readonly string[];
  readonly reported: string;
  /** Path of its socket. */
  readonly provider: string;
  readonly seed: number;
}

export class Spenders {
  readonly machine: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #mayEnd = false;
  /** The process ended though nobody had ended it. */
  hasFallen = false;

  constructor(terms: SpendersTerms, namespace: string | undefined, record: (operation: Operation) => void) {
    this.machine = terms.machine.name;
    const script = fileURLToPath(new URL('./spenders-child.ts', import.meta.url));
    const entered = namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${namespace}`];
    const [program = '', ...args] = [
      ...entered,
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      script,
      JSON.stringify(terms),
    ];
    this.#child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#child.on('message', (operation: Operation) => record(operation));
    this.#ended = once(this.#child, 'exit').then(() => {
      this.hasFallen = !this.#mayEnd;
    });
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(signal);
  }

  /** Once they have ended what they were about. */
  async stop(): Promise<void> {
    this.#mayEnd = true;
    this.signal('SIGCONT');
    if (this.#child.connected) this.#child.send('stop', () => {});
    await this.#ended;
  }

  kill(): void {
    this.#mayEnd = true;
    this.#child.kill('SIGKILL');
  }
}
