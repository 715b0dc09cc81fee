/** Bodies of requests, bounded before they are kept. */
import type { IncomingMessage } from 'node:http';
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { parseJsonBytes } from '../mcp-sdk/messages.ts';

export type Body =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: ErrorBody; readonly status: number };

/** How long what a refused client still sends is swallowed, so that it gets to read the refusal. */
const LINGER_MS = 2_000;

/** The JSON of a request. `undefined` where it has no body at all and `optional` allows that. */
export async function readJson(request: IncomingMessage, optional: boolean): Promise<Body> {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  const chunked = request.headers['transfer-encoding'] !== undefined;
  if (optional && !chunked && !(length > 0)) return { ok: true, value: undefined };
  const refused = refusedByHeaders(request, length);
  if (refused !== undefined) {
    linger(request);
    return refused;
  }
  const bytes = await readBytes(request);
  if (bytes === undefined) {
    linger(request);
    return tooLarge();
  }
  if (optional && bytes.length === 0) return { ok: true, value: undefined };
  const parsed = parseJsonBytes(bytes);
  if (parsed.ok) return parsed;
  return { ok: false, error: parsed.error, status: parsed.error.code === 'TOO_LARGE' ? 413 : 400 };
}

function refusedByHeaders(request: IncomingMessage, length: number): Body | undefined {
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    return {
      ok: false,
      status: 415,
      error: errorBody(
        'UNSUPPORTED',
        `The content type ${JSON.stringify((type ?? '').slice(0, 64))} is not supported.`,
        'Send JSON with "Content-Type: application/json".',
      ),
    };
  }
  const charset = /charset\s*=\s*"?([^\s;"]+)/i.exec(request.headers['content-type'] ?? '')?.[1];
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' || (charset !== undefined && !/^utf-?8$/i.test(charset))) {
    return {
      ok: false,
      status: 415,
      error: errorBody('UNSUPPORTED', 'Encoded bodies are not supported.', 'Send plain JSON in UTF-8.'),
    };
  }
  return length > limits.httpBodyBytes ? tooLarge() : undefined;
}

function tooLarge(): Body & { ok: false } {
  return {
    ok: false,
    status: 413,
    error: errorBody(
      'TOO_LARGE',
      `The body is over the limit of ${limits.httpBodyBytes} bytes.`,
      `A value may have ${limits.valueBytes} bytes; split large data over several keys, or use a document.`,
    ),
  };
}

/** `undefined` where there is more than `limits.httpBodyBytes`. Rejects where the client goes away. */
function readBytes(request: IncomingMessage): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const finish = (settle: () => void) => {
      request.off('data', onData);
      request.off('end', onEnd);
      request.off('error', onError);
      request.off('close', onClose);
      settle();
    };
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > limits.httpBodyBytes) finish(() => resolve(undefined));
      else chunks.push(chunk);
    };
    const onEnd = () =>
      finish(() => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    const onError = (error: Error) => finish(() => reject(error));
    const onClose = () => finish(() => reject(new Error('The client went away.')));
    request.on('data', onData);
    request.on('end', onEnd);
    request.on('error', onError);
    request.on('close', onClose);
  });
}

/** Swallows the rest for a while, then breaks the connection. */
function linger(request: IncomingMessage): void {
  request.on('error', () => {});
  request.resume();
  const timer = setTimeout(() => request.socket.destroy(), LINGER_MS);
  timer.unref();
  request.once('end', () => clearTimeout(timer));
  request.once('close', () => clearTimeout(timer));
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** Swallows the body until it ends, but no longer than `LINGER_MS`: a connection closed on unread bytes loses the answer. */
export function drained(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(finish, LINGER_MS);
    timer.unref();
    request.once('error', finish);
    request.once('end', finish);
    request.once('close', finish);
    request.resume();
  });
}
