/**
 * Rights between nodes, and all else that goes over the channel `call`.
 *
 * A node that lacks rights which the reserve does not have asks those that can spare some, at most three, the richest by
 * what was heard of them. If that does not do, it asks for all that there is, as soon as nothing that waits anywhere goes
 * before it: every request has its place in one order on all nodes, so that of any that ask each other the first gets
 * what there is and the others wait. It denies only once everybody who can be reached has told, since then, how little it has.
 *
 * An answer is no money. What was given is in the row of who gave it, which is pushed as a signed record, and believed where the
 * money adds up: it is the answer as well. So frames may be lost, doubled or forged here, and nothing is spent twice.
 */
import type { Received } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Machine } from '../../kernel/machine.ts';
import { type Deadline, earliest, type Instant } from '../../kernel/time.ts';
import type { Amount } from '../amount.ts';
import type { PurseKey } from '../names.ts';
import { Allowances, type Rate } from './allowances.ts';
import { Forwards } from './forwards.ts';
import { type AnswerFrame, type CallFrame, decodeCall, encodeCall, type SettleFrame } from './frames.ts';
import { Giving, isForeign } from './giving.ts';
import { Holdings } from './holdings.ts';
import type { GatheringEffect, GatheringEvent, GatheringOptions } from './messages.ts';
import { Want } from './want.ts';

const TIDY_MS = 5_000;
/** Settlements that one peer may have made here: all that it may have under way, and so many a second. */
const SETTLES: Rate = { burst: limits.budgetForwards, perSecond: 2_000 };

export class Gathering implements Machine<GatheringEvent, GatheringEffect> {
  readonly #options: GatheringOptions;
  readonly #peers = new Set<NodeId>();
  readonly #wants = new Map<PurseKey, Want>();
  readonly #holdings: Holdings;
  readonly #giving: Giving;
  readonly #forwards: Forwards;
  readonly #settles = new Allowances(SETTLES);
  /** Settlements that others asked for, by the id given to `settleHere`. */
  readonly #settling = new Map<number, { readonly from: NodeId; readonly frame: SettleFrame }>();
  #out: GatheringEffect[] = [];
  #lastId = 0;
  #tidyMs: number;

  constructor(options: GatheringOptions) {
    this.#options = options;
    const out = (effect: GatheringEffect): void => {
      this.#out.push(effect);
    };
    const freshId = (): number => ++this.#lastId;
    this.#holdings = new Holdings(options.ledger, this.#peers);
    this.#giving = new Giving(options, (purse) => this.#wants.get(purse)?.request, freshId, out);
    this.#forwards = new Forwards(this.#peers, freshId, out);
    this.#tidyMs = options.now.monoMs + TIDY_MS;
  }

  handle(event: GatheringEvent, now: Instant): readonly GatheringEffect[] {
    switch (event.kind) {
      case 'peerUp':
        this.#peers.add(event.peer);
        for (const want of this.#wants.values()) want.look(now);
        break;
      case 'peerDown':
        this.#peers.delete(event.peer);
        this.#forwards.down(event);
        for (const want of this.#wants.values()) want.down(event.peer);
        break;
      case 'received':
        this.#received(event, now);
        break;
      case 'wanted':
        this.#wanted(event, now);
        break;
      case 'rightsChanged':
        break;
      case 'rowTaken':
        this.#holdings.rowTaken(event.purse, now);
        this.#wants.get(event.purse)?.rowTaken(now);
        break;
      case 'rightsMoved':
        this.#giving.moved(event.id, event.result);
        break;
      case 'orderHere':
        this.#giving.ordered(this.#options.self, event.frame, now);
        break;
      case 'settleThere':
        this.#forwards.begin(event, now);
        break;
      case 'settledHere':
        this.#settled(event);
        break;
    }
    this.#stepAll(now);
    return this.#take();
  }

  expire(now: Instant): readonly GatheringEffect[] {
    for (const want of this.#wants.values()) if (want.wakeMs <= now.monoMs) want.expire(now);
    this.#forwards.expire(now);
    if (this.#tidyMs <= now.monoMs) {
      this.#tidyMs = now.monoMs + TIDY_MS;
      this.#holdings.forget(now);
    }
    this.#stepAll(now);
    return this.#take();
  }

  deadline(): Deadline | undefined {
    let wakeMs = Number.POSITIVE_INFINITY;
    for (const want of this.#wants.values()) wakeMs = Math.min(wakeMs, want.wakeMs);
    return earliest([
      wakeMs === Number.POSITIVE_INFINITY ? undefined : { atMs: wakeMs, reason: 'budget.gathering' },
      this.#forwards.deadline(),
      this.#holdings.isEmpty ? undefined : { atMs: this.#tidyMs, reason: 'budget.tidy' },
    ]);
  }

  #wanted({ purse, need, waiting }: Extract<GatheringEvent, { kind: 'wanted' }>, now: Instant): void {
    const known = this.#wants.get(purse);
    if (need === 0 && known?.isResting !== true) this.#wants.delete(purse);
    else if (known !== undefined) known.needs(need, larger(need, waiting), now);
    else {
      const want = new Want(purse, need, {
        options: this.#options,
        holdings: this.#holdings,
        freshId: () => ++this.#lastId,
        out: (effect) => {
          this.#out.push(effect);
        },
        now,
      });
      want.needs(need, larger(need, waiting), now);
      this.#wants.set(purse, want);
    }
  }

  #received({ from, bytes }: Received, now: Instant): void {
    const frame = decodeCall(bytes);
    const isWrong = frame === undefined || ('account' in frame && isForeign(from, frame.account));
    if (frame === undefined || isWrong) {
      this.#out.push({ kind: 'penalise', peer: from, reason: 'malformed call' });
      return;
    }
    if (this.#peers.has(from)) this.#dispatch(from, frame, now);
  }

  #dispatch(from: NodeId, frame: CallFrame, now: Instant): void {
    switch (frame.kind) {
      case 'ask':
        if (frame.most > 0) this.#wants.get(frame.purse)?.askedHere(frame, now);
        this.#giving.asked(from, frame, now);
        return;
      case 'answer':
        this.#answered(from, frame, now);
        return;
      case 'settle': {
        // Who sends more of them tries out ids; others send again what was passed over.
        if (!this.#settles.isAllowed(from, now)) return;
        const id = ++this.#lastId;
        this.#settling.set(id, { from, frame });
        const { reservation, amount } = frame;
        this.#out.push({ kind: 'settleHere', id, reservation, amount });
        return;
      }
      case 'settled':
        this.#forwards.answered(from, frame);
        return;
      case 'order':
        this.#giving.ordered(from, frame, now);
        return;
      case 'ordered':
        this.#out.push({ kind: 'orderAnswered', from, id: frame.id, moved: frame.moved });
        return;
      case 'rebalance':
        this.#out.push({ ...frame, kind: 'rebalanceAsked', from });
        return;
      case 'rebalanced':
        this.#out.push({ ...frame, kind: 'rebalanceAnswered', from });
        return;
    }
  }

  /** Late answers count as well: what was given is on its way. */
  #answered(from: NodeId, frame: AnswerFrame, now: Instant): void {
    const want = this.#wants.get(frame.purse);
    const asker = want?.askedFor(frame.id, from);
    if (want === undefined || asker === undefined) return;
    this.#holdings.tell(frame.purse, from, frame.account, frame.row, now);
    this.#holdings.sentHere(frame.purse, frame.account, asker, frame.total, now);
    want.answered(frame, now);
  }

  #settled({ id, result }: Extract<GatheringEvent, { kind: 'settledHere' }>): void {
    const asked = this.#settling.get(id);
    if (asked === undefined) return;
    this.#settling.delete(id);
    const bytes = encodeCall({ ...asked.frame, kind: 'settled', result });
    this.#out.push({ kind: 'send', stream: 'budget', to: [asked.from], channel: 'call', bytes });
  }

  #stepAll(now: Instant): void {
    for (const [purse, want] of this.#wants) {
      if (want.isOver) this.#wants.delete(purse);
      else want.step(now);
    }
  }

  #take(): readonly GatheringEffect[] {
    const effects = this.#out;
    this.#out = [];
    return effects;
  }
}

function larger(need: Amount, waiting: Amount | undefined): Amount {
  return waiting !== undefined && waiting > need ? waiting : need;
}
