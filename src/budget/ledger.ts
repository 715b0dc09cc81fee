/**
 * One account: what this node may spend of every budget, and what became of it.
 *
 * Rights are a number on this node's disk that nobody else can lower, so spending them needs no network and cannot exceed
 * a limit under any partition. Whatever spends or sends is on the disk before it is answered or shown: all effects are in
 * one stream, behind the persist of what they tell.
 *
 * What can break this is a disk that forgets. So an account that was read back spends nothing before the quorum store
 * has confirmed that no other copy of the data was started since (`openAccount`, `opened`), and it ends at the first sign
 * that others know more of it than it does itself: then the node begins another account, with no rights, and what the
 * former one had stays charged until an operator writes it off, but for what was reported and others cannot know of, which the
 * new one counts. The same where the journal has a gap or was corrupt, or lies in another place than the account was begun at (a copy of the
 * directory). What nobody heard of, nobody can miss: a machine image that was restored in place, while what it had spent since
 * then never left it, is not found out.
 */
import { Deadlines } from '../kernel/deadlines.ts';
import type { Mark } from '../kernel/effects.ts';
import { type ErrorBody, fail, failWith, type Result } from '../kernel/errors.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Machine } from '../kernel/machine.ts';
import { type Deadline, earliest, type Instant } from '../kernel/time.ts';
import { type Amount, ZERO } from './amount.ts';
import { type Before, carriedFrom, finishedIn, Untold } from './carried.ts';
import type { Change, Part } from './change.ts';
import { type Definition, isClosedIn } from './definition.ts';
import { JournalReader, stateRecords } from './journal.ts';
import type { LedgerAnswers, LedgerEffect, LedgerEvent, OwnPurse } from './ledger-messages.ts';
import { Lineages } from './lineages.ts';
import {
  type AccountId,
  accountOf,
  type BudgetName,
  type FreshNumber,
  nodeOfAccount,
  type PurseKey,
  parsePurseKey,
  parseRowKey,
  purseKey,
} from './names.ts';
import { Outbox } from './outbox.ts';
import { CLOSING_TIMES, type ClosingTimes, OverPeriods } from './over-periods.ts';
import { Publishing } from './publishing.ts';
import { diskFails } from './refusals.ts';
import { EMPTY_ROW, parseRow, sum } from './row.ts';
import { isRemembered, Rows } from './rows.ts';
import {
  covering,
  expired,
  giveBack,
  type LedgerCall,
  report,
  reserve,
  type Settlement,
  type Step,
  settle,
  transfer,
} from './spending.ts';
import { type Hold, LedgerState } from './state.ts';

export interface LedgerOptions {
  readonly self: NodeId;
  /** 53 random bits that were never used before, from `Entropy`; never 0. */
  readonly fresh: () => FreshNumber;
  /** What tells the place of the data from a copy of it (device and inode of the directory, when it was made). */
  readonly place: string;
  readonly now: Instant;
  /** Default 1,000: see `Telling`. */
  readonly publishDelayMs?: number;
  /** Default: `CLOSING_TIMES`. */
  readonly times?: ClosingTimes;
}

const STREAM = 'budget';

export class Ledger implements Machine<LedgerEvent, LedgerEffect> {
  readonly #self: NodeId;
  readonly #fresh: () => FreshNumber;
  readonly #place: string;
  readonly #publishing: Publishing;
  readonly #definitions = new Map<BudgetName, Definition>();
  readonly #lineages = new Lineages(this.#definitions);
  #state: LedgerState;
  readonly #rows = new Rows((account) => this.#state.quarantined.has(account));
  #isConfirmed = false;
  /** The quorum store has the number of this start. */
  #isRegistered = false;
  #nonce: FreshNumber = 0;
  #diskFailure: string | undefined;
  /** When each reservation's time is up, by its id. */
  #holdTimes = new Deadlines<string>();
  readonly #untold = new Untold();
  #finishedAtStart: Before = new Map();
  readonly #times: ClosingTimes;
  readonly #over: OverPeriods;
  #closingMs: number;
  readonly #out = new Outbox();

  constructor(options: LedgerOptions) {
    this.#self = options.self;
    this.#fresh = options.fresh;
    this.#place = options.place;
    this.#publishing = new Publishing({
      out: this.#out,
      state: () => this.#state,
      isConfirmed: () => this.#isConfirmed,
      isDiskFailing: () => this.#diskFailure !== undefined,
      allTold: () => this.#untold.clear(),
      delayMs: options.publishDelayMs,
    });
    this.#times = options.times ?? CLOSING_TIMES;
    this.#over = new OverPeriods(this.#times);
    this.#closingMs = options.now.monoMs + this.#times.everyMs;
    this.#state = new LedgerState(accountOf(options.self, options.fresh()), options.place);
  }

  get account(): AccountId {
    return this.#state.account;
  }

  /** Accounts that this node's data stood for before: their rights stay charged until written off. */
  get former(): readonly AccountId[] {
    return this.#state.former;
  }

  /** False after a restart until the quorum store has spoken: nothing is spent or sent. */
  get isConfirmed(): boolean {
    return this.#isConfirmed;
  }

  /** Own rows, and those of others that were heard. */
  get purses(): ReadonlyMap<PurseKey, OwnPurse> {
    return this.#state.purses;
  }

  /** The purse, nearest first, of a reservation that is held or was ended here not long ago. */
  purseOf(reservation: string): PurseKey | undefined {
    return (
      this.#state.holds.get(reservation)?.purses[0] ?? this.#state.finished.get(reservation)?.parts[0]?.purse
    );
  }

  /** What a reservation that was made here took, as long as it is remembered. */
  reservedBy(reservation: string): Amount | undefined {
    return this.#state.holds.get(reservation)?.amount ?? this.#state.finished.get(reservation)?.reserved;
  }

  /** Why nothing is done now; `undefined` while the disk keeps what it is given. */
  get diskError(): ErrorBody | undefined {
    return this.#diskFailure === undefined ? undefined : diskFails(this.#diskFailure, 'not-done');
  }

  get rows(): Pick<Rows, 'of' | 'row' | 'proofs' | 'credible'> {
    return this.#rows;
  }

  get definitions(): ReadonlyMap<BudgetName, Definition> {
    return this.#definitions;
  }

  /**
   * Journal records without their tag, in the order written. Call once, before anything else. `isSuspect`: something of the
   * journal was found corrupt and left out; had it been the last of these, no gap would tell.
   */
  load(records: readonly Uint8Array[], now: Instant, isSuspect = false): readonly LedgerEffect[] {
    const reader = new JournalReader();
    for (const record of records) reader.take(record);
    this.#out.resume(reader.sequence);
    const { state } = reader;
    if (records.length === 0) this.#begin(undefined);
    else if (reader.damaged || isSuspect || state === undefined)
      this.#replace('the journal has a gap', state);
    else if (state.place !== this.#place) this.#replace('the data lie in another place', state);
    else {
      this.#state = state;
      this.#finishedAtStart = finishedIn(state);
      for (const hold of state.holds.values()) this.#time(hold, now);
      for (const purse of state.purses.keys()) this.#publishing.again(purse);
      this.#ask(false);
    }
    return this.#out.take();
  }

  /** The whole state as it is at this call, as journal records, each worked out when it is its turn. */
  checkpoint(): Iterable<Uint8Array> {
    this.#out.seal();
    return stateRecords(this.#out.sequence, this.#state);
  }

  /** Like the event `requested`, for a caller that orders the answer itself: behind the effects of `take`. */
  perform<C extends LedgerCall>(call: C, now: Instant): Result<LedgerAnswers[C['op']]> {
    const result = this.#answer(call, now) as Result<LedgerAnswers[C['op']]>;
    if (result.ok) this.#tellMoved(call);
    return result;
  }

  /** What a settlement or report would be beyond the rights, purse by purse; nothing is done. */
  overrunsOf(call: Extract<LedgerCall, { op: 'settle' | 'report' }>, now: Instant): readonly Part[] {
    const books = { state: this.#state, lineages: this.#lineages, wallMs: now.wallMs };
    const step = call.op === 'settle' ? settle(books, call) : report(books, call);
    if (!step.ok) return [];
    const parts = step.value.changes.flatMap((change) => ('parts' in change ? change.parts : []));
    return parts.filter(({ overrun }) => overrun > 0);
  }

  /** Publishes what others have not seen as it is, without waiting for more; behind the effects of `take`. */
  publishNow(): void {
    this.#publishing.now();
  }

  /** What `perform` called for since it was last taken: its record first. */
  take(): readonly LedgerEffect[] {
    return this.#out.take();
  }

  /** Something waits to be taken. */
  get hasEffects(): boolean {
    return !this.#out.isEmpty;
  }

  handle(event: LedgerEvent, now: Instant): readonly LedgerEffect[] {
    switch (event.kind) {
      case 'requested':
        this.#requested(event.id, event.call, now);
        break;
      case 'defined':
        this.#defined(event.budget, event.definition, now);
        break;
      case 'registered':
        this.#registered(event, now);
        break;
      case 'rowHeard':
        this.#heard(event, now);
        break;
      case 'opened':
        this.#opened(event.account, event.nonce, now);
        break;
      case 'fenced':
        if (event.account === this.account) this.#replace(event.reason, this.#state);
        break;
      case 'diskFailed':
        this.#diskFailure = event.reason;
        break;
      case 'diskRecovered':
        this.#recovered(now);
        break;
    }
    return this.#out.take();
  }

  expire(now: Instant): readonly LedgerEffect[] {
    for (const id of this.#holdTimes.takeDue(now.monoMs)) {
      const hold = this.#state.holds.get(id);
      if (hold === undefined) continue;
      const step = expired(this.#state, hold);
      if (step.ok) this.#commit(step.value.changes, now);
      if (step.ok && hold.expiry === 'free')
        for (const purse of hold.purses) this.#out.push({ kind: 'rightsChanged', stream: STREAM, purse });
      this.#mark('warn', 'budget.reservationExpired', { id: hold.id, amount: hold.amount, as: hold.expiry });
    }
    if (this.#closingMs <= now.monoMs) {
      this.#closingMs = now.monoMs + this.#times.everyMs;
      this.#closeOver(now);
    }
    this.#publishing.expire(now);
    return this.#out.take();
  }

  deadline(): Deadline | undefined {
    const holdMs = this.#holdTimes.nextMs;
    return earliest([
      this.#publishing.deadline(),
      holdMs === Number.POSITIVE_INFINITY ? undefined : { atMs: holdMs, reason: 'budget.reservation' },
      this.#state.purses.size === 0 && this.#rows.isEmpty
        ? undefined
        : { atMs: this.#closingMs, reason: 'budget.closing' },
    ]);
  }

  #tellMoved(call: LedgerCall): void {
    const purse = 'purse' in call ? (call.purse as PurseKey) : undefined;
    if (purse !== undefined) this.#publishing.moved(purse, 'to' in call ? (call.to as AccountId) : undefined);
  }

  #requested(id: number, call: LedgerCall, now: Instant): void {
    const result = this.#answer(call, now);
    this.#out.push({ kind: 'answer', stream: STREAM, id, result });
    if (result.ok) this.#tellMoved(call);
  }

  #answer(call: LedgerCall, now: Instant): Result<unknown> {
    if (this.#diskFailure !== undefined) return fail(diskFails(this.#diskFailure, 'not-done'));
    const books = { state: this.#state, lineages: this.#lineages, wallMs: now.wallMs };
    // What was spent already is counted at any time.
    if (call.op === 'settle') return this.#ended(settle(books, call), now);
    if (call.op === 'report') return this.#ended(report(books, call), now);
    if (!this.#isConfirmed) {
      return failWith(
        'QUORUM_UNAVAILABLE',
        'This node has restarted, and no majority has confirmed yet that its account is up to date.',
        'Try again; see skein doctor.',
        { retryAfterMs: 500, details: { outcome: 'not-done' } },
      );
    }
    if (call.op === 'transfer') return this.#done(transfer(this.#state, call), now);
    if (call.op === 'return') return this.#done(giveBack(this.#state, call), now);
    const step = reserve(books, call);
    const result = this.#done(step, now);
    const made = step.ok && step.value.changes.length > 0 ? step.value.value.id : undefined;
    const hold = made === undefined ? undefined : this.#state.holds.get(made);
    if (hold !== undefined) this.#time(hold, now);
    return result;
  }

  #done<T>(step: Result<Step<T>>, now: Instant): Result<T> {
    if (!step.ok) return step;
    if (step.value.changes.length > 0) this.#commit(step.value.changes, now);
    return { ok: true, value: step.value.value };
  }

  #ended(step: Result<Step<Settlement>>, now: Instant): Result<Settlement> {
    const result = this.#done(step, now);
    if (!result.ok) return result;
    this.#holdTimes.delete(result.value.id);
    if (result.value.overrun > 0) {
      // Whoever settled it, and wherever, it is the debt of the agent that reserved it.
      const agent = this.#state.finished.get(result.value.id)?.agent;
      this.#mark('warn', 'budget.overrun', { ...result.value, agent });
    }
    return result;
  }

  #defined(budget: BudgetName, definition: Definition | undefined, now: Instant): void {
    this.#lineages.forget();
    if (definition === undefined) this.#definitions.delete(budget);
    else if (this.#definitions.has(budget) || this.#definitions.size < limits.budgets) {
      this.#definitions.set(budget, definition);
      this.#closeWith(definition, now);
    }
  }

  /** The store says that it was closed: kept on the disk, so that it stays so where the store forgets. */
  #closeWith({ name, epoch, closed }: Definition, now: Instant): void {
    if (closed !== undefined) this.#close(purseKey({ budget: name, epoch, period: closed }), now);
  }

  /** Here, or by the store. */
  isClosed(purse: PurseKey): boolean {
    const definition = this.#definitions.get(parsePurseKey(purse)?.budget ?? ('' as BudgetName));
    return this.#state.isClosed(purse) || (definition !== undefined && isClosedIn(definition, purse));
  }

  #registered(event: Extract<LedgerEvent, { kind: 'registered' }>, now: Instant): void {
    const { purse, account, granted, end } = event;
    if (this.isClosed(purse)) return;
    if (account !== this.account) {
      this.#rows.registered(purse, account, granted, end);
      this.#credit(purse, now);
      return;
    }
    if (end !== undefined) {
      this.#replace('the account was written off', this.#state);
      return;
    }
    const known = this.#state.purses.get(purse);
    if (granted <= (known?.granted ?? 0) || !this.#hasRoom(purse)) return;
    const inflow = known === undefined ? granted : sum([granted, ...known.received.values()]);
    if (inflow === undefined) return;
    this.#commit([{ kind: 'granted', purse, total: granted }], now);
    this.#cameIn(purse, now);
  }

  #heard(event: Extract<LedgerEvent, { kind: 'rowHeard' }>, now: Instant): void {
    const { owner, key, version, body } = event;
    const place = parseRowKey(owner, key);
    // A withdrawal says that the period is over, which every node sees for itself.
    if (place === undefined || body === undefined) return;
    if (this.isClosed(place.purse)) {
      // Of an account of this node's past, or written before a restart: nobody else takes it away.
      if (owner === this.#self && this.#state.isClosed(place.purse))
        this.#publishing.withdraw(place.purse, place.account);
      return;
    }
    const row = parseRow(body, place.account);
    if (row === undefined) {
      this.#mark('warn', 'budget.rowRefused', { owner, key });
      return;
    }
    if (place.account === this.account) {
      const own = this.#state.purses.get(place.purse)?.row;
      if (own !== undefined && isRemembered(row, own)) return;
      // Who knows more had it before this disk: nothing of what this run did is known to them.
      const reason = 'others know more of this account than its own data';
      this.#replace(reason, this.#state, this.#finishedAtStart);
    }
    const hearing = this.#rows.hear(place.purse, place.account, { row, version });
    if (hearing === 'newer') this.#credit(place.purse, now);
    if (hearing === 'contradicts') {
      this.#commit([{ kind: 'quarantined', account: place.account }], now);
      this.#mark('error', 'budget.quarantined', { account: place.account, purse: place.purse });
    }
  }

  /** Of all others, not only of whom was heard: one's row may be what another's was waiting for. */
  #credit(purse: PurseKey, now: Instant): void {
    if (!this.#hasRoom(purse)) return;
    const known = this.#state.purses.get(purse);
    const own = known?.row ?? EMPTY_ROW;
    let came = false;
    for (const [account, total] of this.#rows.creditsFor(purse, this.account, own)) {
      const purseNow = this.#state.purses.get(purse);
      const received = new Map(purseNow?.received ?? []).set(account, total);
      const fits = sum([purseNow?.granted ?? EMPTY_ROW.granted, ...received.values()]) !== undefined;
      if (!fits || received.size > limits.budgetPartners) continue;
      this.#commit([{ kind: 'received', purse, account, total }], now);
      came = true;
    }
    if (came) this.#cameIn(purse, now);
  }

  #cameIn(purse: PurseKey, now: Instant): void {
    const changes = covering(this.#state, purse);
    if (changes.length > 0) this.#commit(changes, now);
    this.#out.push({ kind: 'rightsChanged', stream: STREAM, purse });
  }

  #hasRoom(purse: PurseKey): boolean {
    return this.#state.purses.has(purse) || this.#state.purses.size < limits.budgetPurses;
  }

  #opened(account: AccountId, nonce: FreshNumber, now: Instant): void {
    if (account !== this.account || nonce !== this.#nonce) return;
    this.#commit([{ kind: 'opened', nonce }], now);
    this.#isConfirmed = true;
    this.#isRegistered = true;
    this.#publishing.later(now);
  }

  /** What was appended while the disk failed may be lost in part, and what waited for it is: the whole state makes up for it. */
  #recovered(now: Instant): void {
    this.#diskFailure = undefined;
    this.#persistState();
    if (!this.#isRegistered) this.#askAgain();
    for (const purse of this.#state.purses.keys()) {
      this.#publishing.again(purse);
      this.#out.push({ kind: 'rightsChanged', stream: STREAM, purse });
    }
    this.#publishing.later(now);
  }

  /** The account ends here; its money stays where its last row says, and the node begins another account. */
  #replace(reason: string, former: LedgerState | undefined, told?: Before): void {
    this.#mark('error', 'budget.accountReplaced', {
      account: former?.account,
      reason,
      reserved: former?.holds.size ?? 0,
    });
    this.#begin(former, told);
  }

  /** `told`: what the former account's last row, as others have it, counts of what was reported. */
  #begin(former: LedgerState | undefined, told?: Before): void {
    const carried = former === undefined ? [] : carriedFrom(former, told ?? this.#untold.beforeIn(former));
    this.#untold.clear();
    this.#finishedAtStart = new Map();
    const accounts = former === undefined ? [] : [...former.former, former.account];
    this.#out.seal();
    this.#state = new LedgerState(accountOf(this.#self, this.#fresh()), this.#place, accounts);
    for (const account of former?.quarantined ?? []) this.#state.quarantined.add(account);
    // From here on the former account is one among others.
    for (const { key, row } of former?.purses.values() ?? []) {
      this.#rows.registered(key, former?.account ?? this.account, row.granted);
      this.#rows.hear(key, former?.account ?? this.account, { row, version: 0, isUntold: true });
    }
    this.#holdTimes = new Deadlines();
    this.#publishing.clear();
    this.#over.clear();
    for (const change of carried) {
      this.#untold.note(change, this.#state);
      this.#state.apply(change, this.#out.sequence + 1);
      this.#publishing.changed(change);
    }
    // A row of its own, be it empty, tells others that what the former account had can be spent by nobody.
    for (const { key, rights, held } of former?.purses.values() ?? []) {
      if (rights === 0 && held === 0) continue;
      this.#state.apply({ kind: 'granted', purse: key, total: ZERO }, this.#out.sequence + 1);
      this.#publishing.again(key);
    }
    this.#persistState();
    this.#ask(true);
  }

  /** An account that was begun by this very process cannot be an old state of itself. */
  #ask(isNew: boolean): void {
    this.#isConfirmed = isNew;
    this.#isRegistered = false;
    this.#nonce = this.#fresh();
    this.#commit([{ kind: 'opening', nonce: this.#nonce }], undefined);
    this.#askAgain();
  }

  #askAgain(): void {
    const { account, openings } = this.#state;
    this.#out.push({ kind: 'openAccount', stream: STREAM, account, nonce: this.#nonce, known: openings });
  }

  #persistState(): void {
    this.#out.restate((sequence) => stateRecords(sequence, this.#state));
  }

  #commit(changes: readonly Change[], now: Instant | undefined): void {
    const sequence = this.#out.enter(changes);
    for (const change of changes) {
      this.#untold.note(change, this.#state);
      this.#state.apply(change, sequence);
      this.#publishing.changed(change);
    }
    if (now !== undefined && !this.#publishing.isEmpty) this.#publishing.later(now);
  }

  /** Own purses and what others have of them, of periods in which nothing is held. Where there is little room left, sooner. */
  #closeOver(now: Instant): void {
    const { purses } = this.#state;
    const isCrowded = purses.size > limits.budgetPurses / 2 || this.#rows.count > limits.budgetRows / 2;
    const known = new Set([...purses.keys(), ...this.#rows.purses]);
    for (const key of this.#over.due(known, isCrowded, now)) this.#close(key, now);
    for (const definition of this.#definitions.values()) this.#closeWith(definition, now);
  }

  /** With all before it in the same budget; not while something is held there. */
  #close(key: PurseKey, now: Instant): void {
    const series = key.slice(0, key.lastIndexOf('/') + 1);
    const isEarlier = (other: PurseKey): boolean => other.startsWith(series) && other <= key;
    const own = [...this.#state.purses.values()].filter((each) => isEarlier(each.key));
    if (own.some(({ held }) => held > 0)) return;
    const known = [...this.#rows.purses].filter(isEarlier);
    if (this.#state.isClosed(key) && own.length === 0 && known.length === 0) return;
    if (!this.#state.isClosed(key) || own.length > 0) this.#commit([{ kind: 'closed', purse: key }], now);
    for (const purse of own) this.#publishing.withdraw(purse.key, this.account);
    for (const purse of known) {
      for (const { account } of this.#rows.of(purse))
        if (nodeOfAccount(account) === this.#self) this.#publishing.withdraw(purse, account);
      this.#rows.forget(purse);
    }
  }

  #time({ id, expiresAt, ttlMs }: Hold, now: Instant): void {
    const leftMs = Math.min(Math.max(0, expiresAt - now.wallMs), ttlMs);
    this.#holdTimes.add(id, now.monoMs + leftMs);
  }

  #mark(level: Mark['level'], name: string, fields: Mark['fields']): void {
    this.#out.push({ kind: 'mark', level, name, fields });
  }
}
