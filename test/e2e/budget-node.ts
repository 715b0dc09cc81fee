/** Nodes as processes with their budgets within reach, so that one can be killed: the parent's side of `budget-node-child.ts`. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BudgetAnswers, BudgetCall, BudgetStatus, ThresholdPassed } from '../../src/budget/api.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { Problem } from '../../src/mesh/view.ts';
import type { RunningNode } from '../../src/node/node.ts';

export type Asked =
  | { readonly kind: 'call'; readonly id: number; readonly call: BudgetCall }
  | { readonly kind: 'status'; readonly id: number; readonly budget: string }
  | { readonly kind: 'problems' | 'stop'; readonly id: number };

export type Told =
  | { readonly kind: 'ready'; readonly ready: RunningNode['ready'] }
  | { readonly kind: 'answer'; readonly id: number; readonly result: Result<unknown> }
  | { readonly kind: 'threshold'; readonly passed: ThresholdPassed };

export interface BudgetNodeSetting {
  readonly data: string;
  readonly name: string;
  readonly peers?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Further settings of the configuration. */
  readonly config?: Readonly<Record<string, object>>;
}

const SECRET = 'a secret that only tests of budgets know';
export const GONE: Result<never> = {
  ok: false,
  error: { code: 'UNREACHABLE', message: 'The process is gone.', hint: '', retryable: true },
};

export class BudgetNode {
  readonly setting: BudgetNodeSetting;
  readonly ready: RunningNode['ready'];
  readonly thresholds: ThresholdPassed[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (result: Result<unknown>) => void>();
  #lastId = 0;

  private constructor(setting: BudgetNodeSetting, child: ChildProcess, ready: RunningNode['ready']) {
    this.setting = setting;
    this.#child = child;
    this.ready = ready;
    child.on('message', (told: Told) => this.#told(told));
    child.on('exit', () => {
      for (const answer of this.#waiting.values()) answer(GONE);
      this.#waiting.clear();
    });
  }

  static async start(setting: BudgetNodeSetting): Promise<BudgetNode> {
    const { data, name, peers = [], env, config } = setting;
    const settings = {
      swarm: { secret: SECRET },
      mesh: { listen: ['127.0.0.1'], port: 0, wsPort: 0, mdns: false, peers },
      http: { enabled: false },
      ...config,
      node: { ...config?.node, name, data },
    };
    const child = fork(new URL('./budget-node-child.ts', import.meta.url), [JSON.stringify(settings)], {
      serialization: 'advanced',
      execArgv: ['--disable-warning=ExperimentalWarning'],
      ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const exited = once(child, 'exit').then(() => undefined);
    const first = await Promise.race([once(child, 'message'), exited]);
    const told = first?.[0] as Told | undefined;
    if (told?.kind !== 'ready') throw new Error(`${name} did not start`);
    return new BudgetNode(setting, child, told.ready);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  call<C extends BudgetCall>(call: C): Promise<Result<BudgetAnswers[C['op']]>> {
    return this.#ask({ kind: 'call', call }) as Promise<Result<BudgetAnswers[C['op']]>>;
  }

  status(budget: string): Promise<Result<BudgetStatus>> {
    return this.#ask({ kind: 'status', budget }) as Promise<Result<BudgetStatus>>;
  }

  async problems(): Promise<readonly Problem[]> {
    const result = (await this.#ask({ kind: 'problems' })) as Result<readonly Problem[]>;
    return result.ok ? result.value : [];
  }

  /** When the process is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.isGone) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exited;
  }

  async stop(): Promise<void> {
    if (this.isGone) return;
    const exited = once(this.#child, 'exit');
    void this.#ask({ kind: 'stop' });
    await exited;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  again(change: Partial<BudgetNodeSetting> = {}): Promise<BudgetNode> {
    return BudgetNode.start({ ...this.setting, ...change });
  }

  #ask(asked: Asked extends infer Each ? (Each extends unknown ? Omit<Each, 'id'> : never) : never) {
    if (this.isGone) return Promise.resolve<Result<unknown>>(GONE);
    const id = ++this.#lastId;
    return new Promise<Result<unknown>>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ ...asked, id } as Asked, (error) => {
        if (error !== null && this.#waiting.delete(id)) resolve(GONE);
      });
    });
  }

  #told(told: Told): void {
    if (told.kind === 'threshold') this.thresholds.push(told.passed);
    if (told.kind !== 'answer') return;
    this.#waiting.get(told.id)?.(told.result);
    this.#waiting.delete(told.id);
  }
}

/** Nodes that dial each other, in a directory of their own; all ended together. */
export class BudgetNodes {
  readonly #nodes: BudgetNode[] = [];
  readonly directory = mkdtempSync(join(tmpdir(), 'skein-budget-'));

  async start(name: string, setting: Partial<BudgetNodeSetting> = {}): Promise<BudgetNode> {
    const peers = this.#nodes.filter(({ isGone }) => !isGone).flatMap(({ ready }) => ready.meshAddresses);
    return this.own(await BudgetNode.start({ data: join(this.directory, name), name, peers, ...setting }));
  }

  own(node: BudgetNode): BudgetNode {
    this.#nodes.push(node);
    return node;
  }

  async killAll(): Promise<void> {
    await Promise.allSettled(this.#nodes.map((node) => node.kill()));
  }

  async end(): Promise<void> {
    await this.killAll();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Asks again until it holds; throws with what was last seen. */
export async function eventually<T>(
  probe: () => Promise<T>,
  holds: (value: T) => boolean,
  withinMs = 15_000,
): Promise<T> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    const value = await probe();
    if (holds(value)) return value;
    if (performance.now() > endMs) throw new Error(`still ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
