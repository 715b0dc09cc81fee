/**
 * Gets this start of the account into the quorum store, and watches that no other takes its place. Only who stands there is
 * granted anything; after a restart nothing is spent before.
 */
import { limits } from '../kernel/limits.ts';
import type { Rng } from '../kernel/rng.ts';
import { type Deadline, type Instant, isDue } from '../kernel/time.ts';
import type { OpenAccount } from './ledger-messages.ts';
import type { AccountId, BudgetName, FreshNumber, PurseKey } from './names.ts';
import type { Office } from './office.ts';
import { type AccountEntry, planOpening } from './reserve-register.ts';

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;
const FENCED = 'the account was fenced off';
const ANOTHER_COPY = 'another copy of the data was started';
/** A view is made of a budget's keys too, whichever. */
const ANY_BUDGET = 'x' as BudgetName;
const ANY_PURSE = 'x/1/all' as PurseKey;

export class Opening {
  readonly #office: Office;
  readonly #rng: Rng;
  readonly #opened: (now: Instant) => void;
  #wanted: OpenAccount | undefined;
  #isNeeded = false;
  #isOpen = false;
  #isAsking = false;
  #waitMs = FIRST_RETRY_MS;
  #retry: Deadline | undefined;

  constructor(office: Office, rng: Rng, opened: (now: Instant) => void) {
    this.#office = office;
    this.#rng = rng;
    this.#opened = opened;
  }

  /** The register has this start, as far as is known. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Of this start, for grants that the account asks for itself. */
  get nonce(): FreshNumber | undefined {
    return this.#wanted?.nonce;
  }

  deadline(): Deadline | undefined {
    return this.#retry;
  }

  wanted(order: OpenAccount, now: Instant): void {
    this.#wanted = order;
    this.#isOpen = false;
    this.#waitMs = FIRST_RETRY_MS;
    if (this.#isNeeded) this.#ask(now);
  }

  /** There are budgets, or rights: from now on the account is to be open. */
  need(now: Instant): void {
    if (this.#isNeeded) return;
    this.#isNeeded = true;
    this.#ask(now);
  }

  expire(now: Instant): void {
    if (isDue(this.#retry, now)) this.#ask(now);
  }

  /** The store tells something of an account. */
  told(account: AccountId, now: Instant): void {
    const wanted = this.#wanted;
    if (wanted === undefined || account !== wanted.account) return;
    const entry = this.#office.mirror.account(account);
    if (entry?.fenced === true) {
      this.#office.tell({ kind: 'fenced', account, reason: FENCED }, now);
    } else if (entry?.nonce !== wanted.nonce && this.#isOpen) {
      // Another copy of the data was started, or the store has lost this start: it says which.
      this.#ask(now);
    }
  }

  /** The store granted the account nothing, and has this of it, which this node may not have been told yet. */
  refused(account: AccountId, entry: AccountEntry | undefined, now: Instant): void {
    const wanted = this.#wanted;
    if (wanted === undefined || account !== wanted.account) return;
    if (entry?.fenced === true) {
      this.#office.tell({ kind: 'fenced', account, reason: FENCED }, now);
    } else if (entry?.nonce !== wanted.nonce && this.#isOpen) {
      this.#isOpen = false;
      this.#ask(now);
    }
  }

  #ask(now: Instant): void {
    const wanted = this.#wanted;
    this.#retry = undefined;
    if (wanted === undefined || this.#isAsking) return;
    this.#isAsking = true;
    const { account, nonce, known } = wanted;
    this.#office.send<{ readonly isOpen: boolean; readonly isFenced?: boolean }>(
      {
        budget: ANY_BUDGET,
        purse: ANY_PURSE,
        account,
        plan: (view) => ({ ok: true, value: planOpening(view, nonce, known) }),
      },
      {
        strong: true,
        done: (result, at) => {
          this.#isAsking = false;
          if (this.#wanted !== wanted) this.#ask(at);
          else if (!result.ok) this.#askLater(at);
          else if (result.value.isOpen) this.#isOpened(wanted, at);
          else {
            const reason = result.value.isFenced === true ? FENCED : ANOTHER_COPY;
            this.#office.tell({ kind: 'fenced', account, reason }, at);
          }
        },
      },
      now,
    );
  }

  #isOpened({ account, nonce }: OpenAccount, now: Instant): void {
    this.#waitMs = FIRST_RETRY_MS;
    const isNews = !this.#isOpen;
    this.#isOpen = true;
    if (isNews) this.#office.tell({ kind: 'opened', account, nonce }, now);
    this.#opened(now);
  }

  #askLater(now: Instant): void {
    const waitMs = this.#waitMs * (0.5 + this.#rng.float());
    this.#waitMs = Math.min(2 * this.#waitMs, LAST_RETRY_MS, limits.budgetWaitMs);
    this.#retry = { atMs: now.monoMs + waitMs, reason: 'budget.opening' };
  }
}
