/**
 * Nodes with real ledgers on a toy network: frames and rows are lost, doubled and late, links are cut, and all of it follows
 * from one seed. What a node does about its callers is the least there can be: reserve, take from the reserve, else gather.
 */
import { chunkOf } from '../../../src/budget/allocation.ts';
import type { Definition } from '../../../src/budget/definition.ts';
import { Gathering } from '../../../src/budget/gathering/gathering.ts';
import type { GatheringEffect, GatheringEvent } from '../../../src/budget/gathering/messages.ts';
import type { PurseKey } from '../../../src/budget/names.ts';
import type { Lead } from '../../../src/budget/orchestrator/messages.ts';
import { Paces } from '../../../src/budget/orchestrator/paces.ts';
import type { Moved, Settlement } from '../../../src/budget/spending.ts';
import type { Result } from '../../../src/kernel/errors.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import { amountOf, type Host, hostWith, type Published, purseOf, Store } from '../support.ts';

export interface ToyOptions {
  readonly nodes: number;
  readonly limit: number;
  readonly seed?: number;
  /** One way, in ms, plus up to as much again with `jitter`. */
  readonly latencyMs?: number;
  readonly jitter?: boolean;
  readonly loss?: number;
  readonly duplication?: number;
  /** Whether nodes may take from the reserve. */
  readonly quorum?: boolean;
}

interface Waiting {
  readonly id: string;
  readonly amount: number;
  readonly since: number;
  readonly untilMs: number;
  readonly done: (outcome: Outcome) => void;
}

export interface Outcome {
  readonly kind: 'granted' | 'denied' | 'timedOut';
  readonly waitedMs: number;
  /** A denial although all nodes together had as much. */
  readonly isFalse: boolean;
}

/** How long a lost row takes to come by repair. */
const REPAIR_MS = 100;

export class ToyNode {
  readonly id: NodeId;
  readonly host: Host;
  gathering!: Gathering;
  paces!: Paces;
  lead: Lead | undefined;
  readonly world: Toy;
  waiting: Waiting[] = [];
  penalties = 0;
  exhausted = 0;
  transfers = 0;
  readonly settled = new Map<number, Result<Settlement>>();
  #grantUnderWay = false;
  #told = 0;
  #serving = false;

  constructor(world: Toy, host: Host) {
    this.world = world;
    this.host = host;
    this.id = host.self;
    this.start();
  }

  start(): void {
    this.paces = new Paces(this.host.ledger);
    this.gathering = new Gathering({
      self: this.id,
      ledger: this.host.ledger,
      paces: this.paces,
      lead: () => this.lead,
      limitOf: () => amountOf(this.world.limit),
      now: this.world.now,
    });
  }

  get rights(): number {
    return this.host.rights(this.world.purse);
  }

  /** Asks for a reservation and waits up to `waitMs`. */
  reserve(amount: number, done: (outcome: Outcome) => void = () => {}, waitMs = 5_000): void {
    const { monoMs } = this.world.now;
    const id = `r${this.world.nextId()}`;
    this.waiting.push({ id, amount, since: monoMs, untilMs: monoMs + waitMs, done });
    this.world.at(monoMs + waitMs, () => this.#timeOut(id));
    this.serve();
  }

  settle(id: string, amount: number): void {
    this.#sync();
    this.host.settle(id, amount);
    this.afterLedger();
  }

  tell(event: GatheringEvent): void {
    this.carry(this.gathering.handle(event, this.world.now));
  }

  hear(row: Published): void {
    this.#sync();
    const before = this.rights;
    this.host.deliver({ kind: 'rowHeard', ...row });
    this.host.sync();
    this.tell({ kind: 'rowTaken', purse: this.world.purse });
    this.afterLedger(this.rights !== before);
  }

  afterLedger(changed = true): void {
    this.publish();
    if (changed) this.tell({ kind: 'rightsChanged', purse: this.world.purse });
    this.serve();
  }

  tick(): void {
    this.#sync();
    this.host.pass(0);
    this.host.sync();
    this.publish();
    const atMs = this.gathering.deadline()?.atMs ?? Number.POSITIVE_INFINITY;
    if (atMs <= this.world.now.monoMs) this.carry(this.gathering.expire(this.world.now));
  }

  get wakeMs(): number {
    return Math.min(
      this.gathering.deadline()?.atMs ?? Number.POSITIVE_INFINITY,
      this.host.ledger.deadline()?.atMs ?? Number.POSITIVE_INFINITY,
    );
  }

  publish(): void {
    const { published } = this.host;
    for (; this.#told < published.length; this.#told++) this.world.push(this, published[this.#told]!);
  }

  serve(): void {
    if (this.#serving) return;
    this.#serving = true;
    this.#sync();
    while (this.waiting.length > 0) {
      const [head] = this.waiting as [Waiting];
      const reserved = this.host.reserve(head.id, head.amount);
      if (!reserved.ok) break;
      this.waiting.shift();
      this.#finish(head, 'granted');
    }
    this.publish();
    this.#lack();
    this.#serving = false;
  }

  #lack(): void {
    const { purse } = this.world;
    const [head] = this.waiting;
    if (head === undefined) {
      this.tell({ kind: 'wanted', purse, need: amountOf(0) });
      return;
    }
    if (this.world.reserveSeen(this) > 0) {
      this.tell({ kind: 'wanted', purse, need: amountOf(0) });
      this.#takeFromReserve();
      return;
    }
    const waiting = this.waiting.reduce((sum, { amount }) => sum + amount, 0);
    this.tell({ kind: 'wanted', purse, need: amountOf(head.amount), waiting: amountOf(waiting) });
  }

  #takeFromReserve(): void {
    if (this.#grantUnderWay) return;
    this.#grantUnderWay = true;
    const { world } = this;
    const need = this.waiting.reduce((sum, { amount }) => sum + amount, 0);
    const { amount, atLeast } = chunkOf({
      limit: amountOf(world.limit),
      reserve: amountOf(world.reserveSeen(this)),
      rights: amountOf(this.rights),
      need: amountOf(need),
      burnPerMs: this.paces.perMs(world.purse, this.host.ledger.account, world.now),
      horizonMs: 5_000,
      spenders: world.nodes.length,
    });
    world.storeCalls++;
    world.at(world.now.monoMs + 2 * world.latencyMs, () => {
      this.#grantUnderWay = false;
      this.#sync();
      this.host.take(world.store, world.purse, Math.max(1, amount, atLeast));
      world.registerChanged();
      this.afterLedger();
    });
  }

  #timeOut(id: string): void {
    const late = this.waiting.find((each) => each.id === id);
    if (late === undefined) return;
    this.waiting = this.waiting.filter((each) => each !== late);
    this.#finish(late, 'timedOut');
    this.serve();
  }

  #finish(waiting: Waiting, kind: Outcome['kind']): void {
    const isFalse = kind !== 'granted' && this.world.reachableTruth() >= waiting.amount;
    waiting.done({ kind, waitedMs: this.world.now.monoMs - waiting.since, isFalse });
  }

  carry(effects: readonly GatheringEffect[]): void {
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: GatheringEffect): void {
    switch (effect.kind) {
      case 'send':
        for (const to of effect.to) this.world.send(this, to, effect.bytes);
        return;
      case 'penalise':
        this.penalties++;
        return;
      case 'moveRights': {
        const result = this.host.call(effect.call) as Result<Moved>;
        if (result.ok && result.value.moved > 0) {
          this.transfers++;
          this.world.transfers++;
        }
        this.publish();
        this.tell({ kind: 'rightsMoved', id: effect.id, result });
        return;
      }
      case 'settleHere': {
        const result = this.host.settle(effect.reservation, effect.amount);
        this.tell({ kind: 'settledHere', id: effect.id, result });
        return;
      }
      case 'settledThere':
        this.settled.set(effect.id, effect.result);
        return;
      case 'exhausted': {
        this.exhausted++;
        if (this.world.reserveSeen(this) > 0) return;
        const denied = this.waiting.filter(({ amount }) => amount > effect.reachable);
        this.waiting = this.waiting.filter((each) => !denied.includes(each));
        for (const each of denied) this.#finish(each, 'denied');
        if (denied.length > 0) this.world.at(this.world.now.monoMs, () => this.serve());
        return;
      }
      default:
        return;
    }
  }

  #sync(): void {
    this.host.now = this.world.now;
  }
}

export class Toy {
  readonly rng: Rng;
  readonly limit: number;
  readonly latencyMs: number;
  readonly definition: Definition;
  readonly purse: PurseKey;
  readonly store: Store;
  readonly nodes: ToyNode[] = [];
  now: Instant = { monoMs: 0, wallMs: 1_000 };
  /** What was sent: frames of calls, rows to one receiver each, transactions of the store. */
  calls = 0;
  rows = 0;
  storeCalls = 0;
  transfers = 0;
  readonly #options: ToyOptions;
  readonly #cut = new Set<string>();
  readonly #events: { readonly atMs: number; readonly order: number; readonly run: () => void }[] = [];
  #order = 0;
  #ids = 0;
  #reserve: number;

  constructor(options: ToyOptions, definition: Definition) {
    this.#options = options;
    this.rng = seededRng(options.seed ?? 1);
    this.limit = options.limit;
    this.latencyMs = options.latencyMs ?? 2;
    this.definition = definition;
    this.purse = purseOf(definition);
    this.store = new Store([definition]);
    this.#reserve = options.limit;
    for (let index = 0; index < options.nodes; index++) {
      const host = hostWith(this.store, index);
      host.now = this.now;
      this.nodes.push(new ToyNode(this, host));
    }
    for (const node of this.nodes)
      for (const other of this.nodes) if (other !== node) node.tell({ kind: 'peerUp', peer: other.id });
  }

  nextId(): number {
    return ++this.#ids;
  }

  at(atMs: number, run: () => void): void {
    const event = { atMs, order: ++this.#order, run };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#events[middle]!;
      if (other.atMs < atMs || (other.atMs === atMs && other.order < event.order)) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
  }

  /** Gives a node rights out of the reserve, and everybody hears of it. */
  give(index: number, amount: number): void {
    const node = this.nodes[index]!;
    node.host.now = this.now;
    node.host.take(this.store, this.purse, amount);
    this.registerChanged();
    for (const other of this.nodes) this.#registered(other);
    node.afterLedger();
  }

  run(untilMs: number, stop: () => boolean = () => false): void {
    while (!stop()) {
      let nextMs = this.#events[0]?.atMs ?? Number.POSITIVE_INFINITY;
      for (const node of this.nodes) nextMs = Math.min(nextMs, node.wakeMs);
      if (nextMs > untilMs) break;
      const monoMs = Math.max(this.now.monoMs, nextMs);
      this.now = { monoMs, wallMs: monoMs + 1_000 };
      while (this.#events.length > 0 && this.#events[0]!.atMs <= monoMs) this.#events.shift()!.run();
      for (const node of this.nodes) if (node.wakeMs <= monoMs) node.tick();
    }
    if (!stop()) this.now = { monoMs: untilMs, wallMs: untilMs + 1_000 };
  }

  cut(one: ToyNode, other: ToyNode): void {
    this.#cut.add(`${one.id} ${other.id}`);
    this.#cut.add(`${other.id} ${one.id}`);
    one.tell({ kind: 'peerDown', peer: other.id, reason: 'cut' });
    other.tell({ kind: 'peerDown', peer: one.id, reason: 'cut' });
  }

  heal(): void {
    for (const pair of this.#cut) {
      const [from, to] = pair.split(' ') as [NodeId, NodeId];
      this.node(from).tell({ kind: 'peerUp', peer: to });
      this.#cut.delete(pair);
    }
    for (const node of this.nodes)
      for (const other of this.nodes) for (const row of node.host.published.slice(-3)) other.hear(row);
  }

  node(id: NodeId): ToyNode {
    return this.nodes.find((node) => node.id === id)!;
  }

  send(from: ToyNode, to: NodeId, bytes: Uint8Array): void {
    this.calls++;
    for (let copy = 0; copy <= (this.#duplicates() ? 1 : 0); copy++) {
      if (this.#isLost() || this.#cut.has(`${from.id} ${to}`)) continue;
      this.at(this.#arrival(), () => this.node(to).tell({ kind: 'received', from: from.id, bytes }));
    }
  }

  /** A row to everybody: eagerly, and where that is lost by repair. */
  push(from: ToyNode, row: Published): void {
    for (const node of this.nodes) {
      if (node === from) continue;
      this.rows++;
      const isCut = this.#cut.has(`${from.id} ${node.id}`);
      if (isCut) continue;
      const lateMs = this.#isLost() ? REPAIR_MS * (1 + this.rng.float()) : 0;
      this.at(this.#arrival() + lateMs, () => node.hear(row));
      if (this.#duplicates()) this.at(this.#arrival() + 50, () => node.hear(row));
    }
  }

  reserveSeen(_node: ToyNode): number {
    return this.#options.quorum === false ? 0 : this.#reserve;
  }

  /** The mirrors hear of it a little later. */
  registerChanged(): void {
    this.at(this.now.monoMs + this.latencyMs, () => {
      this.#reserve = this.store.reserve(this.definition).reserve;
      for (const node of this.nodes) {
        this.#registered(node);
        if (this.#reserve === 0 && node.waiting.length > 0) node.serve();
      }
    });
  }

  /** All that somebody could still have, wherever it is. */
  reachableTruth(): number {
    let gone = 0;
    for (const { host } of this.nodes) {
      const row = host.row(this.purse);
      gone += (row?.spent ?? 0) + (row?.held ?? 0);
    }
    return this.limit - gone;
  }

  #registered(node: ToyNode): void {
    node.host.now = this.now;
    for (const other of this.nodes) {
      const { account } = other.host.ledger;
      const entry = this.store.entry(this.purse, account);
      if (entry === undefined || other === node) continue;
      node.host.deliver({ kind: 'registered', purse: this.purse, account, granted: entry.granted });
    }
    node.host.sync();
    node.afterLedger();
  }

  #arrival(): number {
    const jitter = this.#options.jitter === true ? this.rng.float() * this.latencyMs : 0;
    return this.now.monoMs + this.latencyMs + jitter;
  }

  #isLost(): boolean {
    return this.rng.chance(this.#options.loss ?? 0);
  }

  #duplicates(): boolean {
    return this.rng.chance(this.#options.duplication ?? 0);
  }
}
