/**
 * Transactions of the port in etcd's form and back.
 *
 * One thing differs: to etcd no value is equal or unequal to that of a key which does not exist, while the port takes
 * it for empty. So "is empty" and "is not X" are asked the other way round, where etcd's answer is the port's: each
 * such compare becomes a transaction of its own, in whose `failure` the rest goes on.
 */
import { limits } from '../../kernel/limits.ts';
import type {
  Compare,
  KeyRange,
  KeyValue,
  Operation,
  OperationAnswer,
  Transaction,
  TransactionAnswer,
} from '../../quorum/port.ts';
import type { EtcdCompare, EtcdKeyValue, RequestOp, ResponseOp, TxnRequest, TxnResponse } from './schema.ts';

const RESULT = { '=': 0, '>': 1, '<': 2, '!=': 3 } as const;
const TARGET = { version: 0, createRevision: 1, modRevision: 2, value: 3, lease: 4 } as const;

/** Keys under a prefix that the store's users do not see. */
export class KeySpace {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  key(key: string): Uint8Array {
    return Buffer.from(this.#prefix + key);
  }

  /** Where the range begins: no key is empty, and etcd takes an empty one for an error. */
  from(range: KeyRange): Uint8Array {
    return this.key(range.from === '' ? '\0' : range.from);
  }

  to(range: KeyRange): Uint8Array {
    return this.key(range.to);
  }

  /** Nothing can be in it, and etcd must not be asked: to it an end that is empty or one zero byte means something else. */
  isEmpty(range: KeyRange): boolean {
    return Buffer.compare(this.from(range), this.to(range)) >= 0;
  }

  entry(kv: EtcdKeyValue): KeyValue {
    const { createRevision, modRevision, version, lease } = kv;
    const key = Buffer.from(kv.key).toString().slice(this.#prefix.length);
    return { key, value: Uint8Array.from(kv.value), createRevision, modRevision, version, lease };
  }
}

export function toTxn(transaction: Transaction, keys: KeySpace): TxnRequest {
  const then = transaction.then.map((operation) => toRequest(operation, keys));
  const otherwise = transaction.otherwise.map((operation) => toRequest(operation, keys));
  const straight = transaction.compares.filter((compare) => !isReversed(compare));
  let rest: readonly RequestOp[] = then;
  for (const compare of transaction.compares.filter(isReversed).reverse()) {
    const reversed = { ...compare, is: compare.is === '=' ? '!=' : '=' } as Compare;
    rest = [{ requestTxn: { compare: [toCompare(reversed, keys)], success: otherwise, failure: rest } }];
  }
  return { compare: straight.map((compare) => toCompare(compare, keys)), success: rest, failure: otherwise };
}

export function fromTxn(transaction: Transaction, response: TxnResponse, keys: KeySpace): TransactionAnswer {
  let { succeeded, responses } = response;
  for (let left = transaction.compares.filter(isReversed).length; left > 0 && succeeded; left--) {
    const inner = responses[0]?.responseTxn;
    if (inner === undefined) throw new Error('etcd answered less than it was asked');
    succeeded = !inner.succeeded;
    responses = inner.responses;
  }
  const operations = succeeded ? transaction.then : transaction.otherwise;
  const answers = operations.map((operation, at) => toAnswer(operation, responses[at], keys));
  return { succeeded, revision: response.header.revision, answers };
}

function isReversed(compare: Compare): boolean {
  return compare.target === 'value' && (compare.is === '=') === (compare.than.length === 0);
}

function toCompare(compare: Compare, keys: KeySpace): EtcdCompare {
  return {
    result: RESULT[compare.is],
    target: TARGET[compare.target],
    key: keys.key(compare.key),
    [compare.target]: compare.than,
  };
}

function toRequest(operation: Operation, keys: KeySpace): RequestOp {
  switch (operation.op) {
    case 'put':
      return {
        requestPut: { key: keys.key(operation.key), value: operation.value, lease: operation.lease ?? 0 },
      };
    case 'delete':
      return { requestDeleteRange: { key: keys.key(operation.key) } };
    case 'get':
      return { requestRange: { key: keys.key(operation.key) } };
    case 'deleteRange': {
      const { range } = operation;
      if (keys.isEmpty(range)) return nothing(keys);
      return { requestDeleteRange: { key: keys.from(range), rangeEnd: keys.to(range) } };
    }
    case 'range': {
      const { range, limit } = operation;
      if (keys.isEmpty(range)) return nothing(keys);
      return { requestRange: { key: keys.from(range), rangeEnd: keys.to(range), limit } };
    }
  }
}

function toAnswer(operation: Operation, response: ResponseOp | undefined, keys: KeySpace): OperationAnswer {
  switch (operation.op) {
    case 'put':
      return { op: 'put' };
    case 'delete':
      return { op: 'delete', deleted: response?.responseDeleteRange?.deleted ?? 0 };
    case 'deleteRange':
      return { op: 'deleteRange', deleted: response?.responseDeleteRange?.deleted ?? 0 };
    case 'get': {
      const found = response?.responseRange?.kvs[0];
      return { op: 'get', found: found && keys.entry(found) };
    }
    case 'range': {
      if (keys.isEmpty(operation.range)) return { op: 'range', found: [], more: false };
      const { kvs, more } = response?.responseRange ?? { kvs: [], more: false };
      const found = firstWithin(limits.quorumRangeBytes, kvs);
      return {
        op: 'range',
        found: found.map((kv) => keys.entry(kv)),
        more: more || found.length < kvs.length,
      };
    }
  }
}

/** As many of the first as come to so many bytes, and at least one. */
function firstWithin(mostBytes: number, kvs: readonly EtcdKeyValue[]): readonly EtcdKeyValue[] {
  let bytes = 0;
  const end = kvs.findIndex(({ key, value }, at) => {
    bytes += key.length + value.length + 96;
    return at > 0 && bytes > mostBytes;
  });
  return end < 0 ? kvs : kvs.slice(0, end);
}

/** Keeps the place of an operation that does nothing. */
function nothing(keys: KeySpace): RequestOp {
  return { requestRange: { key: keys.key('\0'), limit: 1 } };
}
