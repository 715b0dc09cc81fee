/**
 * One item of a lane as bytes: the content of one `ContentBinary` of the lane's Yjs array.
 *
 *     flags      1 byte: kind (bits 0-1), has a time to live (2), was folded (3)
 *     revision   7 bytes, highest first
 *     key        length, UTF-8
 *     author     length, UTF-8
 *     ttl        seconds, only with flag 2; counted from the revision's wall clock
 *     origin     incarnation that first wrote it, only with flag 3
 *     value      JSON in UTF-8, to the end; empty for a delete
 *
 * Identity of an item is (revision, origin, kind): folding a lane into a newer one copies items without changing it,
 * so no reader can tell. The greater identity wins; a delete beats the value that it buries.
 */

import type { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import { limits } from '../kernel/limits.ts';
import { wallMsOf } from './hlc.ts';

export const KIND = { set: 0, append: 1, delete: 2 } as const;
export type ItemKind = (typeof KIND)[keyof typeof KIND];

const KIND_MASK = 3;
const HAS_TTL = 4;
const FOLDED = 8;
/** Longest author in UTF-8. */
export const AUTHOR_BYTES = 512;

/** What stands before the value. */
export interface EntryHead {
  readonly kind: ItemKind;
  readonly revision: number;
  readonly key: string;
  /** Incarnation that first wrote it; 0 where that is the lane it stands in. */
  readonly origin: number;
  /** Wall clock in ms from which on it counts as deleted; 0: never. */
  readonly expiresMs: number;
}

export interface EntryToWrite {
  readonly kind: ItemKind;
  readonly revision: number;
  readonly key: string;
  readonly author: string;
  readonly ttlSeconds?: number | undefined;
  readonly origin?: number | undefined;
  /** JSON text; empty for a delete. */
  readonly value: string;
}

export function writeEntry(writer: ByteWriter, entry: EntryToWrite): void {
  const { ttlSeconds = 0, origin = 0 } = entry;
  writer.byte(entry.kind | (ttlSeconds > 0 ? HAS_TTL : 0) | (origin > 0 ? FOLDED : 0));
  writer.uint56(entry.revision);
  writer.text(entry.key);
  writer.text(entry.author);
  if (ttlSeconds > 0) writer.varuint(ttlSeconds);
  if (origin > 0) writer.varuint(origin);
  writer.utf8(entry.value);
}

/** The head of what `writeEntry` writes, as `readEntryHead` reads it. */
export function headOf({ kind, revision, key, ttlSeconds = 0, origin = 0 }: EntryToWrite): EntryHead {
  return { kind, revision, key, origin, expiresMs: expiryOf(revision, ttlSeconds) };
}

function expiryOf(revision: number, ttlSeconds: number): number {
  return ttlSeconds > 0 ? wallMsOf(revision) + ttlSeconds * 1_000 : 0;
}

/** Reads the head and checks the form of the whole; `undefined` where it is malformed. The value is not parsed. */
export function readEntryHead(reader: ByteReader): EntryHead | undefined {
  const flags = reader.byte();
  const kind = flags & KIND_MASK;
  if (flags > (KIND_MASK | HAS_TTL | FOLDED) || kind === KIND_MASK) return undefined;
  const revision = reader.uint56();
  const key = reader.text(limits.keyBytes);
  const authorBytes = reader.varuint();
  if (authorBytes > AUTHOR_BYTES) return undefined;
  reader.skip(authorBytes);
  const ttlSeconds = flags & HAS_TTL ? reader.varuint() : 0;
  const origin = flags & FOLDED ? reader.varuint() : 0;
  if (reader.failed || revision === 0 || key === '' || ttlSeconds > limits.ttlSeconds) return undefined;
  if (kind === KIND.delete ? reader.remaining !== 0 : reader.remaining === 0) return undefined;
  if (reader.remaining > limits.valueBytes) return undefined;
  return { kind: kind as ItemKind, revision, key, origin, expiresMs: expiryOf(revision, ttlSeconds) };
}

/** The order of the bytes of two items' authors, then values. Their heads have been read before; nothing is copied. */
export function compareBodies(left: ByteReader, right: ByteReader): number {
  const [leftFlags, rightFlags] = [skipToAuthor(left), skipToAuthor(right)];
  const order = compareSpans(left, left.varuint(), right, right.varuint());
  if (order !== 0) return order;
  skipToValue(left, leftFlags);
  skipToValue(right, rightFlags);
  return compareSpans(left, left.remaining, right, right.remaining);
}

function skipToAuthor(reader: ByteReader): number {
  const flags = reader.byte();
  reader.skip(7);
  reader.skip(reader.varuint());
  return flags;
}

function skipToValue(reader: ByteReader, flags: number): void {
  if (flags & HAS_TTL) reader.varuint();
  if (flags & FOLDED) reader.varuint();
}

function compareSpans(left: ByteReader, leftBytes: number, right: ByteReader, rightBytes: number): number {
  const [leftAt, rightAt] = [left.at, right.at];
  left.skip(leftBytes);
  right.skip(rightBytes);
  const length = Math.min(leftBytes, rightBytes);
  for (let at = 0; at < length; at++) {
    const order = (left.bytes[leftAt + at] as number) - (right.bytes[rightAt + at] as number);
    if (order !== 0) return order;
  }
  return leftBytes - rightBytes;
}

/** Author and value of an item whose head has been read before. */
export function readEntryBody(reader: ByteReader): { readonly author: string; readonly value: Uint8Array } {
  const flags = skipToAuthor(reader);
  const author = reader.text(AUTHOR_BYTES);
  skipToValue(reader, flags);
  return { author, value: reader.raw(reader.remaining) };
}
