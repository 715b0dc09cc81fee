/**
 * Session tokens: what a caller has seen, as clocks of lanes, so that any node can tell whether it has as much
 * (Terry et al., "Session guarantees for weakly consistent replicated data", 1994).
 *
 * Opaque to callers; inside: version, then boards and documents with their clocks, then a checksum that tells a
 * damaged token from a good one. A token is a wish, not a right: a forged one can only make its bearer wait.
 *
 * Limit: a token has bounded room. What has more clocks than it can name is said as a *whole*: "all that this node
 * had in this run", with a hash of the clocks. The node itself can tell that it has it, and any node whose clocks
 * are the same; others cannot, and refuse. So a token may cover less on other nodes by refusing, never by lying.
 */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import { fromBase64Url, toBase64Url } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type BoardName, parseBoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Clocks } from './board.ts';
import { DOCUMENT_NAME_BYTES } from './sections.ts';

/** All that a node had of something, where that is more than a token can name. */
export interface Whole {
  /** Incarnation of the node. */
  readonly run: number;
  /** Tells apart what the node may have lost within that run. */
  readonly stamp: number;
  /** `WHOLE_HASH_BYTES` over its clocks; empty where they were of several boards. */
  readonly hash: Uint8Array;
}

export type Seen = Clocks | Whole;

/** By board or document (see `documentSession`), what was seen of it. */
export type Session = Map<BoardName, Seen>;

/** Stands for every board and document: `Whole` only. */
export const EVERYTHING = '' as BoardName;
export const WHOLE_HASH_BYTES = 8;
/** Bytes in a token's text, and how many of them may name clocks: the rest is for wholes. */
export const TOKEN_BYTES = Math.floor((limits.sessionTokenBytes * 3) / 4);
export const CLOCKS_BYTES = TOKEN_BYTES - 1_024;

const VERSION = 2;
/** No lane can have had more items than this: more than a million a second for a month. */
const MOST_CLOCK = 2 ** 42;
const CLOCKS = 0;
const WHOLE = 1;
const writer = new ByteWriter(256);

/** Documents stand in a session under a name of their own. */
export function documentSession(board: BoardName, document: string): BoardName {
  return `${board}/${document}` as BoardName;
}

export function isWhole(seen: Seen | undefined): seen is Whole {
  return seen !== undefined && 'run' in seen;
}

export function encodeSession(session: ReadonlyMap<BoardName, Seen>): string {
  writeSession(session);
  return toBase64Url(writer.view());
}

/** The same, where the session takes at most so many bytes. */
export function encodeWithin(session: ReadonlyMap<BoardName, Seen>, mostBytes: number): string | undefined {
  writeSession(session);
  return writer.length <= mostBytes ? toBase64Url(writer.view()) : undefined;
}

/** Bytes that the session takes in a token, before they become text. */
export function sessionBytes(session: ReadonlyMap<BoardName, Seen>): number {
  writeSession(session);
  return writer.length;
}

function writeSession(session: ReadonlyMap<BoardName, Seen>): void {
  writer.clear();
  writer.byte(VERSION);
  writer.varuint(session.size);
  for (const [name, seen] of session) {
    writer.text(name);
    if (isWhole(seen)) {
      writer.byte(WHOLE);
      writer.varuint(seen.run);
      writer.varuint(seen.stamp);
      writer.sized(seen.hash);
      continue;
    }
    writer.byte(CLOCKS);
    writer.varuint(seen.size);
    for (const [incarnation, clock] of seen) {
      writer.varuint(incarnation);
      writer.varuint(clock);
    }
  }
  writer.uint32(checksum(writer.view()));
}

/** `INVALID_ARGUMENT` where the token is damaged, too large or names clocks that no lane can have. */
export function decodeSession(token: unknown): Result<Session> {
  if (typeof token !== 'string') return refuse('is not a text');
  if (token.length > limits.sessionTokenBytes) return refuse('is too large');
  const bytes = fromBase64Url(token);
  if (bytes === undefined || bytes.length < 6) return refuse('is not one that a node gave');
  const body = bytes.subarray(0, bytes.length - 4);
  if (new ByteReader(bytes, body.length).uint32() !== checksum(body)) return refuse('is damaged');
  const reader = new ByteReader(body);
  if (reader.byte() !== VERSION) return refuse('has a version that this node does not know');
  const session: Session = new Map();
  const count = reader.varuint();
  for (let index = 0; index < count && !reader.failed; index++) {
    const name = reader.text(64 + 1 + DOCUMENT_NAME_BYTES) as BoardName;
    const seen = reader.byte() === WHOLE ? readWhole(reader) : readSeen(reader);
    if (seen === undefined) return refuse('names a clock that no lane can have');
    // `board`, or `board/document`.
    const isNamed = name === EVERYTHING ? isWhole(seen) : parseBoardName(name.split('/', 1)[0]) !== undefined;
    if (!isNamed) return refuse('names no board');
    session.set(name, seen);
  }
  return reader.done ? ok(session) : refuse('is damaged');
}

function readSeen(reader: ByteReader): Clocks | undefined {
  const clocks = new Map<number, number>();
  const count = reader.varuint();
  for (let index = 0; index < count && !reader.failed; index++) {
    const incarnation = reader.varuint();
    const clock = reader.varuint();
    if (incarnation === 0 || clock > MOST_CLOCK) return undefined;
    clocks.set(incarnation, clock);
  }
  return clocks;
}

function readWhole(reader: ByteReader): Whole | undefined {
  const whole = { run: reader.varuint(), stamp: reader.varuint(), hash: reader.sized() };
  return whole.run === 0 || whole.hash.length > WHOLE_HASH_BYTES ? undefined : whole;
}

/** Clocks of both, the later of each. */
export function laterOf(left: Clocks, right: Clocks): Clocks {
  const clocks = new Map(left);
  for (const [incarnation, clock] of right) {
    if ((clocks.get(incarnation) ?? 0) < clock) clocks.set(incarnation, clock);
  }
  return clocks;
}

function refuse(why: string): ReturnType<typeof failWith> {
  return failWith(
    'INVALID_ARGUMENT',
    `The session token ${why}.`,
    'Pass the token of an earlier answer unchanged, or none.',
  );
}

/** FNV-1a: against accidents, not against malice. */
function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
