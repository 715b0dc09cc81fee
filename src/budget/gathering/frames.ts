/**
 * Frames of the channel `call`: one byte of version, one of kind, then a msgpack array. Decoding never throws; whatever is not
 * exactly one of these is `undefined`. See `docs/PROTOCOL.md`.
 */
import { concatBytes, decode, encode } from '../../kernel/codec.ts';
import { ERROR_CODES, type ErrorBody, errorBody, fail, ok, type Result } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { type Amount, parseAmount } from '../amount.ts';
import { ENDINGS, parseRequestId } from '../change.ts';
import {
  type AccountId,
  type BudgetName,
  type PurseKey,
  parseAccountId,
  parseBudgetName,
  parsePurseKey,
} from '../names.ts';
import { parseRow, type Row, rowBody } from '../row.ts';
import type { Settlement } from '../spending.ts';

/** "Give me rights." `id` is the asker's, and names no request but this one for as long as it runs. */
export interface AskFrame {
  readonly kind: 'ask';
  readonly id: number;
  readonly purse: PurseKey;
  /** Of the asker. */
  readonly account: AccountId;
  /** Of whom is asked, as far as is known: what `above` is about. Where it is another one, that one is told and nothing given. */
  readonly of: AccountId | undefined;
  /** What it has had from `of`, in all: what it was sent beyond is the answer already. */
  readonly above: Amount;
  /** The least that helps, and what it would take; 0 and 0 only ask what there is. */
  readonly least: Amount;
  readonly most: Amount;
  /** What waits at the asker: how much it needs in all, and since when (wall time in ms). */
  readonly need: Amount;
  readonly askedAt: number;
  /** All that there is is asked for, not only what can be spared. */
  readonly gather: boolean;
}

export interface Waiting {
  readonly account: AccountId;
  readonly askedAt: number;
  readonly need: Amount;
}

/** To `ask`: what was given, and what is known here. */
export interface AnswerFrame {
  readonly kind: 'answer';
  readonly id: number;
  readonly purse: PurseKey;
  /** Of the sender. */
  readonly account: AccountId;
  /** What the asker was sent from here, in all. The row that says so is on its way as a record; this is no proof. */
  readonly total: Amount;
  /** As it stands after that; `undefined` where there is none. */
  readonly row: Row | undefined;
  /** What waits at the sender, or goes before the asker's there. */
  readonly waiting: Waiting | undefined;
}

export interface SettleFrame {
  readonly kind: 'settle';
  readonly id: number;
  readonly reservation: string;
  readonly amount: Amount;
}

export interface SettledFrame {
  readonly kind: 'settled';
  readonly id: number;
  /** Ids start anew with every run of the asker, reservations do not. */
  readonly reservation: string;
  readonly result: Result<Settlement>;
}

/** The orchestrator has rights passed on, or given back to the reserve (`to` is `undefined`). */
export interface OrderFrame {
  readonly kind: 'order';
  readonly id: number;
  /** Revision that created the key of the orchestrator's lease. */
  readonly fence: number;
  readonly purse: PurseKey;
  /** Whose rights. */
  readonly of: AccountId;
  readonly to: AccountId | undefined;
  readonly amount: Amount;
  /** What went that way before, in all. */
  readonly above: Amount;
}

export interface OrderedFrame {
  readonly kind: 'ordered';
  readonly id: number;
  /** 0: refused. */
  readonly moved: Amount;
}

/** A caller of another node wants the rights of a budget evened out: to the orchestrator. */
export interface RebalanceFrame {
  readonly kind: 'rebalance';
  readonly id: number;
  readonly budget: BudgetName;
}

/** Moves that were ordered, and how much they come to; `undefined` where the receiver is not the orchestrator. */
export interface RebalancedFrame {
  readonly kind: 'rebalanced';
  readonly id: number;
  readonly ordered: { readonly moves: number; readonly amount: Amount } | undefined;
}

export type CallFrame =
  | AskFrame
  | AnswerFrame
  | SettleFrame
  | SettledFrame
  | OrderFrame
  | OrderedFrame
  | RebalanceFrame
  | RebalancedFrame;

const VERSION = 1;
const KINDS = {
  ask: 1,
  answer: 2,
  settle: 3,
  settled: 4,
  order: 5,
  ordered: 6,
  rebalance: 7,
  rebalanced: 8,
} as const;
const HEADER_BYTES = 2;
/** Texts of errors that came from another node. */
const TEXT_LENGTH = 1_000;

export function encodeCall(frame: CallFrame): Uint8Array {
  return concatBytes([Uint8Array.of(VERSION, KINDS[frame.kind]), encode(bodyOf(frame))]);
}

export function decodeCall(bytes: Uint8Array): CallFrame | undefined {
  if (bytes.length > limits.budgetCallBytes || bytes[0] !== VERSION) return undefined;
  const body = decode(bytes.subarray(HEADER_BYTES).slice());
  if (!Array.isArray(body)) return undefined;
  const fields = body as readonly unknown[];
  switch (bytes[1]) {
    case KINDS.ask:
      return fields.length === 10 ? askOf(fields) : undefined;
    case KINDS.answer:
      return fields.length === 6 ? answerOf(fields) : undefined;
    case KINDS.settle:
      return fields.length === 3 ? settleOf(fields) : undefined;
    case KINDS.settled:
      return fields.length === 3 ? settledOf(fields) : undefined;
    case KINDS.order:
      return fields.length === 7 ? orderOf(fields) : undefined;
    case KINDS.ordered:
      return fields.length === 2 ? orderedOf(fields) : undefined;
    case KINDS.rebalance:
      return fields.length === 2 ? rebalanceOf(fields) : undefined;
    case KINDS.rebalanced:
      return fields.length === 3 ? rebalancedOf(fields) : undefined;
    default:
      return undefined;
  }
}

function bodyOf(frame: CallFrame): readonly unknown[] {
  switch (frame.kind) {
    case 'ask':
      return [
        frame.id,
        frame.purse,
        frame.account,
        frame.of ?? null,
        frame.above,
        frame.least,
        frame.most,
        frame.need,
        frame.askedAt,
        frame.gather,
      ];
    case 'answer': {
      const { id, purse, account, total, row, waiting } = frame;
      const request = waiting === undefined ? null : [waiting.account, waiting.askedAt, waiting.need];
      return [id, purse, account, total, row === undefined ? null : rowBody(row), request];
    }
    case 'settle':
      return [frame.id, frame.reservation, frame.amount];
    case 'settled':
      return [frame.id, frame.reservation, outcomeOf(frame.result)];
    case 'order':
      return [frame.id, frame.fence, frame.purse, frame.of, frame.to ?? null, frame.amount, frame.above];
    case 'ordered':
      return [frame.id, frame.moved];
    case 'rebalance':
      return [frame.id, frame.budget];
    case 'rebalanced':
      return [frame.id, frame.ordered?.moves ?? null, frame.ordered?.amount ?? null];
  }
}

function askOf(fields: readonly unknown[]): AskFrame | undefined {
  const [idField, purse, accountField, ofField, aboveField, leastField, mostField, needField, askedAtField] =
    fields;
  const id = parseAmount(idField);
  const account = parseAccountId(accountField);
  const of = ofField === null ? undefined : parseAccountId(ofField);
  const above = parseAmount(aboveField);
  const least = parseAmount(leastField);
  const most = parseAmount(mostField);
  const need = parseAmount(needField);
  const askedAt = parseAmount(askedAtField);
  const gather = fields[9];
  if (id === undefined || parsePurseKey(purse) === undefined || account === undefined) return undefined;
  if (ofField !== null && of === undefined) return undefined;
  if (above === undefined || least === undefined || most === undefined || need === undefined)
    return undefined;
  if (askedAt === undefined || typeof gather !== 'boolean' || least > most || least > need) return undefined;
  return {
    kind: 'ask',
    id,
    purse: purse as PurseKey,
    account,
    of,
    above,
    least,
    most,
    need,
    askedAt,
    gather,
  };
}

function answerOf(fields: readonly unknown[]): AnswerFrame | undefined {
  const [idField, purse, accountField, totalField, rowField, waitingField] = fields;
  const id = parseAmount(idField);
  const account = parseAccountId(accountField);
  const total = parseAmount(totalField);
  if (id === undefined || parsePurseKey(purse) === undefined) return undefined;
  if (account === undefined || total === undefined) return undefined;
  const row = rowField === null ? undefined : parseRow(rowField, account);
  const waiting = waitingField === null ? undefined : waitingOf(waitingField);
  if (rowField !== null && row === undefined) return undefined;
  if (waitingField !== null && waiting === undefined) return undefined;
  return { kind: 'answer', id, purse: purse as PurseKey, account, total, row, waiting };
}

function waitingOf(value: unknown): Waiting | undefined {
  if (!Array.isArray(value) || value.length !== 3) return undefined;
  const [accountField, askedAtField, needField] = value as readonly unknown[];
  const account = parseAccountId(accountField);
  const askedAt = parseAmount(askedAtField);
  const need = parseAmount(needField, 1);
  return account === undefined || askedAt === undefined || need === undefined
    ? undefined
    : { account, askedAt, need };
}

function settleOf(fields: readonly unknown[]): SettleFrame | undefined {
  const id = parseAmount(fields[0]);
  const reservation = parseRequestId(fields[1]);
  const amount = parseAmount(fields[2]);
  return id === undefined || reservation === undefined || amount === undefined
    ? undefined
    : { kind: 'settle', id, reservation, amount };
}

function settledOf(fields: readonly unknown[]): SettledFrame | undefined {
  const id = parseAmount(fields[0]);
  const reservation = parseRequestId(fields[1]);
  const result = resultOf(fields[2]);
  return id === undefined || reservation === undefined || result === undefined
    ? undefined
    : { kind: 'settled', id, reservation, result };
}

function orderOf(fields: readonly unknown[]): OrderFrame | undefined {
  const [idField, fenceField, purse, ofField, toField, amountField, aboveField] = fields;
  const id = parseAmount(idField);
  const fence = parseAmount(fenceField, 1);
  const of = parseAccountId(ofField);
  const to = toField === null ? undefined : parseAccountId(toField);
  const amount = parseAmount(amountField, 1);
  const above = parseAmount(aboveField);
  if (id === undefined || fence === undefined || parsePurseKey(purse) === undefined) return undefined;
  if (of === undefined || (toField !== null && to === undefined) || to === of) return undefined;
  if (amount === undefined || above === undefined) return undefined;
  return { kind: 'order', id, fence, purse: purse as PurseKey, of, to, amount, above };
}

function orderedOf(fields: readonly unknown[]): OrderedFrame | undefined {
  const id = parseAmount(fields[0]);
  const moved = parseAmount(fields[1]);
  return id === undefined || moved === undefined ? undefined : { kind: 'ordered', id, moved };
}

function rebalanceOf(fields: readonly unknown[]): RebalanceFrame | undefined {
  const id = parseAmount(fields[0]);
  const budget = parseBudgetName(fields[1]);
  return id === undefined || budget === undefined ? undefined : { kind: 'rebalance', id, budget };
}

function rebalancedOf([idField, movesField, amountField]: readonly unknown[]): RebalancedFrame | undefined {
  const id = parseAmount(idField);
  if (id === undefined) return undefined;
  if (movesField === null && amountField === null) return { kind: 'rebalanced', id, ordered: undefined };
  const moves = parseAmount(movesField);
  const amount = parseAmount(amountField);
  return moves === undefined || amount === undefined
    ? undefined
    : { kind: 'rebalanced', id, ordered: { moves, amount } };
}

function outcomeOf(result: Result<Settlement>): readonly unknown[] {
  if (result.ok) {
    const { id, amount, ending, overrun, reserved } = result.value;
    return [true, id, amount, ending, overrun, reserved ?? null];
  }
  const { code, message, hint, retryable, retryAfterMs, details } = result.error;
  const outcome = details?.outcome === 'not-done' || details?.outcome === 'unknown' ? details.outcome : null;
  return [false, code, shortened(message), shortened(hint), retryable, retryAfterMs ?? null, outcome];
}

function resultOf(value: unknown): Result<Settlement> | undefined {
  if (!Array.isArray(value)) return undefined;
  const fields = value as readonly unknown[];
  if (fields[0] === true && fields.length === 6) return settlementOf(fields);
  if (fields[0] !== false || fields.length !== 7) return undefined;
  const error = errorOf(fields);
  return error === undefined ? undefined : fail(error);
}

function settlementOf(fields: readonly unknown[]): Result<Settlement> | undefined {
  const id = parseRequestId(fields[1]);
  const amount = parseAmount(fields[2]);
  const ending = ENDINGS.find((word) => word === fields[3]);
  const overrun = parseAmount(fields[4]);
  const reserved = fields[5] === null ? undefined : parseAmount(fields[5]);
  if (id === undefined || amount === undefined || ending === undefined || overrun === undefined)
    return undefined;
  if (fields[5] !== null && reserved === undefined) return undefined;
  return ok({ id, amount, ending, overrun, ...(reserved === undefined ? {} : { reserved }) });
}

function errorOf(fields: readonly unknown[]): ErrorBody | undefined {
  const [, codeField, message, hint, retryable, afterField, outcome] = fields;
  const code = ERROR_CODES.find((word) => word === codeField);
  const retryAfterMs = afterField === null ? undefined : parseAmount(afterField);
  if (code === undefined || !isText(message) || !isText(hint) || typeof retryable !== 'boolean')
    return undefined;
  if (afterField !== null && retryAfterMs === undefined) return undefined;
  if (outcome !== null && outcome !== 'not-done' && outcome !== 'unknown') return undefined;
  return errorBody(code, message, hint, {
    retryable,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(outcome === null ? {} : { details: { outcome } }),
  });
}

function shortened(text: string): string {
  return [...text.slice(0, TEXT_LENGTH)].join('');
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT_LENGTH;
}
