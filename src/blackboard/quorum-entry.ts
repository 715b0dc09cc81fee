/** An entry of a board of mode quorum as bytes in the store: msgpack of the value's JSON text and who wrote it when. */
import { decode, encode } from '../kernel/codec.ts';
import type { Json } from '../kernel/json.ts';
import type { KeyValue } from '../quorum/port.ts';
import type { Change, Entry } from './api.ts';
import { parseStoreKey } from './quorum-keys.ts';

export interface EntryBody {
  /** As text, so that the bounds of JSON apply to it and not those of messages. */
  readonly value: string;
  readonly author: string;
  readonly node: string;
  /** Milliseconds since 1970 by the writer's clock: for people, nothing depends on it. */
  readonly writtenMs: number;
  /** As the writer expects it; the entry vanishes when the store's lease runs out, whatever this says. */
  readonly expiresMs?: number;
}

export function encodeEntry(body: EntryBody): Uint8Array {
  return encode([
    body.value,
    body.author,
    body.node,
    body.writtenMs,
    ...(body.expiresMs === undefined ? [] : [body.expiresMs]),
  ]);
}

/** `undefined` where the bytes are no entry: written by something else, or damaged. */
function decodeEntry(bytes: Uint8Array): EntryBody | undefined {
  const parts = decode(bytes);
  if (!Array.isArray(parts)) return undefined;
  const [value, author, node, writtenMs, expiresMs] = parts as readonly unknown[];
  if (typeof value !== 'string' || typeof author !== 'string' || typeof node !== 'string') return undefined;
  if (!isTime(writtenMs) || (expiresMs !== undefined && !isTime(expiresMs))) return undefined;
  return { value, author, node, writtenMs, ...(expiresMs === undefined ? {} : { expiresMs }) };
}

/** What `Date` can show. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= 8.64e15;
}

/** As readers see it; what is no entry of ours reads as null by nobody. */
export function entryFrom(stored: KeyValue): Entry {
  const key = parseStoreKey(stored.key)?.key ?? stored.key;
  const body = decodeEntry(stored.value) ?? { value: 'null', author: '', node: '', writtenMs: 0 };
  return {
    key,
    value: parsed(body.value),
    author: body.author,
    node: body.node,
    writtenAt: new Date(body.writtenMs).toISOString(),
    revision: stored.modRevision,
    ...(body.expiresMs === undefined ? {} : { expiresAt: new Date(body.expiresMs).toISOString() }),
  };
}

export function changeFrom(key: string, stored: KeyValue, isDeleted: boolean): Change {
  return isDeleted
    ? { key, revision: stored.modRevision, deleted: true }
    : { key, revision: stored.modRevision, deleted: false, entry: entryFrom(stored) };
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return null;
  }
}
