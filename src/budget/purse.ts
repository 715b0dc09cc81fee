import { type Amount, parseAmount, ZERO } from './amount.ts';
import type { AccountId, PurseKey } from './names.ts';
import type { Row } from './row.ts';

/**
 * What this account has of one budget in one period. Its totals only grow (but for what is held), and what is left of its
 * rights follows from them; a step that would take them below zero throws, for it should have been refused before.
 */
export class Purse {
  readonly key: PurseKey;
  readonly received = new Map<AccountId, Amount>();
  readonly sent = new Map<AccountId, Amount>();
  /** What agents spent beyond rights and nothing has paid since. */
  readonly debts = new Map<string, Amount>();
  /** Of the journal record that changed it last. */
  sequence = 0;
  #granted = ZERO;
  #returned = ZERO;
  #spent = ZERO;
  #held = ZERO;
  #overrun = ZERO;
  #covered = ZERO;
  #rights = ZERO;

  constructor(key: PurseKey) {
    this.key = key;
  }

  /** What may still be reserved, sent or given back. */
  get rights(): Amount {
    return this.#rights;
  }

  get granted(): Amount {
    return this.#granted;
  }

  get returned(): Amount {
    return this.#returned;
  }

  get spent(): Amount {
    return this.#spent;
  }

  get held(): Amount {
    return this.#held;
  }

  get overrun(): Amount {
    return this.#overrun;
  }

  /** A copy, as others are told it. */
  get row(): Row {
    return {
      sequence: this.sequence,
      granted: this.#granted,
      received: new Map(this.received),
      sent: new Map(this.sent),
      returned: this.#returned,
      spent: this.#spent,
      held: this.#held,
      overrun: this.#overrun,
      covered: this.#covered,
    };
  }

  /** Takes the place of what was there: for a state read back from the disk. */
  restore(row: Row, debts: Iterable<readonly [string, Amount]>): void {
    this.sequence = row.sequence;
    this.#granted = row.granted;
    this.#returned = row.returned;
    this.#spent = row.spent;
    this.#held = row.held;
    this.#overrun = row.overrun;
    this.#covered = row.covered;
    for (const [account, total] of row.received) this.received.set(account, total);
    for (const [account, total] of row.sent) this.sent.set(account, total);
    for (const [agent, debt] of debts) this.debts.set(agent, debt);
    const inflow = [...this.received.values()].reduce((whole, part) => whole + part, row.granted as number);
    const sent = [...this.sent.values()].reduce((whole, part) => whole + part, 0);
    this.#rights = amount(inflow - sent - row.returned - row.spent - row.held, 'rights');
  }

  grantedIs(total: Amount): void {
    this.#rights = amount(this.#rights + (total - this.#granted), 'rights');
    this.#granted = grown(this.#granted, total, 'granted');
  }

  receivedIs(from: AccountId, total: Amount): void {
    const before = this.received.get(from) ?? ZERO;
    this.received.set(from, grown(before, total, 'received'));
    this.#rights = amount(this.#rights + (total - before), 'rights');
  }

  sentIs(to: AccountId, total: Amount): void {
    const before = this.sent.get(to) ?? ZERO;
    this.sent.set(to, grown(before, total, 'sent'));
    this.#rights = amount(this.#rights - (total - before), 'rights');
  }

  returnedIs(total: Amount): void {
    this.#rights = amount(this.#rights - (total - this.#returned), 'rights');
    this.#returned = grown(this.#returned, total, 'returned');
  }

  hold(held: Amount): void {
    this.#rights = amount(this.#rights - held, 'rights');
    this.#held = amount(this.#held + held, 'held');
  }

  /** Ends a hold: of `held` and the rights beside it `spent` is gone, and `overrun` beyond them. */
  settle(agent: string, held: Amount, spent: Amount, overrun: Amount): void {
    this.#rights = amount(this.#rights + held - spent, 'rights');
    this.#held = amount(this.#held - held, 'held');
    this.#spent = amount(this.#spent + spent, 'spent');
    if (overrun === 0) return;
    this.#overrun = amount(this.#overrun + overrun, 'overrun');
    this.debts.set(agent, amount((this.debts.get(agent) ?? 0) + overrun, 'debt'));
  }

  /** Rights pay what was overrun. */
  cover(agent: string, paid: Amount): void {
    this.#rights = amount(this.#rights - paid, 'rights');
    this.#spent = amount(this.#spent + paid, 'spent');
    this.#covered = amount(this.#covered + paid, 'covered');
    const left = amount((this.debts.get(agent) ?? 0) - paid, 'debt');
    if (left === 0) this.debts.delete(agent);
    else this.debts.set(agent, left);
  }
}

function amount(value: number, what: string): Amount {
  const known = parseAmount(value);
  if (known === undefined) throw new Error(`budget: ${what} would be ${value}`);
  return known;
}

function grown(before: Amount, after: Amount, what: string): Amount {
  if (after < before) throw new Error(`budget: ${what} would fall from ${before} to ${after}`);
  return amount(after, what);
}
