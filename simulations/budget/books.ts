/**
 * The true state of all money, of which no node knows: what every account has on its own machine, and what stands in the
 * register. It is one consistent cut, because nothing happens between two events; so after each of them everything must
 * add up, and what a provider outside served must be covered.
 *
 * Where the product promises less than that, the amount is forgiven, by reason: what an operator wrote off although more
 * was spent of it than anybody had heard, what a disk that was put back in place had done since, what both runs of a
 * copied machine image had at that moment, grants that a store founded anew has forgotten. Such a store may also have forgotten the
 * start by which an older image would be found out: that counts as put back where it was not.
 */
import { type Balance, type Between, balanceOf, type Position } from '../../src/budget/conservation.ts';
import { type Definition, parseDefinition } from '../../src/budget/definition.ts';
import {
  type AccountId,
  type BudgetName,
  nodeOfAccount,
  type PurseKey,
  parsePurseKey,
  parseRowKey,
} from '../../src/budget/names.ts';
import { ORCHESTRATOR_KEY } from '../../src/budget/orchestrator/messages.ts';
import {
  accountKey,
  type Entry,
  parseAccountEntry,
  parseBudgetKey,
  parseEntry,
  parseReserve,
  type Reserve,
  reserveOf,
} from '../../src/budget/reserve-register.ts';
import { type Row, rightsOf } from '../../src/budget/row.ts';
import type { LedgerState } from '../../src/budget/state.ts';
import { decode } from '../../src/kernel/codec.ts';
import type { KeyChange, KeyValue } from '../../src/quorum/port.ts';
import type { CoreEffect } from './core.ts';
import type { BudgetMachine } from './machine.ts';
import { NeedlessEnds } from './needless.ts';
import { Removals } from './removals.ts';
import type { StoreClient } from './store.ts';
import { outflow, Truth } from './truth.ts';
import { sentUnheard } from './unheard.ts';
import { Voids } from './voids.ts';
import type { BudgetWorld } from './world.ts';

export type Forgiveness = 'writtenOff' | 'putBack' | 'copied' | 'recovered' | 'freed';

/** What stands for one purse at the moment. */
export interface Standing {
  readonly balance: Balance;
  readonly between: ReadonlyMap<AccountId, Between>;
  readonly problems: readonly string[];
}

interface Moment {
  readonly atMs: number;
  readonly remaining: number;
  /** By how much the limit was raised until then, in all. */
  readonly raised: number;
}

const REMEMBERED = 400;

export class Books {
  readonly #world: BudgetWorld;
  readonly #accounts = new Map<AccountId, Truth>();
  readonly #accountOf = new Map<BudgetMachine, AccountId>();
  /** Accounts that have ended on machines whose disks may not have it yet. */
  readonly #ended = new Map<BudgetMachine, AccountId>();
  /** Machines that run on an older image of their disk, and the account which that still believes to be. */
  readonly #putBack = new Map<BudgetMachine, AccountId>();
  /** Of these, those whose register entry gives them away. */
  readonly #isFoundOut = new Set<BudgetMachine>();
  /** What these were told: to be counted once the older image has been found out. */
  readonly #toldToOld = new Map<BudgetMachine, (readonly [readonly PurseKey[], number])[]>();
  readonly #definitions = new Map<BudgetName, Definition>();
  /** The highest limit that each has had. */
  readonly #highest = new Map<BudgetName, number>();
  readonly #reserves = new Map<PurseKey, Reserve>();
  readonly #entries = new Map<PurseKey, Map<AccountId, Entry>>();
  readonly #touched = new Set<PurseKey>();
  readonly #served = new Map<PurseKey, number>();
  readonly #strict = new Map<PurseKey, number>();
  readonly #due = new Map<PurseKey, number>();
  readonly #forgiven = new Map<PurseKey, Map<Forgiveness, number>>();
  readonly #moments = new Map<PurseKey, Moment[]>();
  readonly #limits = new Map<PurseKey, number>();
  #isRecovered = false;
  readonly removals: Removals;
  readonly needless: NeedlessEnds;
  readonly #voids: Voids;
  /** Checks that found everything in order. */
  checks = 0;
  /** Older images that nobody could find out since a store that was founded anew had forgotten all later starts. */
  forgottenStarts = 0;
  /** When each account was written off. */
  readonly writtenOffAtMs = new Map<AccountId, number>();

  constructor(world: BudgetWorld) {
    this.#world = world;
    this.removals = new Removals(world);
    this.needless = new NeedlessEnds(world);
    this.#voids = new Voids(world);
    world.store.onChange = (changes, by) => this.#storeChanged(changes, by);
    world.onStart.push((machine) => this.#started(machine));
    world.onStep.push((machine, _event, effects) => this.#stepped(machine, effects));
    world.onEffect.push((machine, effect) => this.#leaves(machine, effect));
    world.onCrash.push((machine) => this.#crashed(machine));
  }

  get definitions(): ReadonlyMap<BudgetName, Definition> {
    return this.#definitions;
  }

  get purses(): Iterable<PurseKey> {
    return new Set([...this.#reserves.keys(), ...this.#served.keys()]);
  }

  get replaced(): number {
    return this.#accounts.size - this.#accountOf.size;
  }

  served(purse: PurseKey): number {
    return this.#served.get(purse) ?? 0;
  }

  /** `isStrict`: it was reserved before; else it is told once the account has counted it. */
  serve(purses: readonly PurseKey[], tokens: number, isStrict: boolean): void {
    for (const purse of purses) {
      add(this.#served, purse, tokens);
      if (isStrict) add(this.#strict, purse, tokens);
      this.#touched.add(purse);
    }
    this.#check();
  }

  /**
   * What accounts have to count at least, by a naive counter: a reservation in full from its answer on, what it is settled with
   * from when that is asked for, what goes beyond it once that is answered; where `machine` is on an older image by then,
   * once its disk has the account that takes its place.
   */
  owe(purses: readonly PurseKey[], amount: number, machine?: BudgetMachine): void {
    if (machine !== undefined && this.#putBack.has(machine)) {
      this.#toldToOld.set(machine, [...(this.#toldToOld.get(machine) ?? []), [purses, amount]]);
      return;
    }
    for (const purse of purses) {
      add(this.#due, purse, amount);
      this.#touched.add(purse);
    }
  }

  forgive(purse: PurseKey, why: Forgiveness, amount: number): void {
    const reasons = this.#forgiven.get(purse) ?? new Map<Forgiveness, number>();
    this.#forgiven.set(purse, reasons);
    add(reasons, why, amount);
  }

  /** By reason, over all purses. */
  get forgiven(): Readonly<Partial<Record<Forgiveness, number>>> {
    const all = new Map<Forgiveness, number>();
    for (const reasons of this.#forgiven.values()) for (const [why, amount] of reasons) add(all, why, amount);
    return Object.fromEntries(all);
  }

  /** How much more was served than limits allow, where that was forgiven: zero unless something was really lost. */
  lossOf(purse: PurseKey): number {
    const { balance } = this.standing(purse);
    return Math.max(0, (this.#strict.get(purse) ?? 0) - balance.limit - balance.owed - balance.overrun);
  }

  /** What this disk held that nobody has heard of is gone. */
  diskReplaced(machine: BudgetMachine): void {
    this.needless.doubt(machine);
    this.#toldToOld.delete(machine);
  }

  /** What the machine counts now is on an account that may yet turn out to be an older state of itself. */
  isPutBack(machine: BudgetMachine): boolean {
    return this.#putBack.has(machine);
  }

  /** The machine goes on from an older image of its disk. With `isKnown`, a later start of it was confirmed: it must be found out. */
  putBack(machine: BudgetMachine, isKnown: boolean): void {
    const state = machine.image.account;
    if (state === undefined) return;
    const truth = this.#accounts.get(state.account);
    if (truth === undefined) return;
    this.#putBack.set(machine, state.account);
    const isForgotten = isKnown && this.#isForgotten(state);
    if (isForgotten) this.forgottenStarts += 1;
    if (isKnown && !isForgotten) {
      this.#isFoundOut.add(machine);
      return;
    }
    this.#isFoundOut.delete(machine);
    for (const [key, row] of truth.rows) {
      const old = state.purses.get(key)?.row;
      const done = outflow(row) - (old === undefined ? 0 : outflow(old));
      if (done > 0) this.forgive(key, 'putBack', done);
    }
  }

  /** The store was founded anew, and has no start of the account that this image does not know of: nothing there tells that it is old. */
  #isForgotten({ account, openings }: LedgerState): boolean {
    const entry = this.#world.store.get(accountKey(account));
    const nonce = entry === undefined ? undefined : parseAccountEntry(decode(entry.value))?.nonce;
    return this.#isRecovered && (nonce === undefined || openings.includes(nonce));
  }

  /** Another run begins on a copy of this machine's disk, in the same place: both hold the rights of this moment. */
  copied(copy: BudgetMachine): void {
    const state = copy.image.account;
    const truth = state === undefined ? undefined : this.#accounts.get(state.account);
    if (state === undefined || truth === undefined) return;
    truth.forked = true;
    for (const [key, { row }] of state.purses) this.forgive(key, 'copied', (rightsOf(row) ?? 0) + row.held);
  }

  /** The store forgets its last transactions; call before and after. */
  recovering(recover: () => void): void {
    const before = new Map([...this.#entries].map(([key, entries]) => [key, new Map(entries)]));
    const reserves = new Map(this.#reserves);
    recover();
    this.#isRecovered = true;
    this.#reserves.clear();
    this.#entries.clear();
    for (const entry of this.#world.store.entries()) this.#storeHas(entry);
    for (const machine of [...this.#isFoundOut]) this.putBack(machine, true);
    this.removals.restored(this.#reserves.keys());
    for (const [purse, reserve] of reserves) {
      if (!this.removals.has(purse)) continue;
      this.#reserves.set(purse, reserve);
      this.#entries.set(purse, before.get(purse) ?? new Map());
    }
    for (const [purse, entries] of before) {
      for (const [account, { granted }] of entries) {
        const lost = granted - (this.#entries.get(purse)?.get(account)?.granted ?? 0);
        if (lost > 0) this.forgive(purse, 'recovered', lost);
      }
    }
  }

  /** Of the reservation that this machine has just been told is made; `undefined` where its disk does not have it. */
  durableHold(machine: BudgetMachine, reservation: string): readonly PurseKey[] | undefined {
    // As its holder knows it, the node's name stands behind it.
    const at = reservation.lastIndexOf('@');
    const id = at < 0 ? reservation : reservation.slice(0, at);
    for (const state of [machine.image.account, machine.image.former]) {
      const finished = state?.finished.get(id)?.parts.map(({ purse }) => purse);
      const purses = state?.holds.get(id)?.purses ?? finished;
      if (purses !== undefined) return purses;
    }
    return undefined;
  }

  /** All of a purse at this moment. */
  standing(purse: PurseKey): Standing {
    return balanceOf(this.reserve(purse), this.#positions(purse));
  }

  #positions(purse: PurseKey): readonly Position[] {
    const entries = this.#entries.get(purse);
    const positions: Position[] = [];
    for (const [account, truth] of this.#accounts) {
      const row = truth.rows.get(purse);
      const entry = entries?.get(account);
      if (row === undefined && entry === undefined) continue;
      positions.push({ account, row, entry, sentByEnd: truth.sentToEnded(purse, entry, entries) });
    }
    for (const [account, entry] of entries ?? [])
      if (!this.#accounts.has(account)) positions.push({ account, row: undefined, entry });
    return positions;
  }

  reserve(purse: PurseKey): Reserve {
    const known = this.#reserves.get(purse);
    if (known !== undefined) return known;
    const definition = this.#definitions.get(parsePurseKey(purse)?.budget ?? ('' as BudgetName));
    if (definition === undefined) throw new Error(`${purse} is a purse of no budget`);
    return reserveOf(definition);
  }

  /** The last row of every account in the purse. */
  rowsOf(purse: PurseKey): readonly (readonly [AccountId, Row])[] {
    return [...this.#accounts].flatMap(([account, { rows }]) => {
      const row = rows.get(purse);
      return row === undefined ? [] : [[account, row] as const];
    });
  }

  /** Grants and transfers to the accounts that machines stand for now, and what those gave back. */
  onTheWayToLiving(purse: PurseKey): number {
    const { between } = this.standing(purse);
    const living = this.#world.machines.flatMap(({ budgets }) => budgets?.ledger ?? []);
    let sum = 0;
    for (const { account } of living) sum += between.get(account)?.onTheWay ?? 0;
    return sum - sentUnheard(purse, this.#positions(purse), living);
  }

  /** Whether sums of this purse are exact: no account in it has two truths. */
  isExact(purse: PurseKey): boolean {
    if (this.#isRecovered) return false;
    for (const { forked, rows } of this.#accounts.values()) if (forked && rows.has(purse)) return false;
    return true;
  }

  /** The most that could be spent of the purse at any time since then; a limit that was raised may be seen before what was spent meanwhile. */
  mostRemaining(purse: PurseKey, sinceMs: number): number {
    const moments = this.#moments.get(purse) ?? [];
    const last = moments.at(-1);
    let most = this.#remaining(this.standing(purse).balance);
    if (last === undefined) most = Math.max(most, this.#atFirst(purse));
    let raised = last?.raised ?? 0;
    for (let at = moments.length - 1; at >= 0; at--) {
      const moment = moments[at] as Moment;
      most = Math.max(most, moment.remaining);
      raised = moment.raised;
      if (moment.atMs <= sinceMs) break;
    }
    return most + (last?.raised ?? 0) - raised;
  }

  /** Whether the moments that are remembered go back so far. */
  remembers(purse: PurseKey, sinceMs: number): boolean {
    const [first] = this.#moments.get(purse) ?? [];
    return (
      first === undefined || (this.#moments.get(purse)?.length ?? 0) < REMEMBERED || first.atMs <= sinceMs
    );
  }

  /** From here on it stands for the account that it read or began: what a crash leaves of its disk says nothing of another. */
  #started(machine: BudgetMachine): void {
    const account = machine.budgets?.ledger.account;
    if (account !== undefined) this.#accountOf.set(machine, account);
    this.#read(machine);
    this.#check();
  }

  #stepped(machine: BudgetMachine, effects: readonly CoreEffect[]): void {
    this.removals.stepped(machine);
    if (effects.some((effect) => effect.kind === 'persist' && effect.stream === 'budget'))
      this.#read(machine);
    const old = this.#putBack.get(machine);
    if (old !== undefined && machine.image.account?.account !== old) this.#resolved(machine);
    this.#check();
  }

  /** The machine is not on an older image any more, or was never found out to be. */
  #resolved(machine: BudgetMachine): void {
    this.#putBack.delete(machine);
    for (const [purses, amount] of this.#toldToOld.get(machine) ?? []) this.owe(purses, amount);
    this.#toldToOld.delete(machine);
  }

  #read(machine: BudgetMachine): void {
    const ledger = machine.budgets?.ledger;
    if (ledger === undefined) return;
    const { account } = ledger;
    const isOld = this.#putBack.get(machine) === account;
    const truth = this.#truth(account);
    if (isOld && ledger.isConfirmed) {
      if (this.#isFoundOut.has(machine))
        this.#world.violate('amnesia', `${machine.name} spends of an image of before its last start (B10)`);
      truth.forked = true;
      this.#resolved(machine);
    } else if (isOld) return;
    const before = this.#accountOf.get(machine);
    if (before !== undefined && before !== account && this.#putBack.get(machine) !== before)
      this.#ended.set(machine, before);
    this.#accountOf.set(machine, account);
    for (const [key, purse] of ledger.purses) {
      if (truth.rows.get(key)?.sequence === purse.sequence) continue;
      const { row, rights } = purse;
      if (this.isExact(key)) this.#voids.rowIs(machine, [account, key, row], this.#accounts);
      this.#rowIs(truth, key, row);
      if (rightsOf(row) !== rights)
        this.#world.violate(
          'rights',
          `${machine.name} believes to have ${rights} of ${key}, by its row ${rightsOf(row)}`,
        );
    }
  }

  #rowIs(truth: Truth, key: PurseKey, row: Row | undefined): void {
    truth.set(key, row);
    this.#touched.add(key);
  }

  /** What an account did in the turn in which it ended is on its disk before anybody is told; the machine has another one by then. */
  #readEnded(machine: BudgetMachine): void {
    const ended = this.#ended.get(machine);
    const state = machine.image.former;
    if (ended === undefined || state?.account !== ended) return;
    this.#ended.delete(machine);
    const truth = this.#truth(ended);
    for (const [key, { row }] of state.purses)
      if (row.sequence > (truth.rows.get(key)?.sequence ?? 0)) this.#rowIs(truth, key, row);
  }

  /** What the disk holds now is all that is left, and all that was ever told. */
  #crashed(machine: BudgetMachine): void {
    this.#readEnded(machine);
    const account = this.#accountOf.get(machine);
    const state = machine.image.account;
    if (account === undefined || this.#putBack.get(machine) === account) return;
    const truth = this.#truth(account);
    if (truth.forked) return;
    const kept = state?.account === account ? state.purses : undefined;
    // A new account that never reached the disk has done nothing; one that is read back in part never told more.
    for (const key of new Set([...truth.rows.keys(), ...(kept?.keys() ?? [])])) {
      const row = kept?.get(key)?.row;
      if (row === undefined && state !== undefined && state.account === account && state.isClosed(key))
        continue;
      this.#rowIs(truth, key, row);
    }
    if (state !== undefined && state.account !== account) this.#accountOf.set(machine, state.account);
    this.#check();
  }

  /** Nothing leaves a machine before its disk has it. */
  #leaves(machine: BudgetMachine, effect: CoreEffect): void {
    this.#readEnded(machine);
    if (effect.kind !== 'publishRow' || effect.body === undefined) return;
    const place = parseRowKey(machine.nodeId, effect.key);
    const state = machine.image.account;
    if (place === undefined || state === undefined || state.account !== place.account) return;
    const told = (effect.body as Row).sequence;
    const kept = state.purses.get(place.purse)?.row.sequence ?? 0;
    if (told > kept && !state.isClosed(place.purse))
      this.#world.violate(
        'durable',
        `${machine.name} publishes row ${told} of ${place.purse}, and its disk has ${kept}`,
      );
  }

  #storeChanged(changes: readonly KeyChange[], by: StoreClient | undefined): void {
    for (const change of changes) {
      const { kind, entry } = change;
      this.removals.take(change);
      // What was taken out counts here as it was.
      if (kind !== 'put' || this.#isTakenOut(entry)) continue;
      this.#mayGrant(entry, by);
      this.#storeHas(entry);
    }
    this.#check();
  }

  #isTakenOut({ key }: KeyValue): boolean {
    const place = parseBudgetKey(key);
    return (place?.kind === 'reserve' || place?.kind === 'entry') && this.removals.has(place.purse);
  }

  /** Only the account itself and whoever holds the orchestrator's lease at this moment grant it anything (I6). */
  #mayGrant({ key, value }: KeyValue, by: StoreClient | undefined): void {
    const place = parseBudgetKey(key);
    if (place?.kind !== 'entry' || by === undefined || this.#isRecovered) return;
    const before = this.#entries.get(place.purse)?.get(place.account)?.granted ?? 0;
    if ((parseEntry(decode(value))?.granted ?? 0) <= before) return;
    const { nodeId, name } = this.#world.machine(by.index);
    if (nodeOfAccount(place.account) === nodeId) return;
    const lease = this.#world.store.get(ORCHESTRATOR_KEY);
    const holder =
      lease === undefined ? undefined : (decode(lease.value) as { readonly node?: unknown }).node;
    if (holder !== nodeId)
      this.#world.violate(
        'authority',
        `${name} granted to ${place.account}, and ${String(holder)} is orchestrator`,
      );
  }

  #storeHas({ key, value }: KeyValue): void {
    const place = parseBudgetKey(key);
    if (place === undefined) return;
    const content = decode(value);
    if (place.kind === 'definition') {
      const parsed = parseDefinition(content);
      if (!parsed.ok) return;
      const { name, limit } = parsed.value;
      this.#definitions.set(name, parsed.value);
      this.#highest.set(name, Math.max(limit, this.#highest.get(name) ?? 0));
    } else if (place.kind === 'reserve') {
      const reserve = parseReserve(content);
      if (reserve === undefined) this.#world.violate('register', `${key} makes no sense`);
      else this.#reserves.set(place.purse, reserve);
      this.#touched.add(place.purse);
    } else if (place.kind === 'entry') this.#entryIs(place.purse, place.account, parseEntry(content));
  }

  #entryIs(purse: PurseKey, account: AccountId, entry: Entry | undefined): void {
    if (entry === undefined) {
      this.#world.violate('register', `the entry of ${account} in ${purse} makes no sense`);
      return;
    }
    const entries = this.#entries.get(purse) ?? new Map<AccountId, Entry>();
    this.#entries.set(purse, entries);
    const before = entries.get(account);
    entries.set(account, entry);
    this.#touched.add(purse);
    if (entry.lastSequence !== undefined && before?.lastSequence === undefined)
      this.writtenOffAtMs.set(account, this.#world.nowMs);
  }

  #check(): void {
    for (const purse of this.#touched) this.#checkOne(purse);
    this.#touched.clear();
  }

  #checkOne(purse: PurseKey): void {
    const { balance, between, problems } = this.standing(purse);
    const forgiven = this.#forgivenIn(purse) + this.#unheard(purse, between);
    if (this.isExact(purse)) {
      const real = problems.filter((problem) => !this.#isUnheard(purse, problem));
      if (real.length > 0) this.#world.violate('conservation', `${purse}: ${real.join('; ')}`);
      const counted = balance.spent + balance.held + balance.overrun + balance.lost;
      const due = this.#due.get(purse) ?? 0;
      if (due > counted + forgiven)
        this.#world.violate('counted', `${purse}: ${due} were answered for, ${counted} are counted`);
    }
    const most = balance.limit + balance.owed + balance.overrun + forgiven;
    const strict = this.#strict.get(purse) ?? 0;
    if (strict > most)
      this.#world.violate(
        'overspent',
        `${purse}: ${strict} were served of ${balance.limit}, ${balance.owed} owed, ${balance.overrun} overrun, ${forgiven} forgiven`,
      );
    this.#note(purse, balance);
    this.checks += 1;
  }

  #note(purse: PurseKey, balance: Balance): void {
    const moments = this.#moments.get(purse) ?? [];
    this.#moments.set(purse, moments);
    const remaining = this.#remaining(balance);
    const last = moments.at(-1);
    const raise = Math.max(0, balance.limit - (this.#limits.get(purse) ?? balance.limit));
    this.#limits.set(purse, balance.limit);
    if (last?.remaining === remaining && raise === 0) return;
    // Nothing happened in it before: it had what the budget was made with.
    if (last === undefined)
      moments.push({ atMs: 0, remaining: Math.max(this.#atFirst(purse), remaining), raised: 0 });
    moments.push({ atMs: this.#world.nowMs, remaining, raised: (last?.raised ?? 0) + raise });
    if (moments.length > 2 * REMEMBERED) moments.splice(0, REMEMBERED);
  }

  /** What may have remained of a period in which nothing has happened. */
  #atFirst(purse: PurseKey): number {
    return this.#highest.get(parsePurseKey(purse)?.budget ?? ('' as BudgetName)) ?? 0;
  }

  #remaining(balance: Balance): number {
    const { reserve, rights, grantsOnTheWay, transfersOnTheWay, returnsOnTheWay } = balance;
    return reserve + rights + grantsOnTheWay + transfersOnTheWay + returnsOnTheWay;
  }

  #forgivenIn(purse: PurseKey): number {
    let sum = 0;
    for (const amount of this.#forgiven.get(purse)?.values() ?? []) sum += amount;
    return sum;
  }

  /** Written off on a row behind which the account had done more: what that was, or all of it where sums are not exact. */
  #unheard(purse: PurseKey, between: ReadonlyMap<AccountId, Between>): number {
    const isExact = this.isExact(purse);
    let sum = 0;
    for (const [account, { writtenOff, lastSequence }] of this.#entries.get(purse) ?? []) {
      const row = this.#accounts.get(account)?.rows.get(purse);
      if (row === undefined || lastSequence === undefined || row.sequence <= lastSequence) continue;
      const most = row.held - (between.get(account)?.lost ?? 0);
      sum += isExact ? Math.min(writtenOff, Math.max(0, most)) : writtenOff;
    }
    return sum;
  }

  #isUnheard(purse: PurseKey, problem: string): boolean {
    for (const [account, { lastSequence }] of this.#entries.get(purse) ?? []) {
      if (lastSequence === undefined || !problem.endsWith(`more was written off than ${account} had`))
        continue;
      if ((this.#accounts.get(account)?.rows.get(purse)?.sequence ?? 0) > lastSequence) return true;
    }
    return false;
  }

  #truth(account: AccountId): Truth {
    let truth = this.#accounts.get(account);
    if (truth === undefined) {
      truth = new Truth();
      this.#accounts.set(account, truth);
    }
    return truth;
  }
}

function add<K>(sums: Map<K, number>, key: K, amount: number): void {
  sums.set(key, (sums.get(key) ?? 0) + amount);
}
