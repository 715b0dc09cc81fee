/**
 * A quorum store that was founded anew from what a minority had may have forgotten budgets and grants, and would grant the same
 * money again. What it is known to have had is told to it anew, until it has it; the store refuses grants to accounts that it
 * granted less than they had.
 *
 * A copy of the store that is behind may lack all the same: so that something was lost is said, and written, only where a majority lacks it.
 *
 * Proof that it has forgotten is what this node itself had read in it, or was granted. Only then rows of others are evidence
 * too: else a writer could raise its own grants by claiming them. Budgets are never taken away, so one that is gone was forgotten; and an
 * account that was written off stays so, be it forgotten: else it would spend again what others were granted of that.
 * Periods are taken away once they are closed: so that they are is told first, and nothing is granted anew in them.
 */
import { ok, type Result } from '../kernel/errors.ts';
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import { type Amount, ZERO } from './amount.ts';
import { planClosing } from './closing-plans.ts';
import { type Definition, isClosedIn } from './definition.ts';
import type { Errand } from './errands.ts';
import type { Mirror } from './mirror.ts';
import {
  type AccountId,
  type BudgetName,
  type FreshNumber,
  type PurseKey,
  parsePurseKey,
  purseKey,
} from './names.ts';
import type { Office } from './office.ts';
import {
  type Entry,
  type Plan,
  planCreation,
  planEndAgain,
  planRecovery,
  reserveOf,
  type View,
} from './reserve-register.ts';
import { positionsOf, purseNow, spentOf } from './status.ts';

const RETRY_MS = 1_000;
const MOST_DOUBLINGS = 6;

type Fields = Readonly<Record<string, string | number>>;

/** What the mirror had, before the store was read anew. */
export interface Before {
  readonly entries: ReadonlyMap<PurseKey, ReadonlyMap<AccountId, Entry>>;
  readonly definitions: ReadonlyMap<BudgetName, Definition>;
}

export function beforeReading(mirror: Mirror): Before {
  return { entries: mirror.allEntries(), definitions: new Map(mirror.definitions) };
}

export class Recovery {
  readonly #office: Office;
  /** What the store should have at least. */
  #before: Before | undefined;
  #retry: Deadline | undefined;
  #running = 0;
  #tries = 0;
  /** What was told to the log already. */
  readonly #marked = new Set<string>();
  /** The same of budgets whose place another took, by name. */
  readonly #replaced = new Map<BudgetName, FreshNumber>();

  constructor(office: Office) {
    this.#office = office;
  }

  deadline(): Deadline | undefined {
    return this.#retry;
  }

  expire(now: Instant): void {
    if (!isDue(this.#retry, now)) return;
    this.#retry = undefined;
    this.#work(now);
  }

  /** The store was read anew. */
  compare(before: Before, now: Instant): void {
    this.#before = this.#before === undefined ? before : joined(this.#before, before);
    this.#tries = 0;
    this.#marked.clear();
    this.#work(now);
  }

  /** Everything that is lacking still, budgets first; nothing more is to be done once nothing is. */
  #work(now: Instant): void {
    const before = this.#before;
    if (before === undefined || this.#running > 0) return;
    this.#tellReplaced(before, now);
    const definitions = lostDefinitions(this.#office, before);
    const grants = [...lostGrants(this.#office, before)];
    const closed = lostClosings(this.#office, before);
    const ends = lostEnds(this.#office, before);
    if ([definitions, closed, grants, ends].every(({ length }) => length === 0)) this.#before = undefined;
    for (const definition of definitions) this.#restore(definition, now);
    for (const [definition, purse] of closed) this.#close(definition, purse, now);
    for (const [purse, accounts] of grants)
      for (const [account, granted] of accounts) this.#grant(purse, account, granted, now);
    for (const end of ends) this.#end(end, now);
  }

  /** Another budget stands under the name, of a store that took the place of this one: what was spent of the former counts no more. */
  #tellReplaced({ definitions }: Before, now: Instant): void {
    for (const definition of definitions.values()) {
      const { name: budget, epoch, limit } = definition;
      const found = this.#office.mirror.definitions.get(budget);
      if (found === undefined || found.epoch === epoch || this.#replaced.get(budget) === epoch) continue;
      this.#replaced.set(budget, epoch);
      const positions = positionsOf(this.#office, purseNow(definition, now.wallMs));
      const spent = spentOf(reserveOf(definition), positions);
      const fields = { budget, epoch, limit, spent };
      this.#office.order({ kind: 'mark', level: 'warn', name: 'budget.replaced', fields });
    }
  }

  #restore(definition: Definition, now: Instant): void {
    const plan = (view: View): Result<Plan<Definition>> =>
      // The copy was behind, somebody else restored it, or made another.
      view.definition.value === undefined
        ? planCreation(definition, view)
        : ok({ kind: 'done', value: view.definition.value });
    const lost = { budget: definition.name, epoch: definition.epoch };
    const { account } = this.#office.ledger;
    const purse = purseNow(definition, now.wallMs);
    const telling = this.#telling('budget.definitionLost', lost, plan);
    this.#send({ budget: definition.name, purse, account, plan: telling }, now);
  }

  #close({ name, epoch }: Definition, purse: PurseKey, now: Instant): void {
    const plan = this.#telling('budget.closingLost', { budget: name, epoch, purse }, planClosing);
    const { account } = this.#office.ledger;
    this.#send({ budget: name, purse, account, plan }, now);
  }

  #grant(purse: PurseKey, account: AccountId, granted: Amount, now: Instant): void {
    const budget = parsePurseKey(purse)?.budget;
    if (budget === undefined) return;
    const lost = { purse, account, granted };
    const plan = this.#telling('budget.grantsLost', lost, (view) => planRecovery(view, granted));
    this.#send({ budget, purse, account, plan }, now);
  }

  #end({ purse, account, entry }: LostEnd, now: Instant): void {
    const budget = parsePurseKey(purse)?.budget;
    if (budget === undefined) return;
    const lost = { purse, account, writtenOff: entry.writtenOff };
    const plan = this.#telling('budget.writeOffLost', lost, (view) => planEndAgain(view, entry));
    this.#send({ budget, purse, account, plan }, now);
  }

  #send<T>(errand: Omit<Errand<T>, 'done'>, now: Instant): void {
    this.#running++;
    this.#office.send(errand, { strong: true, done: (_result, at) => this.#done(at) }, now);
  }

  /** What is lacking then is looked at anew: a budget that was restored may lack its grants. */
  #done(now: Instant): void {
    this.#running--;
    if (this.#running > 0) return;
    const waitMs = RETRY_MS * 2 ** Math.min(this.#tries++, MOST_DOUBLINGS);
    this.#retry = { atMs: now.monoMs + waitMs, reason: 'budget.recovery' };
  }

  /** The plan, which tells the log once it finds that there is something to write. */
  #telling<T>(name: string, fields: Fields, plan: (view: View) => Result<Plan<T>>): typeof plan {
    return (view) => {
      const planned = plan(view);
      if (planned.ok && planned.value.kind === 'transact') this.#mark(name, fields);
      return planned;
    };
  }

  #mark(name: string, fields: Fields): void {
    const said = JSON.stringify([name, fields]);
    if (this.#marked.has(said)) return;
    this.#marked.add(said);
    this.#office.order({ kind: 'mark', level: 'error', name, fields });
  }
}

function joined(one: Before, other: Before): Before {
  return {
    entries: more(one.entries, other.entries),
    definitions: new Map([
      ...one.definitions,
      ...[...other.definitions].map(
        ([name, each]) => [name, furthest(one.definitions.get(name), each)] as const,
      ),
    ]),
  };
}

/** Of each account the larger grant, and its end: what was read between may lack it. */
function more(one: Before['entries'], other: Before['entries']): Before['entries'] {
  const all = new Map([...one].map(([purse, entries]) => [purse, new Map(entries)]));
  for (const [purse, entries] of other) {
    const known = all.get(purse) ?? new Map<AccountId, Entry>();
    all.set(purse, known);
    for (const [account, entry] of entries)
      if (isFurther(entry, known.get(account))) known.set(account, entry);
  }
  return all;
}

function isFurther(entry: Entry, known: Entry | undefined): boolean {
  if (known === undefined) return true;
  const [isEnded, wasEnded] = [entry.lastSequence !== undefined, known.lastSequence !== undefined];
  return isEnded === wasEnded ? entry.granted > known.granted : isEnded;
}

/** `next`, with as much closed as in either. */
function furthest(before: Definition | undefined, next: Definition): Definition {
  if (before?.closed === undefined || before.epoch !== next.epoch) return next;
  return before.closed > (next.closed ?? '') ? { ...next, closed: before.closed } : next;
}

/** What was closed and is not closed now. */
function lostClosings(
  { mirror }: Office,
  { definitions }: Before,
): readonly (readonly [Definition, PurseKey])[] {
  return [...definitions.values()].flatMap((before) => {
    const { name: budget, epoch, closed: period } = before;
    const now = mirror.definitions.get(budget);
    if (period === undefined || now?.epoch !== epoch) return [];
    const purse = purseKey({ budget, epoch, period });
    return isClosedIn(now, purse) ? [] : [[before, purse] as const];
  });
}

function lostDefinitions({ mirror }: Office, { definitions }: Before): readonly Definition[] {
  return [...definitions.values()].filter(({ name }) => !mirror.definitions.has(name));
}

interface LostEnd {
  readonly purse: PurseKey;
  readonly account: AccountId;
  /** As it was. */
  readonly entry: Entry;
}

function lostEnds({ mirror }: Office, { entries, definitions }: Before): readonly LostEnd[] {
  return [...entries].flatMap(([purse, accounts]) => {
    if (!isRunning(mirror, definitions, purse)) return [];
    const found = mirror.entries(purse);
    return [...accounts].flatMap(([account, entry]) =>
      entry.lastSequence === undefined || found.get(account)?.lastSequence !== undefined
        ? []
        : [{ purse, account, entry }],
    );
  });
}

/** A budget that was made anew under the name has other money; and nothing is told of a period that is closed. */
function isRunning(mirror: Mirror, before: Before['definitions'], purse: PurseKey): boolean {
  const id = parsePurseKey(purse);
  const now = id === undefined ? undefined : mirror.definitions.get(id.budget);
  if (id === undefined || now?.epoch !== id.epoch) return false;
  return ![now, before.get(id.budget)].some((each) => each !== undefined && isClosedIn(each, purse));
}

function lostGrants(
  { ledger, mirror }: Office,
  { entries, definitions }: Before,
): ReadonlyMap<PurseKey, ReadonlyMap<AccountId, Amount>> {
  const lost = new Map<PurseKey, Map<AccountId, Amount>>();
  const note = (purse: PurseKey, account: AccountId, granted: Amount): void => {
    if (granted <= (mirror.entries(purse).get(account)?.granted ?? 0)) return;
    const grants = lost.get(purse) ?? new Map<AccountId, Amount>();
    if (granted > (grants.get(account) ?? ZERO)) lost.set(purse, grants.set(account, granted));
  };
  for (const [purse, { granted }] of ledger.purses) note(purse, ledger.account, granted);
  for (const [purse, accounts] of entries)
    for (const [account, { granted }] of accounts) note(purse, account, granted);
  for (const purse of lost.keys()) {
    const definition = mirror.definitions.get(parsePurseKey(purse)?.budget ?? ('' as BudgetName));
    if (definition === undefined || !isRunning(mirror, definitions, purse)) {
      lost.delete(purse);
      continue;
    }
    for (const { account, row } of ledger.rows.of(purse))
      if (row !== undefined && row.granted <= definition.limit) note(purse, account, row.granted);
  }
  return lost;
}
