/**
 * Live chaos of budgets: real nodes, agents in processes of their own that spend as fast as they can, and a provider outside
 * that counts what it serves. The limit is raised whenever it is spent, so that much happens near its end.
 */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ControlClient } from '../../../src/cli/client.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import type { ChaosOptions } from '../chaos.ts';
import { RestClient } from '../clients.ts';
import { endsAfter, shuffled, wait } from '../faults.ts';
import { isWhole, until, votersOf } from '../judge.ts';
import { type Machine, Machines } from '../machines.ts';
import { asked, statusOf } from './books.ts';
import { type Ended, Ending } from './ending.ts';
import { BUDGET_FAULTS, BUDGET_SCENARIOS, type BudgetFault, type BudgetWorld } from './faults.ts';
import { type Judged, judgeBudgets, unheardOf } from './judge.ts';
import { nowMs, type Operation } from './operations.ts';
import { Provider, serve } from './provider.ts';
import type { BudgetChaosReport } from './report.ts';
import { Spender } from './spender.ts';
import { Spenders } from './spenders.ts';

const LIMIT = 10_000;
const AGENTS = 4;
const BETWEEN_MS = 1_000;
const SAMPLE_MS = 300;
/** So long it stays spent before it is raised. */
const DRY_MS = 2_000;
const REPORTED = 'reported';

export async function runBudgetChaos(options: ChaosOptions): Promise<BudgetChaosReport> {
  const wanted = BUDGET_SCENARIOS[options.scenario ?? 'budget'] ?? [];
  const faults = BUDGET_FAULTS.filter(({ name }) => wanted.includes(name));
  const machines = new Machines({
    count: options.nodes ?? 3,
    clocks: faults.some(({ needs }) => needs === 'clocks'),
    ...(options.loopback === undefined ? {} : { loopback: options.loopback }),
  });
  const run = new Run(options, faults, machines);
  try {
    return await run.run();
  } finally {
    run.remove();
    await machines.remove();
  }
}

class Run {
  readonly #options: ChaosOptions;
  readonly #faults: readonly BudgetFault[];
  readonly #machines: Machines;
  readonly #directory = mkdtempSync(join(tmpdir(), `skein-chaos-${process.pid}-budget-`));
  readonly #operations: Operation[] = [];
  readonly #spenders: Spenders[] = [];
  readonly #struck = new Map<string, number>();
  readonly #limits = new Map<string, number>();
  readonly #parents = new Map<string, string>();
  readonly #dice: () => number;
  readonly #agentDice: () => number;
  readonly #atExit = () => this.remove();
  readonly #startedMs = nowMs();
  #provider: Provider | undefined;
  #ended: Ended | undefined;

  constructor(options: ChaosOptions, faults: readonly BudgetFault[], machines: Machines) {
    this.#options = options;
    this.#machines = machines;
    this.#faults = faults.filter(({ needs }) => needs === undefined || !machines.lacking.has(needs));
    const rng = seededRng(options.seed ?? 1);
    const ofAgents = rng.fork();
    this.#dice = () => rng.float();
    this.#agentDice = () => ofAgents.float();
    process.once('exit', this.#atExit);
  }

  async run(): Promise<BudgetChaosReport> {
    const { signal = new AbortController().signal, seconds = 60 } = this.#options;
    const violations: string[] = [];
    const machines = this.#machines;
    this.#say(`Starting ${machines.all.length} nodes in ${machines.places}…`);
    for (const [ability, why] of machines.lacking) this.#say(`Left out: ${ability}: ${why}`);
    await machines.raise();
    const whole = () => this.#isWhole(signal);
    await whole();
    await this.#prepare(signal);
    await until('agents work on every machine', async () => this.#isBusy(), signal);
    const ends = endsAfter(seconds * 1_000, signal);
    const watching = new AbortController();
    const watched = this.#watch(watching.signal);
    try {
      await this.#strike(this.#world(ends, whole));
      await Promise.all(this.#spenders.map((spenders) => spenders.stop()));
      watching.abort();
      await watched;
      signal.throwIfAborted();
      this.#say('Healing…');
      await machines.heal();
      await whole();
      violations.push(...(await this.#end(signal)));
    } catch (cause) {
      signal.throwIfAborted();
      violations.push(cause instanceof Error ? cause.message : String(cause));
    } finally {
      watching.abort();
      await watched;
      if (signal.aborted) await this.#write(false);
    }
    const judged = judgeBudgets(this.#operations, this.#parents, this.#allowance());
    violations.push(...judged.violations);
    violations.push(...machines.fallen.map((each) => `a node ended by itself: ${each}`));
    for (const { machine, hasFallen } of this.#spenders)
      if (hasFallen) violations.push(`the agents of ${machine} ended by themselves`);
    await this.#write(violations.length > 0);
    return this.#report(violations, judged);
  }

  async #isWhole(signal: AbortSignal): Promise<void> {
    const { all, voters } = this.#machines;
    try {
      await until(`${voters} voters`, () => isWhole(this.#machines, voters), signal);
    } catch (cause) {
      signal.throwIfAborted();
      const views = await Promise.all(all.map(votersOf));
      const seen = all.map(({ name }, place) => `${name} sees ${JSON.stringify(views[place])}`);
      throw new Error(`${String(cause)}: ${seen.join('; ')}`);
    }
  }

  /** Without waiting for anything. */
  remove(): void {
    process.off('exit', this.#atExit);
    for (const spenders of this.#spenders) spenders.kill();
    this.#provider?.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #spendable(): readonly string[] {
    return this.#options.scenario === 'budget-tree' ? ['team-a', 'team-b'] : ['task'];
  }

  get #whole(): string {
    return this.#options.scenario === 'budget-tree' ? 'organisation' : 'task';
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    const socketPath = join(this.#directory, 'provider.sock');
    this.#provider = await Provider.start(socketPath, (served) => this.#operations.push(served));
    await this.#create(this.#whole, LIMIT, undefined, signal);
    for (const budget of this.#spendable)
      if (budget !== this.#whole) await this.#create(budget, 0.7 * LIMIT, this.#whole, signal);
    await this.#create(REPORTED, 100 * LIMIT, undefined, signal);
    for (const machine of this.#machines.all) {
      const node = this.#machines.node(machine);
      if (node === undefined) throw new Error(`${machine.name} is not there`);
      const placeOf = ({ name, data }: Machine) => ({ name, data });
      const terms = {
        machine: placeOf(machine),
        others: this.#machines.all.filter((other) => other !== machine).map(placeOf),
        mcpUrl: node.ready.mcpUrl,
        agents: AGENTS,
        budgets: this.#spendable,
        reported: REPORTED,
        provider: socketPath,
        seed: Math.floor(this.#dice() * 2 ** 31),
      };
      const record = (operation: Operation) => this.#operations.push(operation);
      this.#spenders.push(new Spenders(terms, this.#machines.namespace(machine), record));
    }
  }

  #isBusy(): boolean {
    const agents = this.#operations.flatMap((each) =>
      each.kind === 'reserve' && each.outcome === 'ok' ? [each.agent] : [],
    );
    return this.#machines.all.every(({ name }) => agents.some((agent) => agent.startsWith(`${name}-`)));
  }

  async #create(
    budget: string,
    limit: number,
    parent: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const within = parent === undefined ? {} : { parent };
    if (parent !== undefined) this.#parents.set(budget, parent);
    await this.#agree(budget, limit);
    const [first] = this.#machines.all as readonly [Machine];
    await until(
      `${budget} is made`,
      async () => {
        if ((await statusOf(first, budget)) !== undefined) return true;
        return asked(first, 'POST', '/v1/budgets', { task_id: budget, limit, ...within });
      },
      signal,
    );
  }

  /** The provider goes by the new limit before anybody else may. */
  async #agree(budget: string, limit: number): Promise<void> {
    const parent = this.#parents.get(budget);
    await this.#provider?.agree({ budget, limit, ...(parent === undefined ? {} : { parent }) });
    this.#operations.push({ kind: 'limit', at: nowMs(), budget, limit, outcome: 'asked' });
    this.#limits.set(budget, limit);
  }

  /** Writes down what can be had where, and raises what has been spent for a while. */
  async #watch(end: AbortSignal): Promise<void> {
    let dryMs = Number.POSITIVE_INFINITY;
    while (!end.aborted) {
      const answers = await Promise.all(this.#machines.all.map((machine) => this.#sample(machine)));
      const known = answers.filter((remaining) => remaining !== undefined);
      const isDry = known.length > 0 && known.every((remaining) => remaining < LIMIT / 50);
      dryMs = isDry ? Math.min(dryMs, nowMs()) : Number.POSITIVE_INFINITY;
      if (nowMs() - dryMs > DRY_MS && (await this.#raise())) dryMs = Number.POSITIVE_INFINITY;
      await delay(SAMPLE_MS, undefined, { signal: end }).catch(() => {});
    }
  }

  async #sample(machine: Machine): Promise<number | undefined> {
    const at = nowMs();
    // What a part has left cannot be had once the whole is spent.
    const budgets = new Set([this.#whole, ...this.#spendable]);
    const views = await Promise.all([...budgets].map((budget) => statusOf(machine, budget)));
    let least: number | undefined;
    for (const view of views) {
      if (view === undefined) continue;
      const { task_id: budget, remaining } = view;
      this.#operations.push({ kind: 'sample', at, machine: machine.name, budget, remaining });
      least = Math.min(least ?? remaining, remaining);
    }
    return least;
  }

  async #raise(): Promise<boolean> {
    const machine = shuffled({ dice: this.#agentDice }, this.#machines.all)[0] as Machine;
    for (const budget of new Set([this.#whole, ...this.#spendable])) {
      const seen = await statusOf(machine, budget);
      if (seen === undefined) return false;
      const before = this.#limits.get(budget) ?? LIMIT;
      // One whose answer was lost is asked for again.
      const limit = seen.limit < before ? before : before + (budget === this.#whole ? LIMIT : 0.7 * LIMIT);
      await this.#agree(budget, limit);
      if (!(await asked(machine, 'PATCH', `/v1/budgets/${budget}`, { limit }))) return false;
      this.#operations.push({ kind: 'limit', at: nowMs(), budget, limit, outcome: 'done' });
    }
    return true;
  }

  #world(ends: AbortSignal, whole: () => Promise<void>): BudgetWorld {
    return {
      machines: this.#machines,
      dice: this.#dice,
      until: ends,
      whole,
      spenders: this.#spenders,
      leader: () => this.#named(async (machine) => (await votersOf(machine))?.leader ?? undefined),
      orchestrator: () =>
        this.#named(async ({ control }) => {
          const signal = AbortSignal.timeout(2_000);
          const status = control.call<{ orchestrator?: string | null }>('GET', '/v1/status', { signal });
          return (await status.catch(() => undefined))?.orchestrator ?? undefined;
        }),
      forgot: ({ name }) => this.#operations.push({ kind: 'forgot', machine: name, at: nowMs() }),
      spendOn: (copy, end) => this.#spendOn(copy, end),
    };
  }

  /** The machine that most nodes name. */
  async #named(by: (machine: Machine) => Promise<string | undefined>): Promise<Machine | undefined> {
    const { all } = this.#machines;
    const votes = new Map<string, number>();
    for (const nodeId of await Promise.all(all.map(by)))
      if (nodeId !== undefined) votes.set(nodeId, (votes.get(nodeId) ?? 0) + 1);
    const [named] = [...votes].sort(([, left], [, right]) => right - left)[0] ?? [];
    return all.find((machine) => this.#machines.node(machine)?.ready.nodeId === named);
  }

  async #spendOn(copy: Machine, end: AbortSignal): Promise<void> {
    const control = new ControlClient({ data: copy.data });
    const spenders = [1, 2].map(
      (number) =>
        new Spender({
          name: `${copy.name}-${number}-${Math.floor(nowMs())}`,
          places: [{ machine: copy.name, client: new RestClient(control) }],
          budgets: this.#spendable,
          reported: REPORTED,
          provider: this.#provider?.socketPath ?? '',
          dice: this.#agentDice,
          record: (operation) => this.#operations.push(operation),
        }),
    );
    await Promise.all(spenders.map((spender) => spender.work(end)));
    control.close();
  }

  /** Each kind once before any comes again. */
  async #strike(world: BudgetWorld): Promise<void> {
    await wait(world, BETWEEN_MS);
    while (!world.until.aborted) {
      for (const fault of shuffled(world, this.#faults)) {
        if (world.until.aborted) return;
        this.#say(`${((nowMs() - this.#startedMs) / 1_000).toFixed(1)} s  ${fault.what}`);
        this.#struck.set(fault.name, (this.#struck.get(fault.name) ?? 0) + 1);
        const start = nowMs();
        await fault.strike(world);
        this.#operations.push({ kind: 'fault', name: fault.name, start, end: nowMs() });
        await wait(world, BETWEEN_MS * (0.5 + 3 * world.dice()));
      }
    }
  }

  async #end(signal: AbortSignal): Promise<readonly string[]> {
    const provider = this.#provider?.socketPath ?? '';
    const ending = new Ending({
      machines: this.#machines,
      budgets: this.#spendable,
      whole: this.#whole,
      record: (operation) => this.#operations.push(operation),
      serve: (budget, reservationId, tokens) => serve(provider, { budget, reservationId, tokens }),
      allow: async () => {
        for (const [budget, more] of this.#allowance())
          await this.#provider?.agree({ budget, limit: (this.#limits.get(budget) ?? 0) + more });
      },
      say: (line) => this.#say(line),
      signal,
    });
    const from = shuffled({ dice: this.#dice }, this.#machines.all)[0] as Machine;
    this.#ended = await ending.run(from);
    return ending.violations;
  }

  /** What was written off goes by the last news of it, so the accounts may have spent some of it before. */
  #allowance(): ReadonlyMap<string, number> {
    const isWrittenOff = this.#operations.some(({ kind }) => kind === 'writeOff');
    if (!isWrittenOff) return new Map();
    const sums = new Map(unheardOf(this.#operations));
    for (const [budget, sum] of unheardOf(this.#operations)) {
      const parent = this.#parents.get(budget);
      if (parent !== undefined) sums.set(parent, (sums.get(parent) ?? 0) + sum);
    }
    return sums;
  }

  /** Where a promise was broken, also what the nodes logged, and what they say now. */
  async #write(isBroken: boolean): Promise<void> {
    const { history } = this.#options;
    if (history === undefined) return;
    writeFileSync(history, '');
    for (const operation of this.#operations) appendFileSync(history, `${JSON.stringify(operation)}\n`);
    if (!isBroken) return;
    const { all, logs } = this.#machines;
    const said = all.map(async (machine) => ({
      machine: machine.name,
      status: await statusOf(machine, this.#whole),
    }));
    const lines = [...logs, ...(await Promise.all(said))].map((line) => `${JSON.stringify(line)}\n`);
    writeFileSync(`${history}.nodes`, lines.join(''));
  }

  #report(violations: readonly string[], judged: Judged): BudgetChaosReport {
    const { scenario = 'budget', seed = 1, seconds = 60 } = this.#options;
    const reserves = this.#operations.filter((each) => each.kind === 'reserve');
    const count = (holds: (each: (typeof reserves)[number]) => boolean) => reserves.filter(holds).length;
    const served = this.#operations.filter((each) => each.kind === 'serve' && each.budget === this.#whole);
    const errors = new Map<string, number>();
    for (const each of this.#operations)
      if ('code' in each && each.code !== undefined) errors.set(each.code, (errors.get(each.code) ?? 0) + 1);
    return {
      kind: 'budget',
      ...{ scenario, seed, seconds, nodes: this.#machines.all.length, places: this.#machines.places },
      leftOut: [...this.#machines.lacking].map(([ability, why]) => `${ability}: ${why}`),
      faults: Object.fromEntries([...this.#struck].sort()),
      reservations: {
        granted: count(({ outcome }) => outcome === 'ok'),
        denied: count(({ code }) => code === 'BUDGET_EXHAUSTED'),
        deniedFalsely: judged.falseDenials,
        failed: count(({ outcome, code }) => outcome === 'refused' && code !== 'BUDGET_EXHAUSTED'),
        unknown: count(({ outcome }) => outcome === 'unknown'),
      },
      served: {
        calls: served.length,
        tokens: Math.max(0, ...served.map((each) => ('total' in each ? each.total : 0))),
      },
      limit: this.#limits.get(this.#whole) ?? 0,
      peaks: judged.peaks,
      ...(this.#ended === undefined ? {} : { end: this.#ended }),
      errors: Object.fromEntries([...errors].sort()),
      violations,
    };
  }

  #say(line: string): void {
    this.#options.onLine?.(line);
  }
}
