/**
 * Who should have how much. Everything here is advice: whatever it says, nobody can spend what it does not have.
 *
 * Rights go out in chunks, large enough that spending rarely waits and small enough that a crash strands little. Who runs
 * short asks at most three others, the richest, and gathers from everybody only when nobody who asked before it is
 * still waiting: two that ask each other for their last rights would otherwise pass them to and fro for ever.
 */
import { type Amount, parseAmount } from './amount.ts';
import type { AccountId } from './names.ts';

/** One crash strands at most this part of the limit. */
export const STRANDED_PARTS = 50;
/** Of what is left in the reserve, one chunk is this part at most, however many spend: what lies elsewhere can be had back. */
const FAIR_PARTS = 4;
/** One chunk is this part of the largest at least, as far as there is so much: who begins to spend does not know yet how fast. */
const LEAST_PARTS = 8;
/** Transfers that one request for rights may cause, but for gathering. */
export const TRANSFERS_PER_REQUEST = 3;

/**
 * What is taken out of the reserve should last for this: as far as one crash may not strand more, since every chunk costs
 * messages, and those who come later find less in it where it runs low.
 */
export const AHEAD_MS = 30_000;
/** Rates over less than this are not taken for lasting. */
const SHORTEST_MS = 1_000;

/**
 * How fast something is spent: an average in which the past fades by half every `halfLifeMs`. What begins to spend counts from
 * its beginning, so that its rate is known after a second and not after a half-life.
 */
export class Burn {
  readonly #halfLifeMs: number;
  #faded = 0;
  #atMs: number;
  #sinceMs: number;

  constructor(halfLifeMs: number, monoMs: number) {
    this.#halfLifeMs = halfLifeMs;
    this.#atMs = monoMs;
    this.#sinceMs = monoMs;
  }

  note(amount: Amount, monoMs: number): void {
    this.noteOver(amount, monoMs, monoMs);
  }

  /** As `note`, where it is only known that it was spent since `fromMs`: as if evenly. */
  noteOver(amount: number, fromMs: number, monoMs: number): void {
    this.#fade(monoMs);
    const fromAtMostMs = Math.max(fromMs, monoMs - this.#halfLifeMs);
    if (this.#faded < 1) this.#sinceMs = fromAtMostMs;
    const halves = Math.max(0, monoMs - fromAtMostMs) / this.#halfLifeMs;
    this.#faded += halves === 0 ? amount : (amount * (1 - 2 ** -halves)) / (halves * Math.LN2);
  }

  /** In units per millisecond; a prediction, never money. */
  perMs(monoMs: number): number {
    this.#fade(monoMs);
    const knownMs = Math.max(SHORTEST_MS, this.#atMs - this.#sinceMs);
    const known = 1 - 2 ** (-knownMs / this.#halfLifeMs);
    return (this.#faded * Math.LN2) / (this.#halfLifeMs * known);
  }

  #fade(monoMs: number): void {
    const passedMs = Math.max(0, monoMs - this.#atMs);
    this.#faded *= 2 ** (-passedMs / this.#halfLifeMs);
    this.#atMs = Math.max(this.#atMs, monoMs);
  }
}

/** What is expected to be spent within the time, in whole units, rounded up. */
export function expected(burnPerMs: number, horizonMs: number): Amount {
  return parseAmount(Math.ceil(Math.min(burnPerMs * horizonMs, Number.MAX_SAFE_INTEGER))) ?? (0 as Amount);
}

export interface Demand {
  readonly limit: Amount;
  readonly reserve: Amount;
  /** Of who asks. */
  readonly rights: Amount;
  /** What is to be reserved at once. */
  readonly need: Amount;
  readonly burnPerMs: number;
  readonly horizonMs: number;
  /** Accounts that spend from this budget, who asks among them. */
  readonly spenders: number;
}

/** How much to take out of the reserve, and the least that helps; both 0 where nothing is lacking. */
export function chunkOf(demand: Demand): { readonly amount: Amount; readonly atLeast: Amount } {
  const { limit, reserve, rights, need, burnPerMs, horizonMs, spenders } = demand;
  const most = Math.max(1, Math.floor(limit / STRANDED_PARTS));
  const fair = Math.floor(reserve / Math.min(Math.max(1, spenders), FAIR_PARTS));
  const lacking = Math.max(0, need - rights);
  const least = Math.max(0, Math.min(Math.floor(most / LEAST_PARTS), reserve));
  const ahead = expected(burnPerMs, horizonMs) + need - rights;
  const wanted = lacking === 0 ? Math.max(0, ahead) : Math.max(lacking + least, ahead);
  const amount = Math.max(lacking, Math.min(wanted, most - rights, Math.max(fair, least)));
  return { amount: amount as Amount, atLeast: lacking as Amount };
}

export interface Holder {
  readonly account: AccountId;
  readonly rights: Amount;
  readonly burnPerMs: number;
}

/** What the holder can do without for that long. */
export function spareOf({ rights, burnPerMs }: Holder, horizonMs: number): Amount {
  return Math.max(0, rights - expected(burnPerMs, horizonMs)) as Amount;
}

/** Something that waits for rights. Whoever asked first goes first, so that of any number that ask each other one gets what there is. */
export interface Request {
  readonly account: AccountId;
  /** Wall time in ms: only an order, so a clock that is wrong makes nothing unsafe. */
  readonly askedAt: number;
  readonly need: Amount;
}

export function goesBefore(one: Request, other: Request): boolean {
  return one.askedAt !== other.askedAt ? one.askedAt < other.askedAt : one.account < other.account;
}

export interface Ask {
  readonly from: AccountId;
  readonly amount: Amount;
}

/**
 * Whom to ask for `need`, richest first: at most three, or with `gather` as many as it takes. Empty where all
 * together have too little: then asking would only scatter what there is. `prefer` says which of two comes first that have as much.
 */
export function asksFor(
  need: Amount,
  holders: readonly Holder[],
  horizonMs: number,
  gather = false,
  prefer: (one: AccountId, other: AccountId) => number = byName,
): readonly Ask[] {
  const spares = holders
    .map((holder) => ({ from: holder.account, amount: gather ? holder.rights : spareOf(holder, horizonMs) }))
    .filter(({ amount }) => amount > 0)
    .sort((left, right) => right.amount - left.amount || prefer(left.from, right.from));
  const asks: Ask[] = [];
  let left = need as number;
  for (const { from, amount } of gather ? spares : spares.slice(0, TRANSFERS_PER_REQUEST)) {
    if (left === 0) break;
    const part = Math.min(amount, left) as Amount;
    asks.push({ from, amount: part });
    left -= part;
  }
  return left === 0 ? asks : [];
}

function byName(one: AccountId, other: AccountId): number {
  return one < other ? -1 : 1;
}

/**
 * In which order `own` asks others that have as much, by what is known of what waits there: who goes last first, since whoever
 * is served later would have to get back what is taken from it now; then those of whom nothing is known, on a circle of all accounts that
 * begins behind the own one, so that nodes that ask at once do not all ask the same; last who goes before `own`, and gives nothing.
 */
export function askingOrder(
  own: Request,
  waiting: ReadonlyMap<AccountId, Request>,
): (one: AccountId, other: AccountId) => number {
  const groupOf = (account: AccountId): number => {
    const request = waiting.get(account);
    if (request === undefined) return 1;
    return goesBefore(own, request) ? 0 : 2;
  };
  return (one, other) => {
    const [left, right] = [waiting.get(one), waiting.get(other)];
    const byGroup = groupOf(one) - groupOf(other);
    if (byGroup !== 0) return byGroup;
    if (left !== undefined && right !== undefined) return goesBefore(left, right) ? 1 : -1;
    return Number(one < own.account) - Number(other < own.account) || byName(one, other);
  };
}

/**
 * What to give to a request: what can be spared; everything, where the asker gathers and nothing that waits here goes
 * before it. 0 is a refusal.
 */
export function giftFor(
  request: Request,
  self: Holder,
  horizonMs: number,
  options: { readonly gather: boolean; readonly waiting: Request | undefined },
): Amount {
  const { gather, waiting } = options;
  if (waiting !== undefined && goesBefore(waiting, request)) return 0 as Amount;
  const most = gather || waiting !== undefined ? self.rights : spareOf(self, horizonMs);
  return Math.min(most, request.need) as Amount;
}

export interface Move {
  readonly from: AccountId;
  readonly to: AccountId;
  readonly amount: Amount;
}

/**
 * Moves that even out who runs dry first: from those with more than they will need within the time to those with less.
 * At most three to any one, none smaller than `least`, none that leaves the taker with more than `most`, and none at all
 * where nobody runs short.
 */
export function rebalance(
  holders: readonly Holder[],
  horizonMs: number,
  least: Amount,
  most: number = Number.MAX_SAFE_INTEGER,
): readonly Move[] {
  const givers = holders
    .map((holder) => ({ account: holder.account, spare: spareOf(holder, 2 * horizonMs) as number }))
    .filter(({ spare }) => spare >= least)
    .sort((left, right) => right.spare - left.spare || (left.account < right.account ? -1 : 1));
  const takers = holders
    .map(({ account, rights, burnPerMs }) => ({
      account,
      lack: Math.min(expected(burnPerMs, horizonMs), most) - rights,
    }))
    .filter(({ lack }) => lack >= least)
    .sort((left, right) => right.lack - left.lack || (left.account < right.account ? -1 : 1));
  const moves: Move[] = [];
  for (const taker of takers) {
    let left = taker.lack;
    for (let given = 0; given < TRANSFERS_PER_REQUEST && left >= least; given++) {
      const giver = givers[0];
      if (giver === undefined) return moves;
      const amount = Math.min(giver.spare, left);
      moves.push({ from: giver.account, to: taker.account, amount: amount as Amount });
      left -= amount;
      giver.spare -= amount;
      if (giver.spare < least) givers.shift();
    }
  }
  return moves;
}
