/** Answers of the HTTP face: one shape for errors, one status for each code. */
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ErrorBody, ErrorCode } from '../../kernel/errors.ts';

export const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 401,
  BUDGET_EXHAUSTED: 402,
  DENIED: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  TOO_LARGE: 413,
  LEVEL_NOT_OFFERED: 422,
  RATE_LIMITED: 429,
  INTERNAL: 500,
  UNSUPPORTED: 501,
  UNREACHABLE: 502,
  SESSION_NOT_SATISFIED: 503,
  QUORUM_UNAVAILABLE: 503,
  TIMEOUT: 504,
  QUOTA_EXCEEDED: 507,
};

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.end(text);
}

export function sendText(response: ServerResponse, status: number, text: string, type = 'text/plain'): void {
  response.writeHead(status, {
    'content-type': `${type}; charset=utf-8`,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
  });
  response.end(text);
}

/** `status` where it says more than the code: 405, 415, 431. */
export function sendError(response: ServerResponse, error: ErrorBody, status = STATUS_OF[error.code]): void {
  if (response.headersSent) {
    // Part of an answer is out; only breaking it off tells the client that the rest will not come.
    response.destroy();
    return;
  }
  prepareRefusal(response, error);
  sendJson(response, status, { error });
}

/** Headers that belong to the error, whatever shape its body takes. */
export function prepareRefusal(response: ServerResponse, error: ErrorBody): void {
  if (error.code === 'UNAUTHENTICATED') response.setHeader('www-authenticate', 'Bearer realm="skein"');
  if (error.retryAfterMs !== undefined) {
    response.setHeader('retry-after', Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
  }
}

/** How long a client has to read a refusal before its connection is broken. */
const READ_MS = 1_000;

/** Sends the last words on a connection that never becomes, or no longer is, HTTP. */
export function endSocket(socket: Duplex, text: string): void {
  const timer = setTimeout(() => socket.destroy(), READ_MS);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  socket.end(text);
}
