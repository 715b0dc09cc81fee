/** Everything that an account knows of its own money: made by applying changes in order, on the run and from the journal alike. */
import { ChurningMap } from '../kernel/churning-map.ts';
import { type AgentId, parseAgentId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { type Amount, parseAmount, ZERO } from './amount.ts';
import {
  type Change,
  ENDINGS,
  fullParts,
  type Part,
  paidInFull,
  parseChange,
  parsePart,
  parseRequestId,
} from './change.ts';
import { EXPIRIES, type Expiry } from './definition.ts';
import { type Finished, FinishedRequests } from './finished.ts';
import { FormWriter, type Kind, readForms } from './forms.ts';
import {
  type AccountId,
  type FreshNumber,
  type PurseKey,
  parseAccountId,
  parseFreshNumber,
  parsePurseKey,
  splitPurseKey,
} from './names.ts';
import { type Period, parsePeriod, periodEndMs } from './period.ts';
import { Purse } from './purse.ts';
import { parseRow, rowBody } from './row.ts';

export interface Hold {
  readonly id: string;
  readonly agent: AgentId;
  readonly amount: Amount;
  readonly purses: readonly PurseKey[];
  /** Wall time in ms. */
  readonly expiresAt: number;
  readonly ttlMs: number;
  readonly expiry: Expiry;
}

type Reported = Extract<Change, { kind: 'reported' }>;

/** Some of what a state holds: what is missing is in the other pieces. */
export type StatePiece = Readonly<Record<string, unknown>>;

/** So that a piece stays within what one message may hold (`limits.messageElements`). */
const PURSES_IN_PIECE = 40;
const REQUESTS_IN_PIECE = 500;
/** Openings that may stand in the quorum store because a start was cut short: more starts without a majority than this begin a new account. */
const OPENINGS = 64;
const FORMER = 64;
const QUARANTINED = 1_000;

export class LedgerState {
  readonly account: AccountId;
  /** What the host knows of the place of the data: a copy elsewhere has another. */
  readonly place: string;
  /** Accounts that this data stood for before, newest last. */
  readonly former: readonly AccountId[];
  /**
   * Numbers of starts, oldest first, of which one stands in the quorum store unless another copy of the data put its own there:
   * the last one that was confirmed or a later one; an earlier one where the store was founded anew from an older state.
   */
  openings: readonly FreshNumber[] = [];
  /** How many of them are the last one that was confirmed and what came after it. */
  tries = 0;
  readonly purses = new Map<PurseKey, Purse>();
  readonly holds = new ChurningMap<string, Hold>();
  readonly finished = new FinishedRequests(limits.budgetRemembered);
  readonly quarantined = new Set<AccountId>();
  /**
   * What was reported, or settled beyond its reservation, since a start that nobody has confirmed, as reports: where this turns
   * out to be an older state of the account, it is counted on the one that takes its place.
   */
  readonly unconfirmed: Reported[] = [];
  /** Last closed period of each budget, by `NAME/EPOCH`. */
  readonly closed = new Map<string, Period>();
  /** Purses in which somebody owes. */
  readonly #owing = new Set<Purse>();

  constructor(account: AccountId, place: string, former: readonly AccountId[] = []) {
    this.account = account;
    this.place = place;
    this.former = former.slice(-FORMER);
  }

  /** What the agent owes in all purses of periods that run: nothing pays any more what was overrun in one that is over. */
  debtOf(agent: string, wallMs: number): number {
    let debt = 0;
    for (const { key, debts } of this.#owing) {
      const owed = debts.get(agent);
      if (owed !== undefined && periodEndMs(splitPurseKey(key)[1]) > wallMs) debt += owed;
    }
    return debt;
  }

  isClosed(key: PurseKey): boolean {
    if (this.closed.size === 0) return false;
    const [series, period] = splitPurseKey(key);
    const closed = this.closed.get(series);
    return closed !== undefined && period <= closed;
  }

  /** `sequence` is that of the journal's record. Throws where the change does not follow from what was. */
  apply(change: Change, sequence: number): void {
    switch (change.kind) {
      case 'opening':
        this.openings = [...this.openings, change.nonce].slice(-OPENINGS);
        this.tries = Math.min(this.tries + 1, OPENINGS);
        return;
      case 'opened':
        this.openings = [...this.openings.filter((each) => each !== change.nonce), change.nonce];
        this.tries = 1;
        this.unconfirmed.length = 0;
        return;
      case 'granted':
        this.#changed(change.purse, sequence).grantedIs(change.total);
        return;
      case 'received':
        this.#changed(change.purse, sequence).receivedIs(change.account, change.total);
        return;
      case 'sent':
        this.#changed(change.purse, sequence).sentIs(change.account, change.total);
        return;
      case 'returned':
        this.#changed(change.purse, sequence).returnedIs(change.total);
        return;
      case 'reserved':
        for (const key of change.purses) this.#changed(key, sequence).hold(change.amount);
        this.holds.set(change.id, change);
        return;
      case 'settled':
        this.#settled(change, sequence);
        return;
      case 'settledLate':
        this.#settledLate(change, sequence);
        return;
      case 'reported':
        for (const { purse, spent, overrun } of change.parts)
          this.#spend(purse, sequence, change.agent, ZERO, spent, overrun);
        this.#note(change.id, change.agent, change.parts, ZERO);
        this.finished.set({
          id: change.id,
          what: 'report',
          agent: change.agent as AgentId,
          reserved: ZERO,
          amount: change.amount,
          ending: 'settled',
          parts: change.parts,
        });
        return;
      case 'covered':
        this.#cover(this.#changed(change.purse, sequence), change);
        return;
      case 'closed':
        this.#close(change.purse);
        return;
      case 'quarantined':
        if (this.quarantined.size < QUARANTINED) this.quarantined.add(change.account);
        return;
    }
  }

  /** A purse read back from the disk. */
  restore(purse: Purse): void {
    this.purses.set(purse.key, purse);
    if (purse.debts.size > 0) this.#owing.add(purse);
  }

  /**
   * What there is now, as plain data in pieces that can be decoded one by one; read back by `decodeState`. Each is worked out when it is
   * asked for: there may be many, and everybody waits meanwhile.
   */
  pieces(): readonly (() => StatePiece)[] {
    const base = {
      account: this.account,
      place: this.place,
      former: this.former,
      openings: this.openings,
      tries: this.tries,
      quarantined: [...this.quarantined],
      closed: [...this.closed],
    };
    const purses = [...this.purses.values()].map((purse) => [
      purse.key,
      rowBody(purse.row),
      [...purse.debts],
    ]);
    // Requests never change, others take their place.
    return [
      () => base,
      ...chunked(purses, PURSES_IN_PIECE).map((chunk) => () => ({ purses: chunk })),
      ...chunked([...this.holds.values()], REQUESTS_IN_PIECE).map((chunk) => () => ({
        holds: written(chunk, writeHold),
      })),
      ...this.finished.chunks(REQUESTS_IN_PIECE).map((chunk) => () => ({
        finished: written(chunk(), writeFinished),
      })),
      ...chunked(this.unconfirmed, REQUESTS_IN_PIECE).map((chunk) => () => ({ unconfirmed: chunk })),
    ];
  }

  #settled(change: Extract<Change, { kind: 'settled' }>, sequence: number): void {
    const hold = this.holds.get(change.id);
    if (hold === undefined) throw new Error(`budget: there is no reservation ${change.id}`);
    for (const { purse, spent, overrun } of change.parts)
      this.#spend(purse, sequence, hold.agent, hold.amount, spent, overrun);
    this.holds.delete(change.id);
    const { id, agent, amount: reserved } = hold;
    const { amount, ending, parts } = change;
    this.#note(id, agent, parts, reserved);
    this.finished.set({ id, what: 'reservation', agent, reserved, amount, ending, parts });
  }

  /** Of `held` and the rights beside it; `overrun` beyond them. */
  #spend(key: PurseKey, sequence: number, agent: string, held: Amount, spent: Amount, overrun: Amount): void {
    const purse = this.#changed(key, sequence);
    purse.settle(agent, held, spent, overrun);
    if (overrun > 0) this.#owing.add(purse);
  }

  #cover(purse: Purse, { agent, amount }: Extract<Change, { kind: 'covered' }>): void {
    purse.cover(agent, amount);
    if (purse.debts.size === 0) this.#owing.delete(purse);
  }

  #settledLate({ id, amount, parts }: Extract<Change, { kind: 'settledLate' }>, sequence: number): void {
    const before = this.finished.get(id);
    if (before === undefined) throw new Error(`budget: there was no reservation ${id}`);
    for (const { purse, spent, overrun } of parts)
      this.#spend(purse, sequence, before.agent, ZERO, spent, overrun);
    this.#note(id, before.agent, parts, ZERO);
    this.finished.set({ ...before, amount });
  }

  /** Of a new account the first number of a start is the only one; a later one is beside it until it is confirmed. */
  #note(id: string, agent: string, parts: readonly Part[], reserved: Amount): void {
    if (this.tries <= 1) return;
    const beyond = parts.map(({ purse, spent, overrun }) => {
      const amount = Math.max(0, spent + overrun - reserved) as Amount;
      return { purse, spent: ZERO, overrun: amount };
    });
    const amount = beyond.reduce((most, { overrun }) => (overrun > most ? overrun : most), ZERO);
    if (amount > 0) this.unconfirmed.push({ kind: 'reported', id, agent, amount, parts: beyond });
  }

  /** Without this a clock that steps back would open the period anew, with all its rights and nothing spent. */
  #close(key: PurseKey): void {
    const [series, period] = splitPurseKey(key);
    const closed = this.closed.get(series);
    if (closed === undefined || closed < period) this.closed.set(series, period);
    for (const [other, purse] of this.purses) {
      if (!this.isClosed(other)) continue;
      if (purse.held > 0) throw new Error(`budget: ${other} cannot be closed while something is held`);
      this.purses.delete(other);
      this.#owing.delete(purse);
    }
  }

  #changed(key: PurseKey, sequence: number): Purse {
    let purse = this.purses.get(key);
    if (purse === undefined) {
      purse = new Purse(key);
      this.purses.set(key, purse);
    }
    purse.sequence = sequence;
    return purse;
  }
}

/** `undefined` where anything is not as `encode` gives it. */
export function decodeState(pieces: readonly unknown[]): LedgerState | undefined {
  const [base, ...rest] = pieces;
  if (!isPlain(base) || !rest.every(isPlain)) return undefined;
  const account = parseAccountId(base.account);
  const former = parsedList(base.former, parseAccountId);
  const openings = parsedList(base.openings, parseFreshNumber);
  const tries = parseAmount(base.tries ?? openings?.length);
  const quarantined = parsedList(base.quarantined, parseAccountId);
  const closed = parsedList(base.closed, parseClosed);
  if (account === undefined || typeof base.place !== 'string' || former === undefined) return undefined;
  if (openings === undefined || tries === undefined) return undefined;
  if (quarantined === undefined || closed === undefined) return undefined;
  const state = new LedgerState(account, base.place, former);
  state.openings = openings;
  state.tries = tries;
  for (const each of quarantined) state.quarantined.add(each);
  for (const [series, period] of closed) state.closed.set(series, period);
  for (const piece of rest) {
    const purses = parsedList(piece.purses ?? [], (item) => parsePurse(item, account));
    const holds = read(piece.holds, HOLDS);
    const finished = read(piece.finished, FINISHED);
    const unconfirmed = parsedList(piece.unconfirmed ?? [], parseReported);
    if (purses === undefined || holds === undefined || finished === undefined) return undefined;
    if (unconfirmed === undefined) return undefined;
    state.unconfirmed.push(...unconfirmed);
    for (const purse of purses) state.restore(purse);
    for (const hold of holds) state.holds.set(hold.id, hold);
    for (const each of finished) state.finished.set(each);
  }
  return holdsAddUp(state) ? state : undefined;
}

/** What the reservations say is held is what the purses say. */
function holdsAddUp(state: LedgerState): boolean {
  const held = new Map<PurseKey, number>();
  for (const hold of state.holds.values())
    for (const key of hold.purses) held.set(key, (held.get(key) ?? 0) + hold.amount);
  for (const purse of state.purses.values()) if ((held.get(purse.key) ?? 0) !== purse.held) return false;
  return [...held.keys()].every((key) => state.purses.has(key));
}

function parsedList<T>(value: unknown, parse: (item: unknown) => T | undefined): readonly T[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const parsed: T[] = [];
  for (const item of value as readonly unknown[]) {
    const each = parse(item);
    if (each === undefined) return undefined;
    parsed.push(each);
  }
  return parsed;
}

function chunked<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  const chunks: T[][] = [];
  for (let at = 0; at < items.length; at += size) chunks.push(items.slice(at, at + size));
  return chunks;
}

function written<T>(things: readonly T[], write: (writer: FormWriter, thing: T) => void): unknown {
  const writer = new FormWriter();
  for (const thing of things) write(writer, thing);
  return [writer.forms, writer.fields];
}

function read<T>(value: unknown, kinds: Readonly<Record<string, Kind<T>>>): readonly T[] | undefined {
  if (value === undefined) return [];
  return Array.isArray(value) ? readForms(value[0], value[1], kinds) : undefined;
}

function writeHold(writer: FormWriter, hold: Hold): void {
  const { id, agent, amount, purses, expiresAt, ttlMs, expiry } = hold;
  writer.begin(['hold', agent, ttlMs, expiry, ...purses]).push(id, amount, expiresAt);
}

const HOLDS: Readonly<Record<string, Kind<Hold>>> = {
  hold: {
    own: 3,
    make: ([, agent, ttlMs, expiry, ...purses], [id, amount, expiresAt]) =>
      parseHold({ id, agent, amount, purses, expiresAt, ttlMs, expiry }),
  },
};

function writeFinished(writer: FormWriter, finished: Finished): void {
  const { id, what, agent, reserved, amount, ending, parts } = finished;
  const purses = paidInFull(parts, amount);
  if (purses === undefined) writer.begin(['plain']).push(finished);
  else writer.begin(['paid', what, agent, ending, ...purses]).push(id, reserved, amount);
}

const FINISHED: Readonly<Record<string, Kind<Finished>>> = {
  plain: { own: 1, make: (_form, [finished]) => parseFinished(finished) },
  paid: {
    own: 3,
    make: ([, what, agent, ending, ...purses], [id, reserved, amount]) =>
      parseFinished({ id, what, agent, reserved, amount, ending, parts: fullParts(purses, amount) }),
  },
};

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parsePurse(value: unknown, account: AccountId): Purse | undefined {
  if (!Array.isArray(value) || parsePurseKey(value[0]) === undefined) return undefined;
  const row = parseRow(value[1], account);
  const debts = parsedList(value[2], (pair) => {
    if (!Array.isArray(pair)) return undefined;
    const agent = parseAgentId(pair[0]);
    const debt = parseAmount(pair[1], 1);
    return agent === undefined || debt === undefined ? undefined : ([agent, debt] as const);
  });
  if (row === undefined || debts === undefined) return undefined;
  const purse = new Purse(value[0] as PurseKey);
  purse.restore(row, debts);
  return purse;
}

function parseHold(value: unknown): Hold | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const given = value as Readonly<Record<string, unknown>>;
  const id = parseRequestId(given.id);
  const agent = parseAgentId(given.agent);
  const amount = parseAmount(given.amount, 1);
  const purses = parsedList(given.purses, (key) =>
    parsePurseKey(key) === undefined ? undefined : (key as PurseKey),
  );
  const expiresAt = parseAmount(given.expiresAt);
  const ttlMs = parseAmount(given.ttlMs);
  const expiry = EXPIRIES.find((word) => word === given.expiry);
  if (id === undefined || agent === undefined || amount === undefined || purses === undefined)
    return undefined;
  if (expiresAt === undefined || ttlMs === undefined || expiry === undefined) return undefined;
  return { id, agent, amount, purses, expiresAt, ttlMs, expiry };
}

function parseFinished(value: unknown): Finished | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const given = value as Readonly<Record<string, unknown>>;
  const id = parseRequestId(given.id);
  const what = given.what === 'reservation' || given.what === 'report' ? given.what : undefined;
  const agent = parseAgentId(given.agent);
  const reserved = parseAmount(given.reserved);
  const amount = parseAmount(given.amount);
  const ending = ENDINGS.find((word) => word === given.ending);
  const parts = parsedList(given.parts, parsePart);
  if (id === undefined || what === undefined || agent === undefined || reserved === undefined)
    return undefined;
  if (amount === undefined || ending === undefined || parts === undefined) return undefined;
  return { id, what, agent, reserved, amount, ending, parts };
}

function parseReported(value: unknown): Reported | undefined {
  const change = parseChange(value);
  return change?.kind === 'reported' ? change : undefined;
}

function parseClosed(value: unknown): readonly [string, Period] | undefined {
  if (!Array.isArray(value) || typeof value[0] !== 'string') return undefined;
  const period = parsePeriod(value[1]);
  return period === undefined ? undefined : [value[0], period];
}
