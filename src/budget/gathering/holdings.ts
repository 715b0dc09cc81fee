/** What other nodes have of a purse, by their rows and by what they answered: knowledge to decide whom to ask, never money. */
import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';
import { type Amount, ZERO } from '../amount.ts';
import { type AccountId, nodeOfAccount, type PurseKey } from '../names.ts';
import { type Row, rightsOf } from '../row.ts';
import type { LedgerView } from './messages.ts';

/** What a node answered is forgotten this long after. */
const TOLD_MS = 10_000;
/** What was sent here is counted on for this long; who has not made it good by then is not asked until it does. */
const ARRIVING_MS = 2_000;

interface Told {
  readonly account: AccountId;
  readonly row: Row | undefined;
  readonly atMs: number;
}

interface Sent {
  /** In all. */
  readonly total: Amount;
  readonly atMs: number;
}

export interface Holding {
  readonly node: NodeId;
  /** `undefined` where it is not known which one the node has now. */
  readonly account: AccountId | undefined;
  readonly row: Row | undefined;
  readonly rights: Amount;
  /** When it answered last; rows are of any age. */
  readonly toldMs: number;
}

export class Holdings {
  readonly #ledger: LedgerView;
  readonly #peers: ReadonlySet<NodeId>;
  readonly #told = new Map<PurseKey, Map<NodeId, Told>>();
  /** What accounts say that they sent to `#sentTo`, of which some has not been taken in. */
  readonly #sent = new Map<PurseKey, Map<AccountId, Sent>>();
  #sentTo: AccountId;

  constructor(ledger: LedgerView, peers: ReadonlySet<NodeId>) {
    this.#ledger = ledger;
    this.#peers = peers;
    this.#sentTo = ledger.account;
  }

  tell(purse: PurseKey, node: NodeId, account: AccountId, row: Row | undefined, now: Instant): void {
    let told = this.#told.get(purse);
    if (told === undefined) {
      told = new Map();
      this.#told.set(purse, told);
    }
    told.set(node, { account, row, atMs: now.monoMs });
  }

  /** An account says, by its row or in an answer, what it sent to `to` in all, which may be an account that this node had before. */
  sentHere(purse: PurseKey, account: AccountId, to: AccountId, total: Amount, now: Instant): void {
    if (to !== this.#ledger.account || total <= this.above(purse, account)) return;
    const sent = this.#sentHere(purse) ?? new Map<AccountId, Sent>();
    sent.set(account, { total, atMs: now.monoMs });
    this.#sent.set(purse, sent);
  }

  rowTaken(purse: PurseKey, now: Instant): void {
    const { account: self, rows } = this.#ledger;
    for (const { account, row } of rows.of(purse))
      this.sentHere(purse, account, self, row?.sent.get(self) ?? ZERO, now);
  }

  /** What `account` is known to have sent here in all, taken in or not. */
  above(purse: PurseKey, account: AccountId): Amount {
    const received = this.#received(purse, account);
    const said = this.#sentHere(purse)?.get(account)?.total ?? ZERO;
    return received > said ? received : said;
  }

  /** Sent here, and not taken in yet. */
  arriving(purse: PurseKey, now: Instant): number {
    let sum = 0;
    for (const [account, { total, atMs }] of this.#sentHere(purse) ?? [])
      if (now.monoMs - atMs < ARRIVING_MS) sum += Math.max(0, total - this.#received(purse, account));
    return sum;
  }

  /** Peers that can have something of the purse: known to the register, to a row of their own or of somebody who sent them something. */
  of(purse: PurseKey, now: Instant): readonly Holding[] {
    const told = this.#told.get(purse);
    const found = new Map<NodeId, Holding>();
    const add = (account: AccountId, row: Row | undefined): void => {
      const node = nodeOfAccount(account);
      if (!this.#peers.has(node)) return;
      const heard = told?.get(node);
      // A node has one account at a time; which one it is only itself knows for sure.
      if (heard !== undefined && heard.account !== account) return;
      const known = found.get(node);
      const rights = row === undefined ? ZERO : (rightsOf(row) ?? ZERO);
      if (known !== undefined && (known.row?.sequence ?? 0) > 0 && known.rights >= rights) return;
      found.set(node, { node, account, row, rights, toldMs: heard?.atMs ?? Number.NEGATIVE_INFINITY });
    };
    for (const { account, row } of this.#ledger.rows.of(purse)) {
      add(account, row);
      for (const to of row?.sent.keys() ?? []) if (!found.has(nodeOfAccount(to))) add(to, undefined);
    }
    for (const to of this.#ledger.purses.get(purse)?.row.sent.keys() ?? [])
      if (!found.has(nodeOfAccount(to))) add(to, undefined);
    for (const [node, { account, row, atMs }] of told ?? []) {
      if (!this.#peers.has(node)) continue;
      const known = found.get(node);
      if (known?.row !== undefined && known.row.sequence > (row?.sequence ?? 0)) continue;
      const rights = row === undefined ? ZERO : (rightsOf(row) ?? ZERO);
      found.set(node, { node, account, row, rights, toldMs: atMs });
    }
    return [...found.values()].filter(({ account }) => !this.#owes(purse, account, now));
  }

  /** Granted or sent to one of these, and not taken in yet. */
  onTheWay(purse: PurseKey, holdings: readonly Holding[]): number {
    const { account: self } = this.#ledger;
    const rows = new Map<AccountId, Row | undefined>();
    for (const { account, row } of holdings) if (account !== undefined) rows.set(account, row);
    let sum = 0;
    const own = this.#ledger.purses.get(purse)?.row.sent ?? [];
    for (const [to, total] of own)
      if (rows.has(to)) sum += Math.max(0, total - (rows.get(to)?.received.get(self) ?? 0));
    for (const { account, granted } of this.#ledger.rows.of(purse)) {
      const row = rows.get(account);
      if (rows.has(account)) sum += Math.max(0, granted - (row?.granted ?? 0));
    }
    for (const [from, row] of rows) {
      for (const [to, total] of row?.sent ?? [])
        if (rows.has(to)) sum += Math.max(0, total - (rows.get(to)?.received.get(from) ?? 0));
    }
    return sum;
  }

  /** What was sent to an account that this node had before will never be taken in. */
  #sentHere(purse: PurseKey): Map<AccountId, Sent> | undefined {
    if (this.#sentTo !== this.#ledger.account) this.#sent.clear();
    this.#sentTo = this.#ledger.account;
    return this.#sent.get(purse);
  }

  #received(purse: PurseKey, account: AccountId): Amount {
    return this.#ledger.purses.get(purse)?.row.received.get(account) ?? ZERO;
  }

  #owes(purse: PurseKey, account: AccountId | undefined, now: Instant): boolean {
    const sent = account === undefined ? undefined : this.#sentHere(purse)?.get(account);
    if (account === undefined || sent === undefined) return false;
    return now.monoMs - sent.atMs >= ARRIVING_MS && sent.total > this.#received(purse, account);
  }

  /** By the ledger: the period is over for long. */
  #isForgotten(purse: PurseKey): boolean {
    const { purses, rows } = this.#ledger;
    return !purses.has(purse) && rows.of(purse).next().done === true;
  }

  forget(now: Instant): void {
    for (const [purse, sent] of this.#sent) {
      for (const [account, { total }] of sent)
        if (total <= this.#received(purse, account)) sent.delete(account);
      if (sent.size === 0 || this.#isForgotten(purse)) this.#sent.delete(purse);
    }
    for (const [purse, told] of this.#told) {
      for (const [node, { atMs }] of told) if (now.monoMs - atMs > TOLD_MS) told.delete(node);
      if (told.size === 0) this.#told.delete(purse);
    }
  }

  get isEmpty(): boolean {
    return this.#told.size === 0 && this.#sent.size === 0;
  }
}
