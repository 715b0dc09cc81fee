/** What a simulated machine is, whatever runs on it: what outlives its processes (name, address, disk, clock), and the one that runs now. */
import { failWith, type Result } from '../../src/kernel/errors.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { type MachineTime, SimulatedClock } from '../../src/sim/clock.ts';
import { type DiskConditions, type DiskImage, SimulatedDisk } from '../../src/sim/disk.ts';
import type { SimulatedNetwork } from '../../src/sim/network.ts';
import { SimulatedProcess } from '../../src/sim/process.ts';
import type { Scheduler } from '../../src/sim/scheduler.ts';
import type { SimulatedWire } from '../../src/sim/wire.ts';

export const DISK_HEALTHY: Readonly<DiskConditions> = { minSyncMs: 0.05, maxSyncMs: 2, failing: undefined };

const REDIAL_MS = 300;

export interface HostWorld {
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
}

/** A process, and what it holds. */
export interface HostRun extends Parts {
  readonly executor: { stop(): void };
  readonly waiting: Map<number, (result: Result<unknown>) => void>;
}

interface Parts {
  readonly process: SimulatedProcess;
  readonly wire: SimulatedWire;
  readonly disk: SimulatedDisk;
  readonly clock: SimulatedClock;
}

export interface HostOptions {
  readonly name: string;
  readonly nodeId: NodeId;
  /** Address on which it listens. */
  readonly host: string;
  readonly time: MachineTime;
  readonly rng: Rng;
}

export abstract class SimulatedHost<Run extends HostRun, Image extends DiskImage> {
  readonly name: string;
  readonly nodeId: NodeId;
  readonly host: string;
  readonly image: Image;
  readonly diskConditions: DiskConditions = { ...DISK_HEALTHY };
  readonly time: MachineTime;
  /** `undefined` while no process runs. */
  protected run: Run | undefined;
  protected readonly rng: Rng;
  readonly #world: HostWorld;
  #requests = 0;
  #starts = 0;

  constructor(world: HostWorld, image: Image, { name, nodeId, host, time, rng }: HostOptions) {
    this.name = name;
    this.nodeId = nodeId;
    this.host = host;
    this.image = image;
    this.time = time;
    this.rng = rng;
    this.#world = world;
  }

  get address(): string {
    return `${this.host}/p2p/${this.nodeId}`;
  }

  get state(): 'running' | 'paused' | 'dead' {
    return this.run?.process.state ?? 'dead';
  }

  /** How often a process was started here. */
  get starts(): number {
    return this.#starts;
  }

  pause(): void {
    this.run?.process.pause();
  }

  resume(): void {
    this.run?.process.resume();
  }

  /** `kill` is noticed by peers at once, `power` is not. What was not synced may be lost, and no caller is answered. */
  crash(how: 'kill' | 'power'): void {
    const { run } = this;
    if (run === undefined) return;
    this.run = undefined;
    run.disk.crash();
    run.process.kill();
    run.executor.stop();
    this.onCrash(run);
    if (how === 'kill') run.wire.closeNow();
    else run.wire.vanish();
    this.answerAll(run);
  }

  /** It is gone, and its peers do not know yet. */
  protected onCrash(_run: Run): void {}

  /** A new process, with what its disk has. */
  protected begin(): Parts & { readonly journal: ReturnType<SimulatedDisk['loadNow']> } {
    const { scheduler, network } = this.#world;
    const process = new SimulatedProcess();
    const disk = new SimulatedDisk({
      scheduler,
      process,
      rng: this.rng.fork(),
      image: this.image,
      conditions: this.diskConditions,
    });
    const journal = disk.loadNow();
    this.#starts += 1;
    const clock = new SimulatedClock(scheduler, process, this.time);
    const wire = network.wire(this.nodeId, this.host, process);
    return { process, disk, clock, wire, journal };
  }

  /** In the next turn of the host's loop. */
  protected deferOn(process: SimulatedProcess): (callback: () => void) => void {
    return (callback) => {
      this.#world.scheduler.after(0, () => process.enter(callback));
    };
  }

  /** The number of a request whose answer goes to `answer`. */
  protected asks(run: Run, answer: (result: Result<unknown>) => void): number {
    const id = ++this.#requests;
    run.waiting.set(id, answer);
    return id;
  }

  protected answer(
    run: Run,
    { id, result }: { readonly id: number; readonly result: Result<unknown> },
  ): void {
    const answer = run.waiting.get(id);
    run.waiting.delete(id);
    answer?.(result);
  }

  protected answerAll(run: Run): void {
    for (const answer of run.waiting.values()) answer(gone('unknown'));
    run.waiting.clear();
  }

  /** Those of `peers` that are not `up`, again and again. */
  protected dial(run: Run, peers: () => readonly string[], up: () => Iterable<NodeId>): void {
    if (this.run !== run) return;
    for (const peer of peers()) if (![...up()].some((nodeId) => peer.endsWith(nodeId))) run.wire.dial(peer);
    this.#world.scheduler.after(REDIAL_MS * (0.5 + this.rng.float()), () =>
      run.process.enter(() => this.dial(run, peers, up)),
    );
  }
}

export function gone(outcome: 'not-done' | 'unknown'): Result<never> {
  return failWith('UNREACHABLE', 'The node is gone.', 'Ask another one.', { details: { outcome } });
}
