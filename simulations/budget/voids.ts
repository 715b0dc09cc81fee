/**
 * What an account sent after the row on which it was written off is in the reserve already. Who has not heard of the end takes
 * it in, which nobody can prevent; who was told of it must not (I1, B13).
 */
import type { AccountId, PurseKey } from '../../src/budget/names.ts';
import { parseBudgetKey, parseEntry } from '../../src/budget/reserve-register.ts';
import type { Row } from '../../src/budget/row.ts';
import { decode } from '../../src/kernel/codec.ts';
import type { KeyValue } from '../../src/quorum/port.ts';
import type { BudgetMachine } from './machine.ts';
import type { StoreNews } from './store.ts';
import type { Truth } from './truth.ts';
import type { BudgetWorld } from './world.ts';

type Ends = Map<PurseKey, Map<AccountId, number>>;

export class Voids {
  readonly #world: BudgetWorld;
  /** Of each machine, with the last row that counts of each account of whose end its process was told. */
  readonly #told = new Map<number, Ends>();

  constructor(world: BudgetWorld) {
    this.#world = world;
    world.store.onTold = ({ index }, news) => this.#tell(index, news);
    world.onStart.push(({ index }) => this.#told.delete(index));
  }

  /** `truths`: of all accounts, before this row. */
  rowIs(
    machine: BudgetMachine,
    [account, purse, row]: readonly [AccountId, PurseKey, Row],
    truths: ReadonlyMap<AccountId, Truth>,
  ): void {
    const ends = this.#told.get(machine.index)?.get(purse);
    // What a copy was told is not told apart from what the machine was.
    if (ends === undefined || this.#world.copies.some(({ index }) => index === machine.index)) return;
    const before = truths.get(account)?.rows.get(purse)?.received;
    for (const [from, total] of row.received) {
      const end = ends.get(from);
      if (end === undefined || total <= (before?.get(from) ?? 0)) continue;
      if (total > (truths.get(from)?.sentBy(purse, end).get(account) ?? 0))
        this.#world.violate(
          'void',
          `${machine.name} takes in ${total} of ${purse} from ${from}, which had sent less by the row that it was written off on`,
        );
    }
  }

  #tell(index: number, news: StoreNews): void {
    if (news.kind === 'storeRead') for (const entry of news.entries) this.#put(index, entry);
    else for (const { kind, entry } of news.changes) if (kind === 'put') this.#put(index, entry);
  }

  #put(index: number, { key, value }: KeyValue): void {
    const place = parseBudgetKey(key);
    if (place?.kind !== 'entry') return;
    const end = parseEntry(decode(value))?.lastSequence;
    if (end === undefined) return;
    const told: Ends = this.#told.get(index) ?? new Map();
    this.#told.set(index, told);
    const ends = told.get(place.purse) ?? new Map<AccountId, number>();
    told.set(place.purse, ends.set(place.account, end));
  }
}
