/**
 * The budgets of this node: its account, what waits for money, and what it knows of everybody else's.
 *
 * The hot path, reserving and settling out of rights that are here, is one step of the ledger; all such calls of one turn of the
 * host's loop share a journal record, behind which their answers go. Whatever else there is (sums, notices, thresholds) is worked out
 * later, when somebody asks or a timer is due.
 */
import { type ErrorBody, fail, ok, type Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Machine } from '../kernel/machine.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, earliest, type Instant, isDue } from '../kernel/time.ts';
import type { KeyValue } from '../quorum/port.ts';
import { type Amount, plus } from './amount.ts';
import type { BudgetCall, BudgetStatus } from './api.ts';
import { Auditor } from './auditor.ts';
import type { Definition, Expiry } from './definition.ts';
import { Desk } from './desk.ts';
import { Errands } from './errands.ts';
import { Exchange } from './exchange.ts';
import { Ledger } from './ledger.ts';
import type { LedgerEffect, LedgerEvent } from './ledger-messages.ts';
import { Management } from './management.ts';
import type { BudgetEffect, BudgetEvent } from './messages.ts';
import { Mirror, type MirrorFact } from './mirror.ts';
import { type FreshNumber, type PurseKey, parseRowKey } from './names.ts';
import { Notices } from './notices.ts';
import type { MemberState, Office } from './office.ts';
import { Opening } from './opening.ts';
import { Closing } from './orchestrator/closing.ts';
import { Paces } from './orchestrator/paces.ts';
import { CLOSING_TIMES, type ClosingTimes, overdueOf } from './over-periods.ts';
import type { PriceTable } from './price.ts';
import { beforeReading, Recovery } from './recovery.ts';
import { diskFails, notReadError } from './refusals.ts';
import { DEFAULT_TTL_MS } from './requests.ts';
import type { Entry } from './reserve-register.ts';
import { Returns } from './returns.ts';
import type { End } from './rows.ts';
import { budgetOf, type Levels, statusOf } from './status.ts';
import { Supply } from './supply.ts';
import { WriteOffs } from './write-off.ts';

/** For what callers leave open. */
export interface BudgetDefaults {
  readonly ttlMs: number;
  readonly expiry: Expiry;
  readonly thresholds: readonly number[];
}

const DEFAULTS: BudgetDefaults = { ttlMs: DEFAULT_TTL_MS, expiry: 'charge', thresholds: [] };

export interface BudgetsOptions {
  readonly self: NodeId;
  /** 53 random bits that were never used before, from `Entropy`; never 0. */
  readonly fresh: () => FreshNumber;
  /** The same, for the ids of requests alone: many, and two copies of this process may draw the same. Default: `fresh`. */
  readonly drawn?: () => FreshNumber;
  /** What tells the place of the data from a copy of it. */
  readonly place: string;
  /** None: what is spent is given as amounts. */
  readonly prices?: PriceTable;
  readonly defaults?: BudgetDefaults;
  /** Whether this node may look after everybody's rights; default: it may. */
  readonly isOrchestrator?: boolean;
  /** How a node is called; default: the end of its id. */
  readonly nameOf?: (node: NodeId) => string;
  /** When periods are closed; default: `CLOSING_TIMES`. */
  readonly times?: ClosingTimes;
  readonly rng: Rng;
  readonly now: Instant;
}

const STREAM = 'budget';
/** As soon as the host's queue is empty. */
const FLUSH: Deadline = { atMs: Number.NEGATIVE_INFINITY, reason: 'budget.flush' };
const NOTHING: readonly BudgetEffect[] = [];

export class Budgets implements Machine<BudgetEvent, BudgetEffect> {
  readonly #self: NodeId;
  readonly #ledger: Ledger;
  readonly #members = new Map<NodeId, MemberState>();
  readonly #mirror = new Mirror();
  readonly #errands: Errands;
  readonly #office: Office;
  readonly #opening: Opening;
  readonly #supply: Supply;
  readonly #management: Management;
  readonly #desk: Desk;
  readonly #exchange: Exchange;
  readonly #returns: Returns;
  readonly #recovery: Recovery;
  readonly #writeOffs: WriteOffs;
  readonly #notices: Notices;
  readonly #auditor: Auditor;
  readonly #closing: Closing;
  readonly #times: ClosingTimes;
  readonly #heardAt = new Map<string, number>();
  readonly #defaults: BudgetDefaults;
  /** Purses whose rights have changed within this run. */
  readonly #changed = new Set<PurseKey>();
  /** Purses for which somebody wants rights from others, within this run. */
  readonly #wanted = new Map<PurseKey, { readonly need: Amount; readonly waiting: Amount }>();
  #diskFailure: string | undefined;
  #out: BudgetEffect[] = [];
  /** Behind the record that the ledger has open. */
  #recorded: Extract<BudgetEffect, { kind: 'answer' }>[] = [];

  constructor(options: BudgetsOptions) {
    const { self, fresh, place, rng, now, times = CLOSING_TIMES } = options;
    this.#self = self;
    this.#defaults = options.defaults ?? DEFAULTS;
    this.#ledger = new Ledger({ self, fresh, place, now, times });
    this.#errands = new Errands((effect) => this.#out.push(effect));
    this.#office = this.#officeOf(options);
    this.#opening = new Opening(this.#office, rng.fork(), (at) => this.#supply.opened(at));
    this.#supply = new Supply(this.#office, this.#opening, {
      want: (purse, need, waiting) => this.#wanted.set(purse, { need, waiting }),
      answer: (id, result) => this.#desk.reserved(id, result),
    });
    this.#desk = this.#makeDesk();
    this.#exchange = this.#makeExchange(options);
    this.#returns = new Returns(this.#office, rng.fork(), now);
    this.#recovery = new Recovery(this.#office);
    this.#writeOffs = new WriteOffs(this.#office);
    this.#notices = new Notices(this.#office);
    this.#auditor = new Auditor(this.#office, now);
    const leads = () => this.#exchange.lead?.node === self;
    this.#times = times;
    this.#closing = new Closing(this.#office, times, rng.fork(), leads, now);
    this.#management = new Management(this.#office, this.#supply, (definition, at) =>
      this.#statusOf(definition, at),
    );
  }

  /** Journal records without their tag, in the order written, and whether any were found corrupt and left out. Call once, before anything else. */
  load(records: readonly Uint8Array[], now: Instant, isSuspect = false): readonly BudgetEffect[] {
    this.#takeInAll(this.#ledger.load(records, now, isSuspect), now);
    if (this.#ledger.purses.size > 0) this.#opening.need(now);
    this.#supply.owes(now);
    for (const [purse, { spent }] of this.#ledger.purses)
      this.#notices.began(purse, this.#ledger.account, spent);
    return this.#finish(now);
  }

  /** The whole state as it is at this call, as journal records, each worked out when it is its turn. */
  checkpoint(): Iterable<Uint8Array> {
    return this.#ledger.checkpoint();
  }

  /** Errors: NOT_FOUND, QUORUM_UNAVAILABLE (the store was not read yet). */
  status(budget: string, now: Instant): Result<BudgetStatus> {
    const definition = this.#management.definition(budget);
    return definition.ok ? ok(this.#statusOf(definition.value, now)) : definition;
  }

  /** Why `list` may lack budgets: the store was not read yet. */
  get notRead(): ErrorBody | undefined {
    return this.#mirror.isFilled ? undefined : notReadError();
  }

  /** Periods that should have left the store long ago, by this node's clock. */
  overdue(now: Instant): number {
    return overdueOf(this.#mirror.purses, this.#times, now);
  }

  list(now: Instant): readonly BudgetStatus[] {
    const levels: Levels = new Map();
    return [...this.#mirror.definitions.values()]
      .sort((left, right) => (left.name < right.name ? -1 : 1))
      .map((definition) => this.#statusOf(definition, now, levels));
  }

  /** To look at. */
  get ledger(): Pick<Ledger, 'account' | 'former' | 'isConfirmed' | 'purses' | 'rows' | 'definitions'> {
    return this.#ledger;
  }

  /** Who holds the orchestrator's lease, as far as is known here. */
  get orchestrator(): NodeId | undefined {
    return this.#exchange.orchestrator;
  }

  /** The node stops in order: who leads gives that up, and others are told what was spent last. */
  stop(now: Instant): readonly BudgetEffect[] {
    this.#exchange.stopping(now);
    this.#ledger.publishNow();
    this.#absorb(now);
    return this.#finish(now);
  }

  handle(event: BudgetEvent, now: Instant): readonly BudgetEffect[] {
    // Whatever else is ordered comes behind what was spent before.
    if (event.kind === 'diskFailed') this.#lose(event.reason);
    if (event.kind !== 'budgetRequested') this.#absorb(now);
    switch (event.kind) {
      case 'budgetRequested':
        this.#requested(event.id, event.call, now);
        break;
      case 'budgetCancelled':
        this.#supply.cancel(event.id, now);
        this.#desk.cancel(event.id, now);
        this.#management.cancel(event.id, now);
        break;
      case 'storeAnswered':
        this.#errands.answered(event.id, event.result, now);
        break;
      case 'storeRead':
        this.#storeRead(event.entries, now);
        if (event.isBehind !== true) this.#mirror.prove();
        this.#exchange.storeTold(event, now);
        break;
      case 'storeProved':
        this.#mirror.prove();
        break;
      case 'storeChanged':
        this.#learn(this.#mirror.change(event.changes), now);
        this.#exchange.storeTold(event, now);
        break;
      case 'rowHeard':
        this.#heard(event, now);
        break;
      case 'peerUp':
      case 'peerDown':
      case 'received':
        this.#exchange.handle(event, now);
        break;
      case 'diskFailed':
        this.#diskFailed(event.reason, now);
        break;
      case 'diskRecovered':
        this.#diskFailure = undefined;
        this.#office.tell(event, now);
        this.#supply.retryAll(now);
        break;
      case 'memberChanged':
        this.#members.set(event.member, event.state);
        this.#notices.soon(undefined, now);
        break;
    }
    return this.#finish(now);
  }

  expire(now: Instant): readonly BudgetEffect[] {
    this.#absorb(now);
    if (isDue(this.#ledger.deadline(), now)) this.#takeInAll(this.#ledger.expire(now), now);
    this.#opening.expire(now);
    this.#supply.expire(now);
    this.#exchange.expire(now);
    this.#returns.expire(now);
    this.#recovery.expire(now);
    this.#notices.expire(now);
    this.#auditor.expire(now);
    this.#closing.expire(now);
    return this.#finish(now);
  }

  deadline(): Deadline | undefined {
    if (this.#recorded.length > 0 || this.#ledger.hasEffects) return FLUSH;
    return earliest([
      this.#ledger.deadline(),
      this.#opening.deadline(),
      this.#exchange.deadline(),
      this.#returns.deadline(),
      this.#recovery.deadline(),
      this.#supply.deadline(),
      this.#notices.deadline(),
      this.#auditor.deadline(),
      this.#closing.deadline(),
    ]);
  }

  #makeDesk(): Desk {
    return new Desk(this.#office, this.#defaults.ttlMs, {
      changed: (now) => this.#notices.soon(undefined, now),
      wait: (purse, waiter, now) => {
        if (waiter.untilMs <= now.monoMs || !this.#supply.hasRoom) return false;
        this.#opening.need(now);
        this.#supply.wait(purse, waiter, now);
        return true;
      },
      freed: (now) => this.#supply.retryAll(now),
      supply: this.#supply,
      settleThere: (id, node, reservation, amount, now) =>
        this.#exchange.settleThere(id, node, reservation, amount, now),
    });
  }

  #makeExchange({ isOrchestrator, rng, now }: BudgetsOptions): Exchange {
    return new Exchange(
      this.#office,
      {
        exhausted: (purse, reachable, retryAfterMs, at) =>
          this.#supply.exhausted(purse, reachable, retryAfterMs, at),
        owes: (at) => this.#supply.owes(at),
        settledThere: (id, node, result) => this.#desk.settled(id, node, result),
        changed: (at) => {
          this.#notices.soon(undefined, at);
          this.#supply.retryAll(at);
        },
        returned: (purse, at) => this.#returns.returned(purse, at),
      },
      { isCandidate: isOrchestrator ?? true, rng: rng.fork(), now },
    );
  }

  #officeOf({ self, prices, nameOf, fresh, drawn }: BudgetsOptions): Office {
    return {
      self,
      ledger: this.#ledger,
      mirror: this.#mirror,
      errands: this.#errands,
      paces: new Paces(this.#ledger),
      prices: prices ?? new Map(),
      nameOf: nameOf ?? ((node) => node.slice(-8)),
      stateOf: (node) => (node === self ? 'alive' : this.#members.get(node)),
      fresh,
      drawn: drawn ?? fresh,
      heardAt: this.#heardAt,
      order: (effect) => this.#out.push(effect),
      answer: (id, result) => this.#answer(id, result),
      answerRecorded: (id, result) => this.#recorded.push({ kind: 'answer', stream: STREAM, id, result }),
      absorb: (now) => this.#absorb(now),
      tell: (event, now) => this.#tell(event, now),
      send: (errand, { done, strong }, now) => {
        if (this.#diskFailure !== undefined) {
          done(fail(diskFails(this.#diskFailure, 'unknown')), now);
          return;
        }
        const { budget, purse, account } = errand;
        const view = strong === true ? undefined : this.#mirror.view(budget, purse, account);
        this.#errands.start(
          {
            ...errand,
            done: (result, at, applied) => {
              if (applied !== undefined) this.#learn(this.#mirror.wrote(applied), at);
              done(result, at);
            },
          },
          now,
          view,
        );
      },
    };
  }

  #requested(id: number, call: BudgetCall, now: Instant): void {
    switch (call.op) {
      case 'reserve':
        this.#desk.reserve(id, call, now);
        return;
      case 'settle':
        this.#desk.settle(id, call, now);
        return;
      case 'report':
        this.#desk.report(id, call, now);
        return;
    }
    this.#absorb(now);
    switch (call.op) {
      case 'create':
        this.#opening.need(now);
        this.#management.create(id, { ...this.#defaults, ...defined(call) }, now);
        return;
      case 'setLimit':
        this.#management.setLimit(id, call, now);
        return;
      case 'request':
        this.#management.request(id, call, now);
        return;
      case 'transfer':
        this.#management.transfer(id, call, now);
        return;
      case 'writeOff': {
        const definition = this.#management.definition(call.budget);
        if (definition.ok) this.#writeOffs.begin(id, call, definition.value, now);
        else this.#answer(id, definition);
        return;
      }
      case 'rebalance': {
        const definition = this.#management.definition(call.budget);
        if (definition.ok) this.#exchange.rebalance(id, definition.value.name, now);
        else this.#answer(id, definition);
      }
    }
  }

  #heard(event: Extract<BudgetEvent, { kind: 'rowHeard' }>, now: Instant): void {
    const place = parseRowKey(event.owner, event.key);
    if (place === undefined) return;
    if (event.owner !== this.#self) {
      if (this.#heardAt.size < limits.budgetRows || this.#heardAt.has(place.account))
        this.#heardAt.set(place.account, heardAt(event, now));
      this.#notices.soon(budgetOf(place.purse), now);
    }
    this.#tell(event, now);
    if (event.owner === this.#self) return;
    // Nothing is kept of rows that were not.
    if (this.#ledger.rows.row(place.purse, place.account) !== undefined)
      this.#office.paces.note(place.purse, place.account, now);
    // Heard before anything else was: from the records that this node had kept.
    const row = this.#mirror.isFilled ? undefined : this.#ledger.rows.row(place.purse, place.account);
    if (row !== undefined) this.#notices.began(place.purse, place.account, row.spent);
    this.#exchange.rowTaken(place.purse, now);
  }

  #storeRead(entries: readonly KeyValue[], now: Instant): void {
    const before = beforeReading(this.#mirror);
    const facts = this.#mirror.replace(entries);
    this.#recovery.compare(before, now);
    this.#learn(facts, now, false);
    this.#returns.compare(now);
  }

  /** `isNews`: as it happens, not read of what happened before. */
  #learn(facts: readonly MirrorFact[], now: Instant, isNews = true): void {
    for (const fact of facts) {
      switch (fact.kind) {
        case 'defined':
          this.#tell(fact, now);
          if (fact.definition !== undefined) this.#opening.need(now);
          this.#notices.soon(fact.budget, now);
          break;
        case 'reserve':
          this.#notices.soon(budgetOf(fact.purse), now);
          this.#supply.reserveChanged(fact.purse, now);
          break;
        case 'entry': {
          const { purse, account, entry } = fact;
          const { granted } = entry;
          const end = endOf(entry);
          if (isNews) this.#office.paces.note(purse, account, now);
          this.#tell({ kind: 'registered', purse, account, granted, ...(end && { end }) }, now);
          this.#notices.soon(budgetOf(purse), now);
          break;
        }
        case 'account':
          this.#opening.told(fact.account, now);
      }
    }
  }

  /** What was spent before may be among what the disk lost, and answers that are given from here on wait for none of that. */
  #lose(reason: string): void {
    const result = fail(diskFails(reason, 'unknown'));
    this.#recorded = this.#recorded.map((answer) => (answer.result.ok ? { ...answer, result } : answer));
  }

  #diskFailed(reason: string, now: Instant): void {
    this.#diskFailure = reason;
    this.#tell({ kind: 'diskFailed', reason }, now);
    this.#errands.fail(fail(diskFails(reason, 'unknown')), now);
  }

  #tell(event: LedgerEvent, now: Instant): void {
    this.#takeInAll(this.#ledger.handle(event, now), now);
  }

  #absorb(now: Instant): void {
    if (this.#recorded.length > 0 || this.#ledger.hasEffects) this.#takeInAll(this.#ledger.take(), now);
  }

  /** All that the ledger has: the records of what was spent are among it. */
  #takeInAll(effects: readonly LedgerEffect[], now: Instant): void {
    const recorded = this.#recorded;
    if (recorded.length > 0) this.#recorded = [];
    for (const effect of effects) this.#takeIn(effect, now);
    for (const answer of recorded) this.#out.push(answer);
  }

  #takeIn(effect: LedgerEffect, now: Instant): void {
    switch (effect.kind) {
      case 'openAccount':
        this.#opening.wanted(effect, now);
        return;
      case 'rightsChanged':
        this.#changed.add(effect.purse);
        this.#notices.soon(budgetOf(effect.purse), now);
        return;
      default:
        this.#out.push(effect);
        if (effect.kind === 'publishRow' && effect.body !== undefined) this.#notePace(effect.key, now);
    }
  }

  #notePace(key: string, now: Instant): void {
    const place = parseRowKey(this.#self, key);
    if (place !== undefined) this.#office.paces.note(place.purse, place.account, now);
  }

  #answer(id: number, result: Result<unknown>): void {
    this.#out.push({ kind: 'answer', stream: STREAM, id, result });
  }

  /** What one step calls for in turn, until nothing does. */
  #finish(now: Instant): readonly BudgetEffect[] {
    while (this.#changed.size > 0 || this.#wanted.size > 0) {
      const changed = [...this.#changed];
      this.#changed.clear();
      for (const purse of changed) {
        this.#exchange.rightsChanged(purse, now);
        this.#supply.retry(purse, now);
      }
      const wanted = [...this.#wanted];
      this.#wanted.clear();
      for (const [purse, { need, waiting }] of wanted) this.#exchange.want(purse, need, waiting, now);
    }
    if (this.#out.length === 0) return NOTHING;
    const effects = this.#out;
    this.#out = [];
    return effects;
  }

  #statusOf(definition: Definition, now: Instant, levels?: Levels): BudgetStatus {
    return statusOf(this.#office, definition, (purse) => this.#auditor.problems(purse), now, levels);
  }
}

/** Without what was given as `undefined`. */
function defined<T extends object>(given: T): T {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as T;
}

/** The version of a record is at least the time by its writer's wall clock. */
function heardAt({ version, isKept }: Extract<BudgetEvent, { kind: 'rowHeard' }>, now: Instant): number {
  return isKept === true ? Math.min(version, now.wallMs) : now.wallMs;
}

function endOf({ lastSequence, returned, writtenOff }: Entry): End | undefined {
  const takenBack = plus(returned, writtenOff);
  return lastSequence === undefined || takenBack === undefined ? undefined : { lastSequence, takenBack };
}
