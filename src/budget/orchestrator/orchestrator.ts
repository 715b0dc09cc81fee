/**
 * One node at a time that looks after the rights of all: whoever holds a lease of the quorum store.
 *
 * Nothing depends on it. Nodes take from the reserve when they lack rights, and from each other when that has none; the
 * orchestrator sees to it that they seldom have to: it grants ahead of need, moves rights from who can spare them to who runs short,
 * and recalls what nobody needs. What it grants compares the key of its lease within the transaction, and what it orders
 * carries the revision that created that key, so one that has lost the lease and does not know it can neither grant nor move.
 */
import { failWith, ok, type Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Machine } from '../../kernel/machine.ts';
import { type Deadline, earliest, type Instant } from '../../kernel/time.ts';
import type { Holder, Move } from '../allocation.ts';
import { type Amount, ZERO } from '../amount.ts';
import { encodeCall, type OrderFrame, type RebalancedFrame } from '../gathering/frames.ts';
import type { RebalanceAnswered, RebalanceAsked } from '../gathering/messages.ts';
import type { StoreCall } from '../messages.ts';
import { type AccountId, type BudgetName, nodeOfAccount, type PurseKey } from '../names.ts';
import { planGrant, type Reserve, reserveOf } from '../reserve-register.ts';
import { rightsOf } from '../row.ts';
import { Leadership } from './lease.ts';
import type { Lead, OrchestratorEffect, OrchestratorEvent, OrchestratorOptions } from './messages.ts';
import { decide, evenedOut } from './planning.ts';

const ROUND_MS = 1_000;
/** Who leads gives the lease back when nothing has happened for this long: renewing it costs the voters a write each time. */
const IDLE_MS = 60_000;
/** Tries of an order, and how long each waits. Later rounds order anew what is still needed. */
const ORDER_TRIES = 3;
const ORDER_MS = 300;
/** For a caller's `rebalance` to be answered by the orchestrator. */
const REBALANCE_MS = 2_000;
const REBALANCES = 256;
const STREAM = 'budget/call';

interface OpenOrder {
  readonly node: NodeId;
  readonly frame: OrderFrame;
  tries: number;
  atMs: number;
}

interface OpenRebalance {
  /** Of the caller. */
  readonly id: number;
  readonly to: NodeId;
  readonly untilMs: number;
}

export class Orchestrator implements Machine<OrchestratorEvent, OrchestratorEffect> {
  readonly #options: OrchestratorOptions;
  readonly #leadership: Leadership;
  readonly #peers = new Set<NodeId>();
  /** Purses in which something has changed since the last round. */
  readonly #dirty = new Set<PurseKey>();
  readonly #orders = new Map<number, OpenOrder>();
  readonly #rebalances = new Map<number, OpenRebalance>();
  /** Grants under way, by the id of the call to the store. */
  readonly #grants = new Map<number, string>();
  /** Ids of calls to the store about the lease. */
  readonly #leaseCalls = new Set<number>();
  #toldLead: Lead | undefined;
  #activeMs: number;
  #roundMs: number;
  #lastId = 0;
  #out: OrchestratorEffect[] = [];
  #isStopping = false;

  constructor(options: OrchestratorOptions) {
    this.#options = options;
    const { self, isCandidate, rng, now } = options;
    this.#leadership = new Leadership(self, isCandidate, rng, (call) => {
      const id = this.#askStore(call);
      if (call.op !== 'revokeLease') this.#leaseCalls.add(id);
    });
    this.#activeMs = now.monoMs;
    this.#roundMs = now.monoMs;
  }

  /** As the newest news of the store say. Nobody, too, where nothing is to be done. */
  get lead(): Lead | undefined {
    return this.#leadership.lead;
  }

  get isLeading(): boolean {
    return this.#leadership.isLeading;
  }

  handle(event: OrchestratorEvent, now: Instant): readonly OrchestratorEffect[] {
    switch (event.kind) {
      case 'peerUp':
        this.#peers.add(event.peer);
        break;
      case 'peerDown':
        this.#peers.delete(event.peer);
        for (const [id, { node }] of this.#orders) if (node === event.peer) this.#orders.delete(id);
        break;
      case 'storeRead':
        this.#leadership.read(event.revision, event.entries);
        for (const { purse } of this.#options.mirror.purses(now)) this.#touch(purse, now);
        break;
      case 'storeChanged':
        this.#leadership.changed(event.changes);
        this.#storeChanged(event.changes, now);
        break;
      case 'storeAnswered':
        this.#grants.delete(event.id);
        if (this.#leaseCalls.delete(event.id)) this.#leadership.answered(event.result, now);
        break;
      case 'orderAnswered':
        if (this.#orders.get(event.id)?.node === event.from) this.#orders.delete(event.id);
        break;
      case 'rebalanceAsked':
        this.#rebalanceAsked(event, now);
        break;
      case 'rebalanceAnswered':
        this.#rebalanceAnswered(event);
        break;
      case 'rowTaken':
        this.#touch(event.purse, now);
        break;
      case 'rebalanceRequested':
        this.#rebalanceRequested(event.id, event.budget, now);
        break;
      case 'stopping':
        this.#isStopping = true;
        this.#leadership.resign();
        break;
    }
    return this.#finish(now);
  }

  expire(now: Instant): readonly OrchestratorEffect[] {
    for (const [id, order] of this.#orders) {
      if (order.atMs > now.monoMs) continue;
      if (order.tries >= ORDER_TRIES) this.#orders.delete(id);
      else this.#send(order, now);
    }
    for (const [id, { untilMs, id: caller }] of this.#rebalances) {
      if (untilMs > now.monoMs) continue;
      this.#rebalances.delete(id);
      this.#out.push({ kind: 'rebalanced', id: caller, result: noAnswer() });
    }
    if (this.#roundMs <= now.monoMs && this.#dirty.size > 0) {
      this.#roundMs = now.monoMs + ROUND_MS;
      if (this.#leadership.held(now) !== undefined) this.#round(now);
    }
    return this.#finish(now);
  }

  deadline(): Deadline | undefined {
    const isLeading = this.#leadership.lead?.node === this.#options.self;
    const isRoundDue = isLeading && this.#dirty.size > 0;
    const waits = [...this.#orders.values()].map(({ atMs }) => ({ atMs, reason: 'budget.order' }));
    const asked = [...this.#rebalances.values()].map(({ untilMs: atMs }) => ({
      atMs,
      reason: 'budget.rebalance',
    }));
    return earliest([
      this.#leadership.deadline(),
      isRoundDue ? { atMs: this.#roundMs, reason: 'budget.round' } : undefined,
      ...waits,
      ...asked,
    ]);
  }

  #storeChanged(
    changes: Extract<OrchestratorEvent, { kind: 'storeChanged' }>['changes'],
    now: Instant,
  ): void {
    for (const { purse } of this.#options.mirror.purses(now)) {
      const prefix = `budget/${purse}`;
      const definition = `budget/${purse.slice(0, purse.indexOf('/'))}`;
      if (changes.some(({ entry: { key } }) => key === definition || key.startsWith(prefix)))
        this.#touch(purse, now);
    }
  }

  #touch(purse: PurseKey, now: Instant): void {
    // Whoever begins to lead looks at all of those that run.
    if (this.#leadership.lead?.node === this.#options.self) this.#dirty.add(purse);
    this.#activeMs = now.monoMs;
  }

  #round(now: Instant): void {
    const purses = [...this.#dirty];
    this.#dirty.clear();
    for (const { purse } of this.#options.mirror.purses(now)) {
      if (!purses.includes(purse)) continue;
      const holders = this.#holders(purse, now);
      const { reserve } = this.#reserveOf(purse) ?? {};
      if (reserve === undefined) continue;
      const { grants, moves, recalls } = decide(reserve, holders);
      for (const { to, amount } of grants) this.#grant(purse, to, amount, now);
      this.#orderAll(purse, moves, now);
      this.#orderAll(
        purse,
        recalls.map((recall) => ({ ...recall, to: undefined })),
        now,
      );
      // Spending goes on without a word for a while: those who spend are looked at again.
      if (holders.some(({ burnPerMs }) => burnPerMs > 0)) this.#dirty.add(purse);
    }
  }

  /** Accounts that can be reached and may be granted something, with what they have or is on the way to them. */
  #holders(purse: PurseKey, now: Instant): readonly Holder[] {
    const { ledger, mirror, paces, self } = this.#options;
    const holders: Holder[] = [];
    const own = ledger.purses.get(purse);
    if (ledger.isConfirmed) holders.push(this.#holder(purse, ledger.account, own?.rights ?? ZERO, now));
    for (const { account, row, granted } of ledger.rows.of(purse)) {
      const node = nodeOfAccount(account);
      if (node === self || !this.#peers.has(node) || mirror.currentAccount(node) !== account) continue;
      if (mirror.view(purse, account)?.account.value?.fenced !== false) continue;
      const rights = (row === undefined ? ZERO : (rightsOf(row) ?? ZERO)) + granted - (row?.granted ?? 0);
      holders.push({
        account,
        rights: Math.max(0, rights) as Amount,
        burnPerMs: paces.perMs(purse, account, now),
      });
    }
    return holders;
  }

  #holder(purse: PurseKey, account: AccountId, rights: Amount, now: Instant): Holder {
    return { account, rights, burnPerMs: this.#options.paces.perMs(purse, account, now) };
  }

  #reserveOf(purse: PurseKey): { readonly reserve: Reserve } | undefined {
    const view = this.#options.mirror.view(purse, this.#options.ledger.account);
    if (view?.definition.value === undefined) return undefined;
    return { reserve: view.reserve.value ?? reserveOf(view.definition.value) };
  }

  /** One at a time to each account; where the store has moved on, the next round sees it. */
  #grant(purse: PurseKey, to: AccountId, amount: Amount, now: Instant): void {
    const held = this.#leadership.held(now);
    const view = this.#options.mirror.view(purse, to);
    const name = `${purse} ${to}`;
    if (held === undefined || view === undefined || [...this.#grants.values()].includes(name)) return;
    const above = view.entry.value?.granted ?? ZERO;
    const plan = planGrant(view, { amount, atLeast: 1 as Amount, above, fence: held.fence });
    if (!plan.ok || plan.value.kind !== 'transact') return;
    this.#grants.set(this.#askStore({ op: 'transact', transaction: plan.value.transaction }), name);
  }

  #orderAll(
    purse: PurseKey,
    moves: readonly (Omit<Move, 'to'> & { readonly to: AccountId | undefined })[],
    now: Instant,
  ): { readonly moves: number; readonly amount: Amount } {
    const held = this.#leadership.held(now);
    let ordered = { moves: 0, amount: 0 };
    if (held === undefined) return { moves: 0, amount: ZERO };
    for (const { from, to, amount } of moves) {
      const node = nodeOfAccount(from);
      const isUnderWay = [...this.#orders.values()].some(
        ({ frame }) => frame.purse === purse && frame.of === from && frame.to === to,
      );
      if (isUnderWay) continue;
      const id = ++this.#lastId;
      const { createRevision: fence } = held.fence;
      const above = this.#wentThere(purse, from, to);
      const frame: OrderFrame = { kind: 'order', id, fence, purse, of: from, to, amount, above };
      const order = { node, frame, tries: 0, atMs: now.monoMs };
      this.#orders.set(id, order);
      this.#send(order, now);
      ordered = { moves: ordered.moves + 1, amount: ordered.amount + amount };
    }
    return ordered as { moves: number; amount: Amount };
  }

  #wentThere(purse: PurseKey, from: AccountId, to: AccountId | undefined): Amount {
    const { ledger } = this.#options;
    const row = from === ledger.account ? ledger.purses.get(purse)?.row : ledger.rows.row(purse, from);
    return (to === undefined ? row?.returned : row?.sent.get(to)) ?? ZERO;
  }

  #send(order: OpenOrder, now: Instant): void {
    order.tries++;
    order.atMs = now.monoMs + ORDER_MS;
    if (order.node === this.#options.self) this.#out.push({ kind: 'orderHere', frame: order.frame });
    else {
      const bytes = encodeCall(order.frame);
      this.#out.push({ kind: 'send', stream: STREAM, to: [order.node], channel: 'call', bytes });
    }
  }

  /** `undefined`: this node is not the orchestrator, or there is no such budget. */
  #evenOut(budget: BudgetName, now: Instant): RebalancedFrame['ordered'] {
    if (this.#leadership.held(now) === undefined) return undefined;
    for (const { budget: name, purse } of this.#options.mirror.purses(now)) {
      const reserve = this.#reserveOf(purse)?.reserve;
      if (name !== budget || reserve === undefined) continue;
      return this.#orderAll(purse, evenedOut(reserve.limit, this.#holders(purse, now)), now);
    }
    return undefined;
  }

  #rebalanceRequested(id: number, budget: BudgetName, now: Instant): void {
    this.#activeMs = now.monoMs;
    const ordered = this.#evenOut(budget, now);
    const lead = this.#leadership.lead?.node;
    if (ordered !== undefined) this.#out.push({ kind: 'rebalanced', id, result: ok(ordered) });
    else if (lead === undefined || !this.#peers.has(lead) || this.#rebalances.size >= REBALANCES)
      this.#out.push({ kind: 'rebalanced', id, result: noOrchestrator() });
    else {
      const number = ++this.#lastId;
      this.#rebalances.set(number, { id, to: lead, untilMs: now.monoMs + REBALANCE_MS });
      const bytes = encodeCall({ kind: 'rebalance', id: number, budget });
      this.#out.push({ kind: 'send', stream: STREAM, to: [lead], channel: 'call', bytes });
    }
  }

  #rebalanceAsked({ from, id, budget }: RebalanceAsked, now: Instant): void {
    const bytes = encodeCall({ kind: 'rebalanced', id, ordered: this.#evenOut(budget, now) });
    this.#out.push({ kind: 'send', stream: STREAM, to: [from], channel: 'call', bytes });
  }

  #rebalanceAnswered({ from, id, ordered }: RebalanceAnswered): void {
    const open = this.#rebalances.get(id);
    if (open?.to !== from) return;
    this.#rebalances.delete(id);
    const result = ordered === undefined ? noOrchestrator() : ok(ordered);
    this.#out.push({ kind: 'rebalanced', id: open.id, result });
  }

  #askStore(call: StoreCall): number {
    const id = ++this.#lastId;
    this.#out.push({ kind: 'askStore', id, call });
    return id;
  }

  #finish(now: Instant): readonly OrchestratorEffect[] {
    const isActive = now.monoMs - this.#activeMs < IDLE_MS;
    const isNeeded = !this.#isStopping && isActive && !isEmpty(this.#options.mirror.purses(now));
    this.#leadership.step(isNeeded, now);
    const { lead } = this.#leadership;
    const told = this.#toldLead;
    if (lead?.node !== told?.node || lead?.fence.createRevision !== told?.fence.createRevision) {
      this.#toldLead = lead;
      this.#out.push({ kind: 'leadChanged', lead });
      // Whoever begins to lead knows the rows, and looks at all of them.
      if (lead?.node === this.#options.self)
        for (const { purse } of this.#options.mirror.purses(now)) this.#dirty.add(purse);
    }
    const effects = this.#out;
    this.#out = [];
    return effects;
  }
}

function isEmpty(items: Iterable<unknown>): boolean {
  for (const _ of items) return false;
  return true;
}

function noOrchestrator(): Result<never> {
  return failWith(
    'UNREACHABLE',
    'No orchestrator can be reached.',
    'Nodes share out rights by themselves meanwhile; start a node with the role orchestrator.',
    { details: { outcome: 'not-done' } },
  );
}

function noAnswer(): Result<never> {
  return failWith('UNREACHABLE', 'The orchestrator does not answer.', 'Ask again.', {
    details: { outcome: 'unknown' },
  });
}
