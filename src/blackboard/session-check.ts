/** Whether this node has what a session has seen, and all that this in turn relies on; and the tokens that it gives. */

import { ByteWriter } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import { type ErrorBody, failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import type { BoardCall } from './api.ts';
import type { Board, Clocks } from './board.ts';
import type { FreeDocument } from './documents.ts';
import type { DocumentsLattice } from './documents-lattice.ts';
import type { Hash, Lane } from './lane.ts';
import {
  CLOCKS_BYTES,
  decodeSession,
  documentSession,
  EVERYTHING,
  encodeSession,
  encodeWithin,
  isWhole,
  laterOf,
  type Seen,
  type Session,
  sessionBytes,
  TOKEN_BYTES,
  WHOLE_HASH_BYTES,
  type Whole,
} from './session.ts';
import type { BoardStore } from './store.ts';

type Refusal = { readonly ok: false; readonly error: ErrorBody };

const NO_HASH = new Uint8Array(0);
const NO_CLOCKS: Clocks = new Map();

export class SessionCheck {
  readonly #store: BoardStore;
  readonly #documents: DocumentsLattice;
  readonly #hash: Hash;

  constructor(store: BoardStore, documents: DocumentsLattice, hash: Hash) {
    this.#store = store;
    this.#documents = documents;
    this.#hash = hash;
  }

  of(call: BoardCall): Result<Session | undefined> {
    if (call.session === undefined) return ok(undefined);
    const session = decodeSession(call.session);
    if (!session.ok) return session;
    for (const [name, seen] of session.value) {
      if (isWhole(seen)) continue;
      const running = seen.get(this.#store.incarnation) ?? 0;
      const board = this.#store.find(name);
      if (board !== undefined && running > board.clockOf(this.#store.incarnation)) {
        return failWith(
          'INVALID_ARGUMENT',
          'The session token names writes that this node never made.',
          'Pass the token of an earlier answer unchanged, or none.',
        );
      }
    }
    // Decided before anything is written: an answer without a token that says all would be too late.
    if (!this.#hasRoom(call, session.value)) return this.refusal(call, session.value);
    return session.value.size > 0 || call.level === 'session' ? session : ok(undefined);
  }

  /** True where this node has all that the session names, and all that this in turn relies on. */
  isSatisfied(call: BoardCall, session: Session | undefined): boolean {
    if (call.level === 'eventual' && session === undefined) return true;
    for (const [name, seen] of concerned(call, session)) if (!this.#has(name, seen, call.board)) return false;
    if (session === undefined && call.level !== 'session') return true;
    const board = this.#store.find(call.board);
    if (board === undefined) return true;
    if (call.op === 'read') {
      const newest = board.view.newest(call.key);
      return newest === undefined || board.settled(newest.lane);
    }
    return call.op !== 'list' || areSettled(board);
  }

  refusal(call: BoardCall, session: Session | undefined): Refusal {
    const wholes = concerned(call, session).filter(([, seen]) => isWhole(seen)) as [BoardName, Whole][];
    const untold = wholes.find(([name, whole]) => !this.#has(name, whole, call.board))?.[1];
    const retry = { retryAfterMs: 500 };
    if (untold !== undefined) {
      const node = this.#nodeOf(untold.run);
      return failWith(
        'SESSION_NOT_SATISFIED',
        'The session has seen more writers than a token can name, so this node cannot tell whether it has all of it.',
        `Ask the node that gave the token (${node}, unless it has restarted), or drop the token and accept an older value.`,
        { ...retry, details: { missing: [{ node }], outcome: 'not-done' } },
      );
    }
    const board = this.#store.find(call.board);
    const missing = [...clocksIn(session, call.board)]
      .filter(([incarnation, clock]) => board === undefined || !board.reached(incarnation, clock))
      .slice(0, 16)
      .map(([incarnation, needs]) => ({
        node: this.#nodeOf(incarnation),
        has: board?.clockOf(incarnation) ?? 0,
        needs,
      }));
    return failWith(
      'SESSION_NOT_SATISFIED',
      'This node has not received everything that the session has seen.',
      'Try again shortly, ask the node that gave the token, or drop the token and accept an older value.',
      { ...retry, details: { missing, outcome: 'not-done' } },
    );
  }

  /**
   * The token of an answer: what its caller had seen, which this node has of what the call was about, and what the
   * answer shows.
   */
  token(name: BoardName, seen: Clocks, session: Session | undefined): string {
    const known = session?.get(name);
    const next: Session = new Map(session);
    // What was a whole elsewhere is here, so it is part of the whole of this node.
    if (isWhole(known)) next.set(name, this.#wholeOf(name));
    else if (seen.size > 0 || known !== undefined) next.set(name, laterOf(known ?? NO_CLOCKS, seen));
    const text = encodeWithin(next, CLOCKS_BYTES);
    if (text !== undefined) return text;
    this.#fold(next, name);
    if (sessionBytes(next) > CLOCKS_BYTES && next.has(name)) next.set(name, this.#wholeOf(name));
    return encodeSession(next);
  }

  /** What a write in the session relies on. */
  causes(board: Board, session: Session | undefined): Clocks | undefined {
    if (session === undefined) return undefined;
    const seen = session.get(board.name);
    if (session.has(EVERYTHING) || isWhole(seen)) return clocksOf(board);
    return seen;
  }

  /** Others than `name` that are here become one whole. */
  #fold(session: Session, name: BoardName): void {
    let isFolded = false;
    for (const [other, seen] of session) {
      if (other === name || !this.#has(other, seen)) continue;
      session.delete(other);
      isFolded = true;
    }
    if (!isFolded) return;
    session.set(EVERYTHING, { run: this.#store.incarnation, stamp: this.#store.resets, hash: NO_HASH });
  }

  /** True where an answer's token can say all: whatever is not here must be named as it was. */
  #hasRoom(call: BoardCall, session: Session): boolean {
    if ((call.session?.length ?? 0) * 0.75 < CLOCKS_BYTES) return true;
    const next: Session = new Map(session);
    const name = nameOf(call);
    this.#fold(next, name);
    next.set(name, this.#wholeOf(name));
    return sessionBytes(next) <= TOKEN_BYTES;
  }

  #has(name: BoardName, seen: Seen, concerning?: BoardName): boolean {
    if (name === EVERYTHING) {
      const board = concerning === undefined ? undefined : this.#store.find(concerning);
      return isWhole(seen) && this.#isOfThisRun(seen) && (board === undefined || areSettled(board));
    }
    const [boardName, ...rest] = name.split('/') as [BoardName, ...string[]];
    const document = rest.length > 0;
    if (isWhole(seen)) {
      const ofThisRun = document ? seen.run === this.#store.incarnation : this.#isOfThisRun(seen);
      if (!ofThisRun && !equalBytes(seen.hash, this.#hashOf(name))) return false;
      const board = document ? undefined : this.#store.find(boardName);
      return board === undefined || areSettled(board);
    }
    if (document) {
      const held = this.#documentOf(name);
      for (const [client, clock] of seen) if ((held?.clockOf(client) ?? 0) < clock) return false;
      return true;
    }
    const board = this.#store.find(boardName);
    for (const [incarnation, clock] of seen) {
      if (board === undefined) return false;
      if (!board.reached(incarnation, clock)) return false;
      const lane = board.lanes.get(incarnation);
      if (lane !== undefined && !board.settled(lane)) return false;
    }
    return true;
  }

  /** Within a run only a reset takes anything away. */
  #isOfThisRun({ run, stamp }: Whole): boolean {
    return run === this.#store.incarnation && stamp === this.#store.resets;
  }

  #wholeOf(name: BoardName): Whole {
    return { run: this.#store.incarnation, stamp: this.#store.resets, hash: this.#hashOf(name) };
  }

  #hashOf(name: BoardName): Uint8Array {
    const board = this.#store.find(name);
    const clocks = board === undefined ? (this.#documentOf(name)?.clocks ?? NO_CLOCKS) : clocksOf(board);
    const writer = new ByteWriter(1024);
    for (const [writerId, clock] of [...clocks].sort(([left], [right]) => left - right)) {
      writer.varuint(writerId);
      writer.varuint(clock);
    }
    return this.#hash(writer.view()).slice(0, WHOLE_HASH_BYTES);
  }

  #documentOf(name: BoardName): FreeDocument | undefined {
    const at = name.indexOf('/');
    return at < 0 ? undefined : this.#documents.find(name.slice(0, at) as BoardName, name.slice(at + 1));
  }

  #nodeOf(incarnation: number): NodeId | 'unknown' {
    return this.#store.ownerOf(incarnation) ?? 'unknown';
  }
}

/**
 * The token of answers to writes of one turn without a session of their own: it names the lane as the turn leaves it,
 * so that all of them can share it. Worked out where somebody asks, which is after the disk.
 */
export class TurnToken {
  readonly #name: BoardName;
  readonly #lane: Lane;
  #clock = 0;
  #text: string | undefined;

  constructor(name: BoardName, lane: Lane) {
    this.#name = name;
    this.#lane = lane;
  }

  /** The turn is over: what is written from now on goes to the disk later. */
  close(): void {
    this.#clock = this.#lane.clock;
  }

  get text(): string {
    this.#text ??= encodeSession(new Map([[this.#name, new Map([[this.#lane.incarnation, this.#clock]])]]));
    return this.#text;
  }
}

/** What a board holds of every lane. */
export function clocksOf(board: Board): Clocks {
  const clocks = new Map<number, number>();
  for (const lane of board.lanes.values()) if (lane.clock > 0) clocks.set(lane.incarnation, lane.clock);
  return clocks;
}

function nameOf(call: BoardCall): BoardName {
  return call.op === 'documentRead' || call.op === 'documentEdit' || call.op === 'documentDelete'
    ? documentSession(call.board, call.document)
    : call.board;
}

/** Of a session, what a call must wait for. */
function concerned(call: BoardCall, session: Session | undefined): readonly (readonly [BoardName, Seen])[] {
  if (session === undefined) return [];
  const names = new Set([EVERYTHING, nameOf(call), call.board]);
  return [...names].flatMap((name) => {
    const seen = session.get(name);
    return seen === undefined ? [] : [[name, seen] as const];
  });
}

function clocksIn(session: Session | undefined, name: BoardName): Clocks {
  const seen = session?.get(name);
  return seen === undefined || isWhole(seen) ? NO_CLOCKS : seen;
}

function areSettled(board: Board): boolean {
  for (const lane of board.lanes.values()) if (!board.settled(lane)) return false;
  return true;
}
