/**
 * Boards as a lattice: what a neighbour lacks of them, and what may be taken in from it.
 *
 * Who may bring what:
 * - the author of a lane pushes and serves it, and is believed about it within the bounds of the gate;
 * - where the author is linked to the asker, others do not serve its lanes at all;
 * - where it is not, a relay proves what it brings with the author's signed head (`head.ts`), or brings it unproven
 *   within narrow bounds while the author is away.
 * Where clocks are equal and contents differ, the digest is repeated with the hashes of the lane's buckets. Deletes
 * that are missing are sent; if the copies still differ, the author's word wins and the lane is fetched anew.
 */

import { ByteWriter } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Cryptography } from '../kernel/ports.ts';
import type { Instant } from '../kernel/time.ts';
import { FRAME_HEADER_BYTES } from '../replication/frames.ts';
import type { Delta, Lattice, Merged } from '../replication/lattice.ts';
import type { Board } from './board.ts';
import {
  type Digest,
  decodeDigest,
  encodeDigest,
  type LaneDigest,
  SHORT_HASH_BYTES,
  shortOf,
} from './digest.ts';
import { type DocumentsLattice, digestRoom } from './documents-lattice.ts';
import { isAtHead, isBehindHead } from './head.ts';
import type { Intake } from './intake.ts';
import { BUCKET_CLOCKS, HASH_BYTES, type Lane } from './lane.ts';
import { rangesOf } from './lane-update.ts';
import { writeCompare, writeHeadSection, writeLaneSection, writeProof } from './sections.ts';
import type { BoardStore } from './store.ts';

/** Of a digest, what hashes of buckets may take. */
const DIGEST_BUCKETS = 16_384;
const MOST_RANGES = 8_192;

/** What a delta brings its receiver of a lane. */
interface Offered {
  /** Up to here; what stands behind it would be the next delta's. */
  readonly toClock: number;
  /** Whatever follows: once the receiver has it, another digest will find more. */
  readonly more: boolean;
}

export class BoardsLattice implements Lattice {
  readonly #store: BoardStore;
  readonly #cryptography: Cryptography;
  readonly #intake: Intake;
  readonly #documents: DocumentsLattice;
  readonly #links: () => readonly NodeId[];
  readonly #pushes: Uint8Array[] = [];
  /** Of deltas; kept, as a large buffer made anew for each costs collections of garbage. */
  readonly #writer = new ByteWriter(4096);
  #root: { readonly version: number; readonly root: Uint8Array } | undefined;

  constructor(options: {
    readonly store: BoardStore;
    readonly cryptography: Cryptography;
    readonly intake: Intake;
    readonly documents: DocumentsLattice;
    /** Neighbours that are up. */
    readonly links: () => readonly NodeId[];
  }) {
    this.#store = options.store;
    this.#cryptography = options.cryptography;
    this.#intake = options.intake;
    this.#documents = options.documents;
    this.#links = options.links;
  }

  push(frame: Uint8Array): void {
    this.#pushes.push(frame);
  }

  takePushes(): readonly Uint8Array[] {
    return this.#pushes.splice(0);
  }

  root(): Uint8Array {
    const version = this.#store.version;
    if (this.#root?.version === version) return this.#root.root;
    const writer = new ByteWriter(1024);
    for (const board of this.#sortedBoards()) {
      const lanes = sortedLanes(board);
      const documentsRoot = this.#documents.root(board);
      if (lanes.length === 0 && documentsRoot === undefined) continue;
      writer.text(board.name);
      for (const lane of lanes) {
        writer.uint56(lane.incarnation);
        writer.raw(lane.root(this.#cryptography.hash));
      }
      if (documentsRoot !== undefined) writer.raw(documentsRoot);
    }
    const root = this.#cryptography.hash(writer.view()).slice(0, HASH_BYTES);
    this.#root = { version, root };
    return root;
  }

  digest(): Uint8Array {
    let room = DIGEST_BUCKETS;
    const documentsRoom = digestRoom();
    const boards = this.#sortedBoards().map((board) => ({
      board: board.name,
      lanes: sortedLanes(board).map((lane): LaneDigest => {
        const { incarnation } = lane;
        // Only a whole lane can be held against the head that its author signed before the loss.
        const clock = lane.refetch && isBehindHead(lane) ? 0 : lane.clock;
        const root = lane.root(this.#cryptography.hash);
        if (!lane.compare) return { incarnation, clock, root, buckets: undefined };
        const buckets = lane.buckets(this.#cryptography.hash);
        if (buckets.length > room) return { incarnation, clock, root, buckets: undefined };
        room -= buckets.length;
        return {
          incarnation,
          clock,
          root,
          buckets: new Map(buckets.map(({ index, hash }) => [index, hash])),
        };
      }),
      ...this.#documents.digest(board, documentsRoom),
    }));
    const linked = new Set(this.#links().map(shortOf));
    return encodeDigest({ linked, boards });
  }

  delta(theirs: Uint8Array, peer: NodeId, maxBytes: number): Delta | undefined | 'malformed' {
    const digest = decodeDigest(theirs);
    if (digest === undefined) return 'malformed';
    const answer = this.#answer(digest, peer, maxBytes);
    const next = (): Delta | undefined => {
      const step = answer.next();
      if (step.done === true) return step.value;
      return { ...step.value, next };
    };
    return next();
  }

  merge(delta: Uint8Array, from: NodeId, now: Instant, room = 0): Merged {
    return this.#intake.take(delta, from, now, room);
  }

  /** All that they lack, in deltas of about `maxBytes`; whoever takes these from it may let others change between two. */
  *#answer(digest: Digest, peer: NodeId, maxBytes: number): Generator<Delta, Delta | undefined> {
    const writer = this.#writer;
    writer.clear();
    let more = false;
    for (const board of this.#sortedBoards()) {
      const known = digest.boards.find((other) => other.board === board.name);
      const lanes = new Map(known?.lanes.map((lane) => [lane.incarnation, lane]));
      for (const lane of board.lanes.values()) {
        if (lane.clock === 0 || !this.#serves(lane, digest, peer)) continue;
        if (writer.length >= maxBytes) yield this.#taken(true);
        let offered = this.#offer(writer, board, lane, lanes.get(lane.incarnation), maxBytes - writer.length);
        while (offered.toClock < lane.clock && board.lanes.get(lane.incarnation) === lane) {
          more ||= offered.more;
          yield this.#taken(true);
          offered = this.#offerTail(writer, board, lane, offered.toClock, maxBytes);
        }
        more ||= offered.more;
      }
      if (this.#documents.offer(writer, board, known, maxBytes - writer.length)) more = true;
    }
    return writer.length === 0 && !more ? undefined : this.#taken(more);
  }

  #taken(more: boolean): Delta {
    return { bytes: this.#writer.take(FRAME_HEADER_BYTES), room: FRAME_HEADER_BYTES, more };
  }

  #serves(lane: Lane, digest: Digest, peer: NodeId): boolean {
    if (lane.own) return true;
    if (lane.owner === undefined) return false;
    // Its author wants it only where it has lost it: of earlier incarnations, after a crash.
    return lane.owner === peer || !digest.linked.has(shortOf(lane.owner));
  }

  /** Writes what they lack of a lane. */
  #offer(
    writer: ByteWriter,
    board: Board,
    lane: Lane,
    theirs: LaneDigest | undefined,
    room: number,
  ): Offered {
    const clock = theirs?.clock ?? 0;
    if (clock > lane.clock) {
      lane.seenClock = Math.max(lane.seenClock, clock);
      // Nobody can have more of a lane that this node is writing: somebody forged it.
      if (lane.running) this.#compare(writer, board, lane, theirs?.root);
      return { toClock: lane.clock, more: lane.running };
    }
    if (theirs !== undefined && clock === lane.clock) {
      if (equalBytes(theirs.root, lane.root(this.#cryptography.hash))) return { toClock: clock, more: false };
      return { toClock: clock, more: this.#offerDeletes(writer, board, lane, theirs, room) };
    }
    return this.#offerTail(writer, board, lane, clock, room);
  }

  #offerTail(writer: ByteWriter, board: Board, lane: Lane, clock: number, room: number): Offered {
    const kind = lane.own ? 'lane' : 'relay';
    const proven = !lane.own && this.#prove(writer, board, lane);
    // A proof speaks of whole buckets: the receiver's last one may be stale in its deletes, so those come along.
    const bucketStart = Math.floor(clock / BUCKET_CLOCKS) * BUCKET_CLOCKS;
    const known = lane.deletedSince(clock);
    const deletes = [...(known ?? [])];
    let ranges = rangesOf(deletes);
    if (ranges.length > 2 * MOST_RANGES) ranges = ranges.slice(0, 2 * MOST_RANGES);
    if (proven) ranges = lane.deletedRanges(bucketStart, clock);
    // Deletes without proof are never taken from a relay, and would keep it from taking what stands beside them.
    else if (!lane.own) ranges = [];
    const { bytes, toClock } = lane.encode(clock, room, ranges, proven);
    writeLaneSection(writer, { kind, board: board.name, deps: lane.deps, hold: false, update: bytes });
    return { toClock, more: known === undefined || proven };
  }

  #offerDeletes(writer: ByteWriter, board: Board, lane: Lane, digest: LaneDigest, room: number): boolean {
    const { buckets: theirs, root } = digest;
    if (theirs === undefined) {
      this.#compare(writer, board, lane, undefined);
      return true;
    }
    const mine = new Map(lane.buckets(this.#cryptography.hash).map(({ index, hash }) => [index, hash]));
    const differing = [...new Set([...mine.keys(), ...theirs.keys()])]
      .filter((index) => !equalShort(mine.get(index), theirs.get(index)))
      .sort((left, right) => left - right);
    const ranges: number[] = [];
    let complete = true;
    for (const index of differing) {
      if (ranges.length >= 2 * MOST_RANGES || ranges.length * 4 > room) {
        complete = false;
        break;
      }
      const from = index * BUCKET_CLOCKS;
      appendRanges(ranges, lane.deletedRanges(from, from + BUCKET_CLOCKS));
    }
    const kind = lane.own ? 'lane' : 'relay';
    if (!lane.own) this.#prove(writer, board, lane);
    if (ranges.length > 0) {
      const { bytes } = lane.encode(lane.clock, 0, ranges);
      writeLaneSection(writer, { kind, board: board.name, deps: lane.deps, hold: false, update: bytes });
    }
    // Of an earlier run the author may itself have lost what it wrote last: it must not talk others out of that.
    const isAuthority = !lane.own || lane.running;
    this.#compare(writer, board, lane, complete && isAuthority ? root : undefined);
    return true;
  }

  /** Head and buckets, where this copy stands exactly at the head; false where it cannot prove. */
  #prove(writer: ByteWriter, board: Board, lane: Lane): boolean {
    const { head } = lane;
    if (head === undefined) return false;
    writeHeadSection(writer, head);
    if (!isAtHead(lane, head, this.#cryptography.hash)) return false;
    const buckets = lane.buckets(this.#cryptography.hash);
    if (buckets.length * (HASH_BYTES + 1) > limits.frameBytes / 2) return false;
    writeProof(writer, board.name, lane.incarnation, buckets);
    return true;
  }

  #compare(writer: ByteWriter, board: Board, lane: Lane, answered: Uint8Array | undefined): void {
    const { incarnation, clock } = lane;
    const root = lane.root(this.#cryptography.hash);
    writeCompare(writer, { board: board.name, incarnation, clock, root, answered });
  }

  #sortedBoards(): Board[] {
    return [...this.#store.boards.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }
}

function sortedLanes(board: Board): Lane[] {
  return [...board.lanes.values()]
    .filter((lane) => lane.clock > 0)
    .sort((left, right) => left.incarnation - right.incarnation);
}

function equalShort(left: Uint8Array | undefined, right: Uint8Array | undefined): boolean {
  if (left === undefined || right === undefined) return left === right;
  return equalBytes(left.subarray(0, SHORT_HASH_BYTES), right.subarray(0, SHORT_HASH_BYTES));
}

/** Joins where one range ends as the next begins. */
function appendRanges(ranges: number[], more: readonly number[]): void {
  for (let at = 0; at < more.length; at += 2) {
    const clock = more[at] as number;
    const count = more[at + 1] as number;
    const last = ranges.length - 2;
    if (last >= 0 && (ranges[last] as number) + (ranges[last + 1] as number) === clock) {
      (ranges[last + 1] as number) += count;
    } else {
      ranges.push(clock, count);
    }
  }
}
