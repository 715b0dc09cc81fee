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
      this.#answer(from, frame, undefined);
      return;
    }
    const amount = this.#gift(frame, now);
    if (amount === 0) {
      this.#answer(from, frame, this.#before(frame));
      return;
    }
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
      if (!result.ok || result.value.moved === 0) this.#answer(from, move.frame, undefined);
    } else this.#send(from, { kind: 'ordered', id: frame.id, moved: result.ok ? result.value.moved : ZERO });
  }

  /** What waits here, where it goes before what is asked for. */
  #before(frame: AskFrame): Waiting | undefined {
    const own = this.#ownWaiting(frame.purse);
    const asked: Waiting = { account: frame.account, askedAt: frame.askedAt, need: frame.need };
    return own !== undefined && goesBefore(own, asked) ? own : undefined;
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

  #answer(to: NodeId, frame: AskFrame, before: Waiting | undefined): void {
    const { ledger } = this.#options;
    const row = ledger.purses.get(frame.purse)?.row;
    this.#send(to, {
      kind: 'answer',
      id: frame.id,
      purse: frame.purse,
      account: ledger.account,
      total: row?.sent.get(frame.account) ?? ZERO,
      row,
      before,
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
