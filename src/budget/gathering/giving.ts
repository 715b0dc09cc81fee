/** What this node does for others: it answers their requests for rights, and does what the orchestrator orders. */

import type { Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';
import type { Instant } from '../../kernel/time.ts';
import { giftFor, goesBefore, type Holder, spareOf } from '../allocation.ts';
import { type Amount, least, ZERO } from '../amount.ts';
import { type AccountId, nodeOfAccount, type PurseKey } from '../names.ts';
import type { Moved } from '../spending.ts';
import { type AskFrame, type CallFrame, encodeCall, type OrderFrame, type Waiting } from './frames.ts';
import type { GatheringEffect, GatheringOptions } from './messages.ts';
import { HORIZON_MS } from './want.ts';

/** A request that was heard of goes before others for this long after it was heard last, and after it was heard first. */
const HEARD_MS = 300;
const PATIENCE_MS = 3_000;
/** Requests that one peer may make at once, and in a second. */
const ASKS_BURST = 400;
const ASKS_PER_SECOND = 200;
/** Behind what the ledger persists: an answer tells of rights that are gone from here for good. */
const STREAM = 'budget';

interface HeardRequest {
  readonly waiting: Waiting;
  readonly firstMs: number;
  readonly lastMs: number;
}

interface Allowance {
  left: number;
  atMs: number;
}

type Move =
  | { readonly kind: 'gift'; readonly from: NodeId; readonly frame: AskFrame }
  | { readonly kind: 'order'; readonly from: NodeId; readonly frame: OrderFrame };

export class Giving {
  readonly #options: GatheringOptions;
  /** What waits at this node, where something does. */
  readonly #ownWaiting: (purse: PurseKey) => Waiting | undefined;
  readonly #freshId: () => number;
  readonly #out: (effect: GatheringEffect) => void;
  readonly #heard = new Map<PurseKey, Map<NodeId, HeardRequest>>();
  readonly #allowances = new Map<NodeId, Allowance>();
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
    if (!this.#isAllowed(from, now)) return;
    const { ledger } = this.#options;
    const { purse } = frame;
    const sent = ledger.purses.get(purse)?.row.sent.get(frame.account) ?? ZERO;
    const isOther = frame.of !== undefined && frame.of !== ledger.account;
    // Names of purses that mean nothing here are not kept.
    if (frame.least > 0 && ledger.purses.has(purse)) this.#remember(from, frame, now);
    if (frame.most === 0 || isOther || !ledger.isConfirmed || frame.above !== sent) {
      this.#answer(from, frame, undefined);
      return;
    }
    const before = this.#before(frame, now);
    const amount = frame.gather && before !== undefined ? ZERO : this.#gift(frame, now);
    if (amount === 0) {
      this.#answer(from, frame, before);
      return;
    }
    // Whoever is served has no place in the order any more, unless it asks again.
    this.#heard.get(purse)?.delete(from);
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
    if (move.kind === 'gift') this.#answer(from, move.frame, undefined);
    else this.#send(from, { kind: 'ordered', id: frame.id, moved: result.ok ? result.value.moved : ZERO });
  }

  down(peer: NodeId): void {
    this.#allowances.delete(peer);
    for (const heard of this.#heard.values()) heard.delete(peer);
  }

  /** What goes before the requests of this node, of what others asked here. */
  firstHeard(purse: PurseKey, now: Instant): Waiting | undefined {
    const heard = this.#heard.get(purse);
    let first: Waiting | undefined;
    for (const [node, { waiting, firstMs, lastMs }] of heard ?? []) {
      if (now.monoMs - lastMs > HEARD_MS) heard?.delete(node);
      else if (now.monoMs - firstMs > PATIENCE_MS) continue;
      else if (first === undefined || goesBefore(waiting, first)) first = waiting;
    }
    if (heard?.size === 0) this.#heard.delete(purse);
    return first;
  }

  /** Of all requests that are known here, the first, where it goes before this one. */
  #before(frame: AskFrame, now: Instant): Waiting | undefined {
    const asked: Waiting = { account: frame.account, askedAt: frame.askedAt, need: frame.need };
    let first = asked;
    for (const other of [this.#ownWaiting(frame.purse), this.firstHeard(frame.purse, now)])
      if (other !== undefined && other.account !== frame.account && goesBefore(other, first)) first = other;
    return first === asked ? undefined : first;
  }

  #gift(frame: AskFrame, now: Instant): Amount {
    const self = this.#self(frame.purse, now);
    const waiting = this.#ownWaiting(frame.purse);
    const request = { account: frame.account, askedAt: frame.askedAt, need: frame.most };
    const { gather } = frame;
    // What waits here has nothing to spare; whoever goes before it gathers.
    if (!gather && waiting !== undefined) return ZERO;
    const most = giftFor(request, self, HORIZON_MS, { gather, waiting });
    if (gather) return most;
    if (most < frame.least) return ZERO;
    // Half of it at most, so that the next who asks finds something, and this node too.
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

  #remember(from: NodeId, { purse, account, askedAt, need }: AskFrame, now: Instant): void {
    let heard = this.#heard.get(purse);
    if (heard === undefined) {
      heard = new Map();
      this.#heard.set(purse, heard);
    }
    const before = heard.get(from);
    const isSame = before?.waiting.askedAt === askedAt;
    heard.set(from, {
      waiting: { account, askedAt, need },
      firstMs: isSame ? before.firstMs : now.monoMs,
      lastMs: now.monoMs,
    });
  }

  #isAllowed(peer: NodeId, now: Instant): boolean {
    const known = this.#allowances.get(peer);
    const passedMs = now.monoMs - (known?.atMs ?? now.monoMs);
    const left = Math.min(ASKS_BURST, (known?.left ?? ASKS_BURST) + (passedMs * ASKS_PER_SECOND) / 1_000);
    this.#allowances.set(peer, { left: Math.max(0, left - 1), atMs: now.monoMs });
    return left >= 1;
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
