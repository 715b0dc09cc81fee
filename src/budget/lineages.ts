/** Which purses a budget is spent from now: its own and those of its ancestors. */
import { ok, type Result } from '../kernel/errors.ts';
import { chainOf, type Definition } from './definition.ts';
import { type BudgetName, type PurseKey, purseKey } from './names.ts';
import { periodAt } from './period.ts';

export interface Lineage {
  /** Nearest first. */
  readonly purses: readonly PurseKey[];
  /** Of each purse. */
  readonly names: readonly BudgetName[];
  readonly expiry: Definition['expiry'];
}

/** No period begins within a minute of the clock. */
const MINUTE_MS = 60_000;

/** Worked out once a minute for each budget that is in use: every call needs it. */
export class Lineages {
  readonly #definitions: ReadonlyMap<BudgetName, Definition>;
  readonly #known = new Map<BudgetName, { readonly minute: number; readonly lineage: Lineage }>();

  constructor(definitions: ReadonlyMap<BudgetName, Definition>) {
    this.#definitions = definitions;
  }

  /** A definition has changed. */
  forget(): void {
    this.#known.clear();
  }

  /** Errors: NOT_FOUND, CONFLICT. */
  at(budget: BudgetName, wallMs: number): Result<Lineage> {
    const minute = Math.floor(wallMs / MINUTE_MS);
    const known = this.#known.get(budget);
    if (known !== undefined && known.minute === minute) return ok(known.lineage);
    const chain = chainOf(budget, this.#definitions);
    if (!chain.ok) return chain;
    const lineage: Lineage = {
      purses: chain.value.map(({ name, epoch, window }) =>
        purseKey({ budget: name, epoch, period: periodAt(window, wallMs) }),
      ),
      names: chain.value.map(({ name }) => name),
      expiry: chain.value[0]?.expiry ?? 'charge',
    };
    this.#known.set(budget, { minute, lineage });
    return ok(lineage);
  }
}
