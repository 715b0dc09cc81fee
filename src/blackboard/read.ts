/** From items to what callers see. */

import { decodeUtf8 } from '../kernel/bytes.ts';
import type { Json } from '../kernel/json.ts';
import type { Change, Entry } from './api.ts';
import { KIND } from './entry.ts';
import { wallMsOf } from './hlc.ts';
import type { Item } from './lane.ts';
import { Rivals } from './rivals.ts';
import type { View } from './view.ts';

export function isExpired(item: Item, wallMs: number): boolean {
  return item.expiresMs !== 0 && item.expiresMs <= wallMs;
}

/** The visible entry of a key, or `undefined`. */
export function entryOf(view: View, key: string, wallMs: number): Entry | undefined {
  const state = view.get(key);
  if (state === undefined) return undefined;
  if (state instanceof Rivals) return logEntry(state, wallMs);
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
  if (state instanceof Rivals) return state.base === undefined ? state.items : [state.base, ...state.items];
  return [state];
}

function logEntry(log: Rivals, wallMs: number): Entry | undefined {
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
  const made = {
    key: item.key,
    value,
    author,
    node: item.lane.owner ?? '',
    writtenAt: isoOf(wallMsOf(item.revision)),
    revision: item.revision,
  };
  return item.expiresMs === 0 ? made : { ...made, expiresAt: isoOf(item.expiresMs) };
}

const SECOND_MS = 1_000;
let isoSecond = Number.NaN;
let isoPrefix = '';

/** As `Date.toISOString`, which is slow; most times asked for lie in the same second as the one before. */
function isoOf(wallMs: number): string {
  const second = Math.floor(wallMs / SECOND_MS);
  if (second !== isoSecond) {
    isoPrefix = new Date(second * SECOND_MS).toISOString().slice(0, -'000Z'.length);
    isoSecond = second;
  }
  const ms = Math.floor(wallMs - second * SECOND_MS);
  return `${isoPrefix}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`;
}

/** Values were checked when they came in; what is damaged nevertheless reads as null. */
function parseValue(bytes: Uint8Array): Json {
  try {
    return JSON.parse(decodeUtf8(bytes) ?? 'null') as Json;
  } catch {
    return null;
  }
}
