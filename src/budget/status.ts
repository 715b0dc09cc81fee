/** What a budget looks like from here: sums of the rows that were heard, and of what the store is known to hold. */
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import { ZERO } from './amount.ts';
import type { BudgetStatus, Debt, MachineShare } from './api.ts';
import {
  type Balance,
  type Between,
  balanceOf,
  type Position,
  remainingAtLeast,
  withPartners,
} from './conservation.ts';
import { chainOf, type Definition, isClosedIn } from './definition.ts';
import type { Mirror } from './mirror.ts';
import {
  type AccountId,
  type BudgetName,
  nodeOfAccount,
  type PurseKey,
  parsePurseKey,
  purseKey,
} from './names.ts';
import type { Office } from './office.ts';
import { periodAt, periodEndMs } from './period.ts';
import { type Reserve, reserveOf } from './reserve-register.ts';
import { EMPTY_ROW, type Row, rightsOf } from './row.ts';
import { TOLD_WITHIN_MS } from './telling.ts';

/** Machines that a refusal names. */
const NAMED = 16;
/** Records that are signed within one millisecond have the numbers of those that follow: so far may a row's be ahead of its writer's clock. */
const SIGNED_AHEAD_MS = 1_000;
const NOTHING: Between = { onTheWay: 0, passedOn: 0, lost: 0 };

export function purseNow({ name, epoch, window }: Definition, wallMs: number): PurseKey {
  return purseKey({ budget: name, epoch, period: periodAt(window, wallMs) });
}

/** What can be granted, as far as is known: nothing in a period that is closed, whether or not its entries are gone. */
export function reserveIn(
  { mirror }: Pick<Office, 'mirror'>,
  definition: Definition,
  purse: PurseKey,
): Reserve {
  const known = mirror.reserve(purse) ?? reserveOf(definition);
  return isClosedIn(definition, purse) ? { ...known, reserve: ZERO } : known;
}

/** Every account that is known to have had something of the purse, with what is known of it. */
export function positionsOf({ ledger, mirror }: Office, purse: PurseKey): readonly Position[] {
  const entries = mirror.entries(purse);
  const positions = new Map<AccountId, Position>();
  for (const { account, row } of ledger.rows.of(purse))
    positions.set(account, { account, row, entry: entries.get(account) });
  const own = ledger.purses.get(purse);
  if (own !== undefined)
    positions.set(ledger.account, {
      account: ledger.account,
      row: own.row,
      entry: entries.get(ledger.account),
    });
  for (const [account, entry] of entries)
    if (!positions.has(account)) positions.set(account, { account, row: undefined, entry });
  return withPartners([...positions.values()]);
}

/** Of all accounts: what was spent, also beyond rights and not paid yet, and what write-offs charged. */
export function spentOf(reserve: Reserve, positions: readonly Position[]): number {
  const { spent, overrun, lost } = balanceOf(reserve, positions).balance;
  return spent + overrun + lost;
}

/** What is left of a purse, and where: for refusals, which should be cheap. */
export interface Remains {
  readonly budget: string;
  readonly reserve: number;
  /** Of accounts that can be reached, this one included. */
  readonly rights: number;
  /** Of those too, but this node could not take it in. */
  readonly doubtful: number;
  /** What rights that come to the same accounts pay first. */
  readonly owed: number;
  readonly held: number;
  readonly machines: readonly { readonly nodeId: NodeId; readonly name: string; readonly rights: number }[];
  readonly periodEndsInMs: number | undefined;
  /** What those that the budget is a part of leave of it, worked out when it is asked for. */
  readonly atMost: number;
}

export function remainsOf(office: Office, purse: PurseKey, now: Instant): Remains {
  const id = parsePurseKey(purse);
  const definition = id === undefined ? undefined : office.mirror.definitions.get(id.budget);
  const reserve = definition === undefined ? 0 : reserveIn(office, definition, purse).reserve;
  const machines: { nodeId: NodeId; name: string; rights: number }[] = [];
  let rights = 0;
  let held = 0;
  let doubtful = 0;
  const positions = positionsOf(office, purse);
  const sure = toBeHad(office, purse, positions);
  for (const { account, row } of positions) {
    if (row === undefined || isStranded(office, account)) continue;
    const has = rightsOf(row) ?? 0;
    if (!sure.has(account)) {
      doubtful += has;
      continue;
    }
    rights += has;
    held += row.held;
    const nodeId = nodeOfAccount(account);
    if (has > 0) machines.push({ nodeId, name: office.nameOf(nodeId), rights: has });
  }
  machines.sort((left, right) => right.rights - left.rights);
  const endMs = id === undefined ? Number.POSITIVE_INFINITY : periodEndMs(id.period);
  return {
    budget: id?.budget ?? '',
    reserve,
    rights,
    doubtful,
    owed: unpaid(office, positions),
    held,
    machines: machines.slice(0, NAMED),
    periodEndsInMs: Number.isFinite(endMs) ? Math.max(0, Math.ceil(endMs - now.wallMs)) : undefined,
    get atMost() {
      return definition === undefined ? 0 : leftByAncestors(office, definition, new Map(), now);
    },
  };
}

/** Worked out already, of this moment: budgets that share a parent need what it has but once. */
export type Levels = Map<BudgetName, Level>;

/** What one budget has by itself, whatever those that it is a part of have. */
interface Level {
  readonly purse: PurseKey;
  readonly reserve: Reserve;
  readonly balance: Balance;
  readonly machines: readonly MachineShare[];
  readonly remaining: number;
  readonly onTheWay: number;
  readonly burnPerSecond: number;
  /** In all, whether or not the period ends before. */
  readonly endsMs: number;
  readonly asOf: number;
}

function levelOf(office: Office, definition: Definition, levels: Levels, now: Instant): Level {
  const known = levels.get(definition.name);
  if (known !== undefined) return known;
  const purse = purseNow(definition, now.wallMs);
  const reserve = reserveIn(office, definition, purse);
  const positions = positionsOf(office, purse);
  const { balance, between } = balanceOf(reserve, positions);
  const toldAt = toldAtOf(office, purse, now);
  const machines = machinesOf(office, purse, positions, { between, toldAt }, now);
  const burnPerSecond = sumOf(machines, (machine) => machine.burnPerSecond);
  const remaining = remainingIn(office, purse, reserve, positions);
  const level: Level = {
    purse,
    reserve,
    balance,
    machines,
    remaining,
    onTheWay: onTheWay(office, positions, between),
    burnPerSecond,
    endsMs: burnPerSecond > 0 ? now.wallMs + (remaining / burnPerSecond) * 1_000 : Number.POSITIVE_INFINITY,
    asOf: asOf(office, positions, toldAt, now),
  };
  levels.set(definition.name, level);
  return level;
}

function remainingIn(
  office: Office,
  purse: PurseKey,
  { reserve }: Reserve,
  positions: readonly Position[],
): number {
  const rows = toBeHad(office, purse, positions);
  const least = remainingAtLeast(reserve, rows.values());
  return Math.max(0, least - seenTwice(positions, rows) - unpaid(office, positions));
}

function sumOf(machines: readonly MachineShare[], of: (machine: MachineShare) => number): number {
  return machines.reduce((total, each) => total + of(each), 0);
}

/** The least that any of them has; nothing where one is not known. */
function leftByAncestors(office: Office, definition: Definition, levels: Levels, now: Instant): number {
  const chain = chainOf(definition.name, office.mirror.definitions);
  if (!chain.ok) return 0;
  const left = chain.value.slice(1).map((ancestor) => levelOf(office, ancestor, levels, now).remaining);
  return Math.min(Number.POSITIVE_INFINITY, ...left);
}

/** What is spent of a budget is spent of all that it is a part of: what remains, and until when, is what the least of them says. */
function withAncestors(
  office: Office,
  definition: Definition,
  levels: Levels,
  now: Instant,
): Pick<BudgetStatus, 'remaining' | 'limitedBy' | 'projectedEnd' | 'asOf'> {
  const own = levelOf(office, definition, levels, now);
  let { remaining, endsMs, asOf } = own;
  let limitedBy: BudgetName | undefined;
  const chain = chainOf(definition.name, office.mirror.definitions);
  if (!chain.ok) return { remaining: 0, limitedBy: definition.parent, projectedEnd: undefined, asOf };
  for (const ancestor of chain.value.slice(1)) {
    const level = levelOf(office, ancestor, levels, now);
    if (level.remaining < remaining) {
      remaining = level.remaining;
      limitedBy = ancestor.name;
    }
    // An ancestor whose period ends before it is spent begins anew.
    if (level.endsMs < periodEndsMs(ancestor, now)) endsMs = Math.min(endsMs, level.endsMs);
    asOf = Math.min(asOf, level.asOf);
  }
  const isBefore = endsMs < periodEndsMs(definition, now) && Number.isFinite(endsMs);
  return { remaining, limitedBy, projectedEnd: isBefore ? Math.round(endsMs) : undefined, asOf };
}

function periodEndsMs({ window }: Definition, now: Instant): number {
  return periodEndMs(periodAt(window, now.wallMs));
}

export function statusOf(
  office: Office,
  definition: Definition,
  problems: (purse: PurseKey) => readonly string[],
  now: Instant,
  levels: Levels = new Map(),
): BudgetStatus {
  const level = levelOf(office, definition, levels, now);
  const { purse, reserve, balance, machines } = level;
  const endMs = periodEndsMs(definition, now);
  const { name, unit, window, parent, expiry, thresholds } = definition;
  return {
    budget: name,
    unit,
    window,
    parent,
    expiry,
    thresholds,
    limit: reserve.limit,
    owed: reserve.owed,
    reserve: reserve.reserve,
    allocated: sumOf(machines, (machine) => machine.allocated),
    held: sumOf(machines, (machine) => machine.held),
    spent: sumOf(machines, (machine) => machine.spent),
    overrun: balance.overrun,
    stranded: sumOf(machines, (machine) => machine.stranded),
    onTheWay: level.onTheWay,
    burnPerSecond: level.burnPerSecond,
    periodEnd: Number.isFinite(endMs) ? endMs : undefined,
    ...withAncestors(office, definition, levels, now),
    machines,
    debts: debtsOf(office, purse),
    problems: problems(purse),
  };
}

/** The largest first. */
function debtsOf({ ledger }: Office, purse: PurseKey): readonly Debt[] {
  const debts = [...(ledger.purses.get(purse)?.debts ?? [])].map(([agent, amount]) => ({ agent, amount }));
  return debts.sort((one, other) => other.amount - one.amount).slice(0, limits.budgetDebtsShown);
}

/** Of this node, and of those that can be reached and whose transfers it could take in. */
function toBeHad(
  office: Office,
  purse: PurseKey,
  positions: readonly Position[],
): ReadonlyMap<AccountId, Row> {
  const { ledger } = office;
  const own = ledger.purses.get(purse)?.row ?? EMPTY_ROW;
  const credible = ledger.rows.credible(purse, ledger.account, own);
  const rows = new Map<AccountId, Row>();
  for (const { account, row, entry } of positions) {
    if (row === undefined || !isInUse(office, account, entry)) continue;
    if (account === ledger.account || credible.has(account)) rows.set(account, row);
  }
  return rows;
}

/** Of the accounts that are in use: what is on the way to others nobody can take in, and is stranded with what they have. */
function onTheWay(
  office: Office,
  positions: readonly Position[],
  between: ReadonlyMap<AccountId, Between>,
): number {
  let sum = 0;
  for (const { account, entry } of positions) {
    if (!isInUse(office, account, entry)) continue;
    const { onTheWay, passedOn } = between.get(account) ?? NOTHING;
    sum += onTheWay - passedOn;
  }
  return sum;
}

/** Neither written off nor out of reach. */
function isInUse(office: Office, account: AccountId, entry: Position['entry']): boolean {
  return entry?.lastSequence === undefined && !isStranded(office, account);
}

/** What rights that come to accounts in use pay first. Debts of the others nobody pays while they cannot be reached. */
function unpaid(office: Office, positions: readonly Position[]): number {
  let sum = 0;
  for (const { account, row, entry } of positions) {
    if (row === undefined || !isInUse(office, account, entry)) continue;
    sum += row.overrun - row.covered;
  }
  return sum;
}

/**
 * Rows and the register are heard at different moments, so what moved in between may show in both places: granted by a row
 * and still in the reserve, returned and still in a row, taken in by the receiver's and still in the sender's.
 */
function seenTwice(positions: readonly Position[], rows: ReadonlyMap<AccountId, Row>): number {
  let twice = 0;
  for (const { account, entry } of positions) {
    const row = rows.get(account);
    if (row === undefined) continue;
    twice += Math.max(0, row.granted - (entry?.granted ?? 0));
    twice += Math.max(0, (entry?.returned ?? 0) - row.returned);
    for (const [from, total] of row.received)
      twice += Math.max(0, total - (rows.get(from)?.sent.get(account) ?? total));
  }
  return twice;
}

/** Of a dead machine, or of one that has another account now: nobody can spend it, or bring it back without an operator. */
export function isStranded({ self, ledger, mirror, stateOf, heardAt }: Office, account: AccountId): boolean {
  const node = nodeOfAccount(account);
  if (node === self) return account !== ledger.account;
  if (stateOf(node) === undefined || stateOf(node) === 'dead') return true;
  if (mirror.accountsOf(node).includes(account))
    return mirror.account(account)?.fenced === true || currentAccount(mirror, heardAt, node) !== account;
  // The store was never told of it, and the machine was heard of under another account since: a copy of its data began it.
  const heard = heardAt.get(account);
  const current = currentAccount(mirror, heardAt, node);
  return heard !== undefined && current !== undefined && (heardAt.get(current) ?? heard) > heard;
}

/**
 * The account that a machine spends from, as far as can be told: of those that are not fenced off the one heard of last. The one opened
 * last may be that of a copy of its data that is gone, while it goes on under the one before.
 */
export function currentAccount(
  mirror: Mirror,
  heardAt: ReadonlyMap<string, number>,
  node: NodeId,
): AccountId | undefined {
  const heard = (account: AccountId): number => heardAt.get(account) ?? Number.NEGATIVE_INFINITY;
  let current: AccountId | undefined;
  for (const account of mirror.accountsOf(node)) {
    if (mirror.account(account)?.fenced === true) continue;
    if (current === undefined || heard(account) >= heard(current)) current = account;
  }
  return current;
}

function machinesOf(
  office: Office,
  purse: PurseKey,
  positions: readonly Position[],
  {
    between,
    toldAt,
  }: {
    readonly between: ReadonlyMap<AccountId, Between>;
    readonly toldAt: ReadonlyMap<AccountId, number>;
  },
  now: Instant,
): readonly MachineShare[] {
  const { self, paces, nameOf, stateOf } = office;
  const machines = new Map<NodeId, MachineShare>();
  for (const { account, row, entry } of positions) {
    const nodeId = nodeOfAccount(account);
    const before = machines.get(nodeId);
    // What was written off is in the reserve, or counts as spent where it was (`lost`).
    const isOver = entry?.lastSequence !== undefined;
    const rights = row === undefined || isOver ? 0 : (rightsOf(row) ?? 0);
    const held = row === undefined || isOver ? 0 : row.held;
    const { onTheWay, passedOn, lost } = between.get(account) ?? NOTHING;
    const spent = (row?.spent ?? 0) + lost;
    const burn = isOver ? 0 : paces.perMs(purse, account, now) * 1_000;
    const isOut = isStranded(office, account);
    const stranded = isOut && !isOver ? Math.max(0, rights + held + onTheWay - passedOn) : 0;
    machines.set(nodeId, {
      nodeId,
      name: nameOf(nodeId),
      state: nodeId === self ? 'alive' : (stateOf(nodeId) ?? 'dead'),
      allocated: (before?.allocated ?? 0) + rights + held + spent,
      rights: (before?.rights ?? 0) + (isOut ? 0 : rights),
      held: (before?.held ?? 0) + held,
      spent: (before?.spent ?? 0) + spent,
      overrun: (before?.overrun ?? 0) + (row === undefined ? 0 : row.overrun - row.covered),
      burnPerSecond: (before?.burnPerSecond ?? 0) + burn,
      stranded: (before?.stranded ?? 0) + stranded,
      accounts: [...(before?.accounts ?? []), account],
      asOf: earlier(before, toldAt.get(account)),
    });
  }
  return [...machines.values()].sort((left, right) =>
    left.name === right.name ? (left.nodeId < right.nodeId ? -1 : 1) : left.name < right.name ? -1 : 1,
  );
}

/** Of a machine with several accounts the oldest counts; `undefined` where nothing was heard of one. */
function earlier(before: MachineShare | undefined, toldAt: number | undefined): number | undefined {
  if (before === undefined || toldAt === undefined) return toldAt;
  return before.asOf === undefined ? undefined : Math.min(before.asOf, toldAt);
}

/**
 * When the newest row known of each account was signed, by its writer's clock: what it had acknowledged by then is in it. A clock that is
 * fast counts no further than to when the row was heard.
 */
function toldAtOf(
  { ledger, heardAt }: Office,
  purse: PurseKey,
  now: Instant,
): ReadonlyMap<AccountId, number> {
  const toldAt = new Map<AccountId, number>();
  for (const { account, version } of ledger.rows.of(purse))
    if (version !== undefined)
      toldAt.set(account, Math.min(heardAt.get(account) ?? 0, version - SIGNED_AHEAD_MS));
  return toldAt.set(ledger.account, now.wallMs);
}

/** A machine that can be reached tells what is new within a time; any other is known as of its row. */
function asOf(
  office: Office,
  positions: readonly Position[],
  toldAt: ReadonlyMap<AccountId, number>,
  now: Instant,
): number {
  let oldest = now.wallMs;
  for (const { account, row } of positions) {
    if (account === office.ledger.account || row === undefined) continue;
    const isHere = office.stateOf(nodeOfAccount(account)) === 'alive';
    oldest = Math.min(oldest, isHere ? now.wallMs - TOLD_WITHIN_MS : (toldAt.get(account) ?? 0));
  }
  return oldest;
}

export function budgetOf(purse: PurseKey): BudgetName | undefined {
  return parsePurseKey(purse)?.budget;
}
