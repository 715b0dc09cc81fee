/**
 * What an account that ends was told of money that is spent, and that its last row, as others have it, does not count: the account
 * that takes its place counts it. A reservation was answered out of rights, which stay charged with the account; so only
 * reports, and what goes beyond reservations, are carried.
 */
import { type Amount, minus, ZERO } from './amount.ts';
import type { Change } from './change.ts';
import type { Finished } from './finished.ts';
import type { LedgerState } from './state.ts';

type Reported = Extract<Change, { kind: 'reported' }>;

/** With how much requests had been finished at some moment, by id; as far as is remembered. */
export type Before = ReadonlyMap<string, Amount>;

export function finishedIn({ finished }: LedgerState): Before {
  return new Map([...finished.values()].map(({ id, amount }) => [id, amount]));
}

/** Requests that were finished since others were told, and with how much they had been by then. */
export class Untold {
  readonly #before = new Map<string, Amount>();

  /** Before the change is applied. */
  note(change: Change, { finished, holds }: LedgerState): void {
    if (change.kind !== 'reported' && change.kind !== 'settled' && change.kind !== 'settledLate') return;
    const { id, amount } = change;
    if (change.kind === 'settled' && amount <= (holds.get(id)?.amount ?? ZERO)) return;
    if (!this.#before.has(id)) this.#before.set(id, finished.get(id)?.amount ?? ZERO);
  }

  clear(): void {
    this.#before.clear();
  }

  /** For `carriedFrom`. */
  beforeIn({ finished }: LedgerState): Before {
    return new Map(
      [...finished.values()].map(({ id, amount }) => [id, this.#before.get(id) ?? amount] as const),
    );
  }
}

/** As reports under the ids that callers gave, so that asking again counts nothing twice: what no start had confirmed, and what was finished since. */
export function carriedFrom(former: LedgerState, before: Before): readonly Reported[] {
  const carried = [...former.unconfirmed];
  const known = new Set(carried.map(({ id }) => id));
  for (const finished of former.finished.values()) {
    const amount = beyond(finished, before.get(finished.id));
    if (amount === ZERO || known.has(finished.id)) continue;
    const parts = finished.parts
      .filter(({ purse }) => !former.isClosed(purse))
      .map(({ purse }) => ({ purse, spent: ZERO, overrun: amount }));
    const { id, agent } = finished;
    if (parts.length > 0) carried.push({ kind: 'reported', id, agent, amount, parts });
  }
  return carried;
}

function beyond({ what, reserved, amount }: Finished, before: Amount = ZERO): Amount {
  const counted = what === 'reservation' && reserved > before ? reserved : before;
  return minus(amount, counted) ?? ZERO;
}
