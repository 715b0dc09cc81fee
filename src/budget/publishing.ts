/**
 * An account's own rows on their way to others: which of them nobody has seen as they are, and when they are told.
 *
 * A row is behind the record of all that it tells, so that nobody hears what a crash may undo.
 */
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import type { Change } from './change.ts';
import type { PublishRow } from './ledger-messages.ts';
import { type AccountId, nodeOfAccount, type PurseKey, rowKey } from './names.ts';
import type { Outbox } from './outbox.ts';
import { rowBody } from './row.ts';
import type { LedgerState } from './state.ts';
import { Telling } from './telling.ts';

const STREAM = 'budget';

export interface PublishingOptions {
  readonly out: Outbox;
  /** The account as it is: another one may have taken its place. */
  readonly state: () => LedgerState;
  readonly isConfirmed: () => boolean;
  readonly isDiskFailing: () => boolean;
  /** Others are told all that there is. */
  readonly allTold: () => void;
  /** Default 1,000: see `Telling`. */
  readonly delayMs?: number | undefined;
}

export class Publishing {
  readonly #options: PublishingOptions;
  readonly #telling: Telling;
  /** Purses whose row others have not seen as it is. */
  readonly #dirty = new Set<PurseKey>();
  #due: Deadline | undefined;

  constructor(options: PublishingOptions) {
    this.#options = options;
    this.#telling = new Telling(options.delayMs);
  }

  get isEmpty(): boolean {
    return this.#dirty.size === 0;
  }

  deadline(): Deadline | undefined {
    return this.#due;
  }

  /** What it changes must be told. */
  changed(change: Change): void {
    if (change.kind === 'reserved') for (const purse of change.purses) this.#changedOne(purse);
    else if ('parts' in change) for (const { purse } of change.parts) this.#changedOne(purse);
    else if ('purse' in change) this.#changedOne(change.purse);
  }

  #changedOne(key: PurseKey): void {
    this.#dirty.add(key);
    this.#telling.changed(key, this.#options.state().purses.get(key)?.rights ?? 0);
  }

  /** The row must be told, though nothing has changed in it. */
  again(key: PurseKey): void {
    this.#dirty.add(key);
  }

  /** With what else changes soon. */
  later(now: Instant): void {
    if (!this.#options.isConfirmed()) return;
    this.#due = this.#telling.deadline(now.monoMs, this.#due);
  }

  /** Without waiting for more. */
  now(): void {
    if (this.#due !== undefined) this.#publish('all');
  }

  expire(now: Instant): void {
    if (isDue(this.#due, now))
      this.#due = this.#telling.due(this.#due, this.#dirty, this.#options.state().purses, now.monoMs);
    if (isDue(this.#due, now)) this.#publish();
  }

  #publish(to?: PublishRow['to']): void {
    this.#due = undefined;
    for (const purse of [...this.#dirty]) this.one(purse, to);
    if (this.#dirty.size === 0) this.#options.allTold();
  }

  /** Rights have left: who got them needs the row, the others can wait. */
  moved(key: PurseKey, to: AccountId | undefined): void {
    this.one(key, to === undefined ? undefined : [nodeOfAccount(to)]);
  }

  /** Nothing while the disk fails: what it does not have may be undone. All rows are told anew when it has recovered. */
  one(key: PurseKey, to?: PublishRow['to']): void {
    const { out, state, isConfirmed, isDiskFailing } = this.#options;
    if (isDiskFailing()) return;
    // Its number must not stand for more than it tells.
    out.seal();
    const { account, purses } = state();
    const purse = purses.get(key);
    this.#dirty.delete(key);
    if (purse === undefined || !isConfirmed()) return;
    this.#telling.told(key, purse.rights);
    const row = { key: rowKey(key, account), body: rowBody(purse.row) };
    out.push({ kind: 'publishRow', stream: STREAM, ...row, ...(to === undefined ? {} : { to }) });
  }

  /** Nobody is to be told of it any more. */
  withdraw(purse: PurseKey, account: AccountId): void {
    const { out, state } = this.#options;
    if (account === state().account) this.#dirty.delete(purse);
    this.#telling.forget(purse);
    out.push({ kind: 'publishRow', stream: STREAM, key: rowKey(purse, account), body: undefined });
  }

  /** Of the account that begins nobody knows anything. */
  clear(): void {
    this.#dirty.clear();
    this.#telling.clear();
    this.#due = undefined;
  }
}
