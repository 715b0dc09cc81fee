/** What the blackboard's machine is told, what it orders, and what it refuses. */
import type {
  Answer,
  DiskFailed,
  DiskRecovered,
  Mark,
  PeerDown,
  PeerUp,
  Penalise,
  Persist,
  Received,
  Send,
} from '../kernel/effects.ts';
import { type ErrorBody, fail, failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { LanesBody } from '../replication/record.ts';
import type { BoardCall, Change, WriteAnswer, Writer } from './api.ts';
import type { Board, BoardConfig } from './board.ts';
import { changeOf } from './read.ts';
import type { TurnToken } from './session-check.ts';

export interface BoardsConfig {
  readonly boards: readonly BoardConfig[];
}

export interface Requested {
  readonly kind: 'requested';
  readonly id: number;
  readonly call: BoardCall;
  readonly writer: Writer;
}
/** The caller of a request no longer wants its answer. */
interface Cancelled {
  readonly kind: 'cancelled';
  readonly id: number;
}
/** The node's `lanes` record changed. */
interface LanesChanged {
  readonly kind: 'lanesChanged';
  readonly owner: NodeId;
}
/** A Yjs client wrote. Answered like a request. */
export interface YjsUpdate {
  readonly kind: 'yjsUpdate';
  readonly id: number;
  readonly board: BoardName;
  readonly document: string | undefined;
  readonly update: Uint8Array;
  readonly writer: Writer;
}

export type BoardsEvent =
  | Requested
  | Cancelled
  | LanesChanged
  | YjsUpdate
  | Received
  | PeerUp
  | PeerDown
  | DiskFailed
  | DiskRecovered
  /** The wire lost frames to this neighbour. */
  | { readonly kind: 'dropped'; readonly peer: NodeId };

/** Keys of a board changed for readers. */
export interface BoardChanged {
  readonly kind: 'boardChanged';
  readonly board: BoardName;
  /** Once each. */
  readonly keys: readonly string[];
  /** What they are now; worked out when asked for, so ask while carrying out the effect. */
  readonly changes: readonly Change[];
}
/** An update of a board's Yjs documents came into being or came in. */
export interface YjsUpdated {
  readonly kind: 'yjsUpdated';
  readonly board: BoardName;
  /** `undefined`: the entries. */
  readonly document: string | undefined;
  readonly update: Uint8Array;
}
/** Publish this as the node's own `lanes` record. */
export interface PublishLanes {
  readonly kind: 'publishLanes';
  readonly body: LanesBody;
}

export type BoardsEffect =
  | Send
  | Penalise
  | Mark
  | Persist
  | Answer
  | BoardChanged
  | YjsUpdated
  | PublishLanes;

/** Works out the changes only where somebody looks. */
export class ChangedKeys implements BoardChanged {
  readonly kind = 'boardChanged';
  readonly board: BoardName;
  readonly keys: readonly string[];
  readonly #of: Board;
  readonly #wallMs: number;

  constructor(board: Board, keys: readonly string[], now: Instant) {
    this.board = board.name;
    this.keys = keys;
    this.#of = board;
    this.#wallMs = now.wallMs;
  }

  get changes(): readonly Change[] {
    return this.keys.map((key) => changeOf(this.#of.view, key, this.#wallMs));
  }
}

/** The answer to a write without a session: its token is made when it is given, once for all of its turn. */
export class WrittenAnswer implements Answer {
  readonly kind = 'answer';
  readonly stream = 'board';
  readonly id: number;
  readonly #answer: WriteAnswer;
  readonly #token: TurnToken;

  constructor(id: number, answer: WriteAnswer, token: TurnToken) {
    this.id = id;
    this.#answer = answer;
    this.#token = token;
  }

  get result(): Result<WriteAnswer> {
    return ok({ ...this.#answer, session: this.#token.text });
  }
}

const WRITES: ReadonlySet<BoardCall['op']> = new Set([
  'write',
  'delete',
  'append',
  'documentEdit',
  'documentDelete',
]);

export function isWrite(call: BoardCall): boolean {
  return WRITES.has(call.op);
}

export function diskFull(reason: string): { readonly ok: false; readonly error: ErrorBody } {
  return failWith(
    'INTERNAL',
    `This node cannot write to its disk: ${reason}.`,
    'Free space in the data directory; writes are accepted again by themselves.',
    { retryable: true, retryAfterMs: 1_000, details: { outcome: 'not-done' } },
  );
}

export function tooManyWait(): { readonly ok: false; readonly error: ErrorBody } {
  return failWith(
    'RATE_LIMITED',
    `More than ${limits.waiters} calls are waiting on this node, or more than ${limits.waitersPerCaller} of this agent.`,
    'End waits that are no longer needed, or wait for a prefix instead of many keys.',
  );
}

export function readOnlyEntries(): { readonly ok: false; readonly error: ErrorBody } {
  return fail({
    code: 'DENIED',
    message: 'In the entries of a board a Yjs client writes in the lane of its own client id only.',
    hint: 'Write entries with BoardView (skein/board-view), board_write or the REST interface; free documents can be written as they are.',
    retryable: false,
  });
}
