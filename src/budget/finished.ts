import type { AgentId } from '../kernel/ids.ts';
import { type Amount, ZERO } from './amount.ts';
import type { Ending, Part } from './change.ts';
import type { PurseKey } from './names.ts';
import { Recent } from './recent.ts';

/** A request that is over and remembered, so that asking again counts nothing twice. */
export interface Finished {
  readonly id: string;
  readonly what: 'reservation' | 'report';
  readonly agent: AgentId;
  readonly reserved: Amount;
  readonly amount: Amount;
  readonly ending: Ending;
  readonly parts: readonly Part[];
}

/** What most have in common. */
interface Form {
  readonly what: Finished['what'];
  readonly agent: AgentId;
  readonly ending: Ending;
  /** Each of them paid the whole amount out of its rights. */
  readonly purses: readonly PurseKey[];
}

/** Of each place. */
interface Columns {
  readonly reserved: number[];
  readonly amounts: number[];
  readonly forms: (Form | undefined)[];
  /** Those that fit no form. */
  readonly odd: Map<number, Finished>;
}

/** Agents whose last form is known. */
const AGENTS = 1_000;

/**
 * The last so many requests that are over, and up to an eighth more.
 *
 * Where much is spent they are replaced within a second. Each an object of several parts, all of them would be copied by the
 * collector of garbage before they are dropped, while everybody waits. So amounts stand in columns, what most have in common is
 * there once, and nothing but the id is kept of each.
 */
export class FinishedRequests {
  readonly #places: Recent<number>;
  readonly #capacity: number;
  readonly #columns: Columns = { reserved: [], amounts: [], forms: [], odd: new Map() };
  /** The place that is taken next: by then whoever had it is forgotten. */
  #next = 0;
  readonly #formOf = new Map<AgentId, Form>();

  constructor(most: number) {
    this.#places = new Recent(most);
    this.#capacity = most + Math.ceil(most / 8);
  }

  get size(): number {
    return this.#places.size;
  }

  get(id: string): Finished | undefined {
    const place = this.#places.get(id);
    return place === undefined ? undefined : finishedAt(this.#columns, id, place);
  }

  /** Takes the place of what was there, or in time of the oldest. */
  set(finished: Finished): void {
    let place = this.#places.get(finished.id);
    if (place === undefined) {
      place = this.#next;
      this.#next = (place + 1) % this.#capacity;
      this.#places.add(finished.id, place);
    }
    const { reserved, amounts, forms, odd } = this.#columns;
    const form = this.#formFor(finished);
    if (odd.size > 0) odd.delete(place);
    if (form === undefined) odd.set(place, finished);
    reserved[place] = finished.reserved;
    amounts[place] = finished.amount;
    forms[place] = form;
  }

  values(): readonly Finished[] {
    return this.chunks(Number.POSITIVE_INFINITY).flatMap((chunk) => chunk());
  }

  /** All that there are now, oldest first and so many at a time; each chunk is made when it is asked for. */
  chunks(size: number): readonly (() => readonly Finished[])[] {
    const ids = this.#places.keys();
    const places = this.#places.values();
    const { reserved, amounts, forms, odd } = this.#columns;
    const columns = {
      reserved: reserved.slice(),
      amounts: amounts.slice(),
      forms: forms.slice(),
      odd: new Map(odd),
    };
    const chunks: (() => readonly Finished[])[] = [];
    for (let from = 0; from < ids.length; from += size)
      chunks.push(() =>
        ids
          .slice(from, from + size)
          .map((id, index) => finishedAt(columns, id, places[from + index] as number)),
      );
    return chunks;
  }

  /** `undefined` where something of it is its own. */
  #formFor({ what, agent, ending, amount, parts }: Finished): Form | undefined {
    const known = this.#formOf.get(agent);
    const isKnown = known !== undefined && known.what === what && known.ending === ending;
    let isSame = isKnown && known.purses.length === parts.length;
    let at = 0;
    for (const { purse, spent, overrun } of parts) {
      if (spent !== amount || overrun !== ZERO) return undefined;
      isSame &&= known?.purses[at++] === purse;
    }
    if (isSame) return known;
    if (this.#formOf.size >= AGENTS) this.#formOf.clear();
    const form = { what, agent, ending, purses: parts.map(({ purse }) => purse) };
    this.#formOf.set(agent, form);
    return form;
  }
}

function finishedAt({ reserved, amounts, forms, odd }: Columns, id: string, place: number): Finished {
  const form = forms[place];
  if (form === undefined) return odd.get(place) as Finished;
  const { what, agent, ending, purses } = form;
  const amount = amounts[place] as Amount;
  const parts = purses.map((purse) => ({ purse, spent: amount, overrun: ZERO }));
  return { id, what, agent, reserved: reserved[place] as Amount, amount, ending, parts };
}
