/** Accounts, their disks, the reserve and a network that loses, doubles and delays: steps in any order, checked after each. */

import { type Balance, balanceOf, type Position } from '../../src/budget/conservation.ts';
import type { Definition } from '../../src/budget/definition.ts';
import type { AccountId, PurseKey } from '../../src/budget/names.ts';
import { parseRowKey } from '../../src/budget/names.ts';
import {
  mostToWriteOff,
  type Plan,
  planFencing,
  planGrant,
  planLimit,
  planReturn,
  planWriteOff,
} from '../../src/budget/reserve-register.ts';
import { parseRow, type Row } from '../../src/budget/row.ts';
import type { Settlement } from '../../src/budget/spending.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { Transaction } from '../../src/quorum/port.ts';
import { amountOf, Host, nodeIdOf, type Published, purseOf, reserveCall, Store } from '../budget/support.ts';

export const OPERATIONS = [
  'reserve',
  'reserve',
  'reserve',
  'settle',
  'settle',
  'report',
  'give',
  'give',
  'return',
  'credit',
  'grant',
  'grant',
  'plan',
  'carry',
  'tell',
  'deliver',
  'deliver',
  'deliver',
  'sync',
  'sync',
  'sync',
  'pass',
  'crash',
  'open',
  'open',
  'checkpoint',
  'image',
  'restore',
  'loseDisk',
  'failDisk',
  'healDisk',
  'limit',
  'writeOff',
] as const; // prettier-ignore

export interface Step {
  readonly op: (typeof OPERATIONS)[number];
  readonly host: number;
  readonly other: number;
  readonly amount: number;
  readonly pick: number;
}

interface Image {
  readonly journal: readonly Uint8Array[];
  /** Starts until then. */
  readonly boots: number;
}

interface Reservation {
  readonly host: Host;
  readonly account: AccountId;
  readonly id: string;
  readonly amount: number;
  readonly request: number;
  settle: { readonly amount: number; readonly request: number } | undefined;
  consumed: number;
}

export class World {
  readonly budgets: readonly Definition[];
  readonly store: Store;
  readonly hosts: Host[];
  readonly rows: Published[] = [];
  readonly #told: number[];
  readonly #reservations: Reservation[] = [];
  readonly #reports: { host: Host; request: number; amount: number; counted: boolean }[] = [];
  readonly #plans: Transaction[] = [];
  readonly #images = new Map<Host, Image>();
  /** The last start that the register has confirmed. */
  readonly #confirmed = new Map<Host, number>();
  /** What accounts that are no more had at last, by purse. */
  readonly gone = new Map<AccountId, ReadonlyMap<PurseKey, Row>>();
  #count = 0;
  /** What a provider served, which no account is asked about. */
  served = 0;

  constructor(budgets: readonly Definition[], hosts: number) {
    this.budgets = budgets;
    this.store = new Store(budgets);
    this.hosts = Array.from({ length: hosts }, (_, index) => new Host(nodeIdOf(index)));
    this.#told = this.hosts.map(() => 0);
    for (const host of this.hosts) host.open(this.store);
  }

  step({ op, host: index, other: otherIndex, amount, pick }: Step): void {
    const host = this.hosts[index % this.hosts.length]!;
    const other = this.hosts[otherIndex % this.hosts.length]!;
    const budget = this.budgets[pick % this.budgets.length]!;
    const purse = purseOf(budget);
    const own = host.row(purse);
    switch (op) {
      case 'reserve': {
        const id = `r${++this.#count}`;
        const request = host.request(reserveCall(id, amount, { ttlMs: 1_000 + pick * 100 }));
        const { account } = host.ledger;
        this.#reservations.push({ host, account, id, amount, request, settle: undefined, consumed: 0 });
        break;
      }
      case 'settle': {
        const reservation = this.#reservations[pick % Math.max(1, this.#reservations.length)];
        // At times more than was reserved, at times again.
        if (reservation !== undefined && reservation.consumed > 0)
          this.#settle(reservation, amount % 7 === 0 ? amount : 0);
        break;
      }
      case 'report': {
        const small = 1 + (amount % 9);
        const call = {
          op: 'report',
          id: `p${++this.#count}`,
          budget: 'team',
          agent: 'bob',
          amount: small,
        } as const;
        this.#reports.push({ host, request: host.request(call), amount: small, counted: false });
        break;
      }
      case 'give': {
        if (host === other) break;
        const to = other.ledger.account;
        const above = other.row(purse)?.received.get(host.ledger.account) ?? 0;
        host.request({ op: 'transfer', purse, to, amount, above });
        // The same request, doubled by the network.
        if (pick % 3 === 0) host.request({ op: 'transfer', purse, to, amount, above });
        break;
      }
      case 'return':
        host.request({ op: 'return', purse, amount, above: own?.returned ?? 0 });
        if (pick % 3 === 0) host.request({ op: 'return', purse, amount, above: own?.returned ?? 0 });
        break;
      case 'credit':
        this.#credit(this.rows[(pick * 31 + amount) % Math.max(1, this.rows.length)]);
        break;
      case 'grant':
        host.sync();
        if (host.failing) break;
        for (const each of this.budgets) host.take(this.store, purseOf(each), amount);
        break;
      case 'plan': {
        const wish = { amount: amountOf(amount), atLeast: amountOf(1), above: own?.granted ?? amountOf(0) };
        const plan = planGrant(this.store.view(purse, host.ledger.account).view, wish);
        if (plan.ok && plan.value.kind === 'transact') this.#plans.push(plan.value.transaction);
        break;
      }
      case 'carry': {
        const plan = this.#plans[pick % Math.max(1, this.#plans.length)];
        if (plan !== undefined) this.store.transact(plan);
        break;
      }
      case 'tell':
        this.tell(host);
        break;
      case 'deliver':
        for (let count = 0; count <= pick % 4; count++)
          this.#deliver(host, this.rows.length - 1 - ((amount * (count + 1)) % 23));
        break;
      case 'limit':
        if (pick % 2 === 0)
          this.#carry(planLimit(this.store.view(purse, host.ledger.account).view, amountOf(600 + amount)));
        break;
      case 'writeOff':
        this.#writeOff(purse, pick, amount);
        break;
      case 'pass':
        host.pass(pick * 50, amount % 2 === 0 ? pick * 50 : 0);
        break;
      default:
        this.#disk(op, host, pick);
    }
    this.#collect();
  }

  #disk(op: Step['op'], host: Host, pick: number): void {
    switch (op) {
      case 'sync':
        host.sync();
        break;
      case 'crash':
        host.crash();
        break;
      case 'open':
        this.#open(host);
        break;
      case 'checkpoint':
        if (!host.failing) host.checkpoint();
        break;
      case 'image':
        this.#images.set(host, {
          journal: host.journal.slice(0, host.synced),
          boots: host.boots,
        });
        break;
      case 'restore': {
        const image = this.#images.get(host);
        if (image === undefined) break;
        host.crash();
        // In place only where the register can tell: what nobody knows of, nobody can miss.
        if ((this.#confirmed.get(host) ?? 0) <= image.boots) host.place = `copy ${++this.#count}`;
        this.#reboot(host, [...image.journal]);
        break;
      }
      case 'loseDisk':
        if (pick % 3 !== 0) break;
        host.crash();
        this.#reboot(host, []);
        this.#images.delete(host);
        break;
      case 'failDisk':
        host.failing = true;
        break;
      case 'healDisk':
        if (host.failing) host.heal();
        break;
      default:
        throw new Error(op);
    }
  }

  /** What the disk holds now is all that the former account will ever have done. */
  #reboot(host: Host, journal: Uint8Array[]): void {
    this.#bury(host);
    host.journal = journal;
    host.synced = journal.length;
    host.crash();
  }

  #bury(host: Host): void {
    const rows = new Map([...host.ledger.purses].map(([key, { row }]) => [key, row]));
    if (!this.gone.has(host.ledger.account)) this.gone.set(host.ledger.account, rows);
  }

  #open(host: Host): void {
    if (host.failing) return;
    host.sync();
    const { account } = host.ledger;
    const before = new Map([...host.ledger.purses].map(([key, { row }]) => [key, row]));
    const isStart = host.openings.length > 0;
    host.open(this.store);
    if (host.ledger.account !== account && !this.gone.has(account)) this.gone.set(account, before);
    if (isStart) this.#confirmed.set(host, host.boots);
  }

  #settle(reservation: Reservation, extra: number): void {
    const amount = reservation.consumed + extra;
    const request = reservation.host.request({ op: 'settle', id: reservation.id, amount });
    reservation.settle ??= { amount, request };
  }

  #credit(row: Published | undefined): void {
    const place = row === undefined ? undefined : parseRowKey(row.owner, row.key);
    const body = place === undefined ? undefined : parseRow(row?.body, place.account);
    if (place === undefined || body === undefined) return;
    this.#carry(planReturn(this.store.view(place.purse, place.account).view, body.returned));
  }

  #writeOff(purse: PurseKey, pick: number, amount: number): void {
    const account = [...this.gone.keys()][pick % Math.max(1, this.gone.size)];
    if (account === undefined || this.hosts.some(({ ledger }) => ledger.account === account)) return;
    const row = this.gone.get(account)?.get(purse);
    this.#carry(planFencing(this.store.view(purse, account).view));
    const entry = this.store.entry(purse, account);
    if (entry === undefined) return;
    // What was held may have been served: an operator who is right leaves it charged.
    const most = mostToWriteOff(entry, row, amountOf(0)) - (row?.held ?? 0);
    this.#carry(
      planWriteOff(this.store.view(purse, account).view, row, amountOf(0), amountOf(Math.min(most, amount))),
    );
  }

  #carry(plan: Result<Plan<unknown>>): void {
    if (plan.ok) this.store.carry(plan.value);
  }

  /** What the mirror of the register says of every account. */
  tell(host: Host): void {
    for (const budget of this.budgets) {
      const purse = purseOf(budget);
      for (const account of this.accounts()) {
        const entry = this.store.entry(purse, account);
        if (entry === undefined) continue;
        const { granted, lastSequence } = entry;
        host.deliver({
          kind: 'registered',
          purse,
          account,
          granted,
          ...(lastSequence === undefined ? {} : { lastSequence }),
        });
      }
    }
  }

  #deliver(host: Host, index: number): void {
    const row = this.rows[index];
    if (row === undefined) return;
    const { account } = host.ledger;
    const before = new Map([...host.ledger.purses].map(([key, { row: own }]) => [key, own]));
    host.deliver({ kind: 'rowHeard', ...row });
    if (host.ledger.account !== account && !this.gone.has(account)) this.gone.set(account, before);
  }

  accounts(): readonly AccountId[] {
    return [...new Set([...this.gone.keys(), ...this.hosts.map(({ ledger }) => ledger.account)])];
  }

  /** What was published, and what agents were told and did. */
  #collect(): void {
    this.hosts.forEach((host, index) => {
      for (; this.#told[index]! < host.published.length; this.#told[index]!++)
        this.rows.push(host.published[this.#told[index]!]!);
    });
    for (const reservation of this.#reservations) {
      const { host, request, amount, settle } = reservation;
      if (reservation.consumed === 0 && host.answers.get(request)?.ok === true) {
        reservation.consumed = Math.max(1, Math.floor(amount * 0.8));
        this.served += reservation.consumed;
      }
      const settled = settle === undefined ? undefined : host.answers.get(settle.request);
      if (settle === undefined || settled?.ok !== true) continue;
      // A provider that served more than was asked for.
      const more = Math.max(0, (settled as { value: Settlement }).value.amount - reservation.consumed);
      if (settle.amount > reservation.consumed && more > 0) {
        this.served += settle.amount - reservation.consumed;
        reservation.consumed = settle.amount;
      }
    }
    for (const report of this.#reports) {
      if (report.counted || report.host.answers.get(report.request)?.ok !== true) continue;
      report.counted = true;
      this.served += report.amount;
    }
  }

  balance(budget: Definition): { readonly balance: Balance; readonly problems: readonly string[] } {
    return balanceOf(this.store.reserve(budget), this.positions(budget));
  }

  positions(budget: Definition): readonly Position[] {
    const purse = purseOf(budget);
    const positions: Position[] = [];
    for (const [account, rows] of this.gone)
      positions.push({ account, row: rows.get(purse), entry: this.store.entry(purse, account) });
    for (const host of this.hosts) {
      const { account } = host.ledger;
      if (this.gone.has(account)) continue;
      positions.push({ account, row: host.row(purse), entry: this.store.entry(purse, account) });
    }
    return positions;
  }

  /** No fault any more, and everything reaches everybody. */
  heal(): void {
    for (const host of this.hosts) {
      if (host.failing) host.heal();
      host.pass(200_000);
      this.#open(host);
    }
    for (let round = 0; round < 3; round++) {
      this.#collect();
      for (const host of this.hosts) {
        this.tell(host);
        this.rows.forEach((_, index) => {
          this.#deliver(host, index);
        });
        this.#open(host);
        host.pass(5_000);
        host.sync();
      }
    }
    this.#collect();
    for (const row of [...this.rows]) this.#credit(row);
  }

  /** Everything that can be reached, in one node's hands. */
  gather(budget: Definition): Host {
    const [first, ...others] = this.hosts;
    const purse = purseOf(budget);
    for (const host of others) {
      const above = first!.row(purse)?.received.get(host.ledger.account) ?? 0;
      if (host.rights(purse) > 0) host.transfer(purse, first!.ledger.account, host.rights(purse), above);
    }
    first!.take(this.store, purse, this.store.reserve(budget).reserve);
    this.heal();
    return first!;
  }
}
