/**
 * What clients of a register store did and were told, one operation a line: the only thing that the checker of
 * linearizability looks at, whoever ran the clients (the simulator, real processes, another store).
 *
 * A line is one JSON object:
 *
 *     {"client":3,"kind":"put","key":"a","input":{"value":"x"},"output":{"at":7},"start":"120","end":"450"}
 *     {"client":4,"kind":"put","key":"a","input":{"value":"y"},"start":"130","outcome":"unknown"}
 *
 * `start` and `end` are nanoseconds on one clock for the whole file, written as decimal strings since they may pass
 * 2^53; whole numbers up to there are read too. `outcome` is `ok` where it is absent; an `unknown` operation may take
 * hold at any time after its start, or never; a `failed` one certainly did not. Values are text; a client that writes
 * large values may log their hash. What an output leaves out is not checked.
 */
import { readFileSync } from 'node:fs';

export interface FoundEntry {
  readonly key: string;
  readonly value: string;
  /** Revision that wrote this value, revision that created the key, and writes since then. */
  readonly revision?: number;
  readonly createRevision?: number;
  readonly version?: number;
}

export type HistoryCompare =
  | {
      readonly target: 'version' | 'revision' | 'createRevision' | 'lease';
      readonly key: string;
      readonly is: '=' | '!=' | '<' | '>';
      readonly than: number;
    }
  /** `null`: the key does not exist. */
  | {
      readonly target: 'value';
      readonly key: string;
      readonly is: '=' | '!=';
      readonly than: string | null;
    };

/** A range is all keys `key <= k < to`, ordered by their bytes in UTF-8. */
export type HistoryStep =
  | { readonly op: 'put'; readonly key: string; readonly value: string; readonly lease?: number }
  | { readonly op: 'get'; readonly key: string }
  | { readonly op: 'delete'; readonly key: string; readonly to?: string }
  | { readonly op: 'range'; readonly key: string; readonly to: string; readonly limit?: number };

export type HistoryAnswer =
  | { readonly op: 'put' }
  | { readonly op: 'delete'; readonly deleted?: number }
  | { readonly op: 'get'; readonly found: FoundEntry | null }
  | { readonly op: 'range'; readonly found: readonly FoundEntry[]; readonly more?: boolean };

/** In every output `at` is the revision of the store when the call took hold, a write of its own included. */
export type HistoryCall =
  | {
      readonly kind: 'put';
      readonly input: { readonly value: string; readonly lease?: number };
      readonly output?: { readonly at?: number };
    }
  | {
      readonly kind: 'get';
      readonly output?: { readonly found: FoundEntry | null; readonly at?: number };
    }
  | {
      readonly kind: 'delete';
      readonly output?: { readonly deleted?: number; readonly at?: number };
    }
  /** Writes where the key has this value (null: is absent), or this revision (0: is absent). */
  | {
      readonly kind: 'compareAndSet';
      readonly input: ({ readonly expected: string | null } | { readonly revision: number }) & {
        readonly value: string;
      };
      readonly output?: {
        readonly succeeded: boolean;
        /** What stood there instead. */
        readonly found?: FoundEntry | null;
        readonly at?: number;
      };
    }
  | {
      readonly kind: 'range';
      readonly input: { readonly to: string; readonly limit?: number };
      readonly output?: {
        readonly found: readonly FoundEntry[];
        readonly more?: boolean;
        readonly at?: number;
      };
    }
  | {
      readonly kind: 'transaction';
      readonly input: {
        readonly compares: readonly HistoryCompare[];
        readonly success: readonly HistoryStep[];
        readonly failure: readonly HistoryStep[];
      };
      readonly output?: {
        readonly succeeded: boolean;
        readonly answers?: readonly HistoryAnswer[];
        readonly at?: number;
      };
    }
  /** The key goes with its lease: revoked by a client, or run out (then unknown, from the grant on). */
  | { readonly kind: 'leaseEnd'; readonly input: { readonly lease: number }; readonly output?: undefined };

export type HistoryOperation = HistoryCall & {
  readonly client: number | string;
  /** Of a transaction `''`; of a range its first key. */
  readonly key: string;
  /** Nanoseconds since the first operation of the history started. */
  readonly start: number;
  /** Infinite where the outcome is unknown. */
  readonly end: number;
  readonly outcome: 'ok' | 'unknown' | 'failed';
};

const LINE_BYTES = 1024 * 1024;
const OPERATIONS = 1_000_000;
const KINDS: ReadonlySet<string> = new Set<HistoryCall['kind']>([
  'put',
  'get',
  'delete',
  'compareAndSet',
  'range',
  'transaction',
  'leaseEnd',
]);

/** Throws where a line is not an operation, naming the line, and where the text passes the bounds. */
export function parseHistory(text: string): readonly HistoryOperation[] {
  const lines = text.split('\n');
  const parsed: {
    readonly operation: Omit<HistoryOperation, 'start' | 'end'>;
    start: bigint;
    end: bigint;
  }[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    if (line.length > LINE_BYTES)
      throw new Error(`line ${index + 1} is longer than ${LINE_BYTES} characters`);
    if (parsed.length >= OPERATIONS) throw new Error(`more than ${OPERATIONS} operations`);
    try {
      parsed.push(parseLine(JSON.parse(line)));
    } catch (error) {
      throw new Error(`line ${index + 1}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  let first = 0n;
  for (const [index, { start }] of parsed.entries()) if (index === 0 || start < first) first = start;
  return parsed.map(
    ({ operation, start, end }) =>
      ({
        ...operation,
        start: Number(start - first),
        end: operation.outcome === 'ok' ? Number(end - first) : Number.POSITIVE_INFINITY,
      }) as HistoryOperation,
  );
}

function parseLine(value: unknown) {
  const line = record(value, 'the line');
  const { client, kind, key, outcome = 'ok' } = line;
  if (typeof kind !== 'string' || !KINDS.has(kind))
    throw new Error(`kind ${JSON.stringify(kind)} is unknown`);
  if (typeof client !== 'number' && typeof client !== 'string') throw new Error('client is missing');
  if (outcome !== 'ok' && outcome !== 'unknown' && outcome !== 'failed')
    throw new Error(`outcome ${JSON.stringify(outcome)} is unknown`);
  const start = nanoseconds(line.start, 'start');
  const end = outcome === 'ok' ? nanoseconds(line.end, 'end') : start;
  if (end < start) throw new Error('it ends before it starts');
  const output = outcome === 'ok' ? line.output : undefined;
  const operation = {
    client,
    kind,
    key: typeof key === 'string' ? key : '',
    input: line.input,
    output,
    outcome,
  };
  checkShape(operation);
  return { operation: operation as unknown as Omit<HistoryOperation, 'start' | 'end'>, start, end };
}

/** As far as the checker could otherwise trip. */
function checkShape(operation: { kind: string; input: unknown; output: unknown }): void {
  const { kind, input, output } = operation;
  if (kind !== 'get' && kind !== 'delete') record(input, 'input');
  if (output !== undefined && output !== null) record(output, 'output');
  if (kind === 'transaction') {
    const transaction = input as Record<string, unknown>;
    for (const part of ['compares', 'success', 'failure'])
      if (!Array.isArray(transaction[part])) throw new Error(`input.${part} is not a list`);
  }
  const found = (output as Record<string, unknown> | null | undefined)?.found;
  if (kind === 'range' && output !== undefined && !Array.isArray(found))
    throw new Error('output.found is not a list');
  if (kind === 'get' && output !== undefined && found === undefined)
    throw new Error('output.found is missing');
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Error(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function nanoseconds(value: unknown, what: string): bigint {
  if (typeof value === 'string' && /^-?\d{1,30}$/.test(value)) return BigInt(value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  throw new Error(`${what} is not a whole number of nanoseconds`);
}

/** One line, without its end. */
export function historyLine(operation: HistoryOperation): string {
  const { client, kind, key, outcome } = operation;
  return JSON.stringify({
    client,
    kind,
    key,
    ...('input' in operation ? { input: operation.input } : {}),
    ...(operation.output === undefined ? {} : { output: operation.output }),
    start: String(Math.round(operation.start)),
    ...(outcome === 'ok' ? { end: String(Math.round(operation.end)) } : { outcome }),
  });
}

export function readHistory(path: string): readonly HistoryOperation[] {
  return parseHistory(readFileSync(path, 'utf8'));
}
