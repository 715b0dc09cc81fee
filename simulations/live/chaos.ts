/**
 * Live chaos: real nodes as processes, agents as real clients on every one, faults one after the other under load. At the
 * end all is healed and judged by checkers that know nothing of the product. What runs is random but for the order of
 * faults, which the seed decides: processes and networks keep their own time.
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import { seededRng } from '../../src/kernel/rng.ts';
import { historyLine } from '../lib/quorum-history.ts';
import { Agent, Recorder, TaskList } from './agents.ts';
import { BUDGET_SCENARIOS } from './budget/faults.ts';
import { type BudgetChaosReport, describeBudgetReport } from './budget/report.ts';
import { runBudgetChaos } from './budget/run.ts';
import { type Client, McpClient, RestClient } from './clients.ts';
import { endsAfter, FAULTS, type Fault, SCENARIOS, shuffled, type World, wait } from './faults.ts';
import { Holder, type Holding } from './holders.ts';
import { isWhole, judge, settle, until, votersOf } from './judge.ts';
import { type Machine, Machines } from './machines.ts';
import { Watcher } from './watchers.ts';

export interface ChaosOptions {
  /** One of `SCENARIOS` or `BUDGET_SCENARIOS`, or the name of a fault; default `all`. */
  readonly scenario?: string;
  /** 2 to 9; default 3. */
  readonly nodes?: number;
  /** Of load and faults; default 60. Start, healing and the check come to that. */
  readonly seconds?: number;
  /** Of the order of faults; default 1. */
  readonly seed?: number;
  /** Where the history goes, as JSON lines; beside it those of leases and watchers. */
  readonly history?: string;
  /** Without namespaces, even where they could be had. */
  readonly loopback?: boolean;
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

export interface ChaosReport {
  readonly scenario: string;
  readonly seed: number;
  readonly nodes: number;
  readonly seconds: number;
  readonly places: string;
  /** Faults left out, and why. */
  readonly leftOut: readonly string[];
  readonly faults: Readonly<Record<string, number>>;
  readonly operations: { readonly ok: number; readonly failed: number; readonly unknown: number };
  readonly acquisitions: number;
  readonly changesWatched: number;
  readonly gaps: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
}

export type ChaosResult =
  | { readonly kind: 'unknownScenario'; readonly groups: Readonly<Record<string, readonly string[]>> }
  | { readonly kind: 'done'; readonly report: ChaosReport | BudgetChaosReport };

const LEASES = ['leader', 'deploy'];
const BETWEEN_MS = 1_000;

export async function runChaos(options: ChaosOptions = {}): Promise<ChaosResult> {
  const { scenario = 'all' } = options;
  if (BUDGET_SCENARIOS[scenario] !== undefined)
    return { kind: 'done', report: await runBudgetChaos(options) };
  const wanted = SCENARIOS[scenario] ?? [scenario];
  const faults = FAULTS.filter(({ name }) => wanted.includes(name));
  if (faults.length === 0)
    return {
      kind: 'unknownScenario',
      groups: {
        'Several faults': Object.keys(SCENARIOS),
        Budgets: Object.keys(BUDGET_SCENARIOS),
        'One fault': FAULTS.map(({ name }) => name),
      },
    };
  const nodes = options.nodes ?? 3;
  const machines = new Machines({
    count: nodes,
    clocks: faults.some(({ needs }) => needs === 'clocks'),
    ...(options.loopback === undefined ? {} : { loopback: options.loopback }),
  });
  try {
    return { kind: 'done', report: await new Run(options, faults, machines).run() };
  } finally {
    await machines.remove();
  }
}

class Run {
  readonly #options: ChaosOptions;
  readonly #faults: readonly Fault[];
  readonly #machines: Machines;
  readonly #recorder = new Recorder();
  readonly #holdings: Holding[] = [];
  readonly #watchers: Watcher[];
  readonly #struck = new Map<string, number>();
  readonly #voters: number;
  readonly #dice: () => number;
  readonly #agentDice: () => number;

  constructor(options: ChaosOptions, faults: readonly Fault[], machines: Machines) {
    this.#options = options;
    this.#machines = machines;
    this.#faults = faults.filter(({ needs }) => needs === undefined || !machines.lacking.has(needs));
    this.#voters = machines.voters;
    const rng = seededRng(options.seed ?? 1);
    // Agents throw theirs as time goes: on the same dice they would change the order of faults.
    const ofAgents = rng.fork();
    this.#dice = () => rng.float();
    this.#agentDice = () => ofAgents.float();
    this.#watchers = machines.all.map(
      (machine) => new Watcher(`watcher-${machine.name}`, this.#mcp(machine), this.#recorder),
    );
  }

  async run(): Promise<ChaosReport> {
    const { signal = new AbortController().signal, seconds = 60 } = this.#options;
    const violations: string[] = [];
    this.#say(`Starting ${this.#machines.all.length} nodes in ${this.#machines.places}…`);
    for (const line of this.#leftOut()) this.#say(`Left out: ${line}`);
    await this.#machines.raise();
    const whole = () => until(`${this.#voters} voters`, () => isWhole(this.#machines, this.#voters), signal);
    await whole();
    await Promise.all(this.#watchers.map((watcher) => watcher.begin(signal)));
    const load = new AbortController();
    const watching = new AbortController();
    const followed = this.#watchers.map((watcher) => watcher.follow(watching.signal));
    const worked = this.#agents().map((work) => work(load.signal));
    const ends = endsAfter(seconds * 1_000, signal);
    try {
      const leader = () => this.#leader();
      await this.#strike({ machines: this.#machines, dice: this.#dice, until: ends, leader, whole });
      load.abort();
      await Promise.all(worked);
      signal.throwIfAborted();
      this.#say('Healing…');
      await this.#machines.heal();
      await whole();
      await settle(this.#machines, this.#recorder, this.#watchers, signal);
    } catch (cause) {
      signal.throwIfAborted();
      violations.push(cause instanceof Error ? cause.message : String(cause));
    } finally {
      load.abort();
      watching.abort();
      await Promise.all([...worked, ...followed]);
      this.#write();
    }
    this.#say('Checking…');
    violations.push(...judge(this.#recorder, this.#watchers, this.#holdings));
    violations.push(...this.#machines.fallen.map((each) => `a node ended by itself: ${each}`));
    return this.#report(violations);
  }

  /** Each kind once before any comes again. */
  async #strike(world: World): Promise<void> {
    await wait(world, BETWEEN_MS);
    while (!world.until.aborted) {
      for (const fault of shuffled(world, this.#faults)) {
        if (world.until.aborted) return;
        this.#say(`${(this.#recorder.now() / 1e9).toFixed(1)} s  ${fault.what}`);
        this.#struck.set(fault.name, (this.#struck.get(fault.name) ?? 0) + 1);
        await fault.strike(world);
        await wait(world, BETWEEN_MS * (0.5 + world.dice()));
      }
    }
  }

  #agents(): readonly ((until: AbortSignal) => Promise<void>)[] {
    const tasks = new TaskList();
    return this.#machines.all.flatMap((machine) => {
      const clients: readonly Client[] = [new RestClient(machine.control), this.#mcp(machine)];
      const agents = clients.map(
        (client) =>
          new Agent(`${machine.name}-${client.how}`, client, this.#recorder, tasks, this.#agentDice),
      );
      const holders = clients.map(
        (client) =>
          new Holder(
            `${machine.name}-${client.how}`,
            client,
            this.#recorder,
            this.#holdings,
            this.#agentDice,
          ),
      );
      return [
        ...agents.map((agent) => (until: AbortSignal) => agent.work(until)),
        ...holders.map((holder) => (until: AbortSignal) => holder.work(LEASES, until)),
      ];
    });
  }

  /** Over HTTP where it can be reached from here, else as `skein mcp` reaches it. */
  #mcp(machine: Machine): Client {
    return new McpClient(() => {
      const url =
        this.#machines.places === 'loopback' ? this.#machines.node(machine)?.ready.mcpUrl : undefined;
      return url === undefined ? { socketPath: `${machine.data}/mcp.sock` } : { url };
    });
  }

  async #leader(): Promise<Machine | undefined> {
    const views = await Promise.all(this.#machines.all.map(votersOf));
    const votes = new Map<string, number>();
    for (const view of views)
      if (view !== undefined && view.leader !== null)
        votes.set(view.leader, (votes.get(view.leader) ?? 0) + 1);
    const [leader] = [...votes].sort(([, left], [, right]) => right - left)[0] ?? [];
    return this.#machines.all.find((machine) => this.#machines.node(machine)?.ready.nodeId === leader);
  }

  #leftOut(): readonly string[] {
    return [...this.#machines.lacking].map(([ability, why]) => `${ability}: ${why}`);
  }

  #write(): void {
    const { history } = this.#options;
    if (history === undefined) return;
    writeFileSync(history, '');
    // A line at a time: the text of a long run as a whole would be too long.
    for (const operation of this.#recorder.operations) appendFileSync(history, `${historyLine(operation)}\n`);
    const lines = (values: readonly unknown[]) =>
      values.map((value) => `${JSON.stringify(value)}\n`).join('');
    writeFileSync(`${history}.leases`, lines(this.#holdings));
    writeFileSync(`${history}.refusals`, lines(this.#recorder.refusals));
    writeFileSync(
      `${history}.watches`,
      lines(this.#watchers.map(({ watcher, seen, gaps }) => ({ watcher, seen, gaps }))),
    );
  }

  #report(violations: readonly string[]): ChaosReport {
    const { scenario = 'all', seed = 1, seconds = 60 } = this.#options;
    const count = (outcome: string) =>
      this.#recorder.operations.filter((operation) => operation.outcome === outcome).length;
    return {
      scenario,
      seed,
      nodes: this.#machines.all.length,
      seconds,
      places: this.#machines.places,
      leftOut: this.#leftOut(),
      faults: Object.fromEntries([...this.#struck].sort()),
      operations: { ok: count('ok'), failed: count('failed'), unknown: count('unknown') },
      acquisitions: this.#holdings.length,
      changesWatched: this.#watchers.reduce((sum, { seen }) => sum + seen.length, 0),
      gaps: this.#watchers.reduce((sum, { gaps }) => sum + gaps.length, 0),
      errors: Object.fromEntries([...this.#recorder.errors].sort()),
      violations,
    };
  }

  #say(line: string): void {
    this.#options.onLine?.(line);
  }
}

export function describeReport(report: ChaosReport | BudgetChaosReport): string {
  if ('kind' in report) return describeBudgetReport(report);
  const { operations, violations } = report;
  const pairs = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  return [
    `${report.scenario}, seed ${report.seed}: ${report.nodes} nodes in ${report.places}, ${report.seconds} s of faults`,
    `  faults      ${pairs(report.faults)}`,
    ...report.leftOut.map((line) => `  left out    ${line}`),
    `  operations  ${operations.ok} answered, ${operations.failed} refused, ${operations.unknown} of unknown outcome`,
    `  leases      ${report.acquisitions} acquisitions`,
    `  watched     ${report.changesWatched} changes, ${report.gaps} gaps that nodes told of`,
    `  errors      ${pairs(report.errors) || 'none'}`,
    violations.length === 0
      ? 'Every promise held: linearizable, copies equal, watches whole, one holder at a time.'
      : ['Broken promises:', ...violations].join('\n'),
  ].join('\n');
}
