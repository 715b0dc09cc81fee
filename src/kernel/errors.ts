/** Errors that travel to users and peers. Codes are closed: `docs/` and clients rely on them. */
export const ERROR_CODES = [
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'CONFLICT',
  'DENIED',
  'UNAUTHENTICATED',
  'RATE_LIMITED',
  'QUOTA_EXCEEDED',
  'LEVEL_NOT_OFFERED',
  'SESSION_NOT_SATISFIED',
  'QUORUM_UNAVAILABLE',
  'BUDGET_EXHAUSTED',
  'TIMEOUT',
  'UNREACHABLE',
  'TOO_LARGE',
  'UNSUPPORTED',
  'INTERNAL',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** The one shape of an error everywhere: HTTP bodies carry it under `error`, MCP as `structuredContent`. */
export interface ErrorBody {
  readonly code: ErrorCode;
  /** What went wrong, for a person. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  /** `details.outcome` is `not-done` or `unknown` where a write may or may not have happened. */
  readonly details?: Readonly<Record<string, unknown>>;
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'RATE_LIMITED',
  'SESSION_NOT_SATISFIED',
  'QUORUM_UNAVAILABLE',
  'TIMEOUT',
  'UNREACHABLE',
]);

interface ErrorExtras {
  readonly retryable?: boolean;
  readonly retryAfterMs?: number;
  readonly details?: Readonly<Record<string, unknown>>;
}

export function errorBody(
  code: ErrorCode,
  message: string,
  hint: string,
  extras: ErrorExtras = {},
): ErrorBody {
  const { retryable = RETRYABLE.has(code), retryAfterMs, details } = extras;
  return {
    code,
    message,
    hint,
    retryable,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(details === undefined ? {} : { details }),
  };
}

/** Thrown at the edges (command line, HTTP, MCP). Inside the cores an expected outcome is a `Result`. */
export class SkeinError extends Error {
  readonly body: ErrorBody;

  constructor(body: ErrorBody) {
    super(body.message);
    this.name = 'SkeinError';
    this.body = body;
  }

  static of(code: ErrorCode, message: string, hint: string, extras?: ErrorExtras): SkeinError {
    return new SkeinError(errorBody(code, message, hint, extras));
  }
}

/** An expected outcome as a value. */
export type Result<T, E = ErrorBody> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: E };

export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

export function fail<E>(error: E): { readonly ok: false; readonly error: E } {
  return { ok: false, error };
}

/** `fail` with a body built in place. */
export function failWith(
  code: ErrorCode,
  message: string,
  hint: string,
  extras?: ErrorExtras,
): { readonly ok: false; readonly error: ErrorBody } {
  return fail(errorBody(code, message, hint, extras));
}
