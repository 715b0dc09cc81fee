/**
 * One simulated machine that has to do with nothing but money: the budgets and records of a real node on its real
 * executor, with a simulated disk, clock, wire and process, and the model of the quorum store.
 */
import type { BudgetCall, BudgetStatus } from '../../src/budget/api.ts';
import { Budgets } from '../../src/budget/budgets.ts';
import type { AskStore } from '../../src/budget/messages.ts';
import type { ClosingTimes } from '../../src/budget/over-periods.ts';
import { JOURNAL_TAGS } from '../../src/kernel/effects.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import type { Cryptography, Signer, WireEvent } from '../../src/kernel/ports.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { Membership } from '../../src/mesh/membership/membership.ts';
import { Executor } from '../../src/node/executor.ts';
import { Records } from '../../src/replication/records.ts';
import { MachineTime, type SimulatedClock } from '../../src/sim/clock.ts';
import type { SimulatedDisk } from '../../src/sim/disk.ts';
import type { SimulatedProcess } from '../../src/sim/process.ts';
import { type HostRun, type HostWorld, SimulatedHost } from '../lib/host.ts';
import { AccountImage } from './account-image.ts';
import { BudgetCore, type CoreEffect, type CoreEvent } from './core.ts';
import type { StoreClient, StoreModel } from './store.ts';

export interface MachineWorld extends HostWorld {
  readonly cryptography: Cryptography;
  readonly store: StoreModel;
  readonly isOrchestrator: (machine: BudgetMachine) => boolean;
  /** When the process that runs under this identity started. */
  readonly startedAtMs: (node: NodeId) => number | undefined;
  readonly checkpointFloorBytes: number;
  readonly wallRate: number;
  readonly times: ClosingTimes;
  /** A process has read its disk; nothing of what it orders then is carried out yet. */
  onStart(machine: BudgetMachine): void;
  /** After every event that the machine handled. */
  onStep(machine: BudgetMachine, event: string, effects: readonly CoreEffect[]): void;
  /** Before an order is carried out: what it had to wait for is on the disk. */
  onEffect(machine: BudgetMachine, effect: CoreEffect): void;
  onBroken(machine: BudgetMachine, error: unknown): void;
}

interface Run extends HostRun {
  readonly core: BudgetCore;
  readonly executor: Executor<CoreEvent, CoreEffect>;
  readonly client: StoreClient;
  /** When the process at the other end started: as of its hello, in a node. */
  readonly up: Map<NodeId, number | undefined>;
  readonly gone: Map<NodeId, () => void>;
}

/** From a broken connection to being thought dead. */
const DEATH_MS = 3_000;

export class BudgetMachine extends SimulatedHost<Run, AccountImage> {
  readonly index: number;
  /** Its wall clock was set at some time, or runs wrongly: what it says of times cannot be compared. */
  wasSet = false;
  /** Of the process that runs or ran last. */
  startedAtMs = 0;
  /** What the host says of the place of its data. */
  place: string;
  readonly #world: MachineWorld;
  readonly #signer: Signer;
  #peers: readonly string[] = [];

  constructor(
    world: MachineWorld,
    index: number,
    signer: Signer & { readonly nodeId: NodeId },
    rng: Rng,
    copy = '',
  ) {
    super(world, new AccountImage(), {
      name: `node-${index}${copy}`,
      nodeId: signer.nodeId,
      host: `/ip4/10.${copy === '' ? 0 : 1}.${index >> 8}.${(index & 255) + 1}/tcp/4001`,
      time: new MachineTime(world.scheduler, world.wallRate),
      rng,
    });
    this.index = index;
    this.place = `place of ${this.name}`;
    this.#world = world;
    this.#signer = signer;
  }

  get signer(): Signer & { readonly nodeId: NodeId } {
    return { ...this.#signer, nodeId: this.nodeId };
  }

  get wallMs(): number {
    return this.time.wallMs();
  }

  /** Undefined while no process runs. */
  get budgets(): Budgets | undefined {
    return this.run?.core.budgets;
  }

  get records(): Pick<Records, 'sequenceOf'> | undefined {
    return this.run?.core.records;
  }

  /** Addresses that it dials. */
  know(peers: readonly string[]): void {
    this.#peers = peers;
  }

  start(): void {
    if (this.run !== undefined) return;
    const { scheduler, cryptography } = this.#world;
    // It fell over in its sleep: timers on a clock that stands would never ring.
    if (this.time.rate === 0) this.time.setRate(1);
    const { process, disk, clock, wire, journal } = this.begin();
    const { records, quarantined } = journal;
    this.image.reread();
    this.startedAtMs = scheduler.nowMs;
    const core = this.#core(clock, cryptography);
    const executor = this.#executor(core, { process, disk, clock });
    const client = this.#client(process, executor);
    const run: Run = {
      ...{ process, wire, disk, clock, core, executor, client },
      waiting: new Map(),
      up: new Map(),
      gone: new Map(),
    };
    this.run = run;
    const of = (tag: number) =>
      records.filter(([first]) => first === tag).map((record) => record.subarray(1));
    const now = clock.now();
    const isSuspect = quarantined.length > 0;
    const orders = core.load(of(JOURNAL_TAGS.record), of(JOURNAL_TAGS.budget), isSuspect, now);
    this.#world.onStart(this);
    executor.execute(orders);
    wire.listenNow((event) => this.#onWire(run, event));
    this.#world.store.attach(client);
    this.dial(
      run,
      () => this.#peers,
      () => run.up.keys(),
    );
  }

  protected override onCrash({ client }: Run): void {
    this.#world.store.detach(client);
  }

  /** Asks as a local caller does; false where nobody is there to ask. `answer` is called once at most. */
  call(call: BudgetCall, answer: (result: Result<unknown>) => void): boolean {
    const run = this.run;
    if (run === undefined) return false;
    const id = this.asks(run, answer);
    run.process.enter(() => {
      run.executor.deliver({ kind: 'budgetRequested', id, call });
    });
    return true;
  }

  /** Signs and spreads whatever it is given, as the key of a member in wrong hands would. */
  publish(key: string, body: unknown): boolean {
    const run = this.run;
    run?.process.enter(() => run.executor.deliver({ kind: 'publish', key, body }));
    return run !== undefined;
  }

  /** Its membership says so from now on. */
  believe(member: NodeId, state: 'alive' | 'dead'): void {
    const run = this.run;
    run?.process.enter(() => run.executor.deliver({ kind: 'memberChanged', member, state }));
  }

  /** As callers on this machine are told it now. */
  status(budget: string): BudgetStatus | undefined {
    const run = this.run;
    if (run === undefined || run.process.state !== 'running') return undefined;
    const status = run.core.budgets.status(budget, run.clock.now());
    return status.ok ? status.value : undefined;
  }

  #core(clock: SimulatedClock, cryptography: Cryptography): BudgetCore {
    const rng = this.rng.fork();
    const now = clock.now();
    const records = new Records({
      self: this.nodeId,
      signer: this.#signer,
      cryptography,
      rides: ['budget'],
      rng: this.rng.fork(),
      now,
    });
    const membership = new Membership({ self: this.nodeId, rng: this.rng.fork(), now });
    const budgets = new Budgets({
      self: this.nodeId,
      place: this.place,
      isOrchestrator: this.#world.isOrchestrator(this),
      times: this.#world.times,
      fresh: () => 1 + rng.below(2 ** 32) + rng.below(2 ** 20) * 2 ** 32,
      rng: this.rng.fork(),
      now,
    });
    return new BudgetCore(budgets, records, membership);
  }

  #client(process: SimulatedProcess, executor: Executor<CoreEvent, CoreEffect>): StoreClient {
    return {
      index: this.index,
      enter: (callback) => process.enter(callback),
      tell: (news) => executor.deliver(news),
    };
  }

  #executor(
    core: BudgetCore,
    parts: { process: SimulatedProcess; disk: SimulatedDisk; clock: SimulatedClock },
  ): Executor<CoreEvent, CoreEffect> {
    const { onStep, onBroken, checkpointFloorBytes } = this.#world;
    return new Executor<CoreEvent, CoreEffect>({
      machine: core,
      clock: parts.clock,
      disk: parts.disk,
      defer: this.deferOn(parts.process),
      perform: (effect) => this.#perform(effect),
      onBroken: (error) => onBroken(this, error),
      checkpointFloorBytes,
      observe: (event, effects) => onStep(this, event === 'expire' ? event : event.kind, effects),
    });
  }

  #perform(effect: CoreEffect): void {
    const run = this.run;
    if (run === undefined) return;
    this.#world.onEffect(this, effect);
    if (effect.kind === 'send') {
      for (const peer of effect.to) run.wire.send(peer, effect.channel, effect.bytes);
    } else if (effect.kind === 'answer') this.answer(run, effect);
    else if (effect.kind === 'publishRow') run.executor.deliver({ ...effect, kind: 'publish' });
    else if (effect.kind === 'askStore') this.#ask(run, effect);
  }

  #ask(run: Run, { id, call }: AskStore): void {
    this.#world.store.ask(run.client, call, (result) =>
      run.executor.deliver({ kind: 'storeAnswered', id, result }),
    );
  }

  #onWire(run: Run, event: WireEvent): void {
    if (event.kind === 'connected') {
      run.wire.admit(event.peer);
      const startedAtMs = this.#world.startedAtMs(event.peer);
      if (run.up.has(event.peer)) {
        if (run.up.get(event.peer) === startedAtMs) return;
        run.executor.deliver({ kind: 'peerDown', peer: event.peer, reason: 'restarted' });
      }
      run.up.set(event.peer, startedAtMs);
      run.gone.get(event.peer)?.();
      run.executor.deliver({ kind: 'peerUp', peer: event.peer });
      run.executor.deliver({ kind: 'memberChanged', member: event.peer, state: 'alive' });
    } else if (event.kind === 'disconnected') {
      if (!run.up.delete(event.peer)) return;
      run.executor.deliver({ ...event, kind: 'peerDown' });
      this.#suspect(run, event.peer);
    } else if (event.kind === 'dropped') {
      run.executor.deliver({ kind: 'dropped', peer: event.peer, channel: event.channel });
    } else if (event.kind === 'frame') {
      const { from, channel, bytes } = event;
      run.executor.deliver({ kind: 'frame', from, channel, bytes });
    }
  }

  /** As the membership would say, more simply: who cannot be reached directly is suspected, and dead after a while. */
  #suspect(run: Run, member: NodeId): void {
    run.executor.deliver({ kind: 'memberChanged', member, state: 'suspect' });
    const cancel = this.#world.scheduler.after(DEATH_MS, () =>
      run.process.enter(() => {
        if (!run.up.has(member)) run.executor.deliver({ kind: 'memberChanged', member, state: 'dead' });
      }),
    );
    run.gone.set(member, cancel);
  }
}
