/** Whether this node has what a session has seen, and all that this in turn relies on. */
import { type ErrorBody, failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardCall } from './api.ts';
import { documentSession } from './desk.ts';
import type { DocumentsLattice } from './documents-lattice.ts';
import { decodeSession, type Session } from './session.ts';
import type { BoardStore } from './store.ts';

export class SessionCheck {
  readonly #store: BoardStore;
  readonly #documents: DocumentsLattice;

  constructor(store: BoardStore, documents: DocumentsLattice) {
    this.#store = store;
    this.#documents = documents;
  }

  of(call: BoardCall): Result<Session | undefined> {
    if (call.session === undefined) return ok(undefined);
    const session = decodeSession(call.session);
    if (!session.ok) return session;
    for (const [name, clocks] of session.value) {
      const running = clocks.get(this.#store.incarnation) ?? 0;
      const board = this.#store.find(name);
      if (board !== undefined && running > board.clockOf(this.#store.incarnation)) {
        return failWith(
          'INVALID_ARGUMENT',
          'The session token names writes that this node never made.',
          'Pass the token of an earlier answer unchanged, or none.',
        );
      }
    }
    return session.value.size > 0 || call.level === 'session' ? session : ok(undefined);
  }

  /** True where this node has all that the session names, and all that this in turn relies on. */
  isSatisfied(call: BoardCall, session: Session | undefined): boolean {
    if (call.level === 'eventual' && session === undefined) return true;
    if (call.op === 'documentRead' || call.op === 'documentEdit') {
      const document = this.#documents.find(call.board, call.document);
      const clocks = session?.get(documentSession(call.board, call.document));
      for (const [client, clock] of clocks ?? []) if ((document?.clockOf(client) ?? 0) < clock) return false;
    }
    if (session === undefined && call.level !== 'session') return true;
    const board = this.#store.find(call.board);
    if (board === undefined) return true;
    for (const [incarnation, clock] of session?.get(call.board) ?? []) {
      if (!board.reached(incarnation, clock)) return false;
      const lane = board.lanes.get(incarnation);
      if (lane !== undefined && !board.settled(lane)) return false;
    }
    if (call.op === 'read') {
      const newest = board.view.newest(call.key);
      return newest === undefined || board.settled(newest.lane);
    }
    if (call.op === 'list') for (const lane of board.lanes.values()) if (!board.settled(lane)) return false;
    return true;
  }

  refusal(call: BoardCall, session: Session | undefined): { readonly ok: false; readonly error: ErrorBody } {
    const board = this.#store.find(call.board);
    const missing = [...(session?.get(call.board) ?? [])]
      .filter(([incarnation, clock]) => board === undefined || !board.reached(incarnation, clock))
      .slice(0, 16)
      .map(([incarnation, needs]) => ({
        node: this.#store.ownerOf(incarnation) ?? 'unknown',
        has: board?.clockOf(incarnation) ?? 0,
        needs,
      }));
    return failWith(
      'SESSION_NOT_SATISFIED',
      'This node has not received everything that the session has seen.',
      'Try again shortly, ask the node that gave the token, or drop the token and accept an older value.',
      { retryAfterMs: 500, details: { missing, outcome: 'not-done' } },
    );
  }
}
