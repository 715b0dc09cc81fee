/** Machines with nothing but money on them, their network, clocks and disks, and a quorum store, all driven by one seed. */
import { CLOSING_TIMES, type ClosingTimes } from '../../src/budget/over-periods.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { SimulatedCryptography } from '../../src/sim/cryptography.ts';
import { calmNetwork, type NetworkConditions, SimulatedNetwork } from '../../src/sim/network.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';
import { Trace } from '../../src/sim/trace.ts';
import type { Violation } from '../lib/cluster.ts';
import { DISK_HEALTHY } from '../lib/host.ts';
import type { CoreEffect } from './core.ts';
import { BudgetMachine, type MachineWorld } from './machine.ts';
import { rightWallMs } from './removals.ts';
import { STORE_CALM, type StoreConditions, StoreModel } from './store.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly nodes: number;
  /** The first so many nodes may be orchestrator. */
  readonly orchestrators: number;
  readonly breakAfterMs: number;
  readonly maxDelayMs: number;
  readonly checkpointFloorBytes: number;
  readonly historyChanges: number;
  /** What right wall clocks show at the start, after the simulation's epoch. */
  readonly startWallMs: number;
  /** By how much the time of day passes faster than durations; default 1. */
  readonly wallRate?: number;
  /** When periods are closed; default: as in a real node. */
  readonly times?: ClosingTimes;
  readonly keepNotes?: number;
  /** Events after which a run is taken for endless. */
  readonly mostSteps?: number;
}

const VIOLATIONS = 10;
/** Ten times what a busy seed takes. */
const MOST_STEPS = 2_000_000;

export class BudgetWorld {
  readonly rng: Rng;
  readonly scheduler = new Scheduler();
  readonly trace: Trace;
  readonly network: SimulatedNetwork;
  readonly conditions: NetworkConditions;
  readonly store: StoreModel;
  readonly storeConditions: StoreConditions = { ...STORE_CALM };
  readonly machines: readonly BudgetMachine[];
  /** Second runs of a machine's data, under its identity. */
  readonly copies: BudgetMachine[] = [];
  readonly violations: Violation[] = [];
  /** A process has read its disk. */
  readonly onStart: ((machine: BudgetMachine) => void)[] = [];
  readonly onStep: ((machine: BudgetMachine, event: string, effects: readonly CoreEffect[]) => void)[] = [];
  readonly onEffect: ((machine: BudgetMachine, effect: CoreEffect) => void)[] = [];
  /** A process has ended; its disk is as it will be found. */
  readonly onCrash: ((machine: BudgetMachine) => void)[] = [];
  /** Events that machines handled. */
  steps = 0;
  readonly times: ClosingTimes;
  readonly #usual: NetworkConditions;
  readonly #shared: MachineWorld;
  readonly #startWallMs: number;
  readonly #wallRate: number;
  readonly #mostSteps: number;

  constructor(options: WorldOptions) {
    this.#mostSteps = options.mostSteps ?? MOST_STEPS;
    this.rng = seededRng(options.seed);
    this.trace = new Trace(options.keepNotes ?? 0);
    const { breakAfterMs, maxDelayMs } = options;
    this.#usual = { ...calmNetwork, breakAfterMs, maxDelayMs };
    this.#startWallMs = options.startWallMs;
    this.#wallRate = options.wallRate ?? 1;
    this.times = options.times ?? CLOSING_TIMES;
    this.conditions = { ...this.#usual };
    const cryptography = new SimulatedCryptography(this.rng.fork(), nodeIdFromPublicKey);
    const { scheduler, conditions } = this;
    this.network = new SimulatedNetwork({ scheduler, rng: this.rng.fork(), conditions });
    this.store = new StoreModel({
      scheduler,
      rng: this.rng.fork(),
      conditions: this.storeConditions,
      historyChanges: options.historyChanges,
    });
    this.#shared = {
      ...{ scheduler, network: this.network, cryptography, store: this.store },
      checkpointFloorBytes: options.checkpointFloorBytes,
      ...{ wallRate: this.#wallRate, times: this.times },
      isOrchestrator: ({ index }) => index < options.orchestrators,
      startedAtMs: (node) => this.#startedAtMs(node),
      onStart: (machine) => {
        for (const listener of this.onStart) listener(machine);
      },
      onStep: (machine, event, effects) => this.#stepped(machine, event, effects),
      onEffect: (machine, effect) => {
        for (const listener of this.onEffect) listener(machine, effect);
      },
      onBroken: (machine, error) => this.#broken(machine, error),
    };
    this.machines = Array.from({ length: options.nodes }, (_, index) => {
      const machine = new BudgetMachine(this.#shared, index, cryptography.makeSigner(), this.rng.fork());
      machine.time.step(options.startWallMs);
      return machine;
    });
    for (const machine of this.machines) machine.know(this.#addressesBut(machine));
  }

  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  /** What a right clock of day shows. */
  get wallMs(): number {
    return rightWallMs(this.nowMs, this.#startWallMs, this.#wallRate);
  }

  /** Copies included. */
  get all(): readonly BudgetMachine[] {
    return this.copies.length === 0 ? this.machines : [...this.machines, ...this.copies];
  }

  get running(): readonly BudgetMachine[] {
    return this.machines.filter(({ state }) => state === 'running');
  }

  machine(index: number): BudgetMachine {
    return this.machines[index % this.machines.length] as BudgetMachine;
  }

  /** A second machine with the key and the disk of the first as it is now; not started yet. */
  copyOf(machine: BudgetMachine): BudgetMachine {
    const copy = new BudgetMachine(
      this.#shared,
      machine.index,
      machine.signer,
      this.rng.fork(),
      ` copy ${this.copies.length + 1}`,
    );
    copy.time.step(this.#startWallMs);
    copy.image.restore(machine.image.snapshot());
    copy.image.reread();
    copy.know(this.#addressesBut(machine));
    this.copies.push(copy);
    return copy;
  }

  /** Ends every fault: from here on the world behaves. */
  heal(): void {
    this.calm();
    this.network.mendAll();
    Object.assign(this.storeConditions, STORE_CALM);
    this.store.pumpAll();
    for (const copy of this.copies) this.crash(copy, 'kill');
    for (const machine of this.machines) {
      Object.assign(machine.diskConditions, DISK_HEALTHY);
      machine.time.setRate(1);
      this.correct(machine);
      machine.resume();
      machine.start();
    }
  }

  crash(machine: BudgetMachine, how: 'kill' | 'power'): void {
    if (machine.state === 'dead') return;
    machine.crash(how);
    for (const listener of this.onCrash) listener(machine);
  }

  /** The wall clock is set right. */
  correct(machine: BudgetMachine): void {
    machine.time.correct();
    machine.time.step(this.#startWallMs);
  }

  /** Ends noise. */
  calm(): void {
    Object.assign(this.conditions, this.#usual);
  }

  violate(check: string, what: string): void {
    if (this.violations.length < VIOLATIONS) this.violations.push({ atMs: this.nowMs, check, what });
  }

  #addressesBut({ nodeId }: BudgetMachine): readonly string[] {
    return this.machines.filter((other) => other.nodeId !== nodeId).map(({ address }) => address);
  }

  #startedAtMs(node: NodeId): number | undefined {
    const started = this.all.filter(({ nodeId, state }) => nodeId === node && state !== 'dead');
    return started.length === 0 ? undefined : Math.max(...started.map(({ startedAtMs }) => startedAtMs));
  }

  #stepped(machine: BudgetMachine, event: string, effects: readonly CoreEffect[]): void {
    this.steps += 1;
    if (this.steps === this.#mostSteps) this.violate('liveness', `${this.steps} events, and no end`);
    this.trace.note(this.nowMs, machine.name, [event, ...effects.map(({ kind }) => kind)]);
    for (const listener of this.onStep) listener(machine, event, effects);
  }

  #broken(machine: BudgetMachine, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.violate('invariant', `${machine.name} threw: ${text}`);
    this.crash(machine, 'kill');
  }
}
