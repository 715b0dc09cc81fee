/** How fast every account spends, as its rows tell. */
import type { Instant } from '../../kernel/time.ts';
import { Burn } from '../allocation.ts';
import type { Ledger } from '../ledger.ts';
import type { AccountId, PurseKey } from '../names.ts';
import { EMPTY_ROW, type Row } from '../row.ts';

/** The past fades by half in this. */
const HALF_LIFE_MS = 10_000;

interface Pace {
  gone: number;
  atMs: number;
  readonly burn: Burn;
}

/**
 * Rates are read off the totals when a row is told to others or heard, and when somebody asks, so that spending itself costs
 * nothing and all nodes read much the same off one row. What an account had spent before it was heard of first is not
 * burn, but for that of one that was seen to begin. What was held counts as gone: it
 * cannot be reserved again before it is settled; what is settled for less is not counted again until it is surpassed.
 */
export class Paces {
  readonly #ledger: Pick<Ledger, 'account' | 'purses' | 'rows'>;
  readonly #purses = new Map<PurseKey, Map<AccountId, Pace>>();

  constructor(ledger: Pick<Ledger, 'account' | 'purses' | 'rows'>) {
    this.#ledger = ledger;
  }

  /** Units a millisecond, lately. 0 of an account that nothing is known of. */
  perMs(purse: PurseKey, account: AccountId, now: Instant): number {
    const row = this.#row(purse, account);
    if (row === undefined) return 0;
    const perMs = this.#observe(purse, account, row, now).burn.perMs(now.monoMs);
    // What has faded to less than one unit is over.
    return perMs * HALF_LIFE_MS < Math.LN2 ? 0 : perMs;
  }

  /** Something of the account is heard or told: what it spends from here on is burn. */
  note(purse: PurseKey, account: AccountId, now: Instant): void {
    this.#observe(purse, account, this.#row(purse, account) ?? EMPTY_ROW, now);
  }

  /** Purses whose pace is known. */
  get size(): number {
    return this.#purses.size;
  }

  #row(purse: PurseKey, account: AccountId): Row | undefined {
    return account === this.#ledger.account
      ? this.#ledger.purses.get(purse)?.row
      : this.#ledger.rows.row(purse, account);
  }

  #observe(purse: PurseKey, account: AccountId, row: Row, now: Instant): Pace {
    let paces = this.#purses.get(purse);
    if (paces === undefined) {
      this.#forgetOver();
      paces = new Map();
      this.#purses.set(purse, paces);
    }
    const gone = row.spent + row.held;
    const known = paces.get(account);
    if (known === undefined) {
      const fresh = { gone, atMs: now.monoMs, burn: new Burn(HALF_LIFE_MS, now.monoMs) };
      paces.set(account, fresh);
      return fresh;
    }
    if (gone > known.gone) {
      known.burn.noteOver(gone - known.gone, known.atMs, now.monoMs);
      known.gone = gone;
      known.atMs = now.monoMs;
    }
    return known;
  }

  /** What the ledger has forgotten: periods that are over. */
  #forgetOver(): void {
    const { purses, rows } = this.#ledger;
    for (const purse of this.#purses.keys())
      if (!purses.has(purse) && rows.of(purse).next().done === true) this.#purses.delete(purse);
  }
}
