/**
 * The gate: looks at what a peer says its lane became before anything of it is believed. One pass, no allocation for
 * what is merely announced, nothing kept of what is refused.
 *
 * What the bytes are is settled by `readLaneUpdate` (one client, unbroken clocks, the lane as parent, no foreign
 * deletes); here it is whether they fit this replica, and whether every new item is well-formed.
 */

import { ByteReader, decodeUtf8 } from '../kernel/bytes.ts';
import { checkJson } from '../kernel/json.ts';
import { limits } from '../kernel/limits.ts';
import { type EntryHead, KIND, readEntryHead } from './entry.ts';
import { wallMsOf } from './hlc.ts';
import type { LaneUpdate } from './lane-update.ts';

type Verdict =
  | { readonly kind: 'fits'; readonly heads: readonly EntryHead[] }
  /** What precedes it is missing here. */
  | { readonly kind: 'gap' }
  /**
   * Stamped further ahead than is believed: the clocks of the two nodes disagree, or the author's was ahead once. No
   * offence, since its author may be honest and relays surely are; it will pass later.
   */
  | { readonly kind: 'early' }
  | { readonly kind: 'refused'; readonly reason: string };

const POISONED: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);
const GAP: Verdict = { kind: 'gap' };
const EARLY: Verdict = { kind: 'early' };

function refuse(reason: string): Verdict {
  return { kind: 'refused', reason };
}

/** Whether an update fits a lane that stands at `clock`, and the heads of its new items. */
export function checkLaneUpdate(
  update: LaneUpdate,
  bytes: Uint8Array,
  clock: number,
  wallMs: number,
): Verdict {
  if (update.structs.length > 0 && update.fromClock > clock) return GAP;
  const behind = Math.max(clock, update.toClock);
  const lastDelete = update.deletes.length - 2;
  if (lastDelete >= 0) {
    const end = (update.deletes[lastDelete] as number) + (update.deletes[lastDelete + 1] as number);
    if (end > behind) return GAP;
  }
  const heads: EntryHead[] = [];
  let early = false;
  const { structs } = update;
  const reader = new ByteReader(bytes);
  for (let at = 0; at < structs.length; at += 3) {
    const offset = structs[at + 1] as number;
    if (offset < 0 || (structs[at] as number) < clock) continue;
    reader.moveTo(offset, offset + (structs[at + 2] as number));
    const head = readEntryHead(reader);
    if (head === undefined) return refuse('malformed entry');
    if (POISONED.has(head.key)) return refuse('poisoned key');
    if (wallMsOf(head.revision) - wallMs > limits.clockSkewMs) early = true;
    if (head.kind !== KIND.delete && !isJson(bytes, reader.at, reader.end)) return refuse('malformed value');
    heads.push(head);
  }
  return early ? EARLY : { kind: 'fits', heads };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const OPEN_OBJECT = 0x7b;

/** JSON of bounded depth and without poisoned keys. A plain ASCII string, the usual case, needs no parser. */
export function isJson(bytes: Uint8Array, from: number, to: number): boolean {
  if (bytes[from] === QUOTE && bytes[to - 1] === QUOTE && to - from >= 2) {
    let at = from + 1;
    for (; at < to - 1; at++) {
      const byte = bytes[at] as number;
      if (byte < 0x20 || byte > 0x7e || byte === QUOTE || byte === BACKSLASH) break;
    }
    if (at === to - 1) return true;
  }
  if (isDeep(bytes, from, to)) return false;
  try {
    const text = decodeUtf8(bytes.subarray(from, to));
    return text !== undefined && checkJson(JSON.parse(text), 'value').ok;
  } catch {
    return false;
  }
}

/** Nesting beyond the limit, told without building what is nested. */
function isDeep(bytes: Uint8Array, from: number, to: number): boolean {
  let depth = 0;
  let inText = false;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) inText = !inText;
    else if (byte === BACKSLASH) at++;
    else if (inText) continue;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      if (++depth > limits.jsonDepth) return true;
    } else if (byte === OPEN_LIST + 2 || byte === OPEN_OBJECT + 2) depth--;
  }
  return false;
}
