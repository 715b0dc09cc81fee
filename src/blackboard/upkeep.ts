/**
 * What a node does for its own lanes unasked: restamps what its clock had ahead, trims what was superseded, buries what expired, forgets tombstones that
 * have served, signs heads, folds the lanes of earlier runs into the running one; and drops the lanes that others folded.
 */

import { ByteWriter } from '../kernel/bytes.ts';
import type { Mark, Persist } from '../kernel/effects.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Cryptography, Signer } from '../kernel/ports.ts';
import { type Deadline, earliest, type Instant } from '../kernel/time.ts';
import type { LanesBody } from '../replication/record.ts';
import type { Board } from './board.ts';
import { KIND } from './entry.ts';
import { ExpiryQueue } from './expiry.ts';
import { Folding } from './folding.ts';
import { signHead } from './head.ts';
import { type HybridClock, wallMsOf } from './hlc.ts';
import type { Intake } from './intake.ts';
import { ownRecord } from './journal.ts';
import type { Lane } from './lane.ts';
import { Restamping } from './restamping.ts';
import { Rivals } from './rivals.ts';
import { writeHeadSection } from './sections.ts';
import { type BoardStore, foldedAt, retiredIn } from './store.ts';

/** Trims wait this long for company, so that many share a frame. */
const TRIM_DELAY_MS = 250;
/** Keys buried, and tombstones forgotten, at a stretch. */
const BURIED = 256;
const FORGOTTEN = 1_024;
const FORGET_PERIOD_MS = 60_000;
const HELD_PERIOD_MS = 1_000;
/** Hashing a lane for its head costs about a millisecond for each of so many bytes; heads take at most a percent or so. */
const HEAD_BYTES_PER_MS = 200_000;

type UpkeepEffect = Persist | Mark | { readonly kind: 'publishLanes'; readonly body: LanesBody };

export class Upkeep {
  readonly #store: BoardStore;
  readonly #intake: Intake;
  readonly #cryptography: Cryptography;
  readonly #signer: Signer;
  readonly #expiry = new ExpiryQueue();
  readonly #folding: Folding;
  readonly #restamping: Restamping;
  readonly #headsDue = new Map<Lane, Board>();
  readonly #writer = new ByteWriter(1024);
  /** Owners of lanes that are no longer listed and not yet dropped. */
  readonly #leaving = new Set<NodeId>();
  #frames: Uint8Array[] = [];
  #headAtMs: number | undefined;
  #trimAtMs: number | undefined;
  #heldAtMs: number | undefined;
  #forgetAtMs: number;
  /** How many of the node's own incarnations others have been told of. */
  #announced = 0;
  #lastNow: Instant;

  constructor(options: {
    readonly store: BoardStore;
    readonly intake: Intake;
    readonly clock: HybridClock;
    readonly cryptography: Cryptography;
    readonly signer: Signer;
    /** A neighbour is linked. */
    readonly isLinked: () => boolean;
    readonly isUp: (node: NodeId) => boolean;
    readonly now: Instant;
  }) {
    this.#store = options.store;
    this.#intake = options.intake;
    this.#cryptography = options.cryptography;
    this.#signer = options.signer;
    this.#folding = new Folding(options.store, options.now);
    this.#restamping = new Restamping(options.store, options.clock, options.isLinked, options.isUp);
    this.#forgetAtMs = options.now.monoMs + FORGET_PERIOD_MS;
    this.#lastNow = options.now;
  }

  /** Deadlines that begin now are measured from here. */
  seen(now: Instant): void {
    this.#lastNow = now;
    this.#restamping.seen(now);
  }

  get hasFrames(): boolean {
    return this.#frames.length > 0;
  }

  takeFrames(): readonly Uint8Array[] {
    return this.#frames.splice(0);
  }

  /** The journal has been read. */
  loaded(now: Instant): void {
    this.#restamping.loaded(now);
    for (const board of this.#store.boards.values()) {
      for (const item of board.view.shownItems()) if (item.expiresMs > 0) this.#expiry.add(board, item);
      for (const lane of board.lanes.values()) if (lane.own && lane.clock > 0) this.changed(board, lane, now);
    }
    this.#folding.loaded(now);
    for (const owner of new Set([...this.#store.boards.values()].flatMap((board) => ownersOf(board)))) {
      this.lanesChanged(owner);
    }
  }

  /** One of this node's lanes changed: its head is due. */
  changed(board: Board, lane: Lane, now: Instant): void {
    this.#headsDue.set(lane, board);
    this.#headAtMs ??= now.monoMs + Math.max(limits.headDelayMs, lane.liveBytes / HEAD_BYTES_PER_MS);
  }

  /** Keys changed for readers. */
  noticed(board: Board, keys: readonly string[], now: Instant): void {
    if (!board.hasExpiring) return;
    for (const key of keys) {
      const state = board.view.get(key);
      const item = state instanceof Rivals ? state.base : state;
      if (item !== undefined && item.expiresMs > now.wallMs && item.kind === KIND.set)
        this.#expiry.add(board, item);
    }
  }

  /** Something came in from others: lanes may now be dropped. */
  merged(): void {
    if (this.#leaving.size > 0) for (const owner of [...this.#leaving]) this.lanesChanged(owner);
  }

  lanesChanged(owner: NodeId): void {
    this.#store.adopt(owner);
    const body = this.#store.bodyOf(owner);
    if (body === undefined) return;
    if (owner === this.#store.self) {
      this.#folding.returned(body);
      return;
    }
    for (const incarnation of retiredIn(body)) this.#store.retired.set(incarnation, owner);
    for (const incarnation of body.incarnations) this.#store.revive(incarnation, owner);
    this.#leaving.delete(owner);
    for (const board of this.#store.boards.values()) {
      for (const lane of [...board.lanes.values()]) {
        if (lane.owner !== owner) continue;
        const clock = foldedAt(body, board.name, lane.incarnation);
        // Only what its owner says it folded goes, and never more of it than its owner had (its disk may be an old one).
        if (clock === undefined || Math.max(lane.clock, lane.head?.clock ?? 0) > clock) continue;
        if (this.#store.hasFolded(board, owner)) this.#intake.reset(board, lane);
        else this.#leaving.add(owner);
      }
      board.settle();
    }
  }

  expire(now: Instant): readonly UpkeepEffect[] {
    this.#lastNow = now;
    const effects: UpkeepEffect[] = [];
    if (this.#announced < this.#store.own.size) {
      const records = [...this.#store.own].slice(this.#announced).map(ownRecord);
      effects.push({ kind: 'persist', stream: 'board', records, durable: false });
      effects.push({ kind: 'publishLanes', body: this.#folding.body() });
      this.#announced = this.#store.own.size;
    }
    this.#restamping.expire(now);
    this.#bury(now);
    this.#trim(now);
    if (now.monoMs >= this.#forgetAtMs) this.#forget(now);
    const folded = this.#folding.expire(now);
    for (const { board, lane } of folded.dropped) this.#intake.reset(board, lane);
    if (folded.body !== undefined) {
      effects.push({ kind: 'publishLanes', body: folded.body });
      this.#announced = this.#store.own.size;
    }
    if (this.#headAtMs !== undefined && now.monoMs >= this.#headAtMs) this.#sign(now);
    if (this.#heldAtMs !== undefined && now.monoMs >= this.#heldAtMs) {
      this.#heldAtMs = undefined;
      const dropped = this.#intake.held.expire(now.monoMs);
      if (dropped > 0) {
        effects.push({ kind: 'mark', level: 'debug', name: 'board.heldDropped', fields: { dropped } });
      }
    }
    return effects;
  }

  deadline(): Deadline | undefined {
    const now = this.#lastNow;
    if (this.#announced < this.#store.own.size) return { atMs: now.monoMs, reason: 'board.lanes' };
    let trims = 0;
    let urgent = false;
    for (const board of this.#store.boards.values()) {
      trims += board.trimsWaiting;
      urgent ||= board.mustTrim;
    }
    if (trims > 0) this.#trimAtMs ??= now.monoMs + TRIM_DELAY_MS;
    if (this.#intake.held.size > 0) this.#heldAtMs ??= now.monoMs + HELD_PERIOD_MS;
    const expiresMs = this.#expiry.nextMs;
    return earliest([
      { atMs: this.#forgetAtMs, reason: 'board.forget' },
      this.#headAtMs === undefined ? undefined : { atMs: this.#headAtMs, reason: 'board.head' },
      this.#trimAtMs === undefined
        ? undefined
        : { atMs: urgent ? now.monoMs : this.#trimAtMs, reason: 'board.trim' },
      this.#heldAtMs === undefined ? undefined : { atMs: this.#heldAtMs, reason: 'board.held' },
      expiresMs === undefined
        ? undefined
        : { atMs: now.monoMs + Math.max(0, expiresMs - now.wallMs), reason: 'board.expiry' },
      this.#folding.deadline(),
      this.#restamping.deadline(),
    ]);
  }

  /** What expired: readers are told, and its author puts a tombstone in its place. */
  #bury(now: Instant): void {
    for (let count = 0; count < BURIED; count++) {
      const due = this.#expiry.take(now.wallMs);
      if (due === undefined) return;
      const { board, item } = due;
      if (item.dead || !board.view.shows(item)) continue;
      board.touch(item.key);
      if (!item.lane.own) continue;
      const running = this.#store.lane(board, this.#store.incarnation);
      board.write(running, {
        kind: KIND.delete,
        revision: item.revision,
        key: item.key,
        author: item.body().author,
        ttlSeconds: Math.round((item.expiresMs - wallMsOf(item.revision)) / 1_000),
        origin: item.origin === running.incarnation ? undefined : item.origin,
        value: '',
      });
    }
  }

  #trim(now: Instant): void {
    const due = this.#trimAtMs !== undefined && now.monoMs >= this.#trimAtMs;
    for (const board of this.#store.boards.values()) {
      // With a change under way the trims ride along for nothing.
      if (due || board.mustTrim || board.hasPending) board.trim();
    }
    if (due) this.#trimAtMs = undefined;
  }

  /** Tombstones of one's own that are old enough, where no lane holds anything older for the key. */
  #forget(now: Instant): void {
    this.#forgetAtMs = now.monoMs + FORGET_PERIOD_MS;
    const before = now.wallMs - limits.tombstoneMs;
    let left = FORGOTTEN;
    for (const board of this.#store.boards.values()) {
      for (const lane of [...board.lanes.values()]) {
        if (!lane.own) continue;
        for (const item of lane.items()) {
          if (item.kind !== KIND.delete || board.view.hides(item.key)) continue;
          if (Math.max(wallMsOf(item.revision), item.expiresMs) > before) continue;
          if (left-- <= 0) return;
          board.deleteOwn(item);
        }
      }
    }
  }

  #sign(now: Instant): void {
    this.#headAtMs = undefined;
    for (const [lane, board] of this.#headsDue) {
      if (board.lanes.get(lane.incarnation) !== lane) continue;
      // Of a lane that is only coming back, its later head still stands.
      if (lane.head !== undefined && lane.head.clock > lane.clock) continue;
      lane.head = signHead(board, lane, this.#cryptography.hash, this.#signer, now);
      writeHeadSection(this.#writer, lane.head);
    }
    this.#headsDue.clear();
    if (this.#writer.length > 0) this.#frames.push(this.#writer.take());
  }
}

function ownersOf(board: Board): NodeId[] {
  return [...board.lanes.values()].flatMap((lane) => (lane.owner === undefined ? [] : [lane.owner]));
}
