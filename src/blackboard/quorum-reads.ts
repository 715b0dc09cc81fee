/**
 * Reads of boards of mode quorum, by level: `strong` asks the quorum; `eventual` and `session` are answered from the
 * mirror, `session` once the mirror has what the session has seen, or else by the quorum.
 */
import { type ErrorBody, errorBody, fail, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { KeyValue, QuorumStore, ReadLevel } from '../quorum/port.ts';
import type { Entry, Level, ListCall, ReadCall } from './api.ts';
import { listCursor, readListCursor } from './calls.ts';
import { bytesOf, storeIdFrom } from './quorum-content.ts';
import { entryFrom } from './quorum-entry.ts';
import { parseStoreKey, rangeOf, STORE_ID_KEY, storeKey } from './quorum-keys.ts';
import type { QuorumMirror } from './quorum-mirror.ts';
import { piecesOf } from './quorum-pieces.ts';
import type { StoreSeen } from './quorum-session.ts';

interface ReadFound extends StoreSeen {
  readonly entry: Entry | undefined;
  readonly level: Level;
}

export interface Listed extends StoreSeen {
  readonly entries: readonly Entry[];
  readonly cursor: string | undefined;
  readonly level: Level;
}

/** A mirror that is only a little behind is worth waiting for before the quorum is asked. */
const MIRROR_WAIT_MS = 50;

export class QuorumReads {
  readonly #store: QuorumStore;
  readonly #mirror: QuorumMirror;

  constructor(store: QuorumStore, mirror: QuorumMirror) {
    this.#store = store;
    this.#mirror = mirror;
  }

  async read(call: ReadCall, session: StoreSeen, signal?: AbortSignal): Promise<Result<ReadFound>> {
    const local = await this.#local(call.level, session, signal);
    if (!local.ok) return local;
    if (local.value !== undefined) {
      const found = this.#mirror.content.get(call.board, call.key);
      return ok(readFound(found, this.#mirror.storeId, this.#mirror.revision, local.value));
    }
    const source = await this.#source(call.level, session, signal);
    const answer = await this.#store.get(storeKey(call.board, call.key), source, signal);
    const checked = await this.#checked(answer, call.level, session, signal);
    if (!checked.ok) return checked;
    const { found, revision } = checked.value.answer;
    return ok(readFound(found[0], checked.value.store, revision, call.level ?? 'strong'));
  }

  async list(call: ListCall, session: StoreSeen, signal?: AbortSignal): Promise<Result<Listed>> {
    const local = await this.#local(call.level, session, signal);
    if (!local.ok) return local;
    const { limit = 100, prefix = '' } = call;
    const page = new Page(limit);
    const after = call.cursor === undefined ? undefined : readListCursor(call.cursor);
    if (local.value !== undefined) {
      const { content, revision, storeId } = this.#mirror;
      for (const key of content.keysFrom(call.board, prefix, after ?? '')) {
        const stored = content.get(call.board, key);
        if (stored !== undefined && !page.add(stored)) break;
      }
      return ok({ ...page.listed(), store: storeId, revision, level: local.value });
    }
    let revision = 0;
    let more = false;
    const source = await this.#source(call.level, session, signal);
    const range = rangeOf(call.board, prefix, after);
    for await (const piece of piecesOf(this.#store, range, source, limit, signal)) {
      const checked = await this.#checked(piece, call.level, session, signal);
      if (!checked.ok) return checked;
      const { answer } = checked.value;
      revision = Math.max(revision, answer.revision);
      more = answer.more;
      if (!answer.found.every((stored) => page.add(stored))) break;
    }
    return ok({ ...page.listed(more), store: this.#mirror.storeId, revision, level: call.level ?? 'strong' });
  }

  /** The level at which the mirror may answer; `undefined` where the quorum must. */
  async #local(
    level: Level | undefined,
    session: StoreSeen,
    signal?: AbortSignal,
  ): Promise<Result<Level | undefined>> {
    const isOtherStore =
      session.store !== '' && this.#mirror.storeId !== '' && session.store !== this.#mirror.storeId;
    if (isOtherStore) return fail(otherStore(session.store, this.#mirror.storeId));
    if (level === undefined || level === 'strong') return ok(undefined);
    if (session.store === '') {
      if (await this.#mirror.reached(0, limits.sessionWaitMs, signal)) return ok(level);
      return fail(noMirror());
    }
    const hasMore = (await this.#source(level, session, signal)) === 'mirror';
    const waitMs = hasMore ? 0 : MIRROR_WAIT_MS;
    const isThere = await this.#mirror.reached(session.revision, waitMs, signal);
    return ok(isThere && this.#mirror.storeId === session.store ? 'session' : undefined);
  }

  /**
   * The mirror hears of changes in boards only; the copy that it follows may be further: far enough for a session that
   * has seen that something is not there.
   */
  async #source(level: Level | undefined, session: StoreSeen, signal?: AbortSignal): Promise<ReadLevel> {
    if (level === undefined || level === 'strong') return 'strong';
    const copy = await this.#store.get(STORE_ID_KEY, 'mirror', signal);
    if (!copy.ok || copy.value.revision < session.revision) return 'strong';
    const [identity] = copy.value.found;
    return identity !== undefined && storeIdFrom(identity.value) === session.store ? 'mirror' : 'strong';
  }

  /** The quorum's answer, once it is known to be of the store that the session has seen. */
  async #checked<Answer extends { readonly revision: number }>(
    answer: Result<Answer>,
    level: Level | undefined,
    session: StoreSeen,
    signal?: AbortSignal,
  ): Promise<Result<{ readonly answer: Answer; readonly store: string }>> {
    const isStrong = level === undefined || level === 'strong';
    if (!answer.ok) return fail(isStrong ? unproven(answer.error) : notSatisfied(answer.error, session));
    let store = this.#mirror.isFollowing ? this.#mirror.storeId : '';
    if (store === '') {
      const identity = await this.#store.get(STORE_ID_KEY, 'strong', signal);
      if (!identity.ok)
        return fail(isStrong ? unproven(identity.error) : notSatisfied(identity.error, session));
      const [found] = identity.value.found;
      if (found !== undefined) store = storeIdFrom(found.value);
    }
    if (session.store !== '' && session.store !== store) return fail(otherStore(session.store, store));
    if (answer.value.revision < session.revision) return fail(forgotten(session, answer.value.revision));
    return ok({ answer: answer.value, store });
  }
}

function readFound(stored: KeyValue | undefined, store: string, revision: number, level: Level): ReadFound {
  // What was shown is in every mirror that has the entry; that there is none, in one that has all so far.
  return stored === undefined
    ? { entry: undefined, store, revision, level }
    : { entry: entryFrom(stored), store, revision: stored.modRevision, level };
}

/** Entries up to a number and to a size. */
class Page {
  readonly #limit: number;
  readonly #entries: Entry[] = [];
  #bytes = 0;
  #isCut = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** False where it is full: the entry is on the next page. */
  add(stored: KeyValue): boolean {
    const isFull = this.#entries.length >= this.#limit;
    if (isFull || (this.#entries.length > 0 && this.#bytes + bytesOf(stored) > limits.listAnswerBytes)) {
      this.#isCut = true;
      return false;
    }
    if (parseStoreKey(stored.key) === undefined) return true;
    this.#bytes += bytesOf(stored);
    this.#entries.push(entryFrom(stored));
    return true;
  }

  listed(more = false): { readonly entries: readonly Entry[]; readonly cursor: string | undefined } {
    const last = this.#entries.at(-1);
    const cursor = (this.#isCut || more) && last !== undefined ? listCursor(last.key) : undefined;
    return { entries: this.#entries, cursor };
  }
}

/** The quorum did not answer a strong read: what else can be had. */
function unproven(error: ErrorBody): ErrorBody {
  if (error.code !== 'QUORUM_UNAVAILABLE') return error;
  return {
    ...error,
    hint: `${error.hint} Read with level eventual for what this node has, which may be older.`,
  };
}

function notSatisfied(error: ErrorBody, { revision }: StoreSeen): ErrorBody {
  if (error.code !== 'QUORUM_UNAVAILABLE') return error;
  return errorBody(
    'SESSION_NOT_SATISFIED',
    'This node has not received everything that the session has seen of the quorum store, and no majority answers.',
    'Try again shortly, ask the node that gave the token, or drop the token and accept an older value.',
    { retryAfterMs: 500, details: { ...error.details, needs: revision, outcome: 'not-done' } },
  );
}

function otherStore(expected: string, store: string): ErrorBody {
  return errorBody(
    'SESSION_NOT_SATISFIED',
    'The session has seen another quorum store than the one that this node uses.',
    'See skein voters list on both nodes; where the stores were merged, drop the token.',
    { retryable: false, details: { store, expected, outcome: 'not-done' } },
  );
}

/** Where a store was recovered from a part of its voters, or put back from a backup. */
function forgotten(session: StoreSeen, revision: number): ErrorBody {
  return errorBody(
    'SESSION_NOT_SATISFIED',
    'The quorum store has lost what the session has seen: it was recovered, or put back to an older state.',
    'Drop the token, and look at what is there now.',
    { retryable: false, details: { needs: session.revision, has: revision, outcome: 'not-done' } },
  );
}

function noMirror(): ErrorBody {
  return errorBody(
    'QUORUM_UNAVAILABLE',
    'This node has no copy of the quorum boards yet: it has not met the quorum store since it started.',
    'See skein voters list and skein doctor, and try again shortly.',
    { retryAfterMs: 500, details: { outcome: 'not-done' } },
  );
}
