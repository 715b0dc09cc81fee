/** What clients did and were told: all that checkers of the blackboard may look at. */
import type { BoardCall, Entry } from '../../src/blackboard/api.ts';
import type { ErrorBody } from '../../src/kernel/errors.ts';

export interface Operation {
  readonly index: number;
  readonly client: number;
  readonly machine: number;
  /** Whether the client keeps a session over its calls; `session` of the call is its token. */
  readonly inSession: boolean;
  readonly call: BoardCall;
  /** Unique text inside the value that a write stores, or the items that an append adds. */
  readonly written: readonly string[];
  readonly invokedMs: number;
  /** `info`: it may have happened, or may happen still. */
  outcome: 'pending' | 'ok' | 'fail' | 'info';
  returnedMs: number;
  answer: OperationAnswer | undefined;
  error: ErrorBody | undefined;
}

/** The answers of all calls, as far as checkers need them. */
export interface OperationAnswer {
  readonly session?: string;
  readonly revision?: number;
  readonly found?: boolean;
  readonly deleted?: boolean;
  readonly value?: unknown;
  readonly entries?: readonly Entry[];
}

export type History = readonly Operation[];

/** The unique texts inside a value that the workload wrote. */
export function textsOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.flatMap(textsOf);
  const text = (value as { unique?: unknown } | null)?.unique;
  return typeof text === 'string' ? [text] : [];
}
