/**
 * Yjs updates (v1) of one lane: an array that one client alone appends to and deletes from.
 *
 * Intuition: because nobody else writes into it, each item of a lane stands right behind the one before it, and the
 * whole update is determined by a run of clocks with their contents and the deleted clocks. So it can be read in one
 * pass over the bytes that allocates nothing for what is merely announced, and written without a Yjs document. What
 * Yjs itself would do with the bytes (hold back, merge again and again what lacks its predecessor, believe a count
 * of 33 million) cannot happen, as Yjs never sees them before they have passed.
 *
 * Accepted is a strict subset of what Yjs writes: one client; items with content `Binary` or `Deleted`, each with
 * the item before it as origin, no right origin, no key; a delete set of that client. Everything else is malformed.
 *
 * Source: `yjs/src/utils/encoding.js`, `structs/Item.js`, `utils/DeleteSet.js` of Yjs 13.6.
 */
import { type ByteReader, ByteWriter } from '../kernel/bytes.ts';

const CONTENT_DELETED = 1;
const CONTENT_BINARY = 3;
const HAS_ORIGIN = 0x80;
/** Parent given as the name of a top-level type. */
const PARENT_IS_ROOT = 1;
/** Fewer bytes no struct takes: info, origin (client, clock), content. */
const LEAST_STRUCT_BYTES = 4;
const LEAST_RANGE_BYTES = 2;
/** Structs, and ranges of deletes, in one update: what is checked and taken in without a pause. */
export const MOST_STRUCTS = 16_384;

/** Where a node tells a Yjs client what it refused: a top-level array that is in the client's copy of the entries alone. */
export const ANSWERS = 'skein:answers';

export function laneName(incarnation: number): string {
  return `lane:${incarnation}`;
}

/** Three numbers for each struct: first clock, offset of its bytes (-1 for a deleted run), length (in bytes, or of the run). */
export interface LaneUpdate {
  /** 0 where the update has neither structs nor deletes. */
  readonly client: number;
  readonly fromClock: number;
  /** First clock behind the structs; equal to `fromClock` where there are none. */
  readonly toClock: number;
  readonly structs: readonly number[];
  /** Two numbers for each range, ascending and apart: first clock and count. */
  readonly deletes: readonly number[];
}

/** What the update at `reader` says; `undefined` where it is no update of one lane. */
export function readLaneUpdate(reader: ByteReader): LaneUpdate | undefined {
  const clients = reader.varuint();
  if (reader.failed || clients > 1) return undefined;
  let client = 0;
  let fromClock = 0;
  let toClock = 0;
  const structs: number[] = [];
  if (clients === 1) {
    const count = reader.varuint();
    client = reader.varuint();
    fromClock = toClock = reader.varuint();
    if (reader.failed || client === 0 || count === 0) return undefined;
    if (count > MOST_STRUCTS || count * LEAST_STRUCT_BYTES > reader.remaining) return undefined;
    for (let index = 0; index < count; index++) {
      const next = readStruct(reader, client, toClock, structs);
      if (next === undefined) return undefined;
      toClock = next;
    }
  }
  const deletes: number[] = [];
  const deleter = readDeletes(reader, deletes);
  if (deleter === undefined || reader.failed) return undefined;
  if (deleter !== 0 && client !== 0 && deleter !== client) return undefined;
  return { client: client || deleter, fromClock, toClock, structs, deletes };
}

/** The clock behind the struct, which stands at `clock`; `undefined` where it is none of a lane. */
export function readStruct(
  reader: ByteReader,
  client: number,
  clock: number,
  into: number[],
): number | undefined {
  const info = reader.byte();
  if (info & HAS_ORIGIN) {
    if (clock === 0 || reader.varuint() !== client || reader.varuint() !== clock - 1) return undefined;
  } else if (clock !== 0 || reader.varuint() !== PARENT_IS_ROOT || reader.text(32) !== laneName(client)) {
    return undefined;
  }
  const content = info & ~HAS_ORIGIN;
  const length = reader.varuint();
  if (reader.failed) return undefined;
  if (content === CONTENT_DELETED) {
    if (length === 0 || !Number.isSafeInteger(clock + length)) return undefined;
    into.push(clock, -1, length);
    return clock + length;
  }
  if (content !== CONTENT_BINARY) return undefined;
  const offset = reader.at;
  reader.skip(length);
  if (reader.failed) return undefined;
  into.push(clock, offset, length);
  return clock + 1;
}

/** The client whose items are deleted, 0 where there are none. */
function readDeletes(reader: ByteReader, into: number[]): number | undefined {
  const clients = reader.varuint();
  if (clients === 0) return 0;
  if (clients > 1) return undefined;
  const client = reader.varuint();
  const count = reader.varuint();
  if (reader.failed || client === 0 || count === 0 || count > MOST_STRUCTS) return undefined;
  if (count * LEAST_RANGE_BYTES > reader.remaining) return undefined;
  let behind = -1;
  for (let index = 0; index < count; index++) {
    const clock = reader.varuint();
    const length = reader.varuint();
    if (reader.failed || length === 0 || clock <= behind || !Number.isSafeInteger(clock + length)) {
      return undefined;
    }
    into.push(clock, length);
    behind = clock + length - 1;
  }
  return client;
}

/** Builds one update: structs in the order of their clocks, then deletes. Reusable. */
export class LaneUpdateWriter {
  readonly #body = new ByteWriter(1024);
  readonly #whole = new ByteWriter(1024);
  #client = 0;
  #fromClock = 0;
  #clock = 0;
  #count = 0;
  #deleted = 0;
  /** As in `LaneUpdate`, with offsets in the body. */
  #structs: number[] | undefined;
  /** Where the body stands in what was finished last. */
  #bodyAt = 0;

  /** With `listed`, `finishRead` can tell what a reader of the update would find. */
  begin(client: number, fromClock: number, listed = false): void {
    this.#body.clear();
    this.#client = client;
    this.#fromClock = this.#clock = fromClock;
    this.#count = this.#deleted = 0;
    this.#structs = listed ? [] : undefined;
  }

  get length(): number {
    return this.#body.length;
  }

  get structs(): number {
    return this.#count;
  }

  item(bytes: Uint8Array, from: number, length: number): void {
    this.#closeRun();
    this.#struct(CONTENT_BINARY);
    this.#body.varuint(length);
    this.#structs?.push(this.#clock, this.#body.length, length);
    this.#body.rawPart(bytes, from, length);
    this.#clock++;
  }

  deleted(count: number): void {
    this.#deleted += count;
  }

  /** The update, with the deletes given as pairs of clock and count; valid until the next `finish`. */
  finish(deletes: readonly number[]): Uint8Array {
    this.#closeRun();
    const whole = this.#whole;
    whole.clear();
    if (this.#count === 0) whole.byte(0);
    else {
      whole.byte(1);
      whole.varuint(this.#count);
      whole.varuint(this.#client);
      whole.varuint(this.#fromClock);
      this.#bodyAt = whole.length;
      whole.raw(this.#body.view());
    }
    if (deletes.length === 0) whole.byte(0);
    else {
      whole.byte(1);
      whole.varuint(this.#client);
      whole.varuint(deletes.length / 2);
      for (const number of deletes) whole.varuint(number);
    }
    return whole.view();
  }

  /** `finish`, and what `readLaneUpdate` would make of it, without reading it. Once for each `begin` with `listed`. */
  finishRead(deletes: readonly number[]): { readonly bytes: Uint8Array; readonly read: LaneUpdate } {
    const bytes = this.finish(deletes);
    const structs = this.#structs ?? [];
    this.#structs = undefined;
    if (this.#count === 0) {
      const client = deletes.length === 0 ? 0 : this.#client;
      return { bytes, read: { client, fromClock: 0, toClock: 0, structs, deletes } };
    }
    for (let at = 1; at < structs.length; at += 3)
      if ((structs[at] as number) >= 0) (structs[at] as number) += this.#bodyAt;
    return {
      bytes,
      read: { client: this.#client, fromClock: this.#fromClock, toClock: this.#clock, structs, deletes },
    };
  }

  /** The structs alone, as they stand in an update of several clients: their number, client, first clock, and they. */
  writeBlock(into: ByteWriter): boolean {
    this.#closeRun();
    if (this.#count === 0) return false;
    into.varuint(this.#count);
    into.varuint(this.#client);
    into.varuint(this.#fromClock);
    into.raw(this.#body.view());
    return true;
  }

  #closeRun(): void {
    if (this.#deleted === 0) return;
    const count = this.#deleted;
    this.#deleted = 0;
    this.#struct(CONTENT_DELETED);
    this.#body.varuint(count);
    this.#structs?.push(this.#clock, -1, count);
    this.#clock += count;
  }

  #struct(content: number): void {
    this.#count++;
    if (this.#clock === 0) {
      this.#body.byte(content);
      this.#body.byte(PARENT_IS_ROOT);
      this.#body.text(laneName(this.#client));
    } else {
      this.#body.byte(content | HAS_ORIGIN);
      this.#body.varuint(this.#client);
      this.#body.varuint(this.#clock - 1);
    }
  }
}

/** Ranges (clock and count) from clocks in any order, doubles allowed. */
export function rangesOf(clocks: readonly number[]): number[] {
  if (clocks.length === 0) return [];
  if (clocks.length === 1) return [clocks[0] as number, 1];
  const sorted = Float64Array.from(clocks).sort();
  const ranges: number[] = [];
  let behind = -1;
  for (const clock of sorted) {
    if (clock < behind) continue;
    if (clock === behind) (ranges[ranges.length - 1] as number)++;
    else ranges.push(clock, 1);
    behind = clock + 1;
  }
  return ranges;
}
