/**
 * One simulated machine that runs nothing but the quorum store: the machine of a real node on its real executor, with
 * a simulated disk, clock, wire and process. Whoever is connected counts as admitted.
 */
import type { Result } from '../../src/kernel/errors.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Machine } from '../../src/kernel/machine.ts';
import type { Cryptography, WireEvent } from '../../src/kernel/ports.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import type { Deadline, Instant } from '../../src/kernel/time.ts';
import { Executor, type Lagged } from '../../src/node/executor.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import type { QuorumCall, QuorumEffect, QuorumEvent } from '../../src/quorum/messages.ts';
import { Quorum } from '../../src/quorum/quorum.ts';
import type { ServerId } from '../../src/quorum/raft/types.ts';
import { NEWEST_FORMAT } from '../../src/quorum/register/format.ts';
import { MachineTime, type SimulatedClock } from '../../src/sim/clock.ts';
import { randomBytes } from '../../src/sim/cryptography.ts';
import type { SimulatedDisk } from '../../src/sim/disk.ts';
import type { SimulatedProcess } from '../../src/sim/process.ts';
import { type HostRun, type HostWorld, SimulatedHost } from '../lib/host.ts';
import { DurableImage } from './durable-image.ts';
import type { Held } from './exceptions.ts';

export interface MachineWorld extends HostWorld {
  readonly cryptography: Cryptography;
  configOf(machine: QuorumMachine): QuorumConfig;
  /** After every event that the machine handled. */
  onStep(machine: QuorumMachine, event: string, effects: readonly QuorumEffect[]): void;
  onEffect(machine: QuorumMachine, effect: QuorumEffect): void;
  onReceived(machine: QuorumMachine, from: NodeId, bytes: Uint8Array): void;
  onBroken(machine: QuorumMachine, error: unknown): void;
}

interface Run extends HostRun {
  readonly quorum: Quorum;
  readonly executor: Executor<QuorumEvent, QuorumEffect>;
  readonly up: Set<NodeId>;
}

const NONCE_BYTES = 8;

export class QuorumMachine extends SimulatedHost<Run, DurableImage> {
  readonly index: number;
  /** Its disk was replaced or put back. */
  hasNewDisk = false;
  /** What its version of the program understands. */
  newestFormat = NEWEST_FORMAT;
  /** Taken away, for a while or for good: nothing starts it. */
  isGone = false;
  /** What the disk held that was put back to an old image. */
  lostDisk: { readonly server: ServerId; readonly held: Held } | undefined;
  readonly #world: MachineWorld;
  #peers: readonly string[] = [];

  constructor(world: MachineWorld, index: number, nodeId: NodeId, rng: Rng) {
    super(world, new DurableImage(), {
      name: `node-${index}`,
      nodeId,
      host: `/ip4/10.0.0.${index + 1}/tcp/4001`,
      time: new MachineTime(world.scheduler),
      rng,
    });
    this.index = index;
    this.#world = world;
  }

  /** Undefined while no process runs. */
  get quorum(): Quorum | undefined {
    return this.run?.quorum;
  }

  isConnected(peer: NodeId): boolean {
    return this.run?.up.has(peer) === true;
  }

  get isLeader(): boolean {
    return this.quorum?.replica?.isLeader === true;
  }

  /** Addresses that it dials. */
  know(peers: readonly string[]): void {
    this.#peers = peers;
  }

  start(): void {
    if (this.run !== undefined || this.isGone) return;
    const { cryptography } = this.#world;
    const { process, disk, clock, wire, journal } = this.begin();
    this.image.reread();
    const quorum = new Quorum({
      self: this.nodeId,
      config: { ...this.#world.configOf(this), newestFormat: this.newestFormat },
      cryptography,
      nonce: randomBytes(this.rng, NONCE_BYTES),
      rng: this.rng.fork(),
      now: clock.now(),
    });
    quorum.load(
      journal.records.map((record) => record.subarray(1)),
      journal.quarantined.length > 0,
      clock.now(),
    );
    const executor = this.#executor(quorum, { process, disk, clock });
    const run: Run = { process, wire, disk, clock, quorum, executor, waiting: new Map(), up: new Set() };
    this.run = run;
    wire.listenNow((event) => this.#onWire(run, event));
    // What loading called for leaves with the first event.
    executor.deliver({ kind: 'quorumCancelled', id: 0 });
    this.dial(
      run,
      () => this.#peers,
      () => run.up,
    );
  }

  /** Asks as a local caller does; false where nobody is there to ask. `answer` is called once at most. */
  call(call: QuorumCall, answer: (result: Result<unknown>) => void): boolean {
    const run = this.run;
    if (run === undefined) return false;
    run.process.enter(() => {
      const id = this.asks(run, answer);
      run.executor.deliver({ kind: 'quorumRequested', id, call });
    });
    return true;
  }

  /** As leader, hands over to another server; false where there is nobody to do so. */
  handOver(to: ServerId): boolean {
    const run = this.run;
    const replica = run?.quorum.replica;
    if (run === undefined || replica?.isLeader !== true || replica.server === to) return false;
    run.process.enter(() => {
      const facts = replica.step({ kind: 'transferAsked', token: 0, to }, run.clock.now());
      run.executor.execute(facts.filter((fact) => fact.kind === 'send'));
    });
    return true;
  }

  #executor(
    quorum: Quorum,
    parts: { process: SimulatedProcess; disk: SimulatedDisk; clock: SimulatedClock },
  ): Executor<QuorumEvent, QuorumEffect> {
    const { onStep, onBroken } = this.#world;
    return new Executor<QuorumEvent, QuorumEffect>({
      machine: new Unlagged(quorum),
      clock: parts.clock,
      disk: parts.disk,
      defer: this.deferOn(parts.process),
      perform: (effect) => this.#perform(effect),
      onBroken: (error) => onBroken(this, error),
      observe: (event, effects) => onStep(this, event === 'expire' ? event : event.kind, effects),
    });
  }

  #perform(effect: QuorumEffect): void {
    const run = this.run;
    if (run === undefined) return;
    this.#world.onEffect(this, effect);
    if (effect.kind === 'send') {
      for (const peer of effect.to) run.wire.send(peer, effect.channel, effect.bytes);
    } else if (effect.kind === 'answer') this.answer(run, effect);
  }

  #onWire(run: Run, event: WireEvent): void {
    if (event.kind === 'connected') {
      run.wire.admit(event.peer);
      if (run.up.has(event.peer)) return;
      run.up.add(event.peer);
      run.executor.deliver({ kind: 'peerUp', peer: event.peer });
    } else if (event.kind === 'disconnected') {
      if (run.up.delete(event.peer)) run.executor.deliver({ ...event, kind: 'peerDown' });
    } else if (event.kind === 'frame') {
      this.#world.onReceived(this, event.from, event.bytes);
      run.executor.deliver({ kind: 'received', from: event.from, bytes: event.bytes });
    }
  }
}

/** The quorum store does not care that the host was late. */
class Unlagged implements Machine<QuorumEvent | Lagged, QuorumEffect> {
  readonly #quorum: Quorum;

  constructor(quorum: Quorum) {
    this.#quorum = quorum;
  }

  handle(event: QuorumEvent | Lagged, now: Instant): readonly QuorumEffect[] {
    return event.kind === 'lagged' ? [] : this.#quorum.handle(event, now);
  }

  expire(now: Instant): readonly QuorumEffect[] {
    return this.#quorum.expire(now);
  }

  deadline(): Deadline | undefined {
    return this.#quorum.deadline();
  }

  checkpoint(): Generator<Uint8Array> {
    return this.#quorum.checkpoint();
  }
}
