/**
 * Nodes with real ledgers on a toy network: frames and rows are lost, doubled and late, links are cut, and all of it follows
 * from one seed. What a node does about its callers is the least there can be: reserve, take from the reserve, else gather.
 */
import { AHEAD_MS, chunkOf } from '../../../src/budget/allocation.ts';
import type { Definition } from '../../../src/budget/definition.ts';
import { Gathering } from '../../../src/budget/gathering/gathering.ts';
import type { GatheringEffect, GatheringEvent } from '../../../src/budget/gathering/messages.ts';
import type { StoreCall } from '../../../src/budget/messages.ts';
import { Mirror, type MirrorFact } from '../../../src/budget/mirror.ts';
import type { PurseKey } from '../../../src/budget/names.ts';
import type { OrchestratorEffect, OrchestratorEvent } from '../../../src/budget/orchestrator/messages.ts';
import { Orchestrator } from '../../../src/budget/orchestrator/orchestrator.ts';
import { Paces } from '../../../src/budget/orchestrator/paces.ts';
import { registerMirrorOf } from '../../../src/budget/orchestrator/register-mirror.ts';
import { ALL_BUDGETS } from '../../../src/budget/reserve-register.ts';
import type { Moved, Settlement } from '../../../src/budget/spending.ts';
import { failWith, ok, type Result } from '../../../src/kernel/errors.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { type Rng, seededRng } from '../../../src/kernel/rng.ts';
import type { Instant } from '../../../src/kernel/time.ts';
import type { Lease, TransactionAnswer } from '../../../src/quorum/port.ts';
import type { Applied } from '../../../src/quorum/register/outcome.ts';
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
  /** Of rows that only tell what was spent. Default 1,000. */
  readonly publishDelayMs?: number;
  /** As in a node: at once only those who got something hear of it, with all that they have not heard; others within so long. */
  readonly ridingMs?: number;
  /** How many of the nodes may be orchestrator. Default 0. */
  readonly orchestrators?: number;
}

interface Waiting {
  readonly id: string;
  readonly amount: number;
  readonly since: number;
  readonly untilMs: number;
  readonly done: (outcome: Outcome) => void;
  readonly granted: (id: string) => void;
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
  orchestrator!: Orchestrator;
  readonly mirror = new Mirror();
  isDown = false;
  /** Whether it can reach the store. */
  hasStore = true;
  ordersMoved = 0;
  readonly rebalanced = new Map<number, Result<{ readonly moves: number; readonly amount: number }>>();
  readonly world: Toy;
  waiting: Waiting[] = [];
  penalties = 0;
  exhausted = 0;
  transfers = 0;
  readonly settled = new Map<number, Result<Settlement>>();
  /** The newest rows, its own too, by owner. */
  readonly known = new Map<NodeId, Published>();
  #grantUnderWay = false;
  #told = 0;
  #lastId = '';
  #serving = false;

  readonly isCandidate: boolean;

  constructor(world: Toy, host: Host, isCandidate: boolean) {
    this.world = world;
    this.host = host;
    this.isCandidate = isCandidate;
    this.id = host.self;
    this.start();
  }

  start(): void {
    this.paces = new Paces(this.host.ledger);
    this.gathering = new Gathering({
      self: this.id,
      ledger: this.host.ledger,
      paces: this.paces,
      lead: () => this.orchestrator.lead,
      limitOf: () => amountOf(this.world.limit),
      now: this.world.now,
    });
    this.orchestrator = new Orchestrator({
      self: this.id,
      isCandidate: this.isCandidate,
      ledger: this.host.ledger,
      mirror: registerMirrorOf(this.mirror, new Map()),
      paces: this.paces,
      rng: this.world.rng.fork(),
      now: this.world.now,
    });
  }

  get rights(): number {
    return this.host.rights(this.world.purse);
  }

  /** Asks for a reservation and waits up to `waitMs`. */
  reserve(
    amount: number,
    done: (outcome: Outcome) => void = () => {},
    waitMs = 5_000,
    granted: (id: string) => void = () => {},
  ): void {
    const { monoMs } = this.world.now;
    const id = `r${this.world.nextId()}`;
    this.waiting.push({ id, amount, since: monoMs, untilMs: monoMs + waitMs, done, granted });
    this.world.at(monoMs + waitMs, () => this.#timeOut(id));
    this.serve();
  }

  /** Settles what was reserved last. */
  settleLast(amount: number): void {
    const id = this.#lastId;
    this.world.at(this.world.now.monoMs + 1, () => {
      if (!this.isDown) this.settle(id, amount);
    });
  }

  settle(id: string, amount: number): void {
    this.#sync();
    this.host.settle(id, amount);
    this.afterLedger();
  }

  tell(event: GatheringEvent): void {
    if (this.isDown) return;
    if (event.kind === 'peerUp' || event.kind === 'peerDown' || event.kind === 'rowTaken') this.lead(event);
    this.carry(this.gathering.handle(event, this.world.now));
  }

  lead(event: OrchestratorEvent): void {
    if (!this.isDown) this.#order(this.orchestrator.handle(event, this.world.now));
  }

  /** What its mirror shows. */
  learn(facts: readonly MirrorFact[]): void {
    if (this.isDown) return;
    this.#sync();
    const before = this.rights;
    for (const fact of facts) {
      if (fact.kind !== 'entry') continue;
      const { purse, account, entry } = fact;
      this.host.deliver({ kind: 'registered', purse, account, granted: entry.granted });
    }
    this.host.sync();
    this.afterLedger(this.rights !== before);
  }

  kill(): void {
    this.isDown = true;
    for (const node of this.world.nodes)
      if (node !== this) node.tell({ kind: 'peerDown', peer: this.id, reason: 'killed' });
  }

  hear(row: Published): void {
    const { to: _, ...heard } = row;
    const isKnown = (this.known.get(row.owner)?.version ?? 0) >= row.version;
    if (this.isDown || (this.world.isRiding && isKnown)) return;
    this.known.set(row.owner, row);
    this.#sync();
    const before = this.rights;
    this.host.deliver({ kind: 'rowHeard', ...heard });
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
    const leadMs = this.orchestrator.deadline()?.atMs ?? Number.POSITIVE_INFINITY;
    if (leadMs <= this.world.now.monoMs) this.#order(this.orchestrator.expire(this.world.now));
  }

  get wakeMs(): number {
    if (this.isDown) return Number.POSITIVE_INFINITY;
    return Math.min(
      this.orchestrator.deadline()?.atMs ?? Number.POSITIVE_INFINITY,
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
      this.#lastId = head.id;
      this.#finish(head, 'granted');
      head.granted(head.id);
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
      horizonMs: AHEAD_MS,
      spenders: world.nodes.length,
    });
    world.storeCalls++;
    world.at(world.now.monoMs + 2 * world.latencyMs, () => {
      this.#grantUnderWay = false;
      if (this.isDown) return;
      this.#sync();
      this.host.take(world.store, world.purse, Math.max(1, amount, atLeast));
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
          if (effect.call.op === 'return') this.#giveBack();
          else {
            this.transfers++;
            this.world.transfers++;
          }
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
      case 'orderAnswered':
        this.ordersMoved += effect.moved;
        this.lead(effect);
        return;
      case 'rebalanceAsked':
      case 'rebalanceAnswered':
        this.lead(effect);
        return;
      default:
        return;
    }
  }

  #order(effects: readonly OrchestratorEffect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
          for (const to of effect.to) this.world.send(this, to, effect.bytes);
          break;
        case 'askStore':
          this.world.ask(this, effect.id, effect.call);
          break;
        case 'orderHere':
          this.tell(effect);
          break;
        case 'rebalanced':
          this.rebalanced.set(effect.id, effect.result);
          break;
        default:
          break;
      }
    }
  }

  /** What came back goes into the reserve. */
  #giveBack(): void {
    this.world.storeCalls++;
    this.world.at(this.world.now.monoMs + this.world.latencyMs, () => {
      if (!this.isDown) this.host.credit(this.world.store, this.world.purse);
    });
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
  readonly #leases = new Map<number, { readonly ttlMs: number; renewals: number }>();

  constructor(options: ToyOptions, definition: Definition) {
    this.#options = options;
    this.rng = seededRng(options.seed ?? 1);
    this.limit = options.limit;
    this.latencyMs = options.latencyMs ?? 2;
    this.definition = definition;
    this.purse = purseOf(definition);
    this.store = new Store([definition]);
    for (let index = 0; index < options.nodes; index++) {
      const host = hostWith(this.store, index, 0, options.publishDelayMs);
      host.now = this.now;
      this.nodes.push(new ToyNode(this, host, index < (options.orchestrators ?? 0)));
    }
    const { answers, revision } = this.store.transact({
      compares: [],
      then: [{ op: 'range', range: ALL_BUDGETS, limit: 1_000 }],
      otherwise: [],
    });
    const entries = answers[0]?.op === 'range' ? answers[0].found : [];
    for (const node of this.nodes) {
      node.mirror.replace(entries);
      node.lead({ kind: 'storeRead', revision, entries });
    }
    this.store.onApplied = (applied) => this.#applied(applied);
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

  /** Frames and rows between them are lost for so long, and neither finds out. */
  silence(one: ToyNode, other: ToyNode, forMs: number): void {
    const pairs = [`${one.id} ${other.id}`, `${other.id} ${one.id}`];
    for (const pair of pairs) this.#cut.add(pair);
    this.at(this.now.monoMs + forMs, () => {
      for (const pair of pairs) this.#cut.delete(pair);
    });
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
    from.known.set(from.id, row);
    for (const node of this.nodes) {
      if (node === from) continue;
      this.rows++;
      const isCut = this.#cut.has(`${from.id} ${node.id}`);
      if (isCut) continue;
      const isAtOnce = row.to === 'all' || row.to.includes(node.id);
      const ridesMs = isAtOnce ? 0 : this.rng.float() * (this.#options.ridingMs ?? 0);
      const lateMs = this.#isLost() ? REPAIR_MS * (1 + this.rng.float()) : 0;
      const rows = this.isRiding && isAtOnce ? [...from.known.values()] : [row];
      this.at(this.#arrival() + ridesMs + lateMs, () => {
        for (const each of rows) if (each.owner !== node.id) node.hear(each);
      });
      if (this.#duplicates()) this.at(this.#arrival() + 50, () => node.hear(row));
    }
  }

  get isRiding(): boolean {
    return this.#options.ridingMs !== undefined;
  }

  reserveSeen(node: ToyNode): number {
    const isAway = this.#options.quorum === false || !node.hasStore;
    return isAway ? 0 : (node.mirror.reserve(this.purse)?.reserve ?? this.limit);
  }

  /** A call to the store, and its answer, take as long as a message each. */
  ask(node: ToyNode, id: number, call: StoreCall): void {
    this.storeCalls++;
    this.at(this.#arrival(), () => {
      if (!node.hasStore) {
        const result = failWith('QUORUM_UNAVAILABLE', 'No majority.', 'Try again.');
        this.at(this.now.monoMs + 2_000, () => node.lead({ kind: 'storeAnswered', id, result }));
        return;
      }
      const result = this.#carryOut(call);
      this.at(this.#arrival(), () => node.lead({ kind: 'storeAnswered', id, result }));
    });
  }

  /** Its mirror is read anew. */
  restoreStore(node: ToyNode): void {
    if (node.hasStore || node.isDown) return;
    node.hasStore = true;
    const { answers, revision } = this.store.transact({
      compares: [],
      then: [{ op: 'range', range: ALL_BUDGETS, limit: 1_000 }],
      otherwise: [],
    });
    const entries = answers[0]?.op === 'range' ? answers[0].found : [];
    node.learn(node.mirror.replace(entries));
    node.lead({ kind: 'storeRead', revision, entries });
  }

  #carryOut(call: StoreCall): Result<TransactionAnswer | Lease | { readonly revision: number }> {
    const { told } = this.store;
    switch (call.op) {
      case 'transact':
        return ok(this.store.transact(call.transaction));
      case 'grantLease': {
        const id = this.nextId();
        told.grant(id, call.ttlMs);
        this.#leases.set(id, { ttlMs: call.ttlMs, renewals: 0 });
        this.#expireLater(id);
        return ok({ id, ttlMs: call.ttlMs });
      }
      case 'renewLease': {
        const lease = this.#leases.get(call.id);
        if (lease === undefined) return failWith('NOT_FOUND', 'It ran out.', 'Take another.');
        told.renew(call.id);
        lease.renewals++;
        this.#expireLater(call.id);
        return ok({ id: call.id, ttlMs: lease.ttlMs });
      }
      case 'revokeLease':
        this.#end(call.id);
        return ok({ revision: 0 });
    }
  }

  #expireLater(id: number): void {
    const lease = this.#leases.get(id)!;
    const { renewals, ttlMs } = lease;
    this.at(this.now.monoMs + ttlMs, () => {
      if (this.#leases.get(id)?.renewals === renewals) this.#end(id);
    });
  }

  #end(id: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    this.#leases.delete(id);
    const { renewals } = lease;
    this.#applied(this.store.told.tell({ kind: 'expireLeases', leases: [{ id, renewals }] }));
  }

  /** The mirrors hear of it a little later, in order. */
  #applied({ changes, revision }: Applied): void {
    if (changes.length === 0) return;
    this.at(this.now.monoMs + this.latencyMs, () => {
      for (const node of this.nodes) {
        if (!node.hasStore) continue;
        const facts = node.mirror.change(changes);
        node.learn(facts);
        node.lead({ kind: 'storeChanged', revision, changes });
        if (this.reserveSeen(node) === 0 && node.waiting.length > 0) node.serve();
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
