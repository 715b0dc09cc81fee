/**
 * Who waits for changes of boards of mode quorum. Everyone is told every revision once and in order, from a position on:
 * from the mirror's history where it reaches back so far, else by a watch of the store, which remembers more.
 * A position from before the store's own history is an error that says so: never a gap. Revision 0 is no such position:
 * after it come the entries that are there, in the order of their revisions, then what changes.
 */
import { type ErrorBody, errorBody, fail, failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { Clock } from '../kernel/ports.ts';
import type { KeyValue, QuorumStore } from '../quorum/port.ts';
import type { Change, WaitCall } from './api.ts';
import { tooManyWait } from './messages.ts';
import type { EntryChange } from './quorum-content.ts';
import { changeFrom } from './quorum-entry.ts';
import { parseStoreKey, rangeOf, rangeOfKey } from './quorum-keys.ts';
import type { QuorumMirror, Refill } from './quorum-mirror.ts';
import type { StoreSeen } from './quorum-session.ts';
import { Waiters } from './waiters.ts';

interface Waited extends StoreSeen {
  readonly changes: readonly Change[];
  readonly cursor: string;
}

interface Waiter {
  /** All up to this revision is told, or was known before. */
  readonly position: number;
  readonly finish: (result: Result<Waited>) => void;
  /** Goes on by a watch of the store. */
  readonly goBack: (position: number) => void;
}

/** Changes that come this close together are told together. */
const GATHER_MS = 5;
/** What a watch of the store may take until it has told what it remembers, where the caller does not wait at all. */
const REMEMBER_MS = 1_000;

export class QuorumWaits {
  readonly #store: QuorumStore;
  readonly #mirror: QuorumMirror;
  readonly #clock: Clock;
  readonly #index = new Waiters();
  readonly #waiters = new Map<number, Waiter>();
  /** Ends each wait that is open, because the node stops. */
  readonly #ends = new Set<() => void>();
  #lastId = 0;
  #isClosed = false;

  constructor(store: QuorumStore, mirror: QuorumMirror, clock: Clock) {
    this.#store = store;
    this.#mirror = mirror;
    this.#clock = clock;
  }

  get size(): number {
    return this.#ends.size;
  }

  async wait(call: WaitCall, session: StoreSeen, signal?: AbortSignal): Promise<Result<Waited>> {
    const startedMs = this.#clock.now().monoMs;
    const givesUpMs = startedMs + Math.max(call.timeoutMs, REMEMBER_MS);
    if (!(await this.#mirror.reached(0, limits.sessionWaitMs, signal))) return noCopyYet();
    if (!(await this.#knowsItsStore(call, signal))) return noCopyYet();
    const position = this.#positionOf(call, session);
    if (!position.ok) return position;
    const present = this.#present(call, position.value);
    if (present !== undefined) return ok(present);
    const told = this.#history(call, position.value);
    if (told !== undefined && (told.changes.length > 0 || call.timeoutMs === 0)) return ok(told);
    if (this.#isClosed) return fail(stopping());
    if (this.#ends.size >= limits.waiters) return tooManyWait();
    if (told === undefined) return this.#remember(call, position.value, givesUpMs, signal);
    return this.#await(call, position.value, startedMs + call.timeoutMs, signal);
  }

  changed(revision: number, changes: readonly EntryChange[]): void {
    if (this.#waiters.size === 0) return;
    const told = new Map<number, Change[]>();
    for (const { board, key, stored, deleted } of changes) {
      for (const { id } of this.#index.of(board, key)) {
        const waiter = this.#waiters.get(id);
        if (waiter === undefined || waiter.position >= revision) continue;
        const own = told.get(id);
        const change = changeFrom(key, stored, deleted);
        if (own === undefined) told.set(id, [change]);
        else own.push(change);
      }
    }
    for (const [id, own] of told) this.#waiters.get(id)?.finish(ok(this.#waited(own, revision)));
  }

  /** The node stops: nobody waits any longer. */
  close(): void {
    this.#isClosed = true;
    for (const end of [...this.#ends]) end();
  }

  /** What lies between is for the store to tell those who wait. */
  refilled({ before, revision, isOtherStore }: Refill): void {
    for (const waiter of [...this.#waiters.values()]) {
      const position = Math.max(waiter.position, before);
      if (isOtherStore) waiter.finish(fail(historyGone(position, revision)));
      else if (position < revision) waiter.goBack(position);
    }
  }

  /**
   * A node that has just started may have no more than the beginning of its copy, from before the store had a name: a
   * cursor may be of this very store, and its caller would be told of a gap that there is not.
   */
  async #knowsItsStore({ cursor = '' }: WaitCall, signal?: AbortSignal): Promise<boolean> {
    const [, store, position = ''] = CURSOR.exec(cursor) ?? [];
    if (store === undefined || store === '' || this.#mirror.storeId !== '') return true;
    await this.#mirror.reached(Number.parseInt(position, 36), limits.sessionWaitMs, signal);
    return this.#mirror.storeId !== '';
  }

  #positionOf(call: WaitCall, session: StoreSeen): Result<number> {
    if (call.cursor !== undefined) {
      const match = CURSOR.exec(call.cursor);
      if (match === null) {
        return failWith(
          'INVALID_ARGUMENT',
          'The cursor is not valid.',
          'Pass the cursor of an earlier answer on this board unchanged, or none.',
        );
      }
      const position = Number.parseInt(match[2] as string, 36);
      const isOther = match[1] !== '' && match[1] !== this.#mirror.storeId;
      return isOther ? fail(historyGone(position, this.#mirror.revision)) : ok(position);
    }
    if (call.afterRevision !== undefined) return ok(call.afterRevision || this.#mirror.revision);
    return ok(Math.max(this.#mirror.revision, session.store === this.#mirror.storeId ? session.revision : 0));
  }

  /**
   * Entries of now for who begins with revision 0: a page of those not changed since `position`, where the changes go on
   * after the last page. `undefined` where none is left, or nobody asked.
   */
  #present(call: WaitCall, position: number): Waited | undefined {
    const toldUpTo = presentFrom(call);
    if (toldUpTo === undefined) return undefined;
    const { content } = this.#mirror;
    const found: { readonly key: string; readonly stored: KeyValue }[] = [];
    const keys = call.key === undefined ? content.keysFrom(call.board, call.prefix ?? '', '') : [call.key];
    for (const key of keys) {
      const stored = content.get(call.board, key);
      if (stored !== undefined && stored.modRevision > toldUpTo && stored.modRevision <= position)
        found.push({ key, stored });
    }
    if (found.length === 0) return undefined;
    found.sort((left, right) => left.stored.modRevision - right.stored.modRevision);
    const length = pageLength(found.map(({ stored }) => stored));
    const changes = found.slice(0, length).map(({ key, stored }) => changeFrom(key, stored, false));
    const last = found[length - 1]?.stored.modRevision ?? position;
    const told = this.#waited(changes, position);
    return length === found.length ? told : { ...told, cursor: `${told.cursor}.${last.toString(36)}` };
  }

  /** What this node remembers; `undefined` where it does not remember enough. */
  #history(call: WaitCall, position: number): Waited | undefined {
    const told = this.#mirror.history.since(
      position,
      this.#mirror.revision,
      ({ board, key }) => board === call.board && concerns(call, key),
      limits.listPage,
    );
    if (told === undefined) return undefined;
    return this.#waited(
      told.changes.map(({ key, stored, deleted }) => changeFrom(key, stored, deleted)),
      told.upTo,
    );
  }

  #await(
    call: WaitCall,
    position: number,
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<Result<Waited>> {
    const id = ++this.#lastId;
    const { board, key, prefix } = call;
    this.#index.add({ id, board, key, prefix, afterRevision: 0, deadlineMs });
    return new Promise((resolve) => {
      const end = () => {
        cancelTimer();
        signal?.removeEventListener('abort', onAbort);
        this.#index.remove(id);
        this.#waiters.delete(id);
        this.#ends.delete(onStop);
      };
      const finish = (result: Result<Waited>) => {
        end();
        resolve(result);
      };
      const onAbort = () => finish(fail(cancelled()));
      const onStop = () => finish(fail(stopping()));
      const cancelTimer = this.#clock.callAt(deadlineMs, () =>
        finish(ok(this.#waited([], Math.max(position, this.#mirror.revision)))),
      );
      const goBack = (from: number) => {
        end();
        resolve(this.#remember(call, from, deadlineMs, signal));
      };
      this.#ends.add(onStop);
      this.#waiters.set(id, { position, finish, goBack });
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** By a watch of its own. */
  #remember(
    call: WaitCall,
    position: number,
    deadlineMs: number,
    signal?: AbortSignal,
  ): Promise<Result<Waited>> {
    const range =
      call.key === undefined ? rangeOf(call.board, call.prefix ?? '') : rangeOfKey(call.board, call.key);
    return new Promise((resolve) => {
      const changes: Change[] = [];
      let upTo = position;
      let isEnded = false;
      let stop = () => {};
      const finish = (result: Result<Waited>) => {
        if (isEnded) return;
        isEnded = true;
        stop();
        cancelTimer();
        cancelGather?.();
        signal?.removeEventListener('abort', onAbort);
        this.#ends.delete(onStop);
        resolve(result);
      };
      const tell = () => finish(ok(this.#waited(changes, upTo)));
      const onAbort = () => finish(fail(cancelled()));
      const onStop = () => finish(fail(stopping()));
      this.#ends.add(onStop);
      const cancelTimer = this.#clock.callAt(deadlineMs, tell);
      let cancelGather: (() => void) | undefined;
      signal?.addEventListener('abort', onAbort, { once: true });
      stop = this.#store.watch(range, position + 1, (event) => {
        if (isEnded) return;
        if (event.kind === 'compacted') {
          finish(fail(historyGone(position, event.compactRevision)));
          return;
        }
        upTo = Math.max(upTo, event.revision);
        if (event.kind === 'changed') {
          for (const { kind, entry } of event.changes) {
            const key = parseStoreKey(entry.key)?.key;
            if (key !== undefined) changes.push(changeFrom(key, entry, kind === 'deleted'));
          }
        }
        const isCaughtUp = event.kind === 'progress';
        if (
          changes.length >= limits.listPage ||
          (isCaughtUp && (changes.length > 0 || call.timeoutMs === 0))
        ) {
          tell();
        } else if (changes.length > 0) {
          cancelGather ??= this.#clock.callAt(this.#clock.now().monoMs + GATHER_MS, tell);
        }
      });
      if (isEnded) stop();
      else if (signal?.aborted === true) onAbort();
    });
  }

  #waited(changes: readonly Change[], revision: number): Waited {
    const { storeId } = this.#mirror;
    return { changes, cursor: `s.${storeId}.${revision.toString(36)}`, store: storeId, revision };
  }
}

/** Store, position, and where the entries of that position are not all told yet, up to which revision they are. */
const CURSOR = /^s\.([0-9a-f]{0,32})\.([0-9a-z]{1,11})(?:\.([0-9a-z]{1,11}))?$/;

/** Up to which revision the present entries are told; `undefined` where none are asked for. */
function presentFrom({ cursor, afterRevision }: WaitCall): number | undefined {
  if (cursor === undefined) return afterRevision === 0 ? 0 : undefined;
  const toldUpTo = CURSOR.exec(cursor)?.[3];
  return toldUpTo === undefined ? undefined : Number.parseInt(toldUpTo, 36);
}

/** How many of the entries make a page. A revision is told whole. */
function pageLength(entries: readonly KeyValue[]): number {
  let length = 0;
  let bytes = 0;
  for (const { key, value, modRevision } of entries) {
    const isFull = length >= limits.listPage || bytes >= limits.quorumRangeBytes;
    if (isFull && entries[length - 1]?.modRevision !== modRevision) break;
    length++;
    bytes += key.length + value.length;
  }
  return length;
}

function concerns({ key, prefix = '' }: WaitCall, each: string): boolean {
  return key === undefined ? each.startsWith(prefix) : each === key;
}

function noCopyYet(): Result<never> {
  return failWith(
    'QUORUM_UNAVAILABLE',
    'This node has no copy of the quorum boards yet, so it cannot tell what changes.',
    'See skein voters list and skein doctor, and try again shortly, with the same cursor.',
    { retryAfterMs: 500, details: { outcome: 'not-done' } },
  );
}

function historyGone(position: number, compactedRevision: number): ErrorBody {
  return errorBody(
    'NOT_FOUND',
    `The changes after revision ${position} are no longer remembered one by one.`,
    'Begin again after revision 0: that tells what is there now, then what changes.',
    { details: { compactedRevision, afterRevision: position } },
  );
}

function cancelled(): ErrorBody {
  return errorBody('TIMEOUT', 'The wait was cancelled by its caller.', 'Wait again with the same cursor.');
}

function stopping(): ErrorBody {
  return errorBody(
    'UNREACHABLE',
    'The node is stopping.',
    'Wait again, with the same cursor, once it is back.',
  );
}
