/** One simulated machine: what outlives its processes (key, disk, clock), and the run of the node on it, if any. */
import type { BoardCall } from '../../src/blackboard/api.ts';
import type { BoardsConfig } from '../../src/blackboard/boards.ts';
import { toHex } from '../../src/kernel/codec.ts';
import { failWith, type Result } from '../../src/kernel/errors.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import type { Cryptography, JournalContents, Signer } from '../../src/kernel/ports.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { certifyMember, type Swarm } from '../../src/mesh/identity/swarm.ts';
import { NodeCore, type NodeEffect, type NodeEvent } from '../../src/node/core.ts';
import { Executor } from '../../src/node/executor.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import type { Quorum } from '../../src/quorum/quorum.ts';
import { MachineTime, SimulatedClock } from '../../src/sim/clock.ts';
import { randomBytes } from '../../src/sim/cryptography.ts';
import { type DiskConditions, DiskImage, SimulatedDisk } from '../../src/sim/disk.ts';
import type { SimulatedNetwork } from '../../src/sim/network.ts';
import { SimulatedProcess } from '../../src/sim/process.ts';
import type { Scheduler } from '../../src/sim/scheduler.ts';
import type { Trace } from '../../src/sim/trace.ts';
import type { SimulatedWire } from '../../src/sim/wire.ts';
import { BOARD } from './names.ts';

/** What a node was handed. */
export type Turn = NodeEvent | 'expire';

/** What all machines of a cluster share. */
export interface World {
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly cryptography: Cryptography;
  readonly swarm: Swarm;
  readonly trace: Trace;
  readonly boards: BoardsConfig;
  /** The part of each machine, by its index, in the quorum store; absent: there is none. */
  readonly quorum?: ((index: number) => QuorumConfig | undefined) | undefined;
  /** A node threw: an invariant is broken. */
  readonly onBroken: (machine: SimulatedMachine, error: unknown) => void;
  /** Every order that a node gives, before it is carried out. */
  readonly onEffect: (machine: SimulatedMachine, effect: NodeEffect) => void;
  /** A node was handed something, and has answered. */
  readonly onTurn: (machine: SimulatedMachine, event: Turn) => void;
}

export const DISK_HEALTHY: Readonly<DiskConditions> = { minSyncMs: 0.05, maxSyncMs: 2, failing: undefined };

const NONCE_BYTES = 8;

interface Run {
  readonly process: SimulatedProcess;
  readonly wire: SimulatedWire;
  readonly disk: SimulatedDisk;
  readonly clock: SimulatedClock;
  readonly core: NodeCore;
  readonly executor: Executor<NodeEvent, NodeEffect>;
  readonly waiting: Map<number, (result: Result<unknown>) => void>;
}

export class SimulatedMachine {
  readonly index: number;
  readonly name: string;
  readonly nodeId: NodeId;
  readonly host: string;
  readonly image = new DiskImage();
  readonly diskConditions: DiskConditions = { ...DISK_HEALTHY };
  readonly time: MachineTime;
  readonly #world: World;
  readonly #signer: Signer;
  readonly #rng: Rng;
  /** Addresses that this machine's configuration names. */
  #bootstrap: readonly string[] = [];
  #run: Run | undefined;
  #requests = 0;
  #starts = 0;
  #quarantined = 0;

  constructor(world: World, index: number, signer: Signer & { readonly nodeId: NodeId }, rng: Rng) {
    this.index = index;
    this.name = `node-${index}`;
    this.nodeId = signer.nodeId;
    this.host = `/ip4/10.0.${index >> 8}.${index & 255}/tcp/4001`;
    this.time = new MachineTime(world.scheduler);
    this.#world = world;
    this.#signer = signer;
    this.#rng = rng;
  }

  get address(): string {
    return `${this.host}/p2p/${this.nodeId}`;
  }

  /** The node's core, for checkers to look into; `undefined` while no process runs. */
  get core(): NodeCore | undefined {
    return this.#run?.core;
  }

  get state(): 'running' | 'paused' | 'dead' {
    return this.#run?.process.state ?? 'dead';
  }

  /** How often a node was started here. */
  get starts(): number {
    return this.#starts;
  }

  /** Files that loads found corrupt. */
  get quarantined(): number {
    return this.#quarantined;
  }

  configure(bootstrap: readonly string[]): void {
    this.#bootstrap = bootstrap;
  }

  start(): void {
    if (this.#run !== undefined) return;
    const { scheduler, network } = this.#world;
    const process = new SimulatedProcess();
    const disk = new SimulatedDisk({
      scheduler,
      process,
      rng: this.#rng.fork(),
      image: this.image,
      conditions: this.diskConditions,
    });
    const journal = disk.loadNow();
    this.#quarantined += journal.quarantined.length;
    this.#starts += 1;
    const clock = new SimulatedClock(scheduler, process, this.time);
    const wire = network.wire(this.nodeId, this.host, process);
    const core = this.#core(journal, clock);
    const executor = this.#executor(core, { process, disk, clock });
    this.#run = { process, wire, disk, clock, core, executor, waiting: new Map() };
    wire.listenNow((event) => executor.deliver(event));
    executor.deliver({ kind: 'listening', addresses: wire.addresses() });
    const claims = this.#bootstrap.map((address) => ({ addresses: [address] }));
    executor.deliver({ kind: 'claimed', source: 'static', claims });
  }

  /** `kill` is noticed by peers at once, `power` is not. What was not synced may be lost; callers are never answered. */
  crash(how: 'kill' | 'power'): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#run = undefined;
    run.disk.crash();
    run.process.kill();
    run.executor.stop();
    if (how === 'kill') run.wire.closeNow();
    else run.wire.vanish();
    this.#answerAll(run);
  }

  /** The first step of an orderly stop: another is to lead. */
  handOver(): void {
    const run = this.#run;
    run?.process.enter(() => run.executor.execute(run.core.handOver(run.clock.now())));
  }

  /** An orderly stop: the others are told. */
  stop(): void {
    const run = this.#run;
    if (run === undefined) return;
    run.executor.execute(run.core.leave(run.clock.now()));
    run.executor.stop();
    run.wire.closeNow();
    void run.disk.close();
    run.process.kill();
    this.#run = undefined;
    this.#answerAll(run);
  }

  pause(): void {
    this.#run?.process.pause();
  }

  resume(): void {
    this.#run?.process.resume();
  }

  /** Asks as a local caller does; `answer` is called once, within the call where the node can. */
  call(call: BoardCall, agent: AgentId, answer: (result: Result<unknown>) => void): void {
    const run = this.#run;
    if (run === undefined) {
      answer(gone('not-done'));
      return;
    }
    run.process.enter(() => {
      if (call.op === 'read' || call.op === 'list' || call.op === 'documentRead') {
        const result = run.core.boards.read(call, run.clock.now());
        // What a session still lacks may arrive: such a read waits in the core, as it does behind the node's faces.
        if (result.ok || result.error.code !== 'SESSION_NOT_SATISFIED') {
          answer(result);
          return;
        }
      }
      const id = ++this.#requests;
      run.waiting.set(id, answer);
      run.executor.deliver({ kind: 'requested', id, call, writer: { agent } });
    });
  }

  /** Asks the quorum store through this node, as a local caller does. */
  askQuorum(call: QuorumCall, answer: (result: Result<unknown>) => void): void {
    const run = this.#run;
    if (run === undefined) {
      answer(gone('not-done'));
      return;
    }
    run.process.enter(() => {
      const id = ++this.#requests;
      run.waiting.set(id, answer);
      run.executor.deliver({ kind: 'quorumRequested', id, call });
    });
  }

  /** The quorum store as this node carries it; checkers look, callers ask. */
  get quorum(): Quorum | undefined {
    return this.#run?.core.quorum;
  }

  /** What readers of this node see now; checkers look, callers call. */
  look(call: Extract<BoardCall, { op: 'read' | 'list' }>): Result<unknown> {
    const run = this.#run;
    return run === undefined ? gone('not-done') : run.core.boards.read(call, run.clock.now());
  }

  /** Hashes over the records and the board of this node; `undefined` while it does not run. */
  contentHash(): string | undefined {
    const run = this.#run;
    if (run === undefined) return undefined;
    return `${toHex(run.core.records.root)}/${run.core.boards.hash(BOARD, run.clock.now())}`;
  }

  #answerAll(run: Run): void {
    for (const answer of run.waiting.values()) answer(gone('unknown'));
    run.waiting.clear();
  }

  #core(journal: JournalContents, clock: SimulatedClock): NodeCore {
    const { cryptography, swarm, boards } = this.#world;
    const member = { nodeId: this.nodeId, name: this.name, roles: ['worker'], zone: 'trusted' };
    const now = clock.now();
    return new NodeCore({
      self: this.nodeId,
      signer: this.#signer,
      cryptography,
      swarm,
      certificate: certifyMember(swarm, { ...member, serial: this.#starts }, now),
      nonce: randomBytes(this.#rng, NONCE_BYTES),
      descriptor: { name: this.name, roles: member.roles, zone: member.zone, version: '0.0.0-simulated' },
      boards,
      quorum: this.#world.quorum?.(this.index),
      isJournalSuspect: journal.quarantined.length > 0,
      journal: journal.records,
      rng: this.#rng.fork(),
      now,
    });
  }

  #executor(
    core: NodeCore,
    parts: { process: SimulatedProcess; disk: SimulatedDisk; clock: SimulatedClock },
  ): Executor<NodeEvent, NodeEffect> {
    const { scheduler, trace, onBroken, onTurn } = this.#world;
    return new Executor<NodeEvent, NodeEffect>({
      machine: core,
      clock: parts.clock,
      disk: parts.disk,
      defer: (callback) => {
        scheduler.after(0, () => parts.process.enter(callback));
      },
      perform: (effect) => this.#perform(effect),
      onBroken: (error) => onBroken(this, error),
      // Checkpoints must fall into short runs too.
      checkpointFloorBytes: 128 * 1024,
      observe: (event, effects) => {
        trace.note(scheduler.nowMs, this.name, [event, effects]);
        onTurn(this, event);
      },
    });
  }

  #perform(effect: NodeEffect): void {
    const run = this.#run;
    if (run === undefined) return;
    this.#world.onEffect(this, effect);
    switch (effect.kind) {
      case 'send':
        for (const peer of effect.to) run.wire.send(peer, effect.channel, effect.bytes);
        return;
      case 'dial':
        run.wire.dial(effect.address);
        return;
      case 'admit':
        run.wire.admit(effect.peer);
        return;
      case 'disconnect':
        run.wire.disconnect(effect.peer, effect.reason);
        return;
      case 'answer': {
        const answer = run.waiting.get(effect.id);
        run.waiting.delete(effect.id);
        answer?.(effect.result);
        return;
      }
      default:
    }
  }
}

function gone(outcome: 'not-done' | 'unknown'): Result<never> {
  return failWith('UNREACHABLE', 'The node is gone.', 'Ask another one.', { details: { outcome } });
}
