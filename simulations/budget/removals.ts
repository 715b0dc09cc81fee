/**
 * What may leave the store, and must not come back: periods that the budget's definition says are closed, entries before the
 * reserve, and no reserve a second time (B28).
 */
import { type Definition, isClosedIn, parseDefinition } from '../../src/budget/definition.ts';
import { type BudgetName, type PurseKey, parsePurseKey } from '../../src/budget/names.ts';
import { periodEndMs } from '../../src/budget/period.ts';
import { definitionKey, type Place, parseBudgetKey } from '../../src/budget/reserve-register.ts';
import { decode } from '../../src/kernel/codec.ts';
import type { KeyChange } from '../../src/quorum/port.ts';
import { EPOCH_MS } from '../../src/sim/clock.ts';
import type { BudgetMachine } from './machine.ts';
import type { BudgetWorld } from './world.ts';

export class Removals {
  readonly #world: BudgetWorld;
  /** Purses whose reserve was taken out. */
  readonly #gone = new Set<PurseKey>();
  /** Whose clock of day was ever ahead by more than a period is kept. */
  readonly #wereFast = new Set<BudgetMachine>();

  constructor(world: BudgetWorld) {
    this.#world = world;
  }

  /** Reserves taken out so far. */
  get count(): number {
    return this.#gone.size;
  }

  /** What the store says of it has no bearing on the money any more: it was taken out whole. */
  has(purse: PurseKey): boolean {
    return this.#gone.has(purse);
  }

  stepped(machine: BudgetMachine): void {
    if (machine.wallMs > this.#world.wallMs + this.#world.times.graceMs) this.#wereFast.add(machine);
  }

  /** The store was put back to an earlier state, which has these reserves. */
  restored(reserves: Iterable<PurseKey>): void {
    for (const purse of reserves) this.#gone.delete(purse);
  }

  take({ kind, entry }: KeyChange): void {
    const place = parseBudgetKey(entry.key);
    if (place === undefined || place.kind === 'account') return;
    if (kind === 'put') this.#put(place, entry.value);
    else this.#deleted(place);
  }

  #put(place: Place, value: Uint8Array): void {
    if (place.kind === 'reserve' && this.#gone.has(place.purse))
      this.#world.violate('reserve-anew', `${place.purse} has a reserve again, after it was taken out (B28)`);
    if (place.kind !== 'definition') return;
    const parsed = parseDefinition(decode(value));
    const closed = parsed.ok ? parsed.value.closed : undefined;
    // Two clocks that are wrong in the same way close what nobody can tell from what is over.
    if (closed !== undefined && periodEndMs(closed) > this.#world.wallMs && this.#wereFast.size < 2)
      this.#world.violate(
        'closed-early',
        `${place.budget} is closed up to ${closed} at ${new Date(this.#world.wallMs).toISOString()}, by the clock of ${this.#wereFast.size} machine`,
      );
  }

  #deleted(place: Place): void {
    if (place.kind === 'definition')
      this.#world.violate('removed', `the definition of ${place.budget} is gone`);
    if (place.kind !== 'reserve' && place.kind !== 'entry') return;
    const { purse } = place;
    const definition = this.#definition(parsePurseKey(purse)?.budget);
    if (definition === undefined || !isClosedIn(definition, purse))
      this.#world.violate('removed', `of ${purse} something was taken out, and it is not closed (B28)`);
    if (place.kind !== 'reserve') return;
    const left = this.#world.store.entries().find(({ key }) => key.startsWith(`budget/${purse}/`));
    if (left !== undefined)
      this.#world.violate('removed', `the reserve of ${purse} went before its entry ${left.key} (B28)`);
    this.#gone.add(purse);
  }

  #definition(budget: BudgetName | undefined): Definition | undefined {
    const entry = budget === undefined ? undefined : this.#world.store.get(definitionKey(budget));
    const parsed = entry === undefined ? undefined : parseDefinition(decode(entry.value));
    return parsed?.ok === true ? parsed.value : undefined;
  }
}

/** What a right clock shows. */
export function rightWallMs(nowMs: number, startWallMs: number, wallRate: number): number {
  return EPOCH_MS + startWallMs + nowMs * wallRate;
}
