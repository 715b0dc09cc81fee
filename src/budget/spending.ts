/**
 * What agents and other accounts ask of an account, as the changes that it makes. Nothing here changes anything: a step is
 * allowed or refused on the state as it is, and the ledger applies it and makes it durable.
 */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type AgentId, parseAgentId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { type Amount, least, minus, parseAmount, plus, ZERO } from './amount.ts';
import { type Change, type Ending, type Part, parseRequestId } from './change.ts';
import type { Finished } from './finished.ts';
import type { Lineages } from './lineages.ts';
import { type BudgetName, type PurseKey, parseAccountId, parseBudgetName, parsePurseKey } from './names.ts';
import { sum } from './row.ts';
import type { Hold, LedgerState } from './state.ts';

/** Arguments are as they came from outside. */
export type LedgerCall =
  | {
      readonly op: 'reserve';
      /** The caller's: asking again under it gives the same reservation. */
      readonly id: unknown;
      readonly budget: unknown;
      readonly agent: unknown;
      readonly amount: unknown;
      readonly ttlMs: unknown;
      /** The id was drawn for this call: nothing was asked under it before. */
      readonly isFresh?: boolean;
    }
  /** 0 gives all of it back. */
  | { readonly op: 'settle'; readonly id: unknown; readonly amount: unknown }
  | {
      readonly op: 'report';
      readonly id: unknown;
      readonly budget: unknown;
      readonly agent: unknown;
      readonly amount: unknown;
    }
  /** `above`: the total that the receiver has had from here when it asked; what was sent since then counts as the answer. */
  | {
      readonly op: 'transfer';
      readonly purse: unknown;
      readonly to: unknown;
      readonly amount: unknown;
      readonly above: unknown;
    }
  /** Back to the reserve. `above`: the total returned when this was asked for. */
  | { readonly op: 'return'; readonly purse: unknown; readonly amount: unknown; readonly above: unknown };

export interface Reservation {
  readonly id: string;
  readonly amount: Amount;
  /** Wall time in ms. */
  readonly expiresAt: number;
}

export interface Settlement {
  readonly id: string;
  readonly amount: Amount;
  readonly ending: Ending;
  /** What had been held for it; 0 for a report. */
  readonly reserved?: Amount;
  /** What exceeded the rights, at the level where it exceeded them most. */
  readonly overrun: Amount;
}

export interface Moved {
  readonly purse: PurseKey;
  /** In all, this step included. */
  readonly total: Amount;
  /** By this step: 0 where it had been done before. */
  readonly moved: Amount;
}

export interface Step<T> {
  readonly changes: readonly Change[];
  readonly value: T;
}

export interface Books {
  readonly state: LedgerState;
  readonly lineages: Lineages;
  readonly wallMs: number;
}

/** Takes the amount from the rights of the budget and of all its ancestors, or from none. Errors: INVALID_ARGUMENT, NOT_FOUND, CONFLICT, DENIED (an agent in debt), BUDGET_EXHAUSTED, QUOTA_EXCEEDED. */
export function reserve(
  books: Books,
  call: Extract<LedgerCall, { op: 'reserve' }>,
): Result<Step<Reservation>> {
  const { state } = books;
  const asked = checkedSpending(call);
  if (!asked.ok) return asked;
  const { id, budget, agent, amount } = asked.value;
  const ttlMs = parseAmount(call.ttlMs, 1);
  if (ttlMs === undefined || ttlMs > limits.budgetTtlMs) return invalid('The time to live is out of bounds.');
  const before = call.isFresh === true ? undefined : earlierReservation(state, id, agent, amount);
  if (before !== undefined) return before.ok ? ok({ changes: [], value: before.value }) : before;
  const lineage = books.lineages.at(budget, books.wallMs);
  if (!lineage.ok) return lineage;
  const { purses, names, expiry } = lineage.value;
  const debt = state.debtOf(agent, books.wallMs);
  if (debt > 0) return indebted(agent, debt);
  if (state.holds.size >= limits.budgetHolds) return tooMany(`${limits.budgetHolds} reservations wait here.`);
  for (const [at, key] of purses.entries()) {
    if (state.isClosed(key)) return closed(key);
    const rights = state.purses.get(key)?.rights ?? ZERO;
    if (rights < amount) return exhausted(names[at] ?? budget, key, rights, amount);
  }
  const expiresAt = Math.max(0, Math.floor(books.wallMs)) + ttlMs;
  return ok({
    changes: [{ kind: 'reserved', id, agent, amount, purses, expiresAt, ttlMs, expiry }],
    value: { id, amount, expiresAt },
  });
}

/** Errors: INVALID_ARGUMENT, NOT_FOUND, CONFLICT (settled with another amount), TOO_LARGE. */
export function settle(books: Books, call: Extract<LedgerCall, { op: 'settle' }>): Result<Step<Settlement>> {
  const { state } = books;
  const id = parseRequestId(call.id);
  const amount = parseAmount(call.amount);
  if (id === undefined) return invalid('The reservation id is no text of a fitting length.');
  if (amount === undefined) return invalidAmount();
  const hold = state.holds.get(id);
  if (hold !== undefined) return ended(state, hold, amount, 'settled');
  const finished = state.finished.get(id);
  if (finished === undefined || finished.what !== 'reservation') {
    return failWith(
      'NOT_FOUND',
      `There is no reservation "${id}" here.`,
      'Give the id as it was answered, and soon: long after its end it is forgotten. What was spent without a reservation is reported.',
    );
  }
  if (finished.ending !== 'settled') return settledLate(state, finished, amount);
  if (finished.amount !== amount) {
    return failWith(
      'CONFLICT',
      `The reservation was settled with ${finished.amount}.`,
      'It stays as it is.',
      {
        details: { outcome: 'not-done', amount: finished.amount },
      },
    );
  }
  return ok({ changes: [], value: settlementOf(finished) });
}

/** The time of a reservation is up. */
export function expired(state: LedgerState, hold: Hold): Result<Step<Settlement>> {
  return hold.expiry === 'charge'
    ? ended(state, hold, hold.amount, 'charged')
    : ended(state, hold, ZERO, 'freed');
}

/** What was spent already: counted whatever there is, beyond the rights as overrun of the agent. Errors: INVALID_ARGUMENT, NOT_FOUND, CONFLICT, TOO_LARGE, QUOTA_EXCEEDED. */
export function report(books: Books, call: Extract<LedgerCall, { op: 'report' }>): Result<Step<Settlement>> {
  const { state } = books;
  const asked = checkedSpending(call);
  if (!asked.ok) return asked;
  const { id, budget, agent, amount } = asked.value;
  const before = state.finished.get(id);
  if (state.holds.has(id) || before?.what === 'reservation') return otherRequest(id);
  if (before !== undefined) {
    return before.agent === agent && before.amount === amount
      ? ok({ changes: [], value: settlementOf(before) })
      : otherRequest(id);
  }
  const lineage = books.lineages.at(budget, books.wallMs);
  if (!lineage.ok) return lineage;
  const { purses } = lineage.value;
  if (state.unconfirmed.length >= limits.budgetRemembered)
    return tooMany(`${state.unconfirmed.length} reports wait for this start to be confirmed.`);
  const missing = purses.filter((key) => !state.purses.has(key)).length;
  if (state.purses.size + missing > limits.budgetPurses) return tooMany('There are too many purses.');
  for (const key of purses) if (state.isClosed(key)) return closed(key);
  const parts = partsOf(state, purses, ZERO, amount);
  if (parts === undefined) return tooLarge();
  return ok({
    changes: [{ kind: 'reported', id, agent, amount, parts }],
    value: { id, amount, ending: 'settled', reserved: ZERO, overrun: worst(parts) },
  });
}

/** Errors: INVALID_ARGUMENT, CONFLICT (the receiver had more than was ever sent), BUDGET_EXHAUSTED, QUOTA_EXCEEDED, TOO_LARGE. */
export function transfer(
  state: LedgerState,
  call: Extract<LedgerCall, { op: 'transfer' }>,
): Result<Step<Moved>> {
  const to = parseAccountId(call.to);
  if (to === undefined || to === state.account) return invalid('Rights go to another account.');
  if (state.quarantined.has(to)) return invalid(`${to} contradicted itself: nothing is sent to it.`);
  const sent = (key: PurseKey) => state.purses.get(key)?.sent.get(to) ?? ZERO;
  const move = moved(state, call, sent);
  if (!move.ok || move.value.moved === 0) return unmoved(move);
  const { purse, total } = move.value;
  const partners = state.purses.get(purse)?.sent;
  if (partners !== undefined && !partners.has(to) && partners.size >= limits.budgetPartners) {
    return tooMany(`Rights went from here to ${limits.budgetPartners} others already.`);
  }
  if (sum([...(partners?.values() ?? []), move.value.moved]) === undefined) return tooLarge();
  return ok({ changes: [{ kind: 'sent', purse, account: to, total }], value: move.value });
}

/** Errors as of `transfer`. */
export function giveBack(
  state: LedgerState,
  call: Extract<LedgerCall, { op: 'return' }>,
): Result<Step<Moved>> {
  const move = moved(state, call, (key) => state.purses.get(key)?.returned ?? ZERO);
  if (!move.ok || move.value.moved === 0) return unmoved(move);
  const { purse, total } = move.value;
  return ok({ changes: [{ kind: 'returned', purse, total }], value: move.value });
}

/** Rights that came in pay first what was spent beyond rights. */
export function covering(state: LedgerState, key: PurseKey): readonly Change[] {
  const purse = state.purses.get(key);
  if (purse === undefined || purse.rights === 0) return [];
  const changes: Change[] = [];
  let left = purse.rights;
  for (const [agent, debt] of purse.debts) {
    const amount = least(left, debt);
    if (amount === 0) break;
    changes.push({ kind: 'covered', purse: key, agent, amount });
    left = (left - amount) as Amount;
  }
  return changes;
}

function ended(state: LedgerState, hold: Hold, amount: Amount, ending: Ending): Result<Step<Settlement>> {
  const parts = partsOf(state, hold.purses, hold.amount, amount);
  if (parts === undefined) return tooLarge();
  return ok({
    changes: [{ kind: 'settled', id: hold.id, amount, ending, parts }],
    value: { id: hold.id, amount, ending, reserved: hold.amount, overrun: worst(parts) },
  });
}

/** Its time had run out. What was charged covers up to the whole of it; only what goes beyond is news, once. */
function settledLate(state: LedgerState, finished: Finished, amount: Amount): Result<Step<Settlement>> {
  const more = minus(amount, finished.amount);
  if (more === undefined || more === 0) return ok({ changes: [], value: settlementOf(finished) });
  const parts = partsOf(
    state,
    finished.parts.map(({ purse }) => purse),
    ZERO,
    more,
  );
  if (parts === undefined) return tooLarge();
  return ok({
    changes: [{ kind: 'settledLate', id: finished.id, amount, parts }],
    value: {
      id: finished.id,
      amount,
      ending: finished.ending,
      reserved: finished.reserved,
      overrun: worst(parts),
    },
  });
}

/** Of each purse: `amount` out of what was held and the rights beside it, and the rest as overrun. A closed purse takes nothing any more. */
function partsOf(
  state: LedgerState,
  purses: readonly PurseKey[],
  held: Amount,
  amount: Amount,
): readonly Part[] | undefined {
  const parts: Part[] = [];
  for (const key of purses) {
    if (state.isClosed(key)) continue;
    const purse = state.purses.get(key);
    const available = (held + (purse?.rights ?? 0)) as Amount;
    const spent = least(available, amount);
    const overrun = (amount - spent) as Amount;
    if (purse !== undefined && plus(purse.overrun, overrun) === undefined) return undefined;
    parts.push({ purse: key, spent, overrun });
  }
  return parts;
}

function worst(parts: readonly Part[]): Amount {
  let most = ZERO;
  for (const { overrun } of parts) if (overrun > most) most = overrun;
  return most;
}

function settlementOf({ id, amount, ending, reserved, parts }: Finished): Settlement {
  return { id, amount, ending, reserved, overrun: worst(parts) };
}

function moved(
  state: LedgerState,
  call: { readonly purse: unknown; readonly amount: unknown; readonly above: unknown },
  totalOf: (purse: PurseKey) => Amount,
): Result<Moved> {
  const amount = parseAmount(call.amount, 1);
  const above = parseAmount(call.above);
  if (amount === undefined || above === undefined) return invalidAmount();
  if (parsePurseKey(call.purse) === undefined) return invalid('That names no budget, epoch and period.');
  const purse = call.purse as PurseKey;
  const before = totalOf(purse);
  if (before > above) return ok({ purse, total: before, moved: ZERO });
  if (before < above) {
    return failWith(
      'CONFLICT',
      `${above} is more than ever went from here: ${before}.`,
      'See budget status.',
      {
        details: { outcome: 'not-done', total: before },
      },
    );
  }
  if (state.isClosed(purse)) return closed(purse);
  const rights = state.purses.get(purse)?.rights ?? ZERO;
  if (rights < amount) return exhausted(parsePurseKey(purse)?.budget ?? '', purse, rights, amount);
  return ok({ purse, total: (before + amount) as Amount, moved: amount });
}

function unmoved(move: Result<Moved>): Result<Step<Moved>> {
  return move.ok ? ok({ changes: [], value: move.value }) : move;
}

function checkedSpending(call: {
  readonly id: unknown;
  readonly budget: unknown;
  readonly agent: unknown;
  readonly amount: unknown;
}): Result<{
  readonly id: string;
  readonly budget: BudgetName;
  readonly agent: AgentId;
  readonly amount: Amount;
}> {
  const id = parseRequestId(call.id);
  const budget = parseBudgetName(call.budget);
  const agent = parseAgentId(call.agent);
  const amount = parseAmount(call.amount, 1);
  if (id === undefined) return invalid(`An id is text of 1 to ${limits.budgetIdBytes} bytes.`);
  if (budget === undefined) return invalid('That is no name of a budget.');
  if (agent === undefined) return invalid('That is no name of an agent.');
  return amount === undefined ? invalidAmount() : ok({ id, budget, agent, amount });
}

function earlierReservation(
  state: LedgerState,
  id: string,
  agent: AgentId,
  amount: Amount,
): Result<Reservation> | undefined {
  const hold = state.holds.get(id);
  if (hold !== undefined) {
    return hold.agent === agent && hold.amount === amount
      ? ok({ id, amount, expiresAt: hold.expiresAt })
      : otherRequest(id);
  }
  const finished = state.finished.get(id);
  if (finished === undefined) return undefined;
  if (finished.what === 'report' || finished.agent !== agent || finished.reserved !== amount) {
    return otherRequest(id);
  }
  return failWith(
    'CONFLICT',
    `The reservation "${id}" is over (${finished.ending}).`,
    'Reserve under a new id.',
    {
      details: { outcome: 'not-done', ending: finished.ending, amount: finished.amount },
    },
  );
}

type Refused = ReturnType<typeof failWith>;

function exhausted(budget: string, purse: PurseKey, rights: Amount, needed: Amount): Refused {
  return failWith(
    'BUDGET_EXHAUSTED',
    `This node has ${rights} of budget "${budget}" left, and ${needed} is asked for.`,
    'Ask for rights with budget_request, or for less.',
    { details: { outcome: 'not-done', budget, purse, rights, needed } },
  );
}

function indebted(agent: AgentId, debt: number): Refused {
  return failWith(
    'DENIED',
    `The agent "${agent}" has spent more than there was and owes ${debt}.`,
    'It may spend again once rights that come to this node have paid for that, or in the next period.',
    { details: { outcome: 'not-done', debt } },
  );
}

function closed(purse: PurseKey): Refused {
  return failWith('CONFLICT', `The period of ${purse} is closed.`, 'Check the clock of this machine.', {
    details: { outcome: 'not-done' },
  });
}

function otherRequest(id: string): Refused {
  return failWith('CONFLICT', `The id "${id}" was used for another request.`, 'Use a new id.', {
    details: { outcome: 'not-done' },
  });
}

function tooMany(message: string): Refused {
  return failWith('QUOTA_EXCEEDED', message, 'Settle reservations that are over.', { retryable: true });
}

function tooLarge(): Refused {
  return failWith('TOO_LARGE', 'The sum would exceed 2^53 - 1.', 'Split the budget.', {
    details: { outcome: 'not-done' },
  });
}

function invalidAmount(): Refused {
  return invalid('An amount is a whole number from 1 to 2^53 - 1 (0 to settle with nothing).');
}

function invalid(message: string): Refused {
  return failWith('INVALID_ARGUMENT', message, 'See the description of the tool.', {
    details: { outcome: 'not-done' },
  });
}
