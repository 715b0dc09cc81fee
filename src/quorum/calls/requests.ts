/** A call as the command that it becomes, and what is wrong with one. */
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type { QuorumCall } from '../messages.ts';
import type { RangeAnswer, TransactionAnswer } from '../port.ts';
import {
  checkKey,
  checkLease,
  checkLimit,
  checkRange,
  checkTransaction,
  checkTtl,
} from '../register/check.ts';
import { encodeCommand, type RequestHead } from '../register/command.ts';
import type { Register } from '../register/register.ts';
import type { ReadCall } from './reads.ts';

export type LookUp = Extract<QuorumCall, { op: 'get' | 'range' }>;
export type WriteCall = Extract<QuorumCall, { op: 'transact' | 'grantLease' | 'renewLease' | 'revokeLease' }>;

/** `freshId` is asked for the id of a new lease. */
export function commandOf(call: WriteCall, freshId: () => number): (head: RequestHead) => Uint8Array {
  switch (call.op) {
    case 'transact':
      return (head) => encodeCommand({ kind: 'transact', ...head, transaction: call.transaction });
    case 'grantLease': {
      const lease = freshId();
      return (head) => encodeCommand({ kind: 'grantLease', ...head, ttlMs: call.ttlMs, id: lease });
    }
    case 'renewLease':
      return (head) => encodeCommand({ kind: 'renewLease', ...head, id: call.id });
    case 'revokeLease':
      return (head) => encodeCommand({ kind: 'revokeLease', ...head, id: call.id });
  }
}

/** What the copy answers. */
export function read(register: Register, call: ReadCall): RangeAnswer | TransactionAnswer {
  if (call.op === 'otherwise') return register.answerOutdated(call.operations);
  const { revision } = register;
  if (call.op === 'range') return register.range(call.range, call.limit);
  const found = register.get(call.key);
  return { found: found === undefined ? [] : [found], more: false, revision };
}

export function wrongWith(call: QuorumCall): ErrorBody | undefined {
  switch (call.op) {
    case 'transact':
      return checkTransaction(call.transaction);
    case 'get':
      return checkKey(call.key);
    case 'range':
      return checkRange(call.range) ?? checkLimit(call.limit);
    case 'grantLease':
      return checkTtl(call.ttlMs);
    case 'renewLease':
    case 'revokeLease':
      return checkLease(call.id);
    default:
      return undefined;
  }
}

export function tooManyCalls(): ErrorBody {
  return errorBody(
    'RATE_LIMITED',
    `More than ${limits.quorumCalls} calls of this node wait for the quorum.`,
    'Wait for answers before you ask for more.',
    { retryable: true, retryAfterMs: 100 },
  );
}

export function conflict(message: string): ErrorBody {
  return errorBody('CONFLICT', message, 'See skein voters list and skein doctor.');
}
