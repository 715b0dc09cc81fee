/** Calls that wait for changes: answered from what was missed, else when something comes, else at their time-out. */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { Change, WaitAnswer, WaitCall, Writer } from './api.ts';
import type { Board } from './board.ts';
import type { Desk } from './desk.ts';
import { tooManyWait } from './messages.ts';
import type { Places } from './places.ts';
import { changeOf } from './read.ts';
import type { Session } from './session.ts';
import { clocksOf } from './session-check.ts';
import type { BoardStore } from './store.ts';
import { Recent, Waiters } from './waiters.ts';

export interface Woken {
  readonly id: number;
  readonly answer: WaitAnswer;
}

export class Waiting {
  readonly #store: BoardStore;
  readonly #desk: Desk;
  readonly #waiters = new Waiters();
  /** Who waits, and what they had seen before. */
  readonly #asked = new Map<number, { readonly caller: string; readonly session: Session | undefined }>();
  readonly #places: Places;
  readonly #recents = new Map<Board, Recent>();

  constructor(store: BoardStore, desk: Desk, places: Places) {
    this.#store = store;
    this.#desk = desk;
    this.#places = places;
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** Nobody gives up before this, on the monotonic clock; infinite where nobody waits. */
  get deadlineMs(): number {
    return this.#waiters.deadlineMs;
  }

  /** What was missed already; `undefined` where the call now waits. */
  ask(
    id: number,
    call: WaitCall,
    writer: Writer,
    session: Session | undefined,
    now: Instant,
  ): Result<WaitAnswer> | undefined {
    const board = this.#store.find(call.board) as Board;
    const missed = this.#missed(board, call, now);
    if (!missed.ok) return missed;
    const { changes, cursor } = missed.value;
    if (changes.length > 0 || call.timeoutMs === 0) {
      return ok(this.#answer(board, changes, session, cursor));
    }
    const caller = writer.agent;
    if (!this.#places.take(caller)) return tooManyWait();
    this.#asked.set(id, { caller, session });
    this.#waiters.add({
      id,
      board: call.board,
      key: call.key,
      prefix: call.prefix,
      afterRevision: call.afterRevision ?? 0,
      deadlineMs: now.monoMs + call.timeoutMs,
    });
    return undefined;
  }

  cancel(id: number): void {
    this.#waiters.remove(id);
    this.#leave(id);
  }

  /** Those that have waited in vain. */
  takeDue(now: Instant): readonly Woken[] {
    return this.#waiters.takeDue(now.monoMs).map(({ id, board }) => {
      return { id, answer: this.#answer(this.#store.find(board) as Board, [], this.#leave(id)) };
    });
  }

  /** Keys changed, once each; those whom that concerns. */
  changed(board: Board, keys: readonly string[], now: Instant): readonly Woken[] {
    const recent = this.#recent(board);
    for (const key of keys) recent.add(key);
    if (this.#waiters.size === 0) return [];
    const woken = new Map<number, Change[]>();
    for (const key of keys) {
      for (const waiter of this.#waiters.of(board.name, key)) {
        const change = changeOf(board.view, key, now.wallMs);
        if (change.revision <= waiter.afterRevision) continue;
        const changes = woken.get(waiter.id);
        if (changes === undefined) woken.set(waiter.id, [change]);
        else changes.push(change);
      }
    }
    return [...woken].map(([id, changes]) => {
      this.#waiters.remove(id);
      return { id, answer: this.#answer(board, changes, this.#leave(id)) };
    });
  }

  #missed(board: Board, call: WaitCall, now: Instant): Result<Missed> {
    const { key, prefix = '', afterRevision, cursor } = call;
    if (cursor !== undefined) return this.#sinceCursor(board, call, cursor, now);
    if (afterRevision === undefined) return ok(NOTHING);
    const newer = (each: string) => (board.view.newest(each)?.revision ?? 0) > afterRevision;
    const keys = key === undefined ? board.view.keysFrom(prefix, '') : [key];
    const found: string[] = [];
    for (const each of keys) {
      if (newer(each)) found.push(each);
      if (found.length === limits.listPage) break;
    }
    return ok({ changes: found.map((each) => changeOf(board.view, each, now.wallMs)), cursor: undefined });
  }

  #sinceCursor(board: Board, call: WaitCall, cursor: string, now: Instant): Result<Missed> {
    const { key, prefix = '' } = call;
    const recent = this.#recent(board);
    const position = recent.parse(cursor);
    if (position === 'malformed') {
      return failWith(
        'INVALID_ARGUMENT',
        'The cursor is not valid.',
        'Pass the cursor of an earlier answer unchanged, or none.',
      );
    }
    const concerns = (each: string) => (key === undefined ? each.startsWith(prefix) : each === key);
    const describe = (each: string) => changeOf(board.view, each, now.wallMs);
    if (position !== 'lost' && position.after === undefined) {
      const { keys, next } = recent.since(position.count, concerns, limits.listPage);
      return ok({ changes: keys.map(describe), cursor: recent.cursorAt(next) });
    }
    // What changed since is no longer known: all that is there now is told, in pages.
    const { count, after } = position === 'lost' ? { count: recent.count, after: '' } : position;
    if (key !== undefined) return ok({ changes: [describe(key)], cursor: recent.cursorAt(count) });
    const keys: string[] = [];
    for (const each of board.view.keysFrom(prefix, after ?? '')) {
      if (keys.length === limits.listPage) {
        return ok({ changes: keys.map(describe), cursor: recent.cursorAt(count, keys.at(-1)) });
      }
      keys.push(each);
    }
    return ok({ changes: keys.map(describe), cursor: recent.cursorAt(count) });
  }

  #answer(
    board: Board,
    changes: readonly Change[],
    session: Session | undefined,
    cursor = this.#recent(board).cursor,
  ): WaitAnswer {
    return { changes, cursor, session: this.#desk.token(board.name, clocksOf(board), session) };
  }

  /** Gives the place back; the session that the call came with. */
  #leave(id: number): Session | undefined {
    const asked = this.#asked.get(id);
    if (asked === undefined) return undefined;
    this.#asked.delete(id);
    this.#places.give(asked.caller);
    return asked.session;
  }

  #recent(board: Board): Recent {
    let recent = this.#recents.get(board);
    if (recent === undefined) {
      recent = new Recent(this.#store.incarnation);
      this.#recents.set(board, recent);
    }
    return recent;
  }
}

interface Missed {
  readonly changes: readonly Change[];
  /** Where to go on; `undefined`: from now. */
  readonly cursor: string | undefined;
}

const NOTHING: Missed = { changes: [], cursor: undefined };
