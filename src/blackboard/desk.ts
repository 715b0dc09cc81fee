/** Carries out calls on boards that need no waiting: everything between a checked call and its answer. */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type {
  AppendCall,
  BoardCall,
  ClientStamp,
  DeleteAnswer,
  DeleteCall,
  DocumentAnswer,
  DocumentDeleteCall,
  DocumentEditCall,
  DocumentReadCall,
  ListAnswer,
  ListCall,
  ReadAnswer,
  ReadCall,
  WriteAnswer,
  WriteCall,
  Writer,
} from './api.ts';
import type { Board, Clocks } from './board.ts';
import { checkTtl, checkValue, listCursor, readListCursor } from './calls.ts';
import { noRoom } from './document-room.ts';
import type { FreeDocument } from './documents.ts';
import type { DocumentsLattice } from './documents-lattice.ts';
import { KIND } from './entry.ts';
import { type HybridClock, STAMPS_PER_MS, stampOf, wallMsOf } from './hlc.ts';
import type { Item, Lane } from './lane.ts';
import { entryOf, itemsOf } from './read.ts';
import { Rivals } from './rivals.ts';
import { documentSession, type Session } from './session.ts';
import { clocksOf, type SessionCheck } from './session-check.ts';
import type { BoardStore } from './store.ts';
import { isVisible } from './view.ts';

/** Bytes of an item around its key, author and value. */
const ITEM_BYTES = 24;
/** Answers of a list stay below this, whatever the limit in entries is. */
const LIST_BYTES = limits.listAnswerBytes;

/** Stands for the token that all writes of a turn share, see `TurnToken`. */
export const TOKEN_OF_TURN = '';

interface DeskOptions {
  readonly store: BoardStore;
  readonly documents: DocumentsLattice;
  readonly sessions: SessionCheck;
  readonly clock: HybridClock;
  /** Called with the update that an edit made. */
  readonly edited: (board: BoardName, document: string, update: Uint8Array) => void;
  /** Called with a document that was deleted. */
  readonly deleted: (board: BoardName, document: FreeDocument) => void;
}

export class Desk {
  readonly #store: BoardStore;
  readonly #documents: DocumentsLattice;
  readonly #sessions: SessionCheck;
  readonly #clock: HybridClock;
  readonly #edited: DeskOptions['edited'];
  readonly #deleted: DeskOptions['deleted'];

  constructor(options: DeskOptions) {
    this.#store = options.store;
    this.#documents = options.documents;
    this.#sessions = options.sessions;
    this.#clock = options.clock;
    this.#edited = options.edited;
    this.#deleted = options.deleted;
  }

  /** The declared board that a call names. */
  board(name: BoardName): Result<Board> {
    if (!this.#store.isDeclared(name)) {
      return failWith(
        'NOT_FOUND',
        `There is no board "${name}".`,
        `Declare it in the configuration of this node: boards: { ${name}: { mode: crdt } }.`,
      );
    }
    const board = this.#store.board(name);
    return board === undefined
      ? failWith('QUOTA_EXCEEDED', 'There are too many boards.', `At most ${limits.boards} can be kept.`)
      : ok(board);
  }

  read(board: Board, call: ReadCall, session: Session | undefined, now: Instant): ReadAnswer {
    const seen = new Map<number, number>();
    for (const item of itemsOf(board.view, call.key)) see(seen, item.lane, item.clock + 1, item.ghost);
    const token = this.token(board.name, seen, session);
    const entry = entryOf(board.view, call.key, now.wallMs);
    if (entry !== undefined) return { found: true, ...entry, session: token };
    return { found: false, session: token, revision: board.view.newest(call.key)?.revision ?? 0 };
  }

  list(board: Board, call: ListCall, session: Session | undefined, now: Instant): ListAnswer {
    const { limit = 100, prefix = '', cursor } = call;
    const entries: NonNullable<ReturnType<typeof entryOf>>[] = [];
    const token = this.token(board.name, clocksOf(board), session);
    let bytes = 0;
    const after = cursor === undefined ? '' : (readListCursor(cursor) ?? '');
    for (const key of board.view.keysFrom(prefix, after)) {
      const entry = entryOf(board.view, key, now.wallMs);
      if (entry === undefined) continue;
      for (const item of itemsOf(board.view, key)) bytes += item.length;
      if (entries.length === limit || (bytes > LIST_BYTES && entries.length > 0)) {
        return { entries, cursor: listCursor((entries.at(-1) as { key: string }).key), session: token };
      }
      entries.push(entry);
    }
    return { entries, session: token };
  }

  write(
    board: Board,
    call: WriteCall,
    writer: Writer,
    session: Session | undefined,
    now: Instant,
  ): Result<WriteAnswer> {
    const ttl = checkTtl(call.ttlSeconds);
    if (!ttl.ok) return ttl;
    const value = checkValue(call.value, 'The value');
    if (!value.ok) return value;
    const newest = board.view.newest(call.key);
    const state = board.view.get(call.key);
    const stamped = checkStamp(call.stamp, newest, now);
    if (!stamped.ok) return stamped;
    if (call.stamp !== undefined && isWritten(board, call.key, call.stamp)) {
      return this.#written(board, call.stamp.revision, this.#lane(board), session);
    }
    const gone = newest?.lane.own && newest.kind === KIND.set ? newest.length : 0;
    const room = this.#room(board, isVisible(state) ? 0 : 1, call.key.length + value.value.length - gone);
    if (!room.ok) return room;
    const item = board.write(
      this.#lane(board),
      {
        kind: KIND.set,
        revision: call.stamp?.revision ?? this.#clock.next(now, newest?.revision ?? 0),
        origin: call.stamp?.lane,
        key: call.key,
        author: writer.agent,
        value: value.value,
        ttlSeconds: call.ttlSeconds,
      },
      this.#sessions.causes(board, session),
    );
    return this.#written(board, item.revision, item.lane, session);
  }

  delete(
    board: Board,
    call: DeleteCall,
    writer: Writer,
    session: Session | undefined,
    now: Instant,
  ): Result<DeleteAnswer> {
    const newest = board.view.newest(call.key);
    if (call.stamp !== undefined)
      return this.#deleteStamped(board, { ...call, stamp: call.stamp }, writer, now);
    if (newest === undefined || newest.kind === KIND.delete) {
      const seen = new Map<number, number>();
      if (newest !== undefined) see(seen, newest.lane, newest.clock + 1, newest.ghost);
      const token = this.token(board.name, seen, session);
      return ok({ revision: newest?.revision ?? 0, deleted: false, session: token });
    }
    const deleted = entryOf(board.view, call.key, now.wallMs) !== undefined;
    const item = board.write(
      this.#lane(board),
      {
        kind: KIND.delete,
        revision: this.#clock.next(now, newest.revision),
        key: call.key,
        author: writer.agent,
        value: '',
      },
      this.#sessions.causes(board, session),
    );
    const written = this.#written(board, item.revision, item.lane, session);
    return ok({ ...written.value, deleted });
  }

  /** A client may have seen on another node what is not here yet: its delete is written all the same. */
  #deleteStamped(
    board: Board,
    call: DeleteCall & { readonly stamp: ClientStamp },
    writer: Writer,
    now: Instant,
  ): Result<DeleteAnswer> {
    const newest = board.view.newest(call.key);
    const stamped = checkStamp(call.stamp, newest, now);
    if (!stamped.ok) return stamped;
    const deleted = entryOf(board.view, call.key, now.wallMs) !== undefined;
    const lane = this.#lane(board);
    if (!isWritten(board, call.key, call.stamp)) {
      const room = newest === undefined ? this.#room(board, 0, call.key.length) : ok(undefined);
      if (!room.ok) return room;
      const { revision, lane: origin } = call.stamp;
      board.write(lane, {
        kind: KIND.delete,
        revision,
        origin,
        key: call.key,
        author: writer.agent,
        value: '',
      });
    }
    const written = this.#written(board, call.stamp.revision, lane, undefined);
    return ok({ ...written.value, deleted });
  }

  append(
    board: Board,
    call: AppendCall,
    writer: Writer,
    session: Session | undefined,
    now: Instant,
  ): Result<WriteAnswer> {
    const { items, key } = call;
    if (!Array.isArray(items) || items.length === 0 || items.length > limits.appendItems) {
      return failWith(
        'INVALID_ARGUMENT',
        'The list of items is not valid.',
        `Pass 1 to ${limits.appendItems} items.`,
      );
    }
    const values: string[] = [];
    let bytes = 0;
    for (const [index, item] of items.entries()) {
      const value = checkValue(item, `Item ${index + 1}`);
      if (!value.ok) return value;
      values.push(value.value);
      bytes += value.value.length + key.length + ITEM_BYTES;
    }
    const room = this.#room(board, isVisible(board.view.get(key)) ? 0 : 1, bytes);
    if (!room.ok) return room;
    const logRoom = roomInLog(board, key, items.length, bytes);
    if (!logRoom.ok) return logRoom;
    let revision = 0;
    const lane = this.#lane(board);
    const causes = this.#sessions.causes(board, session);
    for (const value of values) {
      revision = this.#clock.next(now, board.view.newest(key)?.revision ?? 0);
      board.write(lane, { kind: KIND.append, revision, key, author: writer.agent, value }, causes);
    }
    return this.#written(board, revision, lane, session);
  }

  documentRead(call: DocumentReadCall, session: Session | undefined): DocumentAnswer {
    const document = this.#documents.find(call.board, call.document);
    const name = documentSession(call.board, call.document);
    return {
      text: document?.text ?? '',
      revision: document?.revision ?? 0,
      session: this.token(name, document?.clocks ?? new Map(), session),
    };
  }

  documentEdit(board: Board, call: DocumentEditCall, session: Session | undefined): Result<DocumentAnswer> {
    const document = this.#documents.document(call.board, call.document);
    if (document === undefined) return noRoom(board, this.#documents, 'documents');
    const edited = document.edit(call.edits, this.#documents.room(board));
    this.#documents.settle(call.board, document);
    if (edited === 'board') return noRoom(board, this.#documents, 'board');
    if (!edited.ok) return edited;
    if (edited.value !== undefined) this.#edited(call.board, call.document, edited.value);
    return ok(this.documentRead({ ...call, op: 'documentRead' }, session));
  }

  documentDelete(call: DocumentDeleteCall, session: Session | undefined): DeleteAnswer {
    const document = this.#documents.find(call.board, call.document);
    const deleted = document?.delete() ?? false;
    if (document !== undefined && deleted) {
      this.#documents.settle(call.board, document);
      this.#deleted(call.board, document);
    }
    const { revision, session: token } = this.documentRead({ ...call, op: 'documentRead' }, session);
    return { revision, deleted, session: token };
  }

  /** Does what a call asks; waiting calls are not for here. */
  run(call: BoardCall, writer: Writer, session: Session | undefined, now: Instant): Result<unknown> {
    const found = this.board(call.board);
    if (!found.ok) return found;
    const board = found.value;
    switch (call.op) {
      case 'read':
        return ok(this.read(board, call, session, now));
      case 'list':
        return ok(this.list(board, call, session, now));
      case 'write':
        return this.write(board, call, writer, session, now);
      case 'delete':
        return this.delete(board, call, writer, session, now);
      case 'append':
        return this.append(board, call, writer, session, now);
      case 'documentRead':
        return ok(this.documentRead(call, session));
      case 'documentEdit':
        return this.documentEdit(board, call, session);
      case 'documentDelete':
        return ok(this.documentDelete(call, session));
      case 'wait':
      case 'compareAndSet':
        return failWith('INTERNAL', 'This call is answered elsewhere.', 'Report this.');
    }
  }

  /** The session token of an answer: what the caller had seen, and what this answer shows. */
  token(name: BoardName, seen: Clocks, session: Session | undefined): string {
    return this.#sessions.token(name, seen, session);
  }

  #written(
    board: Board,
    revision: number,
    lane: Lane,
    session: Session | undefined,
  ): { readonly ok: true; readonly value: WriteAnswer } {
    if (session === undefined) return ok({ revision, session: TOKEN_OF_TURN });
    return ok({
      revision,
      session: this.token(board.name, new Map([[lane.incarnation, lane.clock]]), session),
    });
  }

  #lane(board: Board): Lane {
    return this.#store.lane(board, this.#store.incarnation);
  }

  #room(board: Board, keys: number, bytes: number): Result<undefined> {
    const { quotaKeys, quotaBytes } = board;
    const held = board.bytes + this.#documents.bytes(board.name);
    const details = { board: board.name, quotaKeys, quotaBytes, keys: board.view.keys, bytes: held };
    if (board.view.keys + keys > quotaKeys) {
      return failWith(
        'QUOTA_EXCEEDED',
        `The board "${board.name}" has its ${quotaKeys} keys.`,
        'Delete keys that are no longer needed, give entries a time to live, or raise its quota.keys in the configuration.',
        { details },
      );
    }
    if (held + bytes + ITEM_BYTES > quotaBytes) {
      return failWith(
        'QUOTA_EXCEEDED',
        `The board "${board.name}" has its ${quotaBytes} bytes.`,
        'Delete entries and documents that are no longer needed, write smaller values, or raise its quota.bytes in the configuration.',
        { details },
      );
    }
    return ok(undefined);
  }
}

function see(seen: Map<number, number>, lane: Lane, clock: number, isGhost: boolean): void {
  if ((seen.get(lane.incarnation) ?? 0) < clock) seen.set(lane.incarnation, clock);
  // What is shown though its author deleted it: elsewhere its successor must be there.
  if (isGhost) for (const [incarnation, dep] of lane.open) seen.set(incarnation, dep);
}

/** A client's stamp is believed as far as its clock is right; it may always follow what is here. */
function checkStamp(
  stamp: ClientStamp | undefined,
  newest: Item | undefined,
  now: Instant,
): Result<undefined> {
  if (stamp === undefined) return ok(undefined);
  const most = Math.max(stampOf(now.wallMs + limits.clientSkewMs), (newest?.revision ?? 0) + STAMPS_PER_MS);
  if (stamp.revision <= most) return ok(undefined);
  return failWith(
    'INVALID_ARGUMENT',
    `The clock of this client is ${wallMsOf(stamp.revision) - now.wallMs} ms ahead of its node's.`,
    'Correct the clock, or stamp by the time of the node, which the details say.',
    { details: { outcome: 'not-done', nodeWallMs: now.wallMs } },
  );
}

/** True where this node's own lanes hold the write, or what superseded it: then it is on the disk as soon as they are. */
function isWritten(board: Board, key: string, { revision, lane }: ClientStamp): boolean {
  const state = board.view.get(key);
  const base = state instanceof Rivals ? state.base : state;
  if (base === undefined || !base.lane.own) return false;
  return base.revision > revision || (base.revision === revision && base.origin >= lane);
}

function roomInLog(board: Board, key: string, items: number, bytes: number): Result<undefined> {
  const state = board.view.get(key);
  const log = state instanceof Rivals ? state : undefined;
  const present = log?.items.length ?? 0;
  if (present + items <= limits.logItems && (log?.itemBytes ?? 0) + bytes <= limits.logBytes)
    return ok(undefined);
  return failWith(
    'QUOTA_EXCEEDED',
    `The log "${key}" would have more than ${limits.logItems} items or ${limits.logBytes} bytes.`,
    'Start another log key, or write the key anew to begin again.',
  );
}
