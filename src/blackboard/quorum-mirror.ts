/**
 * What a node has of the quorum boards without asking anybody: filled by reading their range, then kept by watching it.
 *
 * The range is read in pages, each of its own moment, so the watch begins at the oldest page's revision and its events are laid
 * over the pages, older ones ignored; only when the newest page's revision is reached is the content what the store
 * was at one revision, and shown. Where the store has forgotten what came after the mirror's revision, or another
 * store took its place, all is read anew behind the old content, and listeners are told the difference.
 */
import { limits } from '../kernel/limits.ts';
import type { Clock } from '../kernel/ports.ts';
import type { QuorumStore, WatchEvent } from '../quorum/port.ts';
import { type EntryChange, QuorumContent } from './quorum-content.ts';
import { QuorumHistory } from './quorum-history.ts';
import { ALL_BOARDS } from './quorum-keys.ts';
import { piecesOf } from './quorum-pieces.ts';

const RETRY_MS = 100;
const RETRY_MOST_MS = 2_000;

interface MirrorListener {
  /** All changes of one revision, in order. */
  changed(revision: number, changes: readonly EntryChange[]): void;
  /** Between `before` and `revision` not every revision is known, but this is the difference. */
  refilled(refill: Refill): void;
}

export interface Refill {
  readonly before: number;
  readonly revision: number;
  readonly isOtherStore: boolean;
  readonly changes: readonly EntryChange[];
}

interface Waiting {
  readonly revision: number;
  readonly resolve: () => void;
}

export class QuorumMirror {
  readonly #store: QuorumStore;
  readonly #clock: Clock;
  readonly #listener: MirrorListener;
  readonly history = new QuorumHistory();
  #content = new QuorumContent();
  #revision = 0;
  #isFilled = false;
  #waiting: Waiting[] = [];
  #stopWatch: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;
  #retryMs = RETRY_MS;
  /** One filling at a time; an older one that comes late does nothing. */
  #generation = 0;
  #isClosed = false;

  constructor(store: QuorumStore, clock: Clock, listener: MirrorListener) {
    this.#store = store;
    this.#clock = clock;
    this.#listener = listener;
  }

  get content(): QuorumContent {
    return this.#content;
  }

  /** All changes up to this are in the content; 0 before it was filled. */
  get revision(): number {
    return this.#revision;
  }

  get isFilled(): boolean {
    return this.#isFilled;
  }

  /** It hears of changes; else it is being filled anew, and what it has may be of another store than the one that is asked now. */
  get isFollowing(): boolean {
    return this.#stopWatch !== undefined;
  }

  get storeId(): string {
    return this.#content.storeId;
  }

  start(): void {
    void this.#fill();
  }

  close(): void {
    this.#isClosed = true;
    this.#generation++;
    this.#stopWatch?.();
    this.#cancelRetry?.();
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /** True once the mirror has this revision; false where it has not within the time. */
  reached(revision: number, withinMs: number, signal?: AbortSignal): Promise<boolean> {
    const isThere = () => this.#isFilled && this.#revision >= revision;
    if (isThere() || withinMs <= 0 || this.#waiting.length >= limits.waiters) {
      return Promise.resolve(isThere());
    }
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        signal?.removeEventListener('abort', done);
        this.#waiting = this.#waiting.filter((each) => each !== waiting);
        resolve(isThere());
      };
      const waiting: Waiting = { revision, resolve: done };
      const cancel = this.#clock.callAt(this.#clock.now().monoMs + withinMs, done);
      signal?.addEventListener('abort', done, { once: true });
      this.#waiting.push(waiting);
    });
  }

  async #fill(): Promise<void> {
    const generation = ++this.#generation;
    const content = new QuorumContent();
    let oldest = Number.POSITIVE_INFINITY;
    let newest = 0;
    for await (const piece of piecesOf(this.#store, ALL_BOARDS, 'mirror')) {
      if (generation !== this.#generation) return;
      if (!piece.ok) {
        this.#retryLater();
        return;
      }
      oldest = Math.min(oldest, piece.value.revision);
      newest = Math.max(newest, piece.value.revision);
      for (const entry of piece.value.found) content.apply({ kind: 'put', entry });
    }
    if (generation !== this.#generation) return;
    const filling = { content, revision: oldest, until: newest };
    // A store may tell of the first events before `watch` has returned.
    let isEnded = false;
    const stop = this.#store.watch(ALL_BOARDS, oldest + 1, (event) => {
      if (generation !== this.#generation || isEnded) return;
      if (event.kind !== 'compacted') {
        this.#onEvent(filling, event);
        return;
      }
      isEnded = true;
      this.#retryLater();
    });
    if (generation === this.#generation && !isEnded) {
      this.#stopWatch = stop;
      if (oldest >= newest) this.#show(filling);
    } else stop();
  }

  #onEvent(
    filling: { content: QuorumContent; revision: number; until: number },
    event: Exclude<WatchEvent, { kind: 'compacted' }>,
  ): void {
    const isShown = filling.content === this.#content;
    const changes: EntryChange[] = [];
    if (event.kind === 'changed') {
      for (const each of event.changes) {
        const change = filling.content.apply(each);
        if (change !== undefined) changes.push(change);
      }
    }
    filling.revision = Math.max(filling.revision, event.revision);
    if (!isShown) {
      if (filling.revision >= filling.until) this.#show(filling);
      return;
    }
    this.#retryMs = RETRY_MS;
    this.#revision = filling.revision;
    if (changes.length > 0) {
      this.history.add(event.revision, changes);
      this.#listener.changed(event.revision, changes);
    }
    this.#wake();
  }

  #show(filling: { content: QuorumContent; revision: number }): void {
    if (filling.content === this.#content) return;
    const older = this.#content;
    const before = this.#revision;
    const wasFilled = this.#isFilled;
    this.#content = filling.content;
    this.#revision = filling.revision;
    this.#isFilled = true;
    this.history.reset(filling.revision);
    if (wasFilled) {
      this.#listener.refilled({
        before,
        revision: filling.revision,
        // A store that goes back has forgotten something: to whoever waits it is another.
        isOtherStore:
          before > filling.revision || (older.storeId !== '' && older.storeId !== filling.content.storeId),
        changes: [...filling.content.changesSince(older, filling.revision)],
      });
    }
    this.#wake();
  }

  #wake(): void {
    for (const { resolve, revision } of [...this.#waiting]) if (revision <= this.#revision) resolve();
  }

  #retryLater(): void {
    this.#stopWatch?.();
    this.#stopWatch = undefined;
    if (this.#isClosed) return;
    this.#generation++;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#clock.callAt(this.#clock.now().monoMs + this.#retryMs, () => {
      this.#cancelRetry = undefined;
      void this.#fill();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MOST_MS);
  }
}
