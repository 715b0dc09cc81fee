/** What this node does for others: it answers their requests for rights, and does what the orchestrator orders. */

import type { Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';
import { giftFor, goesBefore, type Holder, spareOf } from '../allocation.ts';
import { type Amount, least, ZERO } from '../amount.ts';
import { type AccountId, nodeOfAccount, type PurseKey } from '../names.ts';
import type { Moved } from '../spending.ts';
import { Allowances, type Rate } from './allowances.ts';
import { type AskFrame, type CallFrame, encodeCall, type OrderFrame, type Waiting } from './frames.ts';
import type { GatheringEffect, GatheringOptions } from './messages.ts';
import { HORIZON_MS } from './want.ts';

/** Requests that one peer may make at once, and in a second. */
const ASKS: Rate = { burst: 400, perSecond: 200 };
/** Behind what the ledger persists: an answer tells of rights that are gone from here for good. */
const STREAM = 'budget';
/** For how long what is here is kept for who asked first and could not be given anything yet: longer than it takes it to come again. */
const KEPT_MS = 250;
/** Purses of which that is known, beyond which those are forgotten where it is over. */
const FIRSTS = 64;

type Move =
  | { readonly kind: 'gift'; readonly from: NodeId; readonly frame: AskFrame }
  | { readonly kind: 'order'; readonly from: NodeId; readonly frame: OrderFrame };

export class Giving {
  readonly #options: GatheringOptions;
  /** What waits at this node, where something does. */
  readonly #ownWaiting: (purse: PurseKey) => Waiting | undefined;
  readonly #freshId: () => number;
  readonly #out: (effect: GatheringEffect) => void;
  readonly #asks = new Allowances(ASKS);
  readonly #moves = new Map<number, Move>();
  /** By purse, of those who asked lately for what others want too, the one that goes first. */
  readonly #first = new Map<PurseKey, { readonly request: Waiting; readonly untilMs: number }>();

  constructor(
    options: GatheringOptions,
    ownWaiting: (purse: PurseKey) => Waiting | undefined,
    freshId: () => number,
    out: (effect: GatheringEffect) => void,
  ) {
    this.#options = options;
    this.#ownWaiting = ownWaiting;
    this.#freshId = freshId;
    this.#out = out;
  }

  asked(from: NodeId, frame: AskFrame, now: Instant): void {
    if (!this.#asks.isAllowed(from, now)) return;
    const { ledger } = this.#options;
    const { purse } = frame;
    const sent = ledger.purses.get(purse)?.row.sent.get(frame.account) ?? ZERO;
    const isOther = frame.of !== undefined && frame.of !== ledger.account;
    if (frame.most === 0 || isOther || !ledger.isConfirmed || frame.above !== sent) {
      this.#answer(from, frame);
      return;
    }
    const first = this.#firstOf(frame, now);
    const amount = first === undefined ? this.#gift(frame, now) : ZERO;
    if (amount === 0) {
      this.#answer(from, frame, first);
      return;
    }
    this.#first.delete(purse);
    const id = this.#freshId();
    this.#moves.set(id, { kind: 'gift', from, frame });
    const { account: to, above } = frame;
    this.#out({ kind: 'moveRights', id, call: { op: 'transfer', purse, to, amount, above } });
  }

  /** Whoever lost the lease may not know it yet: what it orders is refused, and so is what this node cannot tell. */
  ordered(from: NodeId, frame: OrderFrame, now: Instant): void {
    const { ledger, lead } = this.#options;
    const holder = lead();
    const isLead = holder?.node === from && holder.fence.createRevision === frame.fence;
    const { purse, to, above } = frame;
    if (!isLead) {
      this.#out({
        kind: 'mark',
        level: 'warn',
        name: 'budget.orderRefused',
        fields: { from, fence: frame.fence, current: holder?.fence.createRevision },
      });
    }
    const moved = this.#wentThere(frame);
    const amount = isLead && moved === 0 && ledger.isConfirmed ? this.#spare(frame, now) : ZERO;
    if (ledger.account !== frame.of || amount === 0) {
      this.#send(from, { kind: 'ordered', id: frame.id, moved: isLead ? moved : ZERO });
      return;
    }
    const id = this.#freshId();
    this.#moves.set(id, { kind: 'order', from, frame });
    const call =
      to === undefined
        ? ({ op: 'return', purse, amount, above } as const)
        : ({ op: 'transfer', purse, to, amount, above } as const);
    this.#out({ kind: 'moveRights', id, call });
  }

  moved(id: number, result: Result<Moved>): void {
    const move = this.#moves.get(id);
    if (move === undefined) return;
    this.#moves.delete(id);
    const { from, frame } = move;
    if (move.kind === 'gift') {
      // What was given, the row says, which goes there at once; should it be lost, the ask comes again.
      if (!result.ok || result.value.moved === 0) this.#answer(from, move.frame);
    } else this.#send(from, { kind: 'ordered', id: frame.id, moved: result.ok ? result.value.moved : ZERO });
  }

  /** Where something waits here too: who asked before, goes first, and is about to come again. What it would get is not scattered meanwhile. */
  #firstOf({ purse, account, askedAt, need }: AskFrame, now: Instant): Waiting | undefined {
    const rights = this.#options.ledger.purses.get(purse)?.rights ?? ZERO;
    if (rights === 0 || this.#ownWaiting(purse) === undefined) return undefined;
    const request: Waiting = { account, askedAt, need };
    const known = this.#first.get(purse);
    const isKept = known !== undefined && known.untilMs > now.monoMs && known.request.account !== account;
    if (isKept && goesBefore(known.request, request)) return known.request;
    if (this.#first.size >= FIRSTS)
      for (const [other, { untilMs }] of this.#first) if (untilMs <= now.monoMs) this.#first.delete(other);
    this.#first.set(purse, { request, untilMs: now.monoMs + KEPT_MS });
    return undefined;
  }

  #gift(frame: AskFrame, now: Instant): Amount {
    const self = this.#self(frame.purse, now);
    const waiting = this.#ownWaiting(frame.purse);
    const { gather, askedAt, account } = frame;
    // What waits here has nothing to spare; whoever goes before it gathers.
    if (!gather && waiting !== undefined) return ZERO;
    const most = giftFor({ account, askedAt, need: frame.most }, self, HORIZON_MS, { gather, waiting });
    // Whoever gathers goes by old news now and then, and asks again by what it is told: a crumb is not worth a transfer.
    if (most < (gather ? frame.least / 2 : frame.least)) return ZERO;
    if (self.burnPerMs === 0) return most;
    // Beyond what is needed at once half of it at most, so that the next who asks finds something, and this node too.
    return least(most, Math.max(frame.least, Math.floor(self.rights / 2)) as Amount);
  }

  #spare({ purse, amount }: OrderFrame, now: Instant): Amount {
    if (this.#ownWaiting(purse) !== undefined) return ZERO;
    return least(amount, spareOf(this.#self(purse, now), HORIZON_MS));
  }

  #self(purse: PurseKey, now: Instant): Holder {
    const { ledger, paces } = this.#options;
    const { account } = ledger;
    const rights = ledger.purses.get(purse)?.rights ?? ZERO;
    return { account, rights, burnPerMs: paces.perMs(purse, account, now) };
  }

  /** Since the one who orders looked. */
  #wentThere({ purse, to, above }: OrderFrame): Amount {
    const known = this.#options.ledger.purses.get(purse);
    const total = to === undefined ? known?.row.returned : known?.row.sent.get(to);
    return Math.max(0, (total ?? ZERO) - above) as Amount;
  }

  /** `first`: why nothing is given, where that is not what waits here. */
  #answer(to: NodeId, frame: AskFrame, first?: Waiting): void {
    const { ledger } = this.#options;
    const row = ledger.purses.get(frame.purse)?.row;
    this.#send(to, {
      kind: 'answer',
      id: frame.id,
      purse: frame.purse,
      account: ledger.account,
      total: row?.sent.get(frame.account) ?? ZERO,
      row,
      waiting: first ?? this.#ownWaiting(frame.purse),
    });
  }

  #send(to: NodeId, frame: CallFrame): void {
    if (to === this.#options.self && frame.kind === 'ordered') {
      this.#out({ kind: 'orderAnswered', from: to, id: frame.id, moved: frame.moved });
      return;
    }
    this.#out({ kind: 'send', stream: STREAM, to: [to], channel: 'call', bytes: encodeCall(frame) });
  }
}

/** Whether the frame speaks of an account that is not its sender's. */
export function isForeign(from: NodeId, account: AccountId): boolean {
  return nodeOfAccount(account) !== from;
}
