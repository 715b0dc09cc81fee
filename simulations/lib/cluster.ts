/**
 * Whole nodes in one world: the same core and executor as in production, on simulated ports, all driven by one seed.
 */
import type { BoardsConfig } from '../../src/blackboard/boards.ts';
import { type Rng, seededRng } from '../../src/kernel/rng.ts';
import { swarmIdOf } from '../../src/mesh/identity/certificate.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { DIAL_SELF } from '../../src/mesh/links/links.ts';
import type { NodeEffect } from '../../src/node/core.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import { SimulatedCryptography } from '../../src/sim/cryptography.ts';
import { calmNetwork, type NetworkConditions, SimulatedNetwork } from '../../src/sim/network.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';
import { Trace } from '../../src/sim/trace.ts';
import { DISK_HEALTHY } from './host.ts';
import { SimulatedMachine, type Turn } from './machine.ts';

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly boards: BoardsConfig;
  readonly quorum?: (index: number) => QuorumConfig | undefined;
  /** Notes of the trace that are kept as text. */
  readonly keepNotes?: number;
}

/** A promise that was broken, in words for whoever replays the seed. */
export interface Violation {
  readonly atMs: number;
  /** Which checker found it. */
  readonly check: string;
  readonly what: string;
}

const VIOLATIONS = 20;

export class Cluster {
  readonly rng: Rng;
  readonly scheduler = new Scheduler();
  readonly trace: Trace;
  readonly network: SimulatedNetwork;
  readonly networkConditions: NetworkConditions = { ...calmNetwork };
  readonly machines: readonly SimulatedMachine[];
  readonly violations: Violation[] = [];
  /** Called for every order of every node; fault injectors and checkers listen. */
  readonly onEffect: ((machine: SimulatedMachine, effect: NodeEffect) => void)[] = [];
  /** Called after every turn of every node: with the event that it was handed, or `expire`. */
  readonly onTurn: ((machine: SimulatedMachine, event: Turn) => void)[] = [];

  constructor(options: ClusterOptions) {
    const { seed, nodes } = options;
    this.rng = seededRng(seed);
    this.trace = new Trace(options.keepNotes ?? 0);
    const cryptography = new SimulatedCryptography(this.rng.fork(), nodeIdFromPublicKey);
    this.network = new SimulatedNetwork({
      scheduler: this.scheduler,
      rng: this.rng.fork(),
      conditions: this.networkConditions,
      selfDialReason: DIAL_SELF,
    });
    const root = cryptography.makeSigner();
    const world = {
      scheduler: this.scheduler,
      network: this.network,
      cryptography,
      swarm: { id: swarmIdOf(cryptography, root.publicKey), rootPublicKey: root.publicKey, root },
      trace: this.trace,
      boards: options.boards,
      quorum: options.quorum,
      onBroken: (machine: SimulatedMachine, error: unknown) => this.#broken(machine, error),
      onEffect: (machine: SimulatedMachine, effect: NodeEffect) => {
        for (const listener of this.onEffect) listener(machine, effect);
      },
      onTurn: (machine: SimulatedMachine, event: Turn) => {
        for (const listener of this.onTurn) listener(machine, event);
      },
    };
    this.machines = Array.from(
      { length: nodes },
      (_, index) => new SimulatedMachine(world, index, cryptography.makeSigner(), this.rng.fork()),
    );
    this.#configure();
  }

  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  get running(): readonly SimulatedMachine[] {
    return this.machines.filter((machine) => machine.state === 'running');
  }

  machine(index: number): SimulatedMachine {
    const machine = this.machines[index % this.machines.length];
    if (machine === undefined) throw new RangeError(`no machine ${index}`);
    return machine;
  }

  startAll(): void {
    for (const machine of this.machines) machine.start();
  }

  /** Ends every fault: from here on the world behaves. */
  heal(): void {
    Object.assign(this.networkConditions, calmNetwork);
    this.network.mendAll();
    for (const machine of this.machines) {
      Object.assign(machine.diskConditions, DISK_HEALTHY);
      machine.time.setRate(1);
      machine.time.correct();
      machine.resume();
      machine.start();
    }
  }

  violate(check: string, what: string): void {
    if (this.violations.length < VIOLATIONS) this.violations.push({ atMs: this.nowMs, check, what });
  }

  /** Machine 0 is known to all; the others are found by gossip, but for one more that each knows by chance. */
  #configure(): void {
    const first = this.machine(0);
    for (const machine of this.machines) {
      const other = this.rng.pick(this.machines);
      machine.configure(
        [...new Set([first, other])].filter((known) => known !== machine).map(({ address }) => address),
      );
    }
  }

  #broken(machine: SimulatedMachine, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.violate('invariant', `${machine.name} threw: ${text}`);
    machine.crash('kill');
  }
}
