/** Machines with nothing but the quorum store on them, their network and clocks, all driven by one seed. */
import type { NodeId } from '../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import type { QuorumEffect } from '../../src/quorum/messages.ts';
import { NEWEST_FORMAT } from '../../src/quorum/register/format.ts';
import { SimulatedCryptography } from '../../src/sim/cryptography.ts';
import { calmNetwork, type NetworkConditions, SimulatedNetwork } from '../../src/sim/network.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';
import { Trace } from '../../src/sim/trace.ts';
import type { Violation } from '../lib/cluster.ts';
import { DISK_HEALTHY } from '../lib/host.ts';
import { QuorumMachine } from './machine.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly breakAfterMs: number;
  readonly maxDelayMs: number;
  readonly configOf: (machine: QuorumMachine) => QuorumConfig;
  readonly keepNotes?: number;
}

const VIOLATIONS = 10;
/** Ten times what a busy seed takes. */
const MOST_STEPS = 400_000;

export class QuorumWorld {
  readonly rng: Rng;
  readonly scheduler = new Scheduler();
  readonly trace: Trace;
  readonly network: SimulatedNetwork;
  readonly conditions: NetworkConditions;
  /** While nothing is wrong. */
  readonly #usual: NetworkConditions;
  readonly machines: readonly QuorumMachine[];
  readonly violations: Violation[] = [];
  readonly onStep: ((machine: QuorumMachine) => void)[] = [];
  readonly onEffect: ((machine: QuorumMachine, effect: QuorumEffect) => void)[] = [];
  readonly onReceived: ((machine: QuorumMachine, from: NodeId, bytes: Uint8Array) => void)[] = [];
  /** Why nothing is promised any more. */
  exception: string | undefined;
  /** Something was broken after that: the run has no verdict. */
  isVoid = false;
  /** Of the versions of the program that were ever run. */
  newestFormat = NEWEST_FORMAT;
  /** Events that machines handled. */
  steps = 0;

  constructor(options: WorldOptions) {
    this.rng = seededRng(options.seed);
    this.trace = new Trace(options.keepNotes ?? 0);
    const { breakAfterMs, maxDelayMs } = options;
    this.#usual = { ...calmNetwork, breakAfterMs, maxDelayMs };
    this.conditions = { ...this.#usual };
    const cryptography = new SimulatedCryptography(this.rng.fork(), nodeIdFromPublicKey);
    this.network = new SimulatedNetwork({
      scheduler: this.scheduler,
      rng: this.rng.fork(),
      conditions: this.conditions,
    });
    const world = {
      scheduler: this.scheduler,
      network: this.network,
      cryptography,
      configOf: options.configOf,
      onStep: (machine: QuorumMachine, event: string, effects: readonly QuorumEffect[]) =>
        this.#stepped(machine, event, effects),
      onEffect: (machine: QuorumMachine, effect: QuorumEffect) => {
        for (const listener of this.onEffect) listener(machine, effect);
      },
      onReceived: (machine: QuorumMachine, from: NodeId, bytes: Uint8Array) => {
        for (const listener of this.onReceived) listener(machine, from, bytes);
      },
      onBroken: (machine: QuorumMachine, error: unknown) => this.#broken(machine, error),
    };
    this.machines = Array.from(
      { length: options.nodes },
      (_, index) => new QuorumMachine(world, index, cryptography.makeSigner().nodeId, this.rng.fork()),
    );
    for (const machine of this.machines)
      machine.know(this.machines.filter((other) => other !== machine).map(({ address }) => address));
  }

  /** A promise was broken, or what was broken is none. */
  get isOver(): boolean {
    return this.violations.length > 0 || this.isVoid;
  }

  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  get running(): readonly QuorumMachine[] {
    return this.machines.filter(({ state }) => state === 'running');
  }

  machine(index: number): QuorumMachine {
    return this.machines[index % this.machines.length] as QuorumMachine;
  }

  /** Of those that believe to lead, the one with the highest term. */
  get leader(): QuorumMachine | undefined {
    const termOf = (machine: QuorumMachine) => machine.quorum?.replica?.raft.term ?? 0;
    return this.machines
      .filter(({ isLeader }) => isLeader)
      .sort((left, right) => termOf(right) - termOf(left))[0];
  }

  /** Ends every fault: from here on the world behaves. */
  heal(): void {
    this.calm();
    this.network.mendAll();
    this.#upgradeAll();
    for (const machine of this.machines) {
      Object.assign(machine.diskConditions, DISK_HEALTHY);
      machine.time.setRate(1);
      machine.time.correct();
      machine.resume();
      machine.start();
    }
  }

  /** To the newest version that any ever had: who is older may have been left behind. */
  #upgradeAll(): void {
    for (const machine of this.machines) {
      if (machine.newestFormat === this.newestFormat) continue;
      machine.newestFormat = this.newestFormat;
      machine.crash('kill');
    }
  }

  /** Ends noise. */
  calm(): void {
    Object.assign(this.conditions, this.#usual);
  }

  /** From here on nothing is promised: what breaks ends the run without a verdict. */
  except(why: string): void {
    this.exception ??= why;
    this.trace.note(this.nowMs, 'exception', why);
  }

  violate(check: string, what: string): void {
    if (this.exception !== undefined) this.isVoid = true;
    else if (this.violations.length < VIOLATIONS) this.violations.push({ atMs: this.nowMs, check, what });
  }

  #stepped(machine: QuorumMachine, event: string, effects: readonly QuorumEffect[]): void {
    this.steps += 1;
    if (this.steps === MOST_STEPS) this.violate('liveness', `${MOST_STEPS} events, and no end`);
    this.trace.note(this.nowMs, machine.name, [event, ...effects.map(({ kind }) => kind)]);
    for (const listener of this.onStep) listener(machine);
  }

  #broken(machine: QuorumMachine, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.violate('invariant', `${machine.name} threw: ${text}`);
    machine.crash('kill');
  }
}
