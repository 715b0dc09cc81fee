/**
 * Session tokens: what a caller has seen, as clocks of lanes, so that any node can tell whether it has as much
 * (Terry et al., "Session guarantees for weakly consistent replicated data", 1994).
 *
 * Opaque to callers; inside: version, then boards with their lanes' clocks, then a checksum that tells a damaged
 * token from a good one. A token is a wish, not a right: a forged one can only make its bearer wait.
 */
import { fromBase64Url, toBase64Url } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type BoardName, parseBoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { DOCUMENT_NAME_BYTES } from './sections.ts';

/** By board, by incarnation, the clock that was seen. */
export type Session = Map<BoardName, Map<number, number>>;

const VERSION = 1;
/** No lane can have had more items than this: more than a million a second for a month. */
const MOST_CLOCK = 2 ** 42;
const writer = new ByteWriter(256);

export function encodeSession(session: ReadonlyMap<BoardName, ReadonlyMap<number, number>>): string {
  writer.clear();
  writer.byte(VERSION);
  writer.varuint(session.size);
  for (const [board, clocks] of session) {
    writer.text(board);
    writer.varuint(clocks.size);
    for (const [incarnation, clock] of clocks) {
      writer.varuint(incarnation);
      writer.varuint(clock);
    }
  }
  writer.uint32(checksum(writer.view()));
  return toBase64Url(writer.view());
}

/** `INVALID_ARGUMENT` where the token is damaged, too large or names clocks that no lane can have. */
export function decodeSession(token: unknown): Result<Session> {
  if (typeof token !== 'string') return refuse('is not a text');
  if (token.length > Math.ceil((limits.sessionTokenBytes * 4) / 3)) return refuse('is too large');
  const bytes = fromBase64Url(token);
  if (bytes === undefined || bytes.length < 6) return refuse('is not one that a node gave');
  const body = bytes.subarray(0, bytes.length - 4);
  if (new ByteReader(bytes, body.length).uint32() !== checksum(body)) return refuse('is damaged');
  const reader = new ByteReader(body);
  if (reader.byte() !== VERSION) return refuse('has a version that this node does not know');
  const session: Session = new Map();
  let lanes = 0;
  const boards = reader.varuint();
  for (let index = 0; index < boards && !reader.failed; index++) {
    const name = reader.text(64 + 1 + DOCUMENT_NAME_BYTES);
    // `board`, or `board/document`.
    const board = parseBoardName(name.split('/', 1)[0]) === undefined ? undefined : (name as BoardName);
    const count = reader.varuint();
    lanes += count;
    if (board === undefined || lanes > limits.sessionLanes) return refuse('names no board or too many lanes');
    const clocks = new Map<number, number>();
    for (let lane = 0; lane < count && !reader.failed; lane++) {
      const incarnation = reader.varuint();
      const clock = reader.varuint();
      if (incarnation === 0 || clock > MOST_CLOCK) return refuse('names a clock that no lane can have');
      clocks.set(incarnation, clock);
    }
    session.set(board, clocks);
  }
  return reader.done ? ok(session) : refuse('is damaged');
}

/** Adds what was just seen to a session. Beyond the limit of lanes the oldest knowledge is not dropped: nothing is added. */
export function mergeSeen(session: Session, board: BoardName, seen: ReadonlyMap<number, number>): void {
  const clocks = session.get(board) ?? new Map<number, number>();
  for (const [incarnation, clock] of seen) {
    if ((clocks.get(incarnation) ?? 0) < clock) clocks.set(incarnation, clock);
  }
  session.set(board, clocks);
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
