/**
 * One seed of the world of money: budgets are made, agents and faults have their time while everything is checked after
 * every event, then everything heals and all the money must be accounted for and in anybody's reach.
 */
import { type PurseKey, parsePurseKey, purseKey } from '../../src/budget/names.ts';
import { periodAt } from '../../src/budget/period.ts';
import { rightsOf } from '../../src/budget/row.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { Violation } from '../lib/cluster.ts';
import { Books } from './books.ts';
import { type BudgetFault, type BudgetFaultKind, drawBudgetFaults } from './faults.ts';
import { BudgetFaultInjector } from './injector.ts';
import type { BudgetMachine } from './machine.ts';
import { type BudgetPlan, drawPlan } from './plan.ts';
import { BudgetWorkload } from './workload.ts';
import { BudgetWorld } from './world.ts';

export interface BudgetRunOptions {
  readonly seed: number;
  readonly nodes?: number;
  /** Instead of what the seed would draw: how regressions are replayed, and faults cut down. */
  readonly plan?: BudgetPlan;
  readonly faults?: readonly BudgetFault[];
  readonly keepNotes?: number;
}

export interface BudgetRunReport {
  readonly scenario: 'budget';
  readonly seed: number;
  readonly nodes: number;
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  /** How often each kind of call had each outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Tokens that the provider served. */
  readonly served: number;
  /** Cuts on which everything added up, and statuses held against the truth. */
  readonly checks: number;
  readonly samples: number;
  /** By how much the time that a status gives for all that it says was too young at most, where a machine could be reached. */
  readonly tooYoungMs: number;
  /** Accounts that ended. */
  readonly replaced: number;
  /** What the product does not promise, by reason, and how much of it was really lost. */
  readonly forgiven: Readonly<Record<string, number>>;
  readonly lost: number;
  /** From healing until all the money was in one node's hands. */
  readonly healedMs: number | undefined;
  readonly gathered: number;
  /** The longest that gathering one budget took. */
  readonly gatherMs: number;
  readonly faults: readonly BudgetFault[];
  /** How many of each kind found something to strike. */
  readonly struck: Readonly<Partial<Record<BudgetFaultKind, number>>>;
  readonly violations: readonly Violation[];
  readonly replay: string;
  readonly plan: BudgetPlan;
  readonly notes: readonly string[];
}

export function runBudget(options: BudgetRunOptions): BudgetRunReport {
  return new BudgetRun(options).run();
}

export function budgetReplay(seed: number, nodes?: number): string {
  return `npm run simulate -- budget --seed ${seed}${nodes === undefined ? '' : ` --nodes ${nodes}`}`;
}

/** Keeps the dice of the plan apart from those of the world. */
const PLAN_SEED = 2 ** 40;
const CREATED_MS = 1_400;
/** After healing: everybody confirmed, every job done, everything that was on the way arrived. */
const SETTLED_MS = 30_000;
/** From asking for all that is left to having it (B23, I8). */
const GATHERED_MS = 10_000;
/** How long after a fault news may still be old. */
const AFTERMATH_MS = 5_000;
const PROBE = 'probe' as AgentId;

class BudgetRun {
  readonly #options: BudgetRunOptions;
  readonly #plan: BudgetPlan;
  readonly #world: BudgetWorld;
  readonly #books: Books;
  readonly #workload: BudgetWorkload;
  readonly #faults: readonly BudgetFault[];
  readonly #injector: BudgetFaultInjector;
  #healedMs: number | undefined;
  #gathered = 0;
  #gatherMs = 0;

  constructor(options: BudgetRunOptions) {
    this.#options = options;
    const plan = options.plan ?? drawPlan(seededRng(options.seed + PLAN_SEED), options.nodes);
    this.#plan = plan;
    this.#world = new BudgetWorld({ ...plan, seed: options.seed, keepNotes: options.keepNotes ?? 0 });
    this.#books = new Books(this.#world);
    const drawn = drawBudgetFaults(
      this.#world.rng.fork(),
      plan.faults,
      plan.nodes,
      plan.fromMs,
      plan.untilMs,
    );
    this.#faults = options.faults ?? drawn;
    this.#workload = new BudgetWorkload(this.#world, this.#books, plan.workload, (sinceMs) =>
      this.#wasDisturbed(sinceMs),
    );
    this.#injector = new BudgetFaultInjector(this.#world, this.#books, this.#faults);
  }

  run(): BudgetRunReport {
    try {
      for (const machine of this.#world.machines) machine.start();
      let isCreated = false;
      this.#workload.create(() => {
        isCreated = true;
      });
      if (!this.#runUntil(CREATED_MS, () => isCreated))
        this.#world.violate('liveness', `the budgets are not made after ${CREATED_MS} ms`);
      this.#workload.start();
      this.#runUntil(this.#plan.untilMs);
      this.#injector.stop();
      this.#workload.stop();
      this.#world.heal();
      this.#demandOrder();
    } catch (error) {
      this.#world.violate(
        'invariant',
        error instanceof Error ? (error.stack ?? error.message) : String(error),
      );
    }
    return this.#report();
  }

  /** A broken promise ends the run: what follows from it would only hide it. */
  #runUntil(atMs: number, isDone: () => boolean = () => false): boolean {
    const { scheduler, violations } = this.#world;
    return scheduler.runUntilTrue(() => isDone() || violations.length > 0, atMs);
  }

  /** A fault, or what follows from one: repair, connections made anew. */
  #wasDisturbed(sinceMs: number): boolean {
    const { nowMs } = this.#world;
    return this.#faults.some(
      ({ atMs, forMs }) => atMs <= nowMs && atMs + forMs + AFTERMATH_MS + this.#plan.breakAfterMs >= sinceMs,
    );
  }

  #demandOrder(): void {
    const world = this.#world;
    const healedMs = world.nowMs;
    const isSettled = () => this.#workload.pending === 0 && this.#unsettled().length === 0;
    if (!this.#runUntil(healedMs + SETTLED_MS, isSettled)) {
      const left = [
        ...this.#unsettled(),
        ...(this.#workload.pending > 0 ? [`${this.#workload.pending} jobs`] : []),
      ];
      world.violate('liveness', `${SETTLED_MS} ms after healing: ${left.slice(0, 6).join('; ')}`);
    }
    if (world.violations.length > 0) return;
    for (const { budget } of [...this.#plan.workload.budgets].reverse()) {
      this.#gather(budget);
      if (world.violations.length > 0) return;
    }
    this.#healedMs = world.nowMs - healedMs;
  }

  /** What is not at rest yet. */
  #unsettled(): readonly string[] {
    const left: string[] = [];
    for (const { name, budgets } of this.#world.machines) {
      if (budgets?.ledger.isConfirmed !== true) left.push(`${name} is not confirmed`);
      for (const [purse, { row }] of budgets?.ledger.purses ?? [])
        if (row.held > 0) left.push(`${name} holds ${row.held} of ${purse}`);
    }
    for (const purse of this.#current()) {
      if (!this.#books.isExact(purse)) continue;
      const onTheWay = this.#books.onTheWayToLiving(purse);
      if (onTheWay > 0) left.push(`${onTheWay} of ${purse} are on the way to the living`);
    }
    return left;
  }

  /** Of the periods that run. */
  #current(): readonly PurseKey[] {
    const { wallMs } = this.#world.machine(0);
    return [...this.#books.definitions.values()].map(({ name, epoch, window }) =>
      purseKey({ budget: name, epoch, period: periodAt(window, wallMs) }),
    );
  }

  /** From one node, in one reservation, everything that no dead account has (I8). */
  #gather(budget: string): void {
    const world = this.#world;
    const definition = this.#books.definitions.get(budget as never);
    if (definition === undefined) return;
    const collector = world.machine(world.rng.below(world.machines.length));
    const startMs = world.nowMs;
    const purses = this.#chain(budget, collector);
    if (purses.some((purse) => !this.#books.isExact(purse))) return;
    let reserved: number | undefined;
    let refusal = 'no answer';
    const ask = (tries: number) => {
      const amount = Math.min(...purses.map((purse) => this.#spendable(purse)));
      if (amount <= 0) {
        reserved = 0;
        return;
      }
      const agent = `${PROBE}-${budget}-${tries}` as AgentId;
      collector.call({ op: 'reserve', budget, agent, amount, ttlMs: 1_000 }, (result) => {
        if (result.ok) reserved = amount;
        else {
          refusal = result.error.message;
          world.scheduler.after(100, () => ask(tries + 1));
        }
      });
    };
    ask(1);
    if (!this.#runUntil(startMs + GATHERED_MS, () => reserved !== undefined)) {
      const amounts = purses.map((purse) => `${this.#spendable(purse)} of ${purse}`);
      const shares = world.machines.map(
        ({ name, budgets }) => `${name} ${budgets?.ledger.purses.get(purses[0] as PurseKey)?.rights ?? 0}`,
      );
      world.violate(
        'liveness',
        `${collector.name} cannot reserve all that is left within ${GATHERED_MS} ms (${refusal}): ${amounts.join(', ')}; ${shares.join(', ')}; reserve ${this.#books.reserve(purses[0] as PurseKey).reserve}`,
      );
    } else {
      this.#gathered += reserved ?? 0;
      this.#gatherMs = Math.max(this.#gatherMs, world.nowMs - startMs);
    }
  }

  #chain(budget: string, { wallMs }: BudgetMachine): readonly PurseKey[] {
    const chain: PurseKey[] = [];
    for (let next: string | undefined = budget; next !== undefined; ) {
      const definition = this.#books.definitions.get(next as never);
      if (definition === undefined) break;
      const { name, epoch, window, parent } = definition;
      chain.push(purseKey({ budget: name, epoch, period: periodAt(window, wallMs) }));
      next = parent;
    }
    return chain;
  }

  /** The reserve, and the rights of all accounts that a machine stands for now, after what they owe. */
  #spendable(purse: PurseKey): number {
    let sum: number = this.#books.reserve(purse).reserve;
    for (const { budgets } of this.#world.machines) {
      const row = budgets?.ledger.purses.get(purse)?.row;
      if (row !== undefined) sum += (rightsOf(row) ?? 0) - (row.overrun - row.covered);
    }
    return sum;
  }

  #report(): BudgetRunReport {
    const { seed, nodes } = this.#options;
    const purses = [...this.#books.purses].filter((purse) => parsePurseKey(purse) !== undefined);
    return {
      scenario: 'budget',
      seed,
      nodes: this.#plan.nodes,
      traceHash: this.#world.trace.hash(),
      events: this.#world.steps,
      simulatedMs: this.#world.nowMs,
      outcomes: {
        ...this.#workload.outcomes,
        'written off': this.#injector.writtenOff,
        ...(this.#books.forgottenStarts > 0 && { 'starts forgotten': this.#books.forgottenStarts }),
        ...(this.#books.removals.count > 0 && { 'periods removed': this.#books.removals.count }),
      },
      served: purses.reduce((sum, purse) => sum + this.#books.served(purse), 0),
      checks: this.#books.checks,
      samples: this.#workload.samples,
      tooYoungMs: this.#workload.tooYoungMs,
      replaced: this.#books.replaced,
      forgiven: this.#books.forgiven,
      lost: purses.reduce((sum, purse) => sum + this.#books.lossOf(purse), 0),
      healedMs: this.#healedMs,
      gathered: this.#gathered,
      gatherMs: this.#gatherMs,
      faults: this.#faults,
      struck: this.#injector.struck,
      violations: this.#world.violations,
      replay: budgetReplay(seed, nodes),
      plan: this.#plan,
      notes: this.#world.trace.last(),
    };
  }
}
