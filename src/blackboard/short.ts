/**
 * Short sections: a push of a few writes without what its receiver knows already.
 *
 * Intuition: most pushes bring one small write at the end of a lane that the receiver stands at the end of. Board and
 * incarnation, the origin of every item, the years in its stamp and its author can then be left out. What is left out
 * is worked out from the lane alone, never from what went over the link before, so frames may be lost, doubled and
 * come over another connection: a receiver that does not stand exactly where the section begins, or has not seen the
 * item before it, passes it over and pulls.
 *
 * Method: the sender writes both forms and pushes the short one; the receiver makes the long one of it, which then
 * takes the way of all others, through the gate and into the journal.
 *
 * Limits: only the running lane of the sender. Clocks relied upon (sessions, trims for another's sake), stamps that go
 * back and folded copies take the long form.
 */

import { ByteReader, ByteWriter } from '../kernel/bytes.ts';
import { equalBytes } from '../kernel/codec.ts';
import type { BoardName, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Board, OwnChange } from './board.ts';
import { AUTHOR_BYTES } from './entry.ts';
import type { Lane } from './lane.ts';
import { type LaneUpdate, LaneUpdateWriter, rangesOf } from './lane-update.ts';
import { type LaneSection, NO_CLOCKS, SECTION, type ShortSection, writeLaneSection } from './sections.ts';
import type { BoardStore } from './store.ts';

/** More items than this gain little by the short form. */
const MOST_ITEMS = 64;
const MOST_DELETES = 256;

/** Flags of an item, the first three as in `entry.ts`. */
const KIND_AND_TTL = 7;
const ITEM_FOLDED = 8;
const HAS_TTL = 4;
const SAME_AUTHOR = 8;
const HAS_COUNT = 16;
/** The value reaches to the end of the section. */
const LAST = 32;
/** A revision is milliseconds times this, plus a count; see `hlc.ts`. */
const COUNTS = 4_096;

/** What an item in the short form leaves out, from the one before it in the lane. */
interface Tail {
  /** Of the lane, behind the item. */
  readonly clock: number;
  readonly revision: number;
  readonly author: Uint8Array;
}

/** One item as it stands in a lane. */
interface Parts {
  readonly flags: number;
  readonly revision: number;
  readonly key: Uint8Array;
  readonly author: Uint8Array;
  readonly ttlSeconds: number;
  readonly value: Uint8Array;
}

const writer = new ByteWriter(4096);
const updates = new LaneUpdateWriter();

/** The name of a lane in short sections: FNV-1a of board and incarnation. */
export function tagOf(board: BoardName, incarnation: number): number {
  const text = `${board}@${incarnation}`;
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

/** Names of one incarnation's lanes on all boards; `undefined` where two boards would have the same. */
interface Names {
  readonly incarnation: number;
  readonly boards: number;
  readonly byTag: ReadonlyMap<number, BoardName | undefined>;
  readonly byName: ReadonlyMap<BoardName, number>;
}

/** A section in its long form, and what a reader of its update finds there. The byte before `raw` in its buffer is free. */
interface Expanded {
  readonly section: LaneSection & { readonly raw: Uint8Array };
  readonly update: LaneUpdate;
}

export class Shorts {
  readonly #store: BoardStore;
  readonly #tails = new WeakMap<Lane, Tail>();
  readonly #names = new Map<NodeId, Names>();

  constructor(store: BoardStore) {
    this.#store = store;
  }

  /** An update of a lane was taken in, or made here: its last item is what the next may leave out. */
  seen(lane: Lane, update: LaneUpdate, bytes: Uint8Array): void {
    const last = update.structs.length - 3;
    if (last < 0 || update.toClock !== lane.clock) return;
    const offset = update.structs[last + 1] as number;
    const parts = offset < 0 ? undefined : readParts(bytes, offset, update.structs[last + 2] as number);
    if (parts === undefined) this.#tails.delete(lane);
    else this.#keep(lane, { clock: update.toClock, revision: parts.revision, author: parts.author });
  }

  /** The author is copied where it is another than before: it may be a view of much more. */
  #keep(lane: Lane, { clock, revision, author }: Tail): void {
    const known = this.#tails.get(lane)?.author;
    const kept = known !== undefined && equalBytes(known, author) ? known : author.slice();
    this.#tails.set(lane, { clock, revision, author: kept });
  }

  forget(node: NodeId): void {
    this.#names.delete(node);
  }

  /** The short form of what this node has just written; `undefined` where there is none. */
  shorten(board: Board, change: OwnChange): Uint8Array | undefined {
    const { lane, update, read, deps, hold } = change;
    const before = this.#tails.get(lane);
    const tag = lane.running && deps.size === 0 && !hold ? this.#tagOf(board.name, lane) : undefined;
    const short = tag === undefined ? undefined : writeShort(tag, read, update, before);
    if (short === undefined) this.seen(lane, read, update);
    else if (read.toClock === lane.clock) this.#keep(lane, short.tail);
    return short?.bytes;
  }

  /** The name of this node's running lane; `undefined` where another board's has the same. */
  #tagOf(name: BoardName, { incarnation }: Lane): number | undefined {
    const { byName } = this.#namesOf(this.#store.self, incarnation);
    return byName.get(name);
  }

  /** The long form of a section from a lane's author; `behind` where it cannot be told here. */
  expand(section: ShortSection, from: NodeId): Expanded | 'unknown' | 'behind' | 'malformed' {
    const read = readShort(section);
    if (read === undefined) return 'malformed';
    const incarnation = this.#store.bodyOf(from)?.incarnations.at(-1);
    if (incarnation === undefined) return 'unknown';
    const name = this.#namesOf(from, incarnation).byTag.get(section.tag);
    const board = name === undefined ? undefined : this.#store.find(name);
    const lane = board?.lanes.get(incarnation);
    if (board === undefined || lane === undefined) return 'behind';
    const { clock } = section;
    const { items, deletes } = read;
    if (clock + items.length > lane.clock && clock !== lane.clock) return 'behind';
    const tail = this.#tails.get(lane);
    const isNew = items.length > 0 && clock === lane.clock;
    if (isNew && tail?.clock !== clock) return 'behind';
    updates.begin(incarnation, clock, true);
    if (isNew && !appendItems(items, tail as Tail)) return 'malformed';
    const { bytes, read: update } = updates.finishRead(rangesOf(deletes));
    const long = { kind: 'lane', board: board.name, deps: NO_CLOCKS, hold: false, update: bytes } as const;
    writer.clear();
    writeLaneSection(writer, long);
    const raw = writer.take(1);
    return { section: { ...long, update: raw.subarray(raw.length - bytes.length), raw }, update };
  }

  #namesOf(node: NodeId, incarnation: number): Names {
    const { boards } = this.#store;
    const known = this.#names.get(node);
    if (known?.incarnation === incarnation && known.boards === boards.size) return known;
    const byTag = new Map<number, BoardName | undefined>();
    for (const name of boards.keys()) {
      const tag = tagOf(name, incarnation);
      byTag.set(tag, byTag.has(tag) ? undefined : name);
    }
    const byName = new Map<BoardName, number>();
    for (const [tag, name] of byTag) if (name !== undefined) byName.set(name, tag);
    const names = { incarnation, boards: boards.size, byTag, byName };
    this.#names.set(node, names);
    return names;
  }
}

function writeShort(
  tag: number,
  update: LaneUpdate,
  bytes: Uint8Array,
  before: Tail | undefined,
): { readonly bytes: Uint8Array; readonly tail: Tail } | undefined {
  const { structs, deletes, fromClock } = update;
  if (structs.length === 0 || structs.length > 3 * MOST_ITEMS || before?.clock !== fromClock)
    return undefined;
  writer.clear();
  writer.byte(SECTION.short);
  writer.uint32(tag);
  writer.varuint(fromClock);
  if (!writeDeletes(deletes, fromClock)) return undefined;
  let tail = before;
  for (let at = 0; at < structs.length; at += 3) {
    const offset = structs[at + 1] as number;
    const parts = offset < 0 ? undefined : readParts(bytes, offset, structs[at + 2] as number);
    if (parts === undefined || !writeItem(parts, tail, at + 3 === structs.length)) return undefined;
    tail = { clock: tail.clock + 1, revision: parts.revision, author: parts.author };
  }
  return { bytes: writer.take(), tail };
}

/** Each as its distance from the section's clock, the nearest first; false where there are too many. */
function writeDeletes(ranges: readonly number[], fromClock: number): boolean {
  const distances: number[] = [];
  for (let at = 0; at < ranges.length; at += 2) {
    const count = ranges[at + 1] as number;
    if (distances.length + count > MOST_DELETES) return false;
    for (let index = 0; index < count; index++) {
      const distance = fromClock - ((ranges[at] as number) + index);
      if (distance <= 0) return false;
      distances.push(distance);
    }
  }
  writer.varuint(distances.length);
  for (let at = distances.length - 1; at >= 0; at--) writer.varuint(distances[at] as number);
  return true;
}

function writeItem(parts: Parts, before: Tail, isLast: boolean): boolean {
  const { revision, ttlSeconds, author, value } = parts;
  const ms = Math.floor(revision / COUNTS) - Math.floor(before.revision / COUNTS);
  if (parts.flags & ITEM_FOLDED || ms < 0) return false;
  const count = revision % COUNTS;
  const isSame = equalBytes(author, before.author);
  const flags =
    (parts.flags & KIND_AND_TTL) |
    (isSame ? SAME_AUTHOR : 0) |
    (count > 0 ? HAS_COUNT : 0) |
    (isLast ? LAST : 0);
  writer.byte(flags);
  writer.varuint(ms);
  if (count > 0) writer.varuint(count);
  writer.sized(parts.key);
  if (!isSame) writer.sized(author);
  if (flags & HAS_TTL) writer.varuint(ttlSeconds);
  if (isLast) writer.raw(value);
  else writer.sized(value);
  return true;
}

interface ShortItem extends Omit<Parts, 'revision' | 'author'> {
  readonly ms: number;
  readonly count: number;
  readonly author: Uint8Array | undefined;
}

function readShort({ clock, body }: ShortSection): { items: ShortItem[]; deletes: number[] } | undefined {
  const reader = new ByteReader(body);
  const count = reader.varuint();
  if (count > MOST_DELETES) return undefined;
  const deletes: number[] = [];
  for (let at = 0; at < count; at++) deletes.push(clock - reader.varuint());
  if (deletes.some((deleted) => deleted < 0 || deleted >= clock)) return undefined;
  const items: ShortItem[] = [];
  while (!reader.failed && reader.remaining > 0) {
    if (items.length === MOST_ITEMS) return undefined;
    items.push(readItem(reader));
  }
  const isWhole = items.every(({ flags }, index) => ((flags & LAST) !== 0) === (index === items.length - 1));
  if (reader.failed || items.length === 0 || !isWhole) return undefined;
  return { items, deletes };
}

function readItem(reader: ByteReader): ShortItem {
  const flags = reader.byte();
  if (flags > (KIND_AND_TTL | SAME_AUTHOR | HAS_COUNT | LAST)) reader.fail();
  const ms = reader.varuint();
  const count = flags & HAS_COUNT ? reader.varuint() : 0;
  if (count >= COUNTS) reader.fail();
  const key = reader.sized();
  const author = flags & SAME_AUTHOR ? undefined : reader.sized();
  const ttlSeconds = flags & HAS_TTL ? reader.varuint() : 0;
  const value = flags & LAST ? reader.raw(reader.remaining) : reader.sized();
  return { flags, ms, count, key, author, ttlSeconds, value };
}

/** The items as they stand in a lane; false where a stamp or a length is out of bounds. */
function appendItems(items: readonly ShortItem[], before: Tail): boolean {
  let { revision, author } = before;
  for (const item of items) {
    revision = (Math.floor(revision / COUNTS) + item.ms) * COUNTS + item.count;
    author = item.author ?? author;
    if (!Number.isSafeInteger(revision) || item.key.length > limits.keyBytes || author.length > AUTHOR_BYTES)
      return false;
    writer.clear();
    writer.byte(item.flags & KIND_AND_TTL);
    writer.uint56(revision);
    writer.sized(item.key);
    writer.sized(author);
    if (item.flags & HAS_TTL) writer.varuint(item.ttlSeconds);
    writer.raw(item.value);
    updates.item(writer.view(), 0, writer.length);
  }
  return true;
}

function readParts(bytes: Uint8Array, offset: number, length: number): Parts | undefined {
  const reader = new ByteReader(bytes, offset, offset + length);
  const flags = reader.byte();
  const revision = reader.uint56();
  const key = reader.sized();
  const author = reader.sized();
  const ttlSeconds = flags & HAS_TTL ? reader.varuint() : 0;
  if (flags & ITEM_FOLDED) reader.varuint();
  const value = reader.raw(reader.remaining);
  return reader.failed ? undefined : { flags, revision, key, author, ttlSeconds, value };
}
