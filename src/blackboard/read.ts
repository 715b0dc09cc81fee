/** From items to what callers see. */
import type { Json } from '../kernel/json.ts';
import type { Change, Entry } from './api.ts';
import { decodeUtf8 } from './bytes.ts';
import { KIND } from './entry.ts';
import { wallMsOf } from './hlc.ts';
import type { Item } from './lane.ts';
import { Log, type View } from './view.ts';

export function isExpired(item: Item, wallMs: number): boolean {
  return item.expiresMs !== 0 && item.expiresMs <= wallMs;
}

/** The visible entry of a key, or `undefined`. */
export function entryOf(view: View, key: string, wallMs: number): Entry | undefined {
  const state = view.get(key);
  if (state === undefined) return undefined;
  if (state instanceof Log) return logEntry(state, wallMs);
  if (state.kind !== KIND.set || isExpired(state, wallMs)) return undefined;
  const { author, value } = state.body();
  return entry(state, author, parseValue(value));
}

/** What a watcher is told of a key. */
export function changeOf(view: View, key: string, wallMs: number): Change {
  const entry = entryOf(view, key, wallMs);
  const revision = view.newest(key)?.revision ?? 0;
  return entry === undefined
    ? { key, revision, deleted: true }
    : { key, revision: entry.revision, deleted: false, entry };
}

/** Items that together make the value, oldest first. */
export function itemsOf(view: View, key: string): readonly Item[] {
  const state = view.get(key);
  if (state === undefined) return [];
  if (state instanceof Log) return state.base === undefined ? state.items : [state.base, ...state.items];
  return [state];
}

function logEntry(log: Log, wallMs: number): Entry | undefined {
  const { base } = log;
  const values: Json[] = [];
  if (base !== undefined && base.kind === KIND.set && !isExpired(base, wallMs)) {
    const first = parseValue(base.body().value);
    // A list that was written before becomes the log's beginning; any other value its first item.
    if (Array.isArray(first)) values.push(...first);
    else values.push(first);
  }
  for (const item of log.items) values.push(parseValue(item.body().value));
  const newest = log.items.at(-1);
  return newest === undefined ? undefined : entry(newest, newest.body().author, values);
}

function entry(item: Item, author: string, value: Json): Entry {
  return {
    key: item.key,
    value,
    author,
    node: item.lane.owner ?? '',
    writtenAt: new Date(wallMsOf(item.revision)).toISOString(),
    revision: item.revision,
    ...(item.expiresMs === 0 ? {} : { expiresAt: new Date(item.expiresMs).toISOString() }),
  };
}

/** Values were checked when they came in; what is damaged nevertheless reads as null. */
function parseValue(bytes: Uint8Array): Json {
  try {
    return JSON.parse(decodeUtf8(bytes) ?? 'null') as Json;
  } catch {
    return null;
  }
}
