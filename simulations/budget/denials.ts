/**
 * How often money is refused that is there: 80 % of the demand on two of ten nodes, another two every few seconds, without
 * faults, until 99 % of the limit is spent. A refusal is false where, at that moment, the reserve and the rights of all nodes
 * together had as much as was asked for.
 */
import { type PurseKey, purseKey, rowKey } from '../../src/budget/names.ts';
import type { Period } from '../../src/budget/period.ts';
import type { Send } from '../../src/kernel/effects.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { cargoOf } from '../../src/replication/cargo.ts';
import { decodeFrame } from '../../src/replication/frames.ts';
import type { Violation } from '../lib/cluster.ts';
import { Books } from './books.ts';
import type { BudgetMachine } from './machine.ts';
import { BudgetWorkload } from './workload.ts';
import { BudgetWorld } from './world.ts';

export interface DenialsOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly limit?: number;
  /** Reservations a second, on all nodes together. */
  readonly perSecond?: number;
}

export interface DenialsReport {
  readonly scenario: 'budget-denials';
  readonly seed: number;
  readonly nodes: number;
  readonly limit: number;
  readonly traceHash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly reservations: number;
  readonly refused: number;
  readonly falselyRefused: number;
  /** Those that had to wait for rights, and the longest wait. */
  readonly waited: number;
  readonly longestMs: number;
  /** Of the limit, at the end. */
  readonly spent: number;
  readonly transfers: number;
  readonly grants: number;
  /** For a thousand reservations: frames between nodes that budgets caused (one for each receiver), and calls to the store. */
  readonly perThousand: Counted;
  /** Of rows that rode along with other frames, for a reservation. */
  readonly rideBytes: number;
  /** How long ago what machines know of each other was told: the share of 99 in 100, and the longest. */
  readonly newsMs: { readonly most: number; readonly oldest: number };
  readonly faults: readonly never[];
  readonly violations: readonly Violation[];
  readonly replay: string;
}

interface Counted {
  readonly call: number;
  readonly store: number;
  /** Frames that only carry records. */
  readonly rows: number;
  /** Frames that compare or repair what is held, without those that are there anyway: a root from each node every 3 s. */
  readonly compared: number;
}

/** Of a node without anything to tell. */
const ROOT_EVERY_MS = 3_000;

/** From here on everybody has begun to spend. */
const SETTLED_MS = 5_000;
const LOOK_EVERY_MS = 250;
const MEAN = 100;
const SHIFT_MS = 3_000;
const HELD_MS = 50;
const LONGEST_MS = 600_000;
const READY_MS = 1_500;
const MOST_FALSE = 0.005;
const USUAL_NODES = 10;
const MOST_MESSAGES = 10;
const ENOUGH = 0.99;

interface Frames {
  call: number;
  rows: number;
  compared: number;
  rideBytes: number;
}

export function runDenials(options: DenialsOptions): DenialsReport {
  return new DenialsRun(options).run();
}

class DenialsRun {
  readonly #seed: number;
  readonly #limit: number;
  readonly #perSecond: number;
  readonly #world: BudgetWorld;
  readonly #books: Books;
  readonly #counts = { reservations: 0, refused: 0, falselyRefused: 0, waited: 0, longestMs: 0 };
  readonly #frames: Frames = { call: 0, rows: 0, compared: 0, rideBytes: 0 };
  readonly #newsMs: number[] = [];
  #purse: PurseKey | undefined;
  #isOver = false;

  constructor({ seed, nodes = USUAL_NODES, limit = 2_000_000, perSecond = 1_000 }: DenialsOptions) {
    this.#seed = seed;
    this.#limit = limit;
    this.#perSecond = perSecond;
    this.#world = new BudgetWorld({
      seed,
      nodes,
      orchestrators: 2,
      breakAfterMs: 10_000,
      maxDelayMs: 2,
      checkpointFloorBytes: 8 * 1024 * 1024,
      historyChanges: 10_000,
      startWallMs: 0,
    });
    this.#books = new Books(this.#world);
    this.#world.onEffect.push((_machine, effect) => {
      if (effect.kind === 'send') this.#count(effect);
    });
  }

  /** What goes on the channel `mesh` says that its sender lives, and would go anyway. */
  #count({ channel, to, bytes }: Send): void {
    if (channel === 'call') this.#frames.call += to.length;
    else if (channel === 'mesh') this.#frames.rideBytes += to.length * (cargoOf(bytes)?.length ?? 0);
    else if (decodeFrame(bytes)?.kind === 'push') this.#frames.rows += to.length;
    else this.#frames.compared += to.length;
  }

  run(): DenialsReport {
    const world = this.#world;
    for (const machine of world.machines) machine.start();
    this.#create();
    world.scheduler.runUntil(READY_MS);
    const [definition] = this.#books.definitions.values();
    if (definition === undefined) world.violate('liveness', 'the budget is not made');
    else
      this.#purse = purseKey({ budget: definition.name, epoch: definition.epoch, period: 'all' as Period });
    const before = { frames: { ...this.#frames }, calls: world.store.calls, atMs: world.nowMs };
    if (definition !== undefined) {
      this.#step();
      world.scheduler.after(SETTLED_MS, () => this.#lookAround());
    }
    world.scheduler.runUntilTrue(() => this.#isOver || world.violations.length > 0, READY_MS + LONGEST_MS);
    return this.#report(before);
  }

  #create(): void {
    const plan = {
      ...{
        budgets: [{ budget: 'pool', limit: this.#limit }],
        agents: 0,
        thinkMs: 1,
        most: 1,
        ttlMs: 1_000,
        waitMs: 0,
      },
      ...{ vanish: 0, overrun: 0, report: 0, repeat: 0, wander: 0, operatorEveryMs: 0 },
    };
    new BudgetWorkload(this.#world, this.#books, plan, () => false).create(() => {});
  }

  #step(): void {
    const { rng, scheduler, machines } = this.#world;
    if (this.#isOver) return;
    scheduler.after(1_000 / this.#perSecond, () => this.#step());
    const hot = 2 * Math.floor(scheduler.nowMs / SHIFT_MS);
    const index = rng.chance(0.8) ? hot + rng.below(2) : rng.below(machines.length);
    this.#reserve(this.#world.machine(index), 1 + rng.below(2 * MEAN - 1));
  }

  #reserve(machine: BudgetMachine, amount: number): void {
    const { rng, scheduler } = this.#world;
    const counts = this.#counts;
    const sinceMs = scheduler.nowMs;
    counts.reservations += 1;
    machine.call({ op: 'reserve', budget: 'pool', agent: 'agent' as AgentId, amount }, (result) => {
      const waitedMs = scheduler.nowMs - sinceMs;
      if (waitedMs > HELD_MS / 10) counts.waited += 1;
      counts.longestMs = Math.max(counts.longestMs, waitedMs);
      if (!result.ok) {
        counts.refused += 1;
        if (this.#reachable() >= amount) counts.falselyRefused += 1;
        return;
      }
      const { reservationId } = result.value as { readonly reservationId: string };
      const used = Math.ceil(amount * (0.5 + rng.float() / 2));
      scheduler.after(HELD_MS, () =>
        machine.call({ op: 'settle', id: reservationId, amount: used }, () => this.#settled()),
      );
    });
  }

  /** What each machine has heard of each other one, now and then. */
  #lookAround(): void {
    const { machines, scheduler, wallMs } = this.#world;
    const purse = this.#purse;
    if (this.#isOver || purse === undefined) return;
    scheduler.after(LOOK_EVERY_MS, () => this.#lookAround());
    for (const { nodeId, budgets } of machines) {
      if (budgets === undefined || !budgets.ledger.purses.has(purse)) continue;
      const key = rowKey(purse, budgets.ledger.account);
      for (const other of machines)
        if (other.nodeId !== nodeId)
          this.#newsMs.push(wallMs - (other.records?.sequenceOf(nodeId, 'budget', key) ?? 0));
    }
  }

  #settled(): void {
    if (this.#spent() >= ENOUGH * this.#limit) this.#isOver = true;
  }

  #spent(): number {
    return this.#sum((purse) => purse.spent);
  }

  #reachable(): number {
    const purse = this.#purse;
    return purse === undefined ? 0 : this.#books.reserve(purse).reserve + this.#sum(({ rights }) => rights);
  }

  #sum(of: (purse: { readonly spent: number; readonly rights: number }) => number): number {
    let sum = 0;
    for (const { budgets } of this.#world.machines) {
      const own = this.#purse === undefined ? undefined : budgets?.ledger.purses.get(this.#purse);
      if (own !== undefined) sum += of(own);
    }
    return sum;
  }

  #report(before: { readonly frames: Frames; readonly calls: number; readonly atMs: number }): DenialsReport {
    const world = this.#world;
    const { reservations, refused, falselyRefused, waited, longestMs } = this.#counts;
    const perThousand = (count: number) => Math.round((count / Math.max(1, reservations)) * 100_000) / 100;
    const { call, rows: told, compared, rideBytes } = this.#frames;
    const newsMs = this.#newsMs.sort((one, other) => one - other);
    const anyway = (world.machines.length * (world.nowMs - before.atMs)) / ROOT_EVERY_MS;
    const messages = {
      call: perThousand(call - before.frames.call),
      rows: perThousand(told - before.frames.rows),
      compared: perThousand(Math.max(0, compared - before.frames.compared - anyway)),
      store: perThousand(world.store.calls - before.calls),
    };
    const spent = this.#spent() / this.#limit;
    if (spent < ENOUGH)
      world.violate('denials', `only ${(100 * spent).toFixed(2)} % of the limit could be spent`);
    if (falselyRefused > MOST_FALSE * reservations)
      world.violate(
        'denials',
        `${falselyRefused} of ${reservations} were refused although the money was there`,
      );
    const sum = sumOf(messages);
    if (world.machines.length <= USUAL_NODES && sum > MOST_MESSAGES)
      world.violate('denials', `${sum.toFixed(1)} messages for 1,000 reservations`);
    const rows = this.#purse === undefined ? [] : this.#books.rowsOf(this.#purse);
    return {
      ...{ scenario: 'budget-denials', seed: this.#seed, nodes: world.machines.length, limit: this.#limit },
      ...{ traceHash: world.trace.hash(), events: world.steps, simulatedMs: world.nowMs },
      ...{ reservations, refused, falselyRefused, waited, longestMs, spent },
      transfers: rows.reduce((sum, [, row]) => sum + row.sent.size, 0),
      grants: world.store.transactions,
      perThousand: messages,
      newsMs: { most: newsMs[Math.floor(newsMs.length * 0.99)] ?? 0, oldest: newsMs.at(-1) ?? 0 },
      rideBytes: Math.round((rideBytes - before.frames.rideBytes) / Math.max(1, reservations)),
      faults: [],
      violations: world.violations,
      replay: `npm run simulate -- budget-denials --seed ${this.#seed}`,
    };
  }
}

function sumOf({ call, store, rows, compared }: Counted): number {
  return call + store + rows + compared;
}

export function describeDenials(report: DenialsReport): string {
  const { seed, nodes, reservations, refused, falselyRefused, spent, perThousand, longestMs } = report;
  const sum = sumOf(perThousand);
  const share = ((100 * falselyRefused) / Math.max(1, reservations)).toFixed(3);
  return [
    `budget-denials seed ${seed} nodes ${nodes}: ${reservations} reservations, ${refused} refused, of these ${falselyRefused} falsely (${share} %)`,
    `${(100 * spent).toFixed(2)} % of the limit spent, ${report.waited} waited, the longest ${Math.round(longestMs)} ms`,
    `${report.transfers} pairs of nodes passed rights, ${report.grants} transactions; per 1,000 reservations ${sum.toFixed(1)} messages: ${perThousand.call} calls, ${perThousand.store} store calls, ${perThousand.rows} frames of rows, ${perThousand.compared} that compare them; ${report.rideBytes} bytes a reservation rode along`,
    `99 % of what machines know of each other was told ${Math.round(report.newsMs.most)} ms ago at most, all of it ${Math.round(report.newsMs.oldest)} ms`,
    `${(report.simulatedMs / 1000).toFixed(1)} simulated s, ${report.events} events, trace ${report.traceHash}`,
  ].join('; ');
}
