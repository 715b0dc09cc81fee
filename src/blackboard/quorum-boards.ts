/**
 * Boards of mode quorum over the quorum store, whichever engine keeps it.
 *
 * Intuition: an entry is a key of the store, its revision the store's. Writes are transactions of the quorum, so a
 * board has one history that all nodes agree on; every node keeps a mirror of it and answers the cheaper reads and
 * the waits from there. A board does what it is asked strongly unless the call asks for less: whoever reads `tasks`
 * without a level wants to know who has the task now, not who had it a moment ago.
 */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import type { Clock, Entropy } from '../kernel/ports.ts';
import type { QuorumStore } from '../quorum/port.ts';
import type { Blackboard, BoardAnswers, BoardCall, BoardInfo, Change, Writer } from './api.ts';
import { checkCall } from './calls.ts';
import type { EntryChange } from './quorum-content.ts';
import { changeFrom } from './quorum-entry.ts';
import { QuorumMirror } from './quorum-mirror.ts';
import { QuorumReads } from './quorum-reads.ts';
import { type JoinedSession, joinSession, type StoreSeen, splitSession } from './quorum-session.ts';
import { QuorumWaits } from './quorum-waits.ts';
import { type QuorumBoardConfig, QuorumWrites } from './quorum-writes.ts';

interface QuorumBoardsOptions {
  readonly store: QuorumStore;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly self: NodeId;
  readonly boards: readonly QuorumBoardConfig[];
  /** Hears of listeners that throw: a fault of theirs, not of the store's. */
  readonly onFault: (error: unknown) => void;
}

type Listener = (changes: readonly Change[]) => void;

export class QuorumBoards implements Blackboard {
  readonly #declared: ReadonlyMap<BoardName, QuorumBoardConfig>;
  readonly #mirror: QuorumMirror;
  readonly #reads: QuorumReads;
  readonly #writes: QuorumWrites;
  readonly #waits: QuorumWaits;
  readonly #listeners = new Map<BoardName, Set<Listener>>();
  readonly #onFault: (error: unknown) => void;

  constructor({ store, clock, entropy, self, boards, onFault }: QuorumBoardsOptions) {
    this.#onFault = onFault;
    this.#declared = new Map(boards.map((board) => [board.name, board]));
    this.#mirror = new QuorumMirror(store, clock, {
      changed: (revision, changes) => {
        this.#waits.changed(revision, changes);
        this.#tell(changes);
      },
      refilled: (refill) => {
        this.#waits.refilled(refill);
        this.#tell(refill.changes);
      },
    });
    this.#reads = new QuorumReads(store, this.#mirror);
    this.#writes = new QuorumWrites({ store, mirror: this.#mirror, clock, entropy, self });
    this.#waits = new QuorumWaits(store, this.#mirror, clock);
  }

  /** Begins to keep the mirror; calls may come before it is filled. */
  start(): void {
    this.#mirror.start();
  }

  /** The copy is kept no longer, and nobody waits any longer. */
  close(): void {
    this.#waits.close();
    this.#mirror.close();
  }

  has(board: BoardName): boolean {
    return this.#declared.has(board);
  }

  /** Boards with entries in the store that are not declared here as quorum boards. */
  undeclared(): readonly BoardName[] {
    return this.#mirror.content.boards().filter((name) => !this.#declared.has(name));
  }

  /** Sorted by name; sizes as of this node's mirror. */
  boards(): readonly BoardInfo[] {
    return [...this.#declared.keys()]
      .sort((left, right) => (left < right ? -1 : 1))
      .map((name) => ({ name, mode: 'quorum', ...this.#mirror.content.size(name) }));
  }

  watch(board: BoardName, listener: Listener): () => void {
    const listeners = this.#listeners.get(board) ?? new Set();
    this.#listeners.set(board, listeners);
    const own: Listener = (changes) => listener(changes);
    listeners.add(own);
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#listeners.get(board) === listeners) this.#listeners.delete(board);
    };
  }

  async call<C extends BoardCall>(
    call: C,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<BoardAnswers[C['op']]>> {
    const checked = checkCall(call);
    if (!checked.ok) return checked;
    const board = this.#declared.get(call.board);
    if (board === undefined) return noSuchBoard(call.board);
    const session = splitSession(call.session);
    if (!session.ok) return session;
    const answer = await this.#run(board, call, session.value, writer, signal);
    return answer as Result<BoardAnswers[C['op']]>;
  }

  async #run(
    board: QuorumBoardConfig,
    call: BoardCall,
    session: JoinedSession,
    writer: Writer,
    signal?: AbortSignal,
  ): Promise<Result<BoardAnswers[BoardCall['op']]>> {
    switch (call.op) {
      case 'read': {
        const read = await this.#reads.read(call, session, signal);
        if (!read.ok) return read;
        const { entry, level } = read.value;
        const token = tokenOf(session, read.value);
        // 0 is what compare-and-set expects of a key that must not exist.
        if (entry === undefined) return ok({ found: false, session: token, revision: 0, level });
        return ok({ found: true, ...entry, session: token, level });
      }
      case 'list': {
        const listed = await this.#reads.list(call, session, signal);
        if (!listed.ok) return listed;
        const { entries, cursor, level } = listed.value;
        const token = tokenOf(session, listed.value);
        return ok({ entries, ...(cursor === undefined ? {} : { cursor }), session: token, level });
      }
      case 'wait': {
        const waited = await this.#waits.wait(call, session, signal);
        if (!waited.ok) return waited;
        const { changes, cursor } = waited.value;
        return ok({ changes, cursor, session: tokenOf(session, waited.value) });
      }
      case 'write':
        return written(session, await this.#writes.write(board, call, writer, signal));
      case 'compareAndSet':
        return written(session, await this.#writes.compareAndSet(board, call, writer, signal));
      case 'append':
        return written(session, await this.#writes.append(board, call, writer));
      case 'delete':
        return written(session, await this.#writes.delete(call, signal));
      case 'documentRead':
      case 'documentEdit':
      case 'documentDelete':
        return noDocuments(call.board);
    }
  }

  #tell(changes: readonly EntryChange[]): void {
    if (this.#listeners.size === 0) return;
    const byBoard = new Map<BoardName, Change[]>();
    for (const { board, key, stored, deleted } of changes) {
      if (!this.#listeners.has(board)) continue;
      const own = byBoard.get(board) ?? [];
      own.push(changeFrom(key, stored, deleted));
      byBoard.set(board, own);
    }
    for (const [board, own] of byBoard) {
      for (const listener of [...(this.#listeners.get(board) ?? [])]) {
        try {
          listener(own);
        } catch (error) {
          this.#onFault(error);
        }
      }
    }
  }
}

function tokenOf(session: JoinedSession, { store, revision }: StoreSeen): string {
  if (store === '') return joinSession(session);
  const seen = session.store === store ? Math.max(session.revision, revision) : revision;
  return joinSession({ store, revision: seen, crdt: session.crdt });
}

function written<Written extends StoreSeen & { readonly deleted?: boolean }>(
  session: JoinedSession,
  result: Result<Written>,
): Result<{ revision: number; session: string; deleted: boolean }> {
  if (!result.ok) return result;
  const { revision, deleted } = result.value;
  const answer = { revision, session: tokenOf(session, result.value) };
  return ok(
    (deleted === undefined ? answer : { ...answer, deleted }) as typeof answer & { deleted: boolean },
  );
}

function noSuchBoard(board: BoardName): Result<never> {
  return failWith(
    'NOT_FOUND',
    `There is no board "${board}".`,
    `Declare it in the configuration of every node: boards: { ${board}: { mode: quorum } }.`,
  );
}

/** Of boards of mode quorum. */
function noDocuments(board: BoardName): Result<never> {
  return failWith(
    'LEVEL_NOT_OFFERED',
    `The board "${board}" is of mode quorum and has no documents: these merge, and here one write replaces another.`,
    'Use a board of mode crdt, such as "main".',
  );
}
