/** One simulated machine: what outlives its processes (key, disk, clock), and the run of the node on it, if any. */
import type { BoardCall } from '../../src/blackboard/api.ts';
import type { BoardsConfig } from '../../src/blackboard/boards.ts';
import { toHex } from '../../src/kernel/codec.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import type { Cryptography, JournalContents, Signer } from '../../src/kernel/ports.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { certifyMember, type Swarm } from '../../src/mesh/identity/swarm.ts';
import { NodeCore, type NodeEffect, type NodeEvent } from '../../src/node/core.ts';
import { Executor } from '../../src/node/executor.ts';
import type { QuorumConfig } from '../../src/quorum/config.ts';
import type { QuorumCall } from '../../src/quorum/messages.ts';
import type { Quorum } from '../../src/quorum/quorum.ts';
import { MachineTime, type SimulatedClock } from '../../src/sim/clock.ts';
import { randomBytes } from '../../src/sim/cryptography.ts';
import { DiskImage, type SimulatedDisk } from '../../src/sim/disk.ts';
import type { SimulatedProcess } from '../../src/sim/process.ts';
import type { Trace } from '../../src/sim/trace.ts';
import { gone, type HostRun, type HostWorld, SimulatedHost } from './host.ts';
import { BOARD } from './names.ts';

/** What a node was handed. */
export type Turn = NodeEvent | 'expire';

/** What all machines of a cluster share. */
export interface World extends HostWorld {
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

const NONCE_BYTES = 8;

interface Run extends HostRun {
  readonly core: NodeCore;
  readonly executor: Executor<NodeEvent, NodeEffect>;
}

export class SimulatedMachine extends SimulatedHost<Run, DiskImage> {
  readonly index: number;
  readonly #world: World;
  readonly #signer: Signer;
  /** Addresses that this machine's configuration names. */
  #bootstrap: readonly string[] = [];
  #quarantined = 0;

  constructor(world: World, index: number, signer: Signer & { readonly nodeId: NodeId }, rng: Rng) {
    super(world, new DiskImage(), {
      name: `node-${index}`,
      nodeId: signer.nodeId,
      host: `/ip4/10.0.${index >> 8}.${index & 255}/tcp/4001`,
      time: new MachineTime(world.scheduler),
      rng,
    });
    this.index = index;
    this.#world = world;
    this.#signer = signer;
  }

  /** The node's core, for checkers to look into; `undefined` while no process runs. */
  get core(): NodeCore | undefined {
    return this.run?.core;
  }

  /** Files that loads found corrupt. */
  get quarantined(): number {
    return this.#quarantined;
  }

  configure(bootstrap: readonly string[]): void {
    this.#bootstrap = bootstrap;
  }

  start(): void {
    if (this.run !== undefined) return;
    const { process, disk, clock, wire, journal } = this.begin();
    this.#quarantined += journal.quarantined.length;
    const core = this.#core(journal, clock);
    const executor = this.#executor(core, { process, disk, clock });
    this.run = { process, wire, disk, clock, core, executor, waiting: new Map() };
    wire.listenNow((event) => executor.deliver(event));
    executor.deliver({ kind: 'listening', addresses: wire.addresses() });
    const claims = this.#bootstrap.map((address) => ({ addresses: [address] }));
    executor.deliver({ kind: 'claimed', source: 'static', claims });
  }

  /** The first step of an orderly stop: another is to lead. */
  handOver(): void {
    const run = this.run;
    run?.process.enter(() => run.executor.execute(run.core.handOver(run.clock.now())));
  }

  /** An orderly stop: the others are told. */
  stop(): void {
    const run = this.run;
    if (run === undefined) return;
    run.executor.execute(run.core.leave(run.clock.now()));
    run.executor.stop();
    run.wire.closeNow();
    void run.disk.close();
    run.process.kill();
    this.run = undefined;
    this.answerAll(run);
  }

  /** Asks as a local caller does; `answer` is called once, within the call where the node can. */
  call(call: BoardCall, agent: AgentId, answer: (result: Result<unknown>) => void): void {
    const run = this.run;
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
      const id = this.asks(run, answer);
      run.executor.deliver({ kind: 'requested', id, call, writer: { agent } });
    });
  }

  /** Asks the quorum store through this node, as a local caller does. */
  askQuorum(call: QuorumCall, answer: (result: Result<unknown>) => void): void {
    const run = this.run;
    if (run === undefined) {
      answer(gone('not-done'));
      return;
    }
    run.process.enter(() => {
      const id = this.asks(run, answer);
      run.executor.deliver({ kind: 'quorumRequested', id, call });
    });
  }

  /** The quorum store as this node carries it; checkers look, callers ask. */
  get quorum(): Quorum | undefined {
    return this.run?.core.quorum;
  }

  /** What readers of this node see now; checkers look, callers call. */
  look(call: Extract<BoardCall, { op: 'read' | 'list' }>): Result<unknown> {
    const run = this.run;
    return run === undefined ? gone('not-done') : run.core.boards.read(call, run.clock.now());
  }

  /** Hashes over the records and the board of this node; `undefined` while it does not run. */
  contentHash(): string | undefined {
    const run = this.run;
    if (run === undefined) return undefined;
    return `${toHex(run.core.records.root)}/${run.core.boards.hash(BOARD, run.clock.now())}`;
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
      certificate: certifyMember(swarm, { ...member, serial: this.starts }, now),
      nonce: randomBytes(this.rng, NONCE_BYTES),
      descriptor: { name: this.name, roles: member.roles, zone: member.zone, version: '0.0.0-simulated' },
      boards,
      quorum: this.#world.quorum?.(this.index),
      isJournalSuspect: journal.quarantined.length > 0,
      journal: journal.records,
      rng: this.rng.fork(),
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
      defer: this.deferOn(parts.process),
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
    const run = this.run;
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
      case 'answer':
        this.answer(run, effect);
        return;
      default:
    }
  }
}
