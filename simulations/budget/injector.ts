/** Carries out a schedule of faults in a world of money. */
import { type AccountId, accountOf, type PurseKey, rowKey } from '../../src/budget/names.ts';
import type { Rng } from '../../src/kernel/rng.ts';
import { flap } from '../lib/fault-schedule.ts';
import { DISK_HEALTHY } from '../lib/host.ts';
import type { Books } from './books.ts';
import type { BudgetFault, BudgetFaultKind, Target } from './faults.ts';
import type { BudgetMachine } from './machine.ts';
import type { BudgetWorld } from './world.ts';

const REMEMBERED_FRAMES = 150;
const IMAGE_EVERY_MS = 1_500;
const IMAGES = 8;
const LONELY_MS = 2_000;

interface Image {
  readonly snapshot: unknown;
  readonly starts: number;
}

interface SentFrame {
  readonly channel: string;
  readonly bytes: Uint8Array;
}

export class BudgetFaultInjector {
  /** Accounts that faults had written off, budget by budget. */
  writtenOff = 0;
  /** How many of each kind struck. */
  readonly struck: Partial<Record<BudgetFaultKind, number>> = {};
  readonly #world: BudgetWorld;
  readonly #books: Books;
  readonly #rng: Rng;
  readonly #frames: SentFrame[] = [];
  readonly #images = new Map<BudgetMachine, Image[]>();
  /** The last start of each account that was confirmed. */
  readonly #confirmed = new Map<AccountId, number>();
  readonly #cancels: (() => void)[] = [];
  readonly #undo: (() => void)[] = [];
  #count = 0;

  constructor(world: BudgetWorld, books: Books, faults: readonly BudgetFault[]) {
    this.#world = world;
    this.#books = books;
    this.#rng = world.rng.fork();
    for (const fault of faults) {
      this.#at(fault.atMs, () => this.#begin(fault));
      if (fault.kind === 'recover')
        this.#at(Math.max(0, fault.atMs - fault.lostMs), () => world.store.keep());
    }
    if (faults.some(({ kind }) => kind === 'forge')) this.#rememberFrames();
    if (faults.some(({ kind }) => kind === 'disk')) this.#keepImages();
  }

  /** What lasts is ended here, or by healing. */
  stop(): void {
    for (const cancel of this.#cancels) cancel();
    for (const undo of this.#undo) undo();
  }

  #at(atMs: number, callback: () => void): void {
    this.#cancels.push(this.#world.scheduler.at(atMs, callback));
  }

  #afterwards(fault: BudgetFault, callback: () => void): void {
    this.#at(this.#world.nowMs + fault.forMs, callback);
  }

  /** Undone after the fault's time, or when faults end. */
  #until(fault: BudgetFault, undo: () => void): void {
    this.#undo.push(undo);
    this.#afterwards(fault, undo);
  }

  #begin(fault: BudgetFault): void {
    const target = this.#target('node' in fault ? fault.node : 0);
    this.#world.trace.note(this.#world.nowMs, 'fault', fault);
    if (this.#strike(fault, target)) this.struck[fault.kind] = (this.struck[fault.kind] ?? 0) + 1;
  }

  #target(target: Target): BudgetMachine {
    const { machines } = this.#world;
    if (typeof target === 'number') return this.#world.machine(target);
    if (target === 'richest')
      return (
        [...machines].sort((left, right) => rightsOf(right) - rightsOf(left))[0] ?? this.#world.machine(0)
      );
    const believed = machines.map(({ budgets }) => budgets?.orchestrator).find((id) => id !== undefined);
    return machines.find(({ nodeId }) => nodeId === believed) ?? this.#world.machine(0);
  }

  /** False where there was nothing to strike. */
  #strike(fault: BudgetFault, target: BudgetMachine): boolean {
    switch (fault.kind) {
      case 'crash':
        return this.#crash(fault, [target], fault.how);
      case 'crashAll':
        return this.#crash(fault, this.#world.machines, fault.how);
      case 'disk':
        return this.#replaceDisk(fault, target);
      case 'clone':
        return this.#clone(fault, target);
      case 'pause':
      case 'suspend':
        return this.#away(fault, target);
      case 'writtenOff':
        return this.#writeOff(fault, target);
      case 'lie':
        return this.#lie(fault, target);
      case 'forge':
        return this.#forge(fault);
      case 'slowDisk':
      case 'failingDisk':
        if (fault.kind === 'slowDisk') target.diskConditions.maxSyncMs = fault.syncMs;
        else target.diskConditions.failing = fault.failing;
        this.#afterwards(fault, () => Object.assign(target.diskConditions, DISK_HEALTHY));
        return true;
      case 'drift':
      case 'clockStep':
        return this.#clock(fault, target);
      default:
        return this.#network(fault, target);
    }
  }

  #crash(fault: BudgetFault, targets: readonly BudgetMachine[], how: 'kill' | 'power'): boolean {
    const running = targets.filter(({ state }) => state !== 'dead');
    for (const machine of running) {
      this.#world.crash(machine, how);
      this.#afterwards(fault, () => machine.start());
    }
    return running.length > 0;
  }

  /** A machine of which an image is kept from before a start that was confirmed, so that it must be found out. */
  #restarted(): BudgetMachine | undefined {
    return this.#world.machines.find((machine) => {
      const [old] = this.#images.get(machine) ?? [];
      const account = machine.image.account?.account;
      const last = account === undefined ? undefined : this.#confirmed.get(account);
      return machine.state === 'running' && old !== undefined && last !== undefined && last > old.starts;
    });
  }

  #replaceDisk(fault: Extract<BudgetFault, { kind: 'disk' }>, drawn: BudgetMachine): boolean {
    const restarted = fault.becomes === 'old' && this.#rng.chance(0.5) ? this.#restarted() : undefined;
    const target = restarted ?? drawn;
    const [old] = this.#images.get(target) ?? [];
    const isOld = fault.becomes === 'old' || fault.becomes === 'moved';
    if (target.state === 'dead' || (isOld && old === undefined)) return false;
    this.#world.crash(target, 'power');
    this.#books.diskReplaced(target);
    if (fault.becomes === 'lost') target.image.lose();
    else if (fault.becomes === 'spoilt') target.image.spoil(this.#rng);
    else if (old !== undefined) target.image.restore(old.snapshot);
    target.image.reread();
    if (fault.becomes === 'moved') target.place = `${target.place}, moved ${++this.#count}`;
    else if (fault.becomes === 'old' && old !== undefined) {
      const account = target.image.account?.account;
      const last = account === undefined ? 0 : (this.#confirmed.get(account) ?? 0);
      this.#books.putBack(target, last > old.starts);
    }
    // What was kept of a disk that is no more would be an older image of an older image.
    this.#images.delete(target);
    this.#afterwards(fault, () => target.start());
    if (restarted !== undefined) this.#keepFromPeers({ ...fault, forMs: fault.forMs + LONELY_MS }, target);
    return true;
  }

  /** Only the store can tell it then that it is not what it was. */
  #keepFromPeers(fault: BudgetFault, target: BudgetMachine): void {
    const others = this.#world.machines.filter((machine) => machine !== target);
    this.#cut(
      fault,
      others.flatMap(({ index }): [number, number][] => [
        [index, target.index],
        [target.index, index],
      ]),
    );
  }

  #clone(fault: Extract<BudgetFault, { kind: 'clone' }>, target: BudgetMachine): boolean {
    if (target.state !== 'running' || target.image.account === undefined) return false;
    const copy = this.#world.copyOf(target);
    this.#books.needless.doubt(target);
    if (fault.place === 'same') {
      copy.place = target.place;
      this.#books.copied(copy);
    }
    copy.start();
    this.#afterwards(fault, () => this.#world.crash(copy, 'kill'));
    return true;
  }

  #away(fault: BudgetFault, target: BudgetMachine): boolean {
    if (target.state !== 'running') return false;
    target.pause();
    const sinceMs = this.#world.nowMs;
    const isAsleep = fault.kind === 'suspend';
    if (isAsleep) {
      target.wasSet = true;
      target.time.setRate(0);
    }
    let isOver = false;
    this.#until(fault, () => {
      if (isOver) return;
      isOver = true;
      if (isAsleep) {
        target.time.setRate(1);
        target.time.step((this.#world.nowMs - sinceMs) * target.time.wallRate);
      }
      target.resume();
    });
    return true;
  }

  #writeOff(fault: Extract<BudgetFault, { kind: 'writtenOff' }>, target: BudgetMachine): boolean {
    const [budget] = this.#rng.shuffled([...this.#books.definitions.keys()]);
    if (target.state !== 'running' || budget === undefined) return false;
    if (fault.gone === 'crash') this.#crash(fault, [target], 'kill');
    else if (fault.gone === 'pause') this.#away(fault, target);
    else this.#isolate(fault, target, false, false);
    const others = () => this.#world.running.filter((machine) => machine !== target);
    this.#at(this.#world.nowMs + fault.forMs * (0.2 + 0.6 * this.#rng.float()), () => {
      // The membership has found out, however it did: only what is dead is written off.
      for (const machine of others()) machine.believe(target.nodeId, 'dead');
      if (others().length === 0) return;
      for (const name of this.#books.definitions.keys())
        this.#rng.pick(others()).call({ op: 'writeOff', budget: name, account: target.nodeId }, (result) => {
          if (result.ok) this.writtenOff += 1;
        });
    });
    this.#afterwards(fault, () => {
      for (const machine of others()) machine.believe(target.nodeId, 'alive');
    });
    return true;
  }

  #lie(fault: Extract<BudgetFault, { kind: 'lie' }>, liar: BudgetMachine): boolean {
    const [victim] = this.#rng.shuffled(this.#world.running.filter((machine) => machine !== liar));
    const purse = this.#rng.shuffled([...this.#books.purses])[0];
    const account = victim?.budgets?.ledger.account;
    if (purse === undefined || account === undefined) return false;
    const { amount } = fault;
    const made = accountOf(liar.nodeId, 1 + this.#rng.below(2 ** 31));
    const zero = { returned: 0, spent: 0, held: 0, overrun: 0, covered: 0 };
    const row = { sequence: 1, granted: amount, received: [], sent: [[account, amount]], ...zero };
    return liar.publish(rowKey(purse as PurseKey, made), row);
  }

  #forge(fault: Extract<BudgetFault, { kind: 'forge' }>): boolean {
    const rng = this.#rng;
    const frames = this.#frames.filter(({ channel }) => channel === fault.channel);
    const noise = () => Uint8Array.from({ length: 1 + rng.below(200) }, () => rng.below(256));
    const forged = () => {
      if (fault.how === 'noise' || frames.length === 0) return noise();
      const frame = rng.pick(frames).bytes.slice();
      if (fault.how === 'cut') return frame.slice(0, rng.below(frame.length + 1));
      if (fault.how === 'flip') {
        const at = rng.below(Math.max(1, frame.length));
        frame[at] = (frame[at] ?? 0) ^ (1 << rng.below(8));
      }
      return frame;
    };
    const [from, to] = [this.#world.machine(fault.from).nodeId, this.#world.machine(fault.to).nodeId];
    return this.#world.network.inject({ from, to, channel: fault.channel, bytes: forged() });
  }

  #clock(fault: Extract<BudgetFault, { kind: 'drift' | 'clockStep' }>, target: BudgetMachine): boolean {
    const { time } = target;
    target.wasSet = true;
    if (fault.kind === 'drift') time.setRate(fault.rate);
    else time.step(fault.byMs);
    this.#afterwards(fault, () => {
      if (target.state === 'paused') return;
      time.setRate(1);
      this.#world.correct(target);
    });
    return true;
  }

  #network(fault: BudgetFault, target: BudgetMachine): boolean {
    const { store, storeConditions, network } = this.#world;
    switch (fault.kind) {
      case 'noise': {
        const { loss, duplication, reordering, maxDelayMs } = fault;
        Object.assign(this.#world.conditions, { loss, duplication, reordering, maxDelayMs });
        this.#afterwards(fault, () => this.#world.calm());
        return true;
      }
      case 'storeDown':
        storeConditions.isDown = true;
        this.#until(fault, () => {
          storeConditions.isDown = false;
          store.pumpAll();
        });
        return true;
      case 'storeLossy':
        Object.assign(storeConditions, { loss: fault.loss, maxDelayMs: fault.maxDelayMs });
        this.#until(fault, () => Object.assign(storeConditions, { loss: 0, maxDelayMs: 8 }));
        return true;
      case 'storeAway':
        this.#loseStore(fault, target.index, fault.what);
        return true;
      case 'recover': {
        let isDone = false;
        this.#books.recovering(() => {
          isDone = store.recover();
        });
        return isDone;
      }
      case 'isolate':
        return this.#isolate(fault, target, fault.hears, fault.isHeard);
      case 'partition':
        return this.#partition(fault);
      case 'breakLink':
        network.breakConnections(
          this.#world.machine(fault.from).nodeId,
          this.#world.machine(fault.to).nodeId,
        );
        return true;
      case 'flapping':
        return this.#flap(fault);
      case 'cut':
        return this.#cut(fault, [[fault.from, fault.to]]);
      default:
        return false;
    }
  }

  #loseStore(fault: BudgetFault, index: number, what: 'calls' | 'answers' | 'both'): void {
    for (const each of ['calls', 'answers'] as const)
      if (what === each || what === 'both') this.#until(fault, this.#world.store.cut(index, each));
  }

  #isolate(fault: BudgetFault, target: BudgetMachine, hears: boolean, isHeard: boolean): boolean {
    if (!hears) this.#loseStore(fault, target.index, 'answers');
    if (!isHeard) this.#loseStore(fault, target.index, 'calls');
    const others = this.#world.machines.filter((machine) => machine !== target);
    return this.#cut(
      fault,
      others.flatMap(({ index }): [number, number][] => [
        ...(hears ? [] : [[index, target.index] as [number, number]]),
        ...(isHeard ? [] : [[target.index, index] as [number, number]]),
      ]),
    );
  }

  #partition(fault: Extract<BudgetFault, { kind: 'partition' }>): boolean {
    const { machines } = this.#world;
    const sideOf = (index: number) => fault.groups.findIndex((group) => group.includes(index));
    for (const { index } of machines)
      if (sideOf(index) !== fault.store) this.#loseStore(fault, index, 'both');
    const cuts = machines.flatMap((one) =>
      machines
        .filter((other) => sideOf(one.index) !== sideOf(other.index))
        .map((other): [number, number] => [one.index, other.index]),
    );
    return this.#cut(fault, cuts);
  }

  #cut(fault: BudgetFault, cuts: readonly (readonly [number, number])[]): boolean {
    const { network } = this.#world;
    const idOf = (index: number) => this.#world.machine(index).nodeId;
    for (const [from, to] of cuts) network.cut(idOf(from), idOf(to));
    this.#afterwards(fault, () => {
      for (const [from, to] of cuts) network.mend(idOf(from), idOf(to));
    });
    return cuts.length > 0;
  }

  #flap(fault: Extract<BudgetFault, { kind: 'flapping' }>): boolean {
    const { network, nowMs } = this.#world;
    const link = [this.#world.machine(fault.from).nodeId, this.#world.machine(fault.to).nodeId] as const;
    flap(network, link, { nowMs, forMs: fault.forMs }, (atMs, callback) => this.#at(atMs, callback));
    return true;
  }

  #rememberFrames(): void {
    this.#world.onEffect.push((_machine, effect) => {
      if (effect.kind !== 'send') return;
      this.#frames.push({ channel: effect.channel, bytes: effect.bytes });
      if (this.#frames.length > REMEMBERED_FRAMES) this.#frames.shift();
    });
  }

  #keepImages(): void {
    this.#world.onStep.push((machine) => {
      const ledger = machine.budgets?.ledger;
      if (ledger?.isConfirmed === true && this.#world.machines.includes(machine))
        this.#confirmed.set(ledger.account, machine.starts);
    });
    const keep = () => {
      for (const machine of this.#world.machines) {
        if (machine.state === 'dead') continue;
        const images = this.#images.get(machine) ?? [];
        this.#images.set(machine, images);
        images.push({ snapshot: machine.image.snapshot(), starts: machine.starts });
        if (images.length > IMAGES) images.shift();
      }
      this.#at(this.#world.nowMs + IMAGE_EVERY_MS, keep);
    };
    keep();
  }
}

function rightsOf({ budgets }: BudgetMachine): number {
  let rights = 0;
  for (const purse of budgets?.ledger.purses.values() ?? []) rights += purse.rights;
  return rights;
}
