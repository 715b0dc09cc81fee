/** What this node lacks of one purse, and whom it asks for it. */
import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';
import {
  type Ask,
  askingOrder,
  asksFor,
  expected,
  goesBefore,
  type Holder,
  STRANDED_PARTS,
  spareOf,
  TRANSFERS_PER_REQUEST,
} from '../allocation.ts';
import { type Amount, ZERO } from '../amount.ts';
import type { AccountId, PurseKey } from '../names.ts';
import { type AnswerFrame, type AskFrame, encodeCall, type Waiting } from './frames.ts';
import type { Holding, Holdings } from './holdings.ts';
import type { Exhausted, GatheringEffect, GatheringOptions } from './messages.ts';

/** Rights that will be spent within this are not spare: short, since what waits needs them now. */
export const HORIZON_MS = 1_000;
/** What is fetched should last for this, where somebody has so much. */
const LASTING_MS = 5_000;
/** How long each try of an ask waits for its answer, in ms; behind the last the node counts as silent. */
const TRIES_MS = [150, 200, 300, 400] as const;
/** Asks for what can be spared, before all that there is is asked for. */
const PLAIN_ROUNDS = 1;
/** Pauses where somebody else goes first, or where what is on the way is waited for. */
const PAUSE_MS = 20;
const PAUSE_MAX_MS = 160;
/** How long it is believed that there is nothing to be had. */
const EXHAUSTED_MS = 250;
/** What is on the way for longer, and stays the same, is not waited for. */
const STUCK_MS = 2_000;
/** Times that nodes which count as silent are tried anew, where what they had would do. */
const SILENT_ROUNDS = 2;
/** How long what others said that waits there is taken to wait. */
const HEARD_MS = 1_000;
/** How many of them are remembered. */
const HEARD = 256;

interface OpenAsk {
  readonly node: NodeId;
  readonly frame: AskFrame;
  tries: number;
  atMs: number;
}

export class Want {
  readonly purse: PurseKey;
  /** Wall time in ms: since when something waits here; the order among those who ask each other. */
  #askedAt: number;
  readonly #options: GatheringOptions;
  readonly #holdings: Holdings;
  readonly #freshId: () => number;
  readonly #out: (effect: GatheringEffect) => void;
  #need: Amount;
  #waiting: Amount;
  readonly #open = new Map<number, OpenAsk>();
  readonly #silent = new Set<NodeId>();
  #silentRounds = 0;
  #plainRounds = 0;
  #pauses = 0;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  /** Answers of before do not prove that there is nothing. */
  #sinceMs: number;
  #before: Waiting | undefined;
  /** What waits elsewhere, by who waits. */
  readonly #heard = new Map<AccountId, { readonly request: Waiting; readonly atMs: number }>();
  /** What others have, once they told that it is too little. */
  #exhausted: (Pick<Exhausted, 'shares'> & { readonly others: number }) | undefined;
  #onTheWay = { amount: 0, sinceMs: 0 };

  constructor(
    purse: PurseKey,
    need: Amount,
    parts: {
      readonly options: GatheringOptions;
      readonly holdings: Holdings;
      readonly freshId: () => number;
      readonly out: (effect: GatheringEffect) => void;
      readonly now: Instant;
    },
  ) {
    this.purse = purse;
    this.#need = need;
    this.#waiting = need;
    this.#options = parts.options;
    this.#holdings = parts.holdings;
    this.#freshId = parts.freshId;
    this.#out = parts.out;
    this.#askedAt = wallOf(parts.now);
    this.#sinceMs = parts.now.monoMs;
  }

  /** `undefined` while nothing can be had: then it stands in nobody's way. */
  get request(): Waiting | undefined {
    const { account } = this.#options.ledger;
    return this.#exhausted === undefined ? { account, askedAt: this.#askedAt, need: this.#need } : undefined;
  }

  get isOver(): boolean {
    return this.#rights >= this.#need && !this.isResting;
  }

  /** It is known that there is nothing: worth remembering, also while nothing waits. */
  get isResting(): boolean {
    return this.#exhausted !== undefined;
  }

  get wakeMs(): number {
    if (this.#open.size === 0) return this.#pausedUntilMs;
    return Math.min(...[...this.#open.values()].map(({ atMs }) => atMs));
  }

  needs(need: Amount, waiting: Amount, now: Instant): void {
    if (this.#need === 0) this.#askedAt = wallOf(now);
    this.#need = need;
    this.#waiting = waiting;
    if (this.#exhausted === undefined || need === 0) return;
    if (need > this.#exhausted.others + this.#rights) this.#tell(now);
    else this.#again(now);
  }

  /** A row may say what was given, and is then the answer. */
  rowTaken(now: Instant): void {
    for (const [id, { node, frame }] of this.#open) {
      if (frame.of === undefined || this.#holdings.above(this.purse, frame.of) <= frame.above) continue;
      this.#open.delete(id);
      this.#pauses = 0;
      const row = this.#options.ledger.rows.row(this.purse, frame.of);
      this.#holdings.tell(this.purse, node, frame.of, row, now);
    }
    this.look(now);
  }

  /** Something may be different: what was taken for exhausted may not be. */
  look(now: Instant): void {
    if (this.#exhausted === undefined) return;
    const known = this.#known(now);
    if (known.reduce((sum, { rights }) => sum + rights, 0) >= this.#lack(now)) this.#again(now);
  }

  /** For which account `node` was asked under this number; `undefined` where it was not. */
  askedFor(id: number, node: NodeId): AccountId | undefined {
    const ask = this.#open.get(id);
    return ask?.node === node ? ask.frame.account : undefined;
  }

  answered(frame: AnswerFrame, now: Instant): void {
    const ask = this.#open.get(frame.id);
    this.#open.delete(frame.id);
    if (frame.waiting !== undefined) this.#waits(frame.waiting, now);
    if (frame.total > (ask?.frame.above ?? frame.total)) this.#pauses = 0;
    this.step(now);
  }

  /** Who asks here for the same and goes first would take away again what is gathered now. */
  askedHere({ account, askedAt, need }: Waiting, now: Instant): void {
    this.#waits({ account, askedAt, need }, now);
  }

  #waits(request: Waiting, now: Instant): void {
    // Who goes first is news: somebody else is asked soon.
    if (!this.#heard.has(request.account)) this.#pauses = 0;
    if (this.#heard.size < HEARD || this.#heard.has(request.account))
      this.#heard.set(request.account, { request, atMs: now.monoMs });
    const own = this.request;
    if (own !== undefined && goesBefore(request, own)) this.#before = request;
  }

  down(peer: NodeId): void {
    for (const [id, { node }] of this.#open) if (node === peer) this.#open.delete(id);
  }

  expire(now: Instant): void {
    for (const [id, ask] of this.#open) {
      if (ask.atMs > now.monoMs) continue;
      if (ask.tries < TRIES_MS.length) this.#send(ask, now);
      else {
        this.#open.delete(id);
        this.#silent.add(ask.node);
      }
    }
    this.step(now);
  }

  step(now: Instant): void {
    if (this.isOver || this.#open.size > 0 || now.monoMs < this.#pausedUntilMs) return;
    if (this.#exhausted !== undefined) this.#again(now);
    if (this.isOver) return;
    const lack = this.#lack(now);
    if (lack <= 0) {
      this.#pause(now);
      return;
    }
    for (const [account, { atMs }] of this.#heard)
      if (now.monoMs - atMs >= HEARD_MS) this.#heard.delete(account);
    const known = this.#known(now);
    const total = known.reduce((sum, { rights }) => sum + rights, 0);
    const isFirst = this.#before === undefined;
    if (total < lack) this.#proveEmpty(known, lack - total, now);
    else if (isFirst && this.#plainRounds < PLAIN_ROUNDS && this.#askForSpare(known, lack, now))
      this.#plainRounds++;
    else if (isFirst) this.#gather(known, lack, now);
    else {
      this.#before = undefined;
      this.#plainRounds = 0;
      this.#pause(now);
    }
  }

  get #rights(): Amount {
    return this.#options.ledger.purses.get(this.purse)?.rights ?? ZERO;
  }

  #lack(now: Instant): number {
    return this.#need - this.#rights - this.#holdings.arriving(this.purse, now);
  }

  #known(now: Instant): readonly Holding[] {
    return this.#holdings.of(this.purse, now).filter(({ node }) => !this.#silent.has(node));
  }

  /** Up to three, the richest, for what they can spare. Whether anybody was asked. */
  #askForSpare(known: readonly Holding[], lack: number, now: Instant): boolean {
    const holders = this.#holders(known, now);
    const spares = holders.map((holder) => spareOf(holder, HORIZON_MS)).sort((one, other) => other - one);
    const richest = spares.slice(0, TRANSFERS_PER_REQUEST).reduce((sum, spare) => sum + spare, 0);
    if (richest < lack) return false;
    // More than one is asked only for what lacks.
    const wish = Math.max(lack, Math.min(this.#wish(lack, now), spares[0] ?? 0)) as Amount;
    this.#askAll(known, asksFor(wish, holders, HORIZON_MS, false, this.#order()), lack, false, now);
    return true;
  }

  #gather(known: readonly Holding[], lack: number, now: Instant): void {
    const holders = this.#holders(known, now);
    const richest = holders.reduce((most, { rights }) => Math.max(most, rights), 0);
    const wish = Math.max(lack, Math.min(this.#wish(lack, now), richest)) as Amount;
    const asks = asksFor(wish, holders, HORIZON_MS, true, this.#order());
    // Where others gather as well, old news would bring a part of it only, for which somebody else may wait.
    const unasked = this.#heard.size === 0 ? [] : asks.filter(({ from }) => this.#isOldNews(known, from));
    if (unasked.length > 0) this.#askAll(known, unasked, lack, false, now);
    else this.#askAll(known, asks, lack, true, now);
    // Where that brings nothing, not all of it at once again.
    this.#pause(now);
  }

  #isOldNews(known: readonly Holding[], of: AccountId): boolean {
    return known.some(({ account, toldMs }) => account === of && toldMs < this.#sinceMs);
  }

  #order(): ReturnType<typeof askingOrder> {
    const waiting = new Map([...this.#heard].map(([account, { request }]) => [account, request]));
    const { account } = this.#options.ledger;
    return askingOrder({ account, askedAt: this.#askedAt, need: this.#need }, waiting);
  }

  #askAll(
    known: readonly Holding[],
    asks: readonly Ask[],
    lack: number,
    gather: boolean,
    now: Instant,
  ): void {
    let left = lack;
    for (const { from: of, amount: most } of asks) {
      const node = known.find(({ account }) => account === of)?.node;
      if (node === undefined) continue;
      const least = Math.max(1, Math.min(most, left)) as Amount;
      left -= least;
      const above = this.#holdings.above(this.purse, of);
      this.#begin(node, { of, above, least, most, gather }, now);
    }
  }

  /** Nobody is denied on old news: everybody that was not heard since this began is asked what there is. */
  #proveEmpty(known: readonly Holding[], missing: number, now: Instant): void {
    const stale = known.filter(({ toldMs }) => toldMs < this.#sinceMs);
    for (const { node, account } of stale) {
      this.#begin(node, { of: account, above: ZERO, least: ZERO, most: ZERO, gather: false }, now);
    }
    if (stale.length > 0 || this.#triesSilent(missing, now)) return;
    const onTheWay = this.#holdings.onTheWay(this.purse, known);
    if (onTheWay !== this.#onTheWay.amount) this.#onTheWay = { amount: onTheWay, sinceMs: now.monoMs };
    if (onTheWay >= missing && now.monoMs - this.#onTheWay.sinceMs < STUCK_MS) {
      this.#pause(now);
      this.#sinceMs = now.monoMs + 1;
      return;
    }
    const shares = known.map(({ node, rights }) => ({ node, rights }));
    const arriving = this.#holdings.arriving(this.purse, now);
    this.#exhausted = { shares, others: shares.reduce((sum, { rights }) => sum + rights, arriving) };
    this.#pausedUntilMs = now.monoMs + EXHAUSTED_MS;
    this.#tell(now);
  }

  /** A node may be up and yet not answer, or the network lose much. */
  #triesSilent(missing: number, now: Instant): boolean {
    const holdings = this.#holdings.of(this.purse, now).filter(({ node }) => this.#silent.has(node));
    const rights = holdings.reduce((sum, holding) => sum + holding.rights, 0);
    if (rights < missing || this.#silentRounds >= SILENT_ROUNDS) return false;
    this.#silentRounds++;
    this.#silent.clear();
    this.#sinceMs = now.monoMs;
    this.#pause(now);
    return true;
  }

  #tell(now: Instant): void {
    if (this.#exhausted === undefined) return;
    const { shares, others } = this.#exhausted;
    this.#out({
      kind: 'exhausted',
      purse: this.purse,
      need: this.#need,
      reachable: (others + this.#rights) as Amount,
      shares,
      retryAfterMs: Math.max(1, Math.ceil(this.#pausedUntilMs - now.monoMs)),
    });
  }

  #again(now: Instant): void {
    this.#exhausted = undefined;
    this.#silent.clear();
    this.#before = undefined;
    this.#plainRounds = 0;
    this.#pauses = 0;
    this.#pausedUntilMs = now.monoMs;
    this.#sinceMs = now.monoMs;
  }

  #pause(now: Instant): void {
    this.#pausedUntilMs = now.monoMs + Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** this.#pauses);
    this.#pauses = Math.min(this.#pauses + 1, 10);
  }

  #holders(known: readonly Holding[], now: Instant): readonly Holder[] {
    return known.flatMap(({ account, rights }) =>
      account === undefined || rights === 0
        ? []
        : [{ account, rights, burnPerMs: this.#options.paces.perMs(this.purse, account, now) }],
    );
  }

  /** With what all that wait need, and what will be spent soon; not more than one crash may strand, but for what is gone in a moment. */
  #wish(lack: number, now: Instant): number {
    const { ledger, paces, limitOf } = this.#options;
    const burnPerMs = paces.perMs(this.purse, ledger.account, now);
    const wish = this.#waiting + expected(burnPerMs, LASTING_MS);
    const bound = Math.max(
      Math.floor((limitOf(this.purse) ?? 0) / STRANDED_PARTS),
      expected(burnPerMs, HORIZON_MS),
    );
    return Math.max(lack, Math.min(wish, bound) - this.#rights);
  }

  #begin(
    node: NodeId,
    asked: Pick<AskFrame, 'of' | 'above' | 'least' | 'most' | 'gather'>,
    now: Instant,
  ): void {
    const frame: AskFrame = {
      kind: 'ask',
      id: this.#freshId(),
      purse: this.purse,
      account: this.#options.ledger.account,
      need: this.#need,
      askedAt: this.#askedAt,
      ...asked,
    };
    const ask = { node, frame, tries: 0, atMs: now.monoMs };
    this.#open.set(frame.id, ask);
    this.#send(ask, now);
  }

  #send(ask: OpenAsk, now: Instant): void {
    ask.atMs = now.monoMs + (TRIES_MS[ask.tries] ?? 0);
    ask.tries++;
    const bytes = encodeCall(ask.frame);
    this.#out({ kind: 'send', stream: 'budget/call', to: [ask.node], channel: 'call', bytes });
  }
}

function wallOf({ wallMs }: Instant): number {
  return Math.max(0, Math.floor(wallMs));
}
