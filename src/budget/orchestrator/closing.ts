/**
 * Periods that are over for long leave the quorum store, in three steps, so that none can begin anew with its whole limit: one node says
 * that it is over (`over`); another, by its own clock, agrees (`closed`), and from then on nothing is granted there for good; only then
 * the orchestrator takes the entries out, each time comparing the definition that says so. Nobody's word alone closes anything
 * while others are there: a clock that is days fast would close what they spend from. A node that is alone waits longer instead.
 *
 * Whatever is cut off between two steps is gone on with by the next orchestrator: all there is to know stands in the definition.
 */
import type { Result } from '../../kernel/errors.ts';
import type { Rng } from '../../kernel/rng.ts';
import { type Deadline, type Instant, isDue } from '../../kernel/time.ts';
import type { Transaction } from '../../quorum/port.ts';
import { planAgreeing, planClosing, planSaying } from '../closing-plans.ts';
import type { Definition } from '../definition.ts';
import { purseKey, seriesOf, splitPurseKey } from '../names.ts';
import type { Office } from '../office.ts';
import { type ClosingTimes, SureClock } from '../over-periods.ts';
import { type Period, periodAt, periodEndMs } from '../period.ts';
import { definitionKey, entryKey, type Plan, reserveKey, type View } from '../reserve-register.ts';

/** Budgets whose definition is changed at a time; the others have their turn at the next look. */
const AT_ONCE = 32;
/** Keys taken out by one transaction, and transactions one after the other at one look. */
const KEYS = 100;
const PIECES = 40;
/** The orchestrator goes through all periods once in the time of so many looks. */
const SELDOM = 10;
/** Steps of one budget within the time that a period is kept. */
const STEPS = 8;

export class Closing {
  readonly #office: Office;
  readonly #times: ClosingTimes;
  readonly #rng: Rng;
  readonly #leads: () => boolean;
  readonly #clock: SureClock;
  #next: Deadline;
  #throughMs = Number.NEGATIVE_INFINITY;
  /** Definitions being changed. */
  #running = 0;
  /** To be taken out, one after the other. */
  #pieces: Transaction[] = [];
  #isTakingOut = false;

  /** `leads`: whether this node is orchestrator. */
  constructor(office: Office, times: ClosingTimes, rng: Rng, leads: () => boolean, now: Instant) {
    this.#office = office;
    this.#times = times;
    this.#rng = rng;
    this.#leads = leads;
    this.#clock = new SureClock(times.sureMs);
    this.#next = { atMs: now.monoMs + times.everyMs, reason: 'budget.closing' };
  }

  deadline(): Deadline | undefined {
    return this.#office.mirror.definitions.size === 0 ? undefined : this.#next;
  }

  expire(now: Instant): void {
    if (!isDue(this.#next, now)) return;
    this.#next = { ...this.#next, atMs: now.monoMs + this.#times.everyMs };
    this.#clock.look(now);
    if (!this.#office.mirror.isFilled || this.#running > 0) return;
    this.#agree(now);
    if (!this.#leads() || now.monoMs - this.#throughMs < SELDOM * this.#times.everyMs) return;
    this.#throughMs = now.monoMs;
    const bySeries = this.#periods();
    this.#say(bySeries, now);
    this.#pieces = this.#closedPieces(bySeries);
    this.#takeOut();
  }

  /** Not all at once: one node's word is enough. */
  #agree(now: Instant): void {
    const { mirror, self } = this.#office;
    for (const definition of mirror.definitions.values()) {
      const { over } = definition;
      if (over === undefined || over.by === self || this.#running >= AT_ONCE) continue;
      if (!this.#leads() && !this.#rng.chance(1 / (1 + this.#others()))) continue;
      if (this.#isOver(definition, over.period, this.#times.graceMs))
        this.#change(definition, over.period, (view) => planAgreeing(view, self), now);
    }
  }

  #say(bySeries: ReadonlyMap<string, readonly Period[]>, now: Instant): void {
    const { mirror, self } = this.#office;
    const isAlone = this.#others() === 0;
    const graceMs = isAlone ? this.#times.loneGraceMs : this.#times.graceMs;
    for (const definition of mirror.definitions.values()) {
      const { over, closed } = definition;
      if (this.#running >= AT_ONCE) return;
      // What another says that this clock does not believe keeps nobody else from saying less.
      const isSaid = over !== undefined && this.#isOver(definition, over.period, this.#times.graceMs);
      const firstKept = this.#firstKept(definition, graceMs);
      let newest: Period | undefined;
      for (const period of bySeries.get(seriesOf(definition.name, definition.epoch)) ?? [])
        if (period > (newest ?? closed ?? '') && period < firstKept) newest = period;
      if (newest === undefined || !isWorthIt(closed, newest, graceMs)) continue;
      if (!this.#isOver(definition, newest, graceMs)) continue;
      if (isAlone) this.#change(definition, newest, planClosing, now);
      else if (!isSaid) this.#change(definition, newest, (view) => planSaying(view, self, over), now);
    }
  }

  /** Of which the store has anything, by budget and epoch. */
  #periods(): ReadonlyMap<string, readonly Period[]> {
    const periods = new Map<string, Period[]>();
    for (const purse of this.#office.mirror.purses) {
      const [series, period] = splitPurseKey(purse);
      const known = periods.get(series);
      if (known === undefined) periods.set(series, [period]);
      else known.push(period);
    }
    return periods;
  }

  /** By this node's clock, for as long as it takes to be sure, and nothing is held here in it or before. */
  #isOver(definition: Definition, period: Period, graceMs: number): boolean {
    if (period >= this.#firstKept(definition, graceMs)) return false;
    const series = `${seriesOf(definition.name, definition.epoch)}/`;
    for (const [key, { held }] of this.#office.ledger.purses)
      if (held > 0 && key.startsWith(series) && key.slice(series.length) <= period) return false;
    return true;
  }

  /** The first that is not over; of one window, the order of the text is the order of time. */
  #firstKept({ window }: Definition, graceMs: number): string {
    return window === 'none' ? '' : periodAt(window, this.#clock.leastWallMs - graceMs);
  }

  /** Other machines that could agree. */
  #others(): number {
    const { mirror, self, stateOf } = this.#office;
    let count = 0;
    for (const node of mirror.nodes) {
      const state = stateOf(node);
      if (node !== self && (state === 'alive' || state === 'suspect')) count++;
    }
    return count;
  }

  #change(
    definition: Definition,
    period: Period,
    plan: (view: View) => Result<Plan<Definition>>,
    now: Instant,
  ): void {
    const { name: budget, epoch, closed } = definition;
    const purse = purseKey({ budget, epoch, period });
    this.#running++;
    this.#office.send<Definition>(
      { budget, purse, account: this.#office.ledger.account, plan },
      {
        done: (result) => {
          this.#running--;
          const upTo = result.ok ? result.value.closed : undefined;
          if (upTo === undefined || upTo === closed) return;
          const fields = { budget, upTo };
          this.#office.order({ kind: 'mark', level: 'info', name: 'budget.periodsClosed', fields });
        },
      },
      now,
    );
  }

  /** Entries before the reserve: what has one left is not through yet. */
  #closedPieces(bySeries: ReadonlyMap<string, readonly Period[]>): Transaction[] {
    const { mirror } = this.#office;
    const pieces: Transaction[] = [];
    for (const definition of mirror.definitions.values()) {
      const { name: budget, epoch, closed } = definition;
      if (closed === undefined) continue;
      const keys = (bySeries.get(seriesOf(budget, epoch)) ?? [])
        .filter((period) => period <= closed)
        .flatMap((period) => {
          const purse = purseKey({ budget, epoch, period });
          const accounts = [...mirror.entries(purse).keys()];
          return [...accounts.map((account) => entryKey(purse, account)), reserveKey(purse)];
        });
      const { revision } = mirror.definition(budget);
      for (let at = 0; at < keys.length && pieces.length < PIECES; at += KEYS)
        pieces.push({
          // As long as it stands there that they are closed.
          compares: [{ target: 'modRevision', key: definitionKey(budget), is: '=', than: revision }],
          then: keys.slice(at, at + KEYS).map((key) => ({ op: 'delete', key })),
          otherwise: [],
        });
    }
    return pieces;
  }

  /** The rest is for the next look where the store does not take one. */
  #takeOut(): void {
    if (this.#isTakingOut) return;
    const transaction = this.#pieces.shift();
    if (transaction === undefined) return;
    this.#isTakingOut = true;
    this.#office.errands.ask({ op: 'transact', transaction }, (result) => {
      this.#isTakingOut = false;
      if (result.ok && 'succeeded' in result.value && result.value.succeeded) this.#takeOut();
      else this.#pieces = [];
    });
  }
}

/** Every step makes grants that are under way be planned anew. */
function isWorthIt(closed: Period | undefined, next: Period, graceMs: number): boolean {
  return closed === undefined || periodEndMs(next) - periodEndMs(closed) >= graceMs / STEPS;
}
