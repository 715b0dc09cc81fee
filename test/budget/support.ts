/** One account on a disk that loses what was not synced, and a register that applies what accounts plan. */

import { type Amount, parseAmount } from '../../src/budget/amount.ts';
import { balanceOf, type Position } from '../../src/budget/conservation.ts';
import { type Definition, parseDefinition } from '../../src/budget/definition.ts';
import { Ledger } from '../../src/budget/ledger.ts';
import type { LedgerEffect, LedgerEvent } from '../../src/budget/ledger-messages.ts';
import {
  type AccountId,
  type PurseKey,
  parseAccountId,
  parsePurseKey,
  purseKey,
} from '../../src/budget/names.ts';
import { periodAt } from '../../src/budget/period.ts';
import {
  type Entry,
  entryKey,
  type Fence,
  type GrantWish,
  type Plan,
  parseEntry,
  parseReserve,
  planCreation,
  planGrant,
  planOpening,
  planReturn,
  type Reserve,
  reserveKey,
  reserveOf,
  type View,
  viewOf,
  viewOperations,
} from '../../src/budget/reserve-register.ts';
import type { Row } from '../../src/budget/row.ts';
import type { LedgerCall, Moved, Reservation, Settlement } from '../../src/budget/spending.ts';
import { decode, encode } from '../../src/kernel/codec.ts';
import { JOURNAL_TAGS } from '../../src/kernel/effects.ts';
import type { ErrorBody, Result } from '../../src/kernel/errors.ts';
import { type NodeId, parseNodeId } from '../../src/kernel/ids.ts';
import type { Instant } from '../../src/kernel/time.ts';
import type { Transaction, TransactionAnswer } from '../../src/quorum/port.ts';
import type { Applied } from '../../src/quorum/register/outcome.ts';
import { Told } from '../quorum/register/support.ts';

export const amountOf = (value: number): Amount => parseAmount(value)!;

const DIGITS = '123456789ABCDEFGHJKLMNPQRSTUVWXYZ';
export function nodeIdOf(index: number): NodeId {
  return parseNodeId(`12D3KooW${'A'.repeat(43)}${DIGITS[index]}`)!;
}

let fresh = 0;
export const freshNumber = (): number => ++fresh * 7919;

export function definitionOf(given: Record<string, unknown> = {}): Definition {
  const parsed = parseDefinition({ name: 'team', epoch: 5, limit: 1_000, ...given });
  if (!parsed.ok) throw new Error(parsed.error.message);
  return parsed.value;
}

export function purseOf({ name, epoch, window }: Definition, wallMs = 0): PurseKey {
  return purseKey({ budget: name, epoch, period: periodAt(window, wallMs) });
}

/** The quorum store, told transactions one after the other. */
export class Store {
  readonly told = new Told();
  readonly budgets: readonly Definition[];
  /** Told of every command that the register applied. */
  onApplied: (applied: Applied) => void = () => {};

  constructor(budgets: readonly Definition[]) {
    this.budgets = budgets;
    for (const definition of budgets) {
      const { view } = this.view(purseOf(definition), someAccount);
      const plan = planCreation(definition, view);
      if (!plan.ok) throw new Error(plan.error.message);
      this.transact((plan.value as Extract<Plan<unknown>, { kind: 'transact' }>).transaction);
    }
  }

  transact(transaction: Transaction): TransactionAnswer {
    const applied = this.told.transact(transaction);
    const { result } = applied;
    if (result.kind !== 'transacted') throw new Error(JSON.stringify(result));
    this.onApplied(applied);
    return result.answer;
  }

  view(purse: PurseKey, account: AccountId): { readonly view: View } {
    const operations = viewOperations(parsePurseKey(purse)!.budget, purse, account);
    const view = viewOf(operations, this.transact({ compares: [], then: operations, otherwise: [] }));
    if (!view.ok) throw new Error(view.error.message);
    return { view: view.value };
  }

  /** Plans and tells; what a plan that is not new leads to is the same. */
  carry<T>(plan: Plan<T>): boolean {
    return plan.kind === 'done' || this.transact(plan.transaction).succeeded;
  }

  grant(purse: PurseKey, account: AccountId, wish: GrantWish): Result<{ total: Amount; granted: Amount }> {
    const plan = planGrant(this.view(purse, account).view, wish);
    if (!plan.ok) return plan;
    if (!this.carry(plan.value)) throw new Error('nobody else writes');
    return { ok: true, value: plan.value.value };
  }

  /** A grant on another's behalf under a fence: whether the store took it; `done` where there was nothing to do. */
  fencedGrant(
    purse: PurseKey,
    account: AccountId,
    fence: Fence,
    amount: number,
    above = this.entry(purse, account)?.granted ?? 0,
  ): boolean | 'done' {
    const wish = { amount: amountOf(amount), atLeast: amountOf(1), above: amountOf(above), fence };
    const plan = planGrant(this.view(purse, account).view, wish);
    if (!plan.ok) throw new Error(plan.error.message);
    if (plan.value.kind === 'done') return 'done';
    return this.transact(plan.value.transaction).succeeded;
  }

  entry(purse: PurseKey, account: AccountId): Entry | undefined {
    return parseEntry(this.#value(entryKey(purse, account)));
  }

  reserve(definition: Definition, wallMs = 0): Reserve {
    return parseReserve(this.#value(reserveKey(purseOf(definition, wallMs)))) ?? reserveOf(definition);
  }

  #value(key: string): unknown {
    const [answer] = this.transact({ compares: [], then: [{ op: 'get', key }], otherwise: [] }).answers;
    return answer?.op === 'get' && answer.found !== undefined ? decode(answer.found.value) : undefined;
  }
}

const someAccount = parseAccountId(`${nodeIdOf(0)}/1`)!;

export interface Published {
  readonly owner: NodeId;
  readonly key: string;
  readonly version: number;
  readonly body: unknown;
  /** Who is to have it at once. */
  readonly to: readonly NodeId[] | 'all';
}

/** A node's ledger with its disk: effects come out once what was persisted before them is synced. */
export class Host {
  readonly self: NodeId;
  ledger!: Ledger;
  now: Instant = { monoMs: 0, wallMs: 1_000 };
  place = 'here';
  /** Appended, and how much of it is synced. */
  journal: Uint8Array[] = [];
  synced = 0;
  failing = false;
  /** Something of the journal was set aside when it was read last. */
  isSuspect = false;
  boots = 0;
  readonly answers = new Map<number, Result<unknown>>();
  readonly published: Published[] = [];
  readonly marks: string[] = [];
  openings: Extract<LedgerEffect, { kind: 'openAccount' }>[] = [];
  #waiting: { readonly effect: LedgerEffect; readonly after: number }[] = [];
  #requests = 0;
  #version = 0;

  readonly #publishDelayMs: number;

  constructor(self: NodeId, publishDelayMs = 1_000) {
    this.self = self;
    this.#publishDelayMs = publishDelayMs;
    this.boot();
  }

  boot(): void {
    this.boots++;
    this.ledger = new Ledger({
      self: this.self,
      fresh: freshNumber,
      place: this.place,
      now: this.now,
      publishDelayMs: this.#publishDelayMs,
    });
    this.openings = [];
    this.#carry(
      this.ledger.load(
        this.journal.map((record) => record.subarray(1)),
        this.now,
        this.isSuspect,
      ),
    );
  }

  /** All that was not synced is gone. */
  crash(): void {
    this.journal.length = this.synced;
    this.#waiting = [];
    for (const [id, answer] of this.#open) this.answers.set(id, answer);
    this.#open.clear();
    this.failing = false;
    this.boot();
  }

  readonly #open = new Map<number, Result<unknown>>();

  sync(): void {
    if (this.failing) {
      this.journal.length = this.synced;
      const lost = this.#waiting;
      this.#waiting = [];
      for (const { effect, after } of lost) {
        if (after <= this.synced) this.#perform(effect);
        else if (effect.kind === 'answer') this.answers.set(effect.id, UNKNOWN);
      }
      this.deliver({ kind: 'diskFailed', reason: 'full' });
      return;
    }
    this.synced = this.journal.length;
    const ready = this.#waiting;
    this.#waiting = [];
    for (const { effect } of ready) this.#perform(effect);
  }

  heal(): void {
    this.failing = false;
    this.deliver({ kind: 'diskRecovered' });
    this.sync();
  }

  checkpoint(): void {
    this.sync();
    this.journal = [...this.ledger.checkpoint()];
    this.synced = this.journal.length;
  }

  deliver(event: LedgerEvent): void {
    this.#carry(this.ledger.handle(event, this.now));
  }

  pass(ms: number, wallMs = ms): void {
    this.now = { monoMs: this.now.monoMs + ms, wallMs: this.now.wallMs + wallMs };
    while ((this.ledger.deadline()?.atMs ?? Number.POSITIVE_INFINITY) <= this.now.monoMs)
      this.#carry(this.ledger.expire(this.now));
  }

  /** The id of the request, whose answer comes with the next sync. */
  request(call: LedgerCall): number {
    const id = ++this.#requests;
    this.deliver({ kind: 'requested', id, call });
    return id;
  }

  /** Answered at once. */
  call(call: LedgerCall): Result<unknown> {
    const id = this.request(call);
    this.sync();
    return this.answers.get(id)!;
  }

  reserve(id: unknown, amount: unknown, extra: Record<string, unknown> = {}): Result<Reservation> {
    return this.call(reserveCall(id, amount, extra)) as Result<Reservation>;
  }

  settle(id: unknown, amount: unknown): Result<Settlement> {
    return this.call({ op: 'settle', id, amount }) as Result<Settlement>;
  }

  report(id: unknown, amount: unknown, agent: unknown = 'ann'): Result<Settlement> {
    return this.call({ op: 'report', id, budget: 'team', agent, amount }) as Result<Settlement>;
  }

  transfer(purse: PurseKey, to: AccountId, amount: unknown, above: unknown): Result<Moved> {
    return this.call({ op: 'transfer', purse, to, amount, above }) as Result<Moved>;
  }

  rights(purse: PurseKey): number {
    return this.ledger.purses.get(purse)?.rights ?? 0;
  }

  row(purse: PurseKey): Row | undefined {
    return this.ledger.purses.get(purse)?.row;
  }

  /** Hears the newest rows of another as they stand now, as if everything had been published. */
  hear(other: Host): void {
    other.pass(1_000);
    other.sync();
    for (const row of other.published) this.deliver({ kind: 'rowHeard', ...row });
    this.sync();
  }

  /** Asks the store whether this start may spend. */
  open(store: Store): void {
    this.sync();
    for (const { account, nonce, known } of this.openings) {
      const plan = planOpening(store.view(purseOf(store.budgets[0]!), account).view, nonce, known);
      const isOpen = store.carry(plan) && plan.value.isOpen;
      this.deliver(
        isOpen ? { kind: 'opened', account, nonce } : { kind: 'fenced', account, reason: 'another start' },
      );
    }
    this.openings = [];
    this.sync();
    if (this.openings.length > 0) this.open(store);
    for (const definition of store.budgets)
      this.deliver({ kind: 'defined', budget: definition.name, definition });
  }

  /** Takes rights out of the reserve. */
  take(store: Store, purse: PurseKey, amount: number): void {
    const above = amountOf(this.row(purse)?.granted ?? 0);
    const { account } = this.ledger;
    const granted = store.grant(purse, account, { amount: amountOf(amount), atLeast: amountOf(1), above });
    if (granted.ok) this.deliver({ kind: 'registered', purse, account, granted: granted.value.total });
    this.sync();
  }

  /** Puts what was returned into the reserve. */
  credit(store: Store, purse: PurseKey): void {
    const plan = planReturn(
      store.view(purse, this.ledger.account).view,
      amountOf(this.row(purse)?.returned ?? 0),
    );
    if (plan.ok) store.carry(plan.value);
  }

  #carry(effects: readonly LedgerEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'persist') {
        for (const record of effect.records) {
          if (record[0] !== JOURNAL_TAGS.budget) throw new Error('wrong tag');
          this.journal.push(record);
        }
      } else if (effect.kind === 'mark') this.marks.push(effect.name);
      else {
        if (effect.kind === 'answer') this.#open.set(effect.id, LOST);
        this.#waiting.push({ effect, after: this.journal.length });
      }
    }
  }

  #perform(effect: LedgerEffect): void {
    if (effect.kind === 'answer') {
      this.#open.delete(effect.id);
      this.answers.set(effect.id, effect.result);
    } else if (effect.kind === 'openAccount') this.openings.push(effect);
    else if (effect.kind === 'publishRow') {
      // Over the wire and back: what is sent is what is read.
      const body = effect.body === undefined ? undefined : decode(encode(effect.body));
      const { key, to = [] } = effect;
      this.published.push({ owner: this.self, key, version: ++this.#version, body, to });
    }
  }
}

const failed = (outcome: string): Result<unknown> => ({
  ok: false,
  error: { code: 'INTERNAL', message: '', hint: '', retryable: false, details: { outcome } } as ErrorBody,
});
const UNKNOWN = failed('unknown');
const LOST = failed('lost');

export function reserveCall(id: unknown, amount: unknown, extra: Record<string, unknown> = {}): LedgerCall {
  return { op: 'reserve', id, budget: 'team', agent: 'ann', amount, ttlMs: 60_000, ...extra } as LedgerCall;
}

/** A host that is confirmed and has so many rights. */
export function hostWith(store: Store, index: number, rights = 0, publishDelayMs?: number): Host {
  const host = new Host(nodeIdOf(index), publishDelayMs);
  host.open(store);
  if (rights > 0) host.take(store, purseOf(store.budgets[0]!), rights);
  return host;
}

/** What stands in the register and what the accounts themselves say, as one cut. */
export function problemsOf(
  store: Store,
  definition: Definition,
  rows: ReadonlyMap<AccountId, Row | undefined>,
  wallMs = 0,
): readonly string[] {
  const purse = purseOf(definition, wallMs);
  const positions: Position[] = [...rows].map(([account, row]) => ({
    account,
    row,
    entry: store.entry(purse, account),
  }));
  return balanceOf(store.reserve(definition, wallMs), positions).problems;
}

export function rowsOf(hosts: readonly Host[], purse: PurseKey): Map<AccountId, Row | undefined> {
  return new Map(hosts.map((host) => [host.ledger.account, host.row(purse)]));
}
