/** JSON-RPC messages as bytes: bounded, checked before and after they are parsed. */
import type { JSONRPCMessage, JSONRPCRequest } from '@modelcontextprotocol/server';
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { type JsonTextProblem, jsonTextProblem } from '../../kernel/json-text.ts';
import { limits } from '../../kernel/limits.ts';

export type RequestId = string | number;

type ParsedBody =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: ErrorBody };

const TEXT_LIMITS = { depth: limits.jsonDepth + limits.envelopeDepth, elements: limits.jsonElements };

const PROBLEMS: Readonly<Record<JsonTextProblem, () => ErrorBody>> = {
  'invalid-utf8': () =>
    errorBody('INVALID_ARGUMENT', 'The message is not valid UTF-8.', 'Encode JSON as UTF-8.'),
  'too-deep': () =>
    errorBody(
      'INVALID_ARGUMENT',
      `The message is nested more than ${TEXT_LIMITS.depth} levels deep.`,
      `Values may be nested ${limits.jsonDepth} levels deep.`,
    ),
  'too-many-elements': () =>
    errorBody(
      'TOO_LARGE',
      `The message has more than ${limits.jsonElements} elements.`,
      'Split large data over several keys.',
    ),
};

/** Parses JSON that a stranger sent: within bounds in size of structure, and valid UTF-8. */
export function parseJsonBytes(bytes: Buffer): ParsedBody {
  const problem = jsonTextProblem(bytes, TEXT_LIMITS);
  if (problem !== undefined) return { ok: false, error: PROBLEMS[problem]() };
  try {
    return { ok: true, value: JSON.parse(bytes.toString('utf8')) };
  } catch {
    return {
      ok: false,
      error: errorBody('INVALID_ARGUMENT', 'The body is not valid JSON.', 'Send one JSON document.'),
    };
  }
}

/** Whether a parsed value has the shape of a JSON-RPC 2.0 message; batches are not messages. */
export function isMessage(value: unknown): value is JSONRPCMessage {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const message = value as Record<string, unknown>;
  if (message.jsonrpc !== '2.0') return false;
  const id = message.id;
  const hasId = typeof id === 'string' || (typeof id === 'number' && Number.isFinite(id));
  if (id !== undefined && !hasId) return false;
  const params = message.params;
  if (typeof message.method === 'string') {
    return params === undefined || (typeof params === 'object' && params !== null && !Array.isArray(params));
  }
  if (!hasId) return false;
  const isObject = (part: unknown) => typeof part === 'object' && part !== null;
  return isObject(message.result) || isObject(message.error);
}

export function isRequest(value: unknown): value is JSONRPCRequest {
  return isMessage(value) && 'method' in value && 'id' in value && value.id !== undefined;
}

/** The id to answer under, where the message has one. */
export function idOf(value: unknown): RequestId | null {
  if (typeof value !== 'object' || value === null) return null;
  const id = (value as Record<string, unknown>).id;
  return typeof id === 'string' || typeof id === 'number' ? id : null;
}

/** A JSON-RPC error that carries the whole error body under `data.error`. */
export function errorMessage(id: RequestId | null, code: number, error: ErrorBody): Record<string, unknown> {
  return {
    jsonrpc: '2.0',
    id,
    error: { code, message: `${error.message} ${error.hint}`, data: { error } },
  };
}
