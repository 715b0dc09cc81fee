/** Nodes' budgets around one quorum store, on a disk that never fails and a network without delay; time is the test's. */
import type { BudgetAnswers, BudgetCall } from '../../src/budget/api.ts';
import { Budgets, type BudgetsOptions } from '../../src/budget/budgets.ts';
import type { BudgetEffect, BudgetEvent, StoreCall } from '../../src/budget/messages.ts';
import type { PurseKey } from '../../src/budget/names.ts';
import { ALL_BUDGETS } from '../../src/budget/reserve-register.ts';
import { type ErrorBody, fail, failWith, type Result } from '../../src/kernel/errors.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { Instant } from '../../src/kernel/time.ts';
import type { Lease, Transaction, TransactionAnswer } from '../../src/quorum/port.ts';
import type { Applied } from '../../src/quorum/register/outcome.ts';
import { Told } from '../quorum/register/support.ts';
import { freshNumber, nodeIdOf, purseOf } from './support.ts';

export const AGENT = 'agent' as AgentId;

export class WorldNode {
  readonly self: NodeId;
  readonly world: BudgetWorld;
  readonly options: Partial<BudgetsOptions>;
  budgets!: Budgets;
  journal: Uint8Array[] = [];
  readonly answers = new Map<number, Result<unknown>>();
  readonly marks: { readonly name: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  readonly thresholds: number[] = [];
  changed = 0;
  isUp = true;
  /** By how much its clock of day is fast. */
  fastMs = 0;
  #requests = 0;

  constructor(world: BudgetWorld, self: NodeId, options: Partial<BudgetsOptions>) {
    this.world = world;
    this.self = self;
    this.options = options;
    this.boot();
  }

  boot(): void {
    const { now } = this;
    this.isUp = true;
    this.budgets = new Budgets({
      self: this.self,
      fresh: freshNumber,
      place: 'here',
      rng: seededRng(7),
      isOrchestrator: false,
      now,
      ...this.options,
    });
    const journal = this.journal.map((record) => record.subarray(1));
    this.carry(this.budgets.load(journal, now));
    this.world.read(this);
  }

  get now(): Instant {
    const { monoMs, wallMs } = this.world.now;
    return { monoMs, wallMs: wallMs + this.fastMs };
  }

  tell(event: BudgetEvent): void {
    if (this.isUp) this.carry(this.budgets.handle(event, this.now));
  }

  /** The id of the request. */
  ask(call: BudgetCall): number {
    const id = ++this.#requests;
    this.tell({ kind: 'budgetRequested', id, call });
    return id;
  }

  /** The answer, within the time that calls may wait. */
  call<C extends BudgetCall>(call: C): Result<BudgetAnswers[C['op']]> {
    const id = this.ask(call);
    for (let waited = 0; !this.answers.has(id) && waited < 10_000; waited += 10) this.world.pass(10);
    return this.answers.get(id) as Result<BudgetAnswers[C['op']]>;
  }

  reserve(amount: number, given: Partial<Extract<BudgetCall, { op: 'reserve' }>> = {}) {
    return this.call({ op: 'reserve', budget: 'team', agent: AGENT, amount, ...given });
  }

  status(budget = 'team') {
    const status = this.budgets.status(budget, this.now);
    if (!status.ok) throw new Error(status.error.message);
    return status.value;
  }

  carry(effects: readonly BudgetEffect[]): void {
    for (const effect of effects) this.#carry(effect);
  }

  #carry(effect: BudgetEffect): void {
    switch (effect.kind) {
      case 'persist':
        this.journal.push(...effect.records);
        return;
      case 'answer':
        this.answers.set(effect.id, effect.result);
        return;
      case 'mark':
        this.marks.push(effect);
        return;
      case 'thresholdPassed':
        this.thresholds.push(effect.percent);
        return;
      case 'budgetChanged':
        this.changed++;
        return;
      case 'askStore':
        this.world.later(() => this.world.askStore(this, effect.id, effect.call));
        return;
      case 'publishRow':
        this.world.later(() => this.world.publish(this, effect.key, effect.body));
        return;
      case 'send':
        for (const to of effect.to) this.world.later(() => this.world.send(this, to, effect.bytes));
        return;
      case 'penalise':
        throw new Error(effect.reason);
    }
  }
}

export class BudgetWorld {
  readonly nodes: WorldNode[] = [];
  now: Instant = { monoMs: 0, wallMs: Date.parse('2026-01-01T00:00:00Z') };
  store = new Told();
  isStoreUp = true;
  /** Rows of the first do not come to the second: `FROM>TO`. */
  readonly deaf = new Set<string>();
  /** They are told no changes of the store. */
  readonly behind = new Set<WorldNode>();
  /** Transactions that the store was told. */
  transactions = 0;
  readonly #soon: (() => void)[] = [];
  readonly #rows = new Map<string, Extract<BudgetEvent, { kind: 'rowHeard' }>>();
  #version = 0;
  #leases = 0;
  #isRunning = false;
  #steps = 0;

  constructor(count: number, options: Partial<BudgetsOptions> = {}) {
    for (let index = 0; index < count; index++)
      this.nodes.push(new WorldNode(this, nodeIdOf(index), options));
    for (const node of this.nodes) this.connect(node);
    this.pass(1);
  }

  /** Of the budget that was made first, which has no window. */
  get purse(): PurseKey {
    const [definition] = this.one.budgets.ledger.definitions.values();
    return purseOf(definition!);
  }

  get one(): WorldNode {
    return this.nodes[0]!;
  }

  get two(): WorldNode {
    return this.nodes[1]!;
  }

  connect(node: WorldNode): void {
    for (const other of this.nodes) {
      if (other === node || !other.isUp) continue;
      for (const [to, peer] of [
        [node, other.self],
        [other, node.self],
      ] as const) {
        to.tell({ kind: 'memberChanged', member: peer, state: 'alive' });
        to.tell({ kind: 'peerUp', peer });
      }
    }
    for (const row of this.#rows.values()) node.tell(row);
  }

  /** It is gone, and thought dead. */
  kill(node: WorldNode): void {
    node.isUp = false;
    for (const other of this.nodes) {
      other.tell({ kind: 'peerDown', peer: node.self, reason: 'gone' });
      other.tell({ kind: 'memberChanged', member: node.self, state: 'dead' });
    }
  }

  later(step: () => void): void {
    this.#soon.push(step);
  }

  /** All that is due within so long. */
  pass(ms: number): void {
    const endMs = this.now.monoMs + ms;
    this.#settle();
    for (let turn = 0; ; turn++) {
      if (turn > 100_000)
        throw new Error(
          `time stands still: ${JSON.stringify(this.nodes.map((node) => node.budgets.deadline()))}`,
        );
      const dues = this.nodes.filter(({ isUp }) => isUp).map((node) => node.budgets.deadline()?.atMs);
      const nextMs = Math.min(...dues.map((due) => due ?? Number.POSITIVE_INFINITY));
      if (nextMs > endMs) break;
      this.#at(Math.max(nextMs, this.now.monoMs));
      for (const node of this.nodes)
        if (node.isUp && (node.budgets.deadline()?.atMs ?? Number.POSITIVE_INFINITY) <= this.now.monoMs)
          node.carry(node.budgets.expire(node.now));
      this.#settle();
    }
    this.#at(endMs);
  }

  /** All machines sleep: no clock of durations goes on. */
  sleep(ms: number): void {
    const { monoMs, wallMs } = this.now;
    this.now = { monoMs, wallMs: wallMs + ms };
  }

  askStore(node: WorldNode, id: number, call: StoreCall): void {
    if (!this.isStoreUp) {
      node.tell({ kind: 'storeAnswered', id, result: AWAY });
      return;
    }
    if (call.op === 'transact') {
      this.transactions++;
      node.tell({ kind: 'storeAnswered', id, result: this.transact(call.transaction) });
    } else node.tell({ kind: 'storeAnswered', id, result: this.#lease(call) });
  }

  transact(transaction: Transaction): Result<TransactionAnswer> {
    const applied = this.store.transact(transaction);
    const { result } = applied;
    if (result.kind !== 'transacted') return fail(result as unknown as ErrorBody);
    this.#tellChanges(applied);
    return { ok: true, value: result.answer };
  }

  /** They do not run out. */
  #lease(call: Exclude<StoreCall, { op: 'transact' }>): Result<Lease> {
    const id = call.op === 'grantLease' ? ++this.#leases : call.id;
    if (call.op === 'grantLease') this.store.grant(id, call.ttlMs);
    else if (call.op === 'renewLease') this.store.renew(id);
    else this.#tellChanges(this.store.revoke(id));
    return { ok: true, value: { id, ttlMs: 1_000_000 } };
  }

  #tellChanges({ revision, changes }: Applied): void {
    if (changes.length === 0) return;
    for (const node of this.nodes)
      if (!this.behind.has(node)) this.later(() => node.tell({ kind: 'storeChanged', revision, changes }));
  }

  /** As after a change of the store behind the node. */
  read(node: WorldNode): void {
    const { register } = this.store;
    const entries = register.range(ALL_BUDGETS, 1_000).found;
    node.tell({ kind: 'storeRead', revision: register.revision, entries });
  }

  publish(node: WorldNode, key: string, body: unknown): void {
    const row = { kind: 'rowHeard', owner: node.self, key, version: ++this.#version, body } as const;
    this.#rows.set(`${node.self} ${key}`, row);
    for (const other of this.nodes) if (!this.deaf.has(`${node.self}>${other.self}`)) other.tell(row);
  }

  /** What it told last, by key. */
  rowsOf(node: WorldNode): readonly Extract<BudgetEvent, { kind: 'rowHeard' }>[] {
    return [...this.#rows.values()].filter(({ owner }) => owner === node.self);
  }

  send(from: WorldNode, to: NodeId, bytes: Uint8Array): void {
    if (from.isUp)
      this.nodes.find(({ self }) => self === to)?.tell({ kind: 'received', from: from.self, bytes });
  }

  #at(monoMs: number): void {
    this.now = { monoMs, wallMs: this.now.wallMs + (monoMs - this.now.monoMs) };
  }

  #settle(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let step = this.#soon.shift(); step !== undefined; step = this.#soon.shift()) {
      step();
      if (++this.#steps > 1_000_000) throw new Error('they never rest');
    }
    this.#isRunning = false;
  }
}

/** Nodes and the budget `team`, of 1,000 unless told otherwise, made by the first of them. */
export function worldWith(
  count: number,
  given: Partial<Extract<BudgetCall, { op: 'create' }>> = {},
  options: Partial<BudgetsOptions> = {},
): BudgetWorld {
  const world = new BudgetWorld(count, options);
  const made = world.one.call({ op: 'create', budget: 'team', limit: 1_000, ...given });
  if (!made.ok) throw new Error(made.error.message);
  world.pass(10);
  return world;
}

const AWAY = failWith('QUORUM_UNAVAILABLE', 'no majority', 'wait', { details: { outcome: 'not-done' } });
