/**
 * Records in a file: `[length u32][crc32 u32][bytes]`, little-endian, one after the other.
 *
 * The checksum is CRC-32 (ISO-HDLC, zlib's) started from the length, so that a damaged length is caught too. A record
 * is never empty: a run of zeros, which is what blocks that never reached the disk look like, is no record.
 *
 * A checkpoint ends with a footer, `[0xffffffff][crc32 of the count][count u32]`: without it the checkpoint is incomplete.
 */
import { crc32 } from 'node:zlib';
import { limits } from '../../kernel/limits.ts';
import type { Files } from './files.ts';

export const HEADER_BYTES = 8;
export const FOOTER_BYTES = HEADER_BYTES + 4;
const FOOTER_MARK = 0xffffffff;
const BLOCK_BYTES = 1024 * 1024;
/** One write; keeps the copy that is made of the records small beside the records themselves. */
export const WRITE_BYTES = 1024 * 1024;

export function framedBytes(record: Uint8Array): number {
  return HEADER_BYTES + record.length;
}

/** Memory for the pieces of one file, used again and again: made anew for each it would cost more than to fill it. */
export class Pieces {
  #kept = Buffer.alloc(0);

  readonly take = (bytes: number): Buffer => {
    if (bytes > WRITE_BYTES) return Buffer.allocUnsafe(bytes);
    if (this.#kept.length < bytes) this.#kept = Buffer.allocUnsafeSlow(Math.min(WRITE_BYTES, 2 * bytes));
    return this.#kept.subarray(0, bytes);
  };
}

/**
 * The records as they stand in a file, in pieces of about 1 MiB that each hold whole records. Where `take` gives the
 * same memory again, a piece is valid until the next.
 */
export function* frame(
  records: readonly Uint8Array[],
  take: (bytes: number) => Buffer = Buffer.allocUnsafe,
): Generator<Uint8Array> {
  let from = 0;
  while (from < records.length) {
    let bytes = 0;
    let to = from;
    for (; to < records.length; to++) {
      const next = framedBytes(records[to] as Uint8Array);
      if (bytes > 0 && bytes + next > WRITE_BYTES) break;
      bytes += next;
    }
    const piece = take(bytes);
    let at = 0;
    for (; from < to; from++) {
      const record = records[from] as Uint8Array;
      piece.writeUInt32LE(record.length, at);
      piece.writeUInt32LE(crc32(record, record.length), at + 4);
      piece.set(record, at + HEADER_BYTES);
      at += framedBytes(record);
    }
    yield piece;
  }
}

export function footer(count: number): Uint8Array {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  bytes.writeUInt32LE(FOOTER_MARK, 0);
  bytes.writeUInt32LE(count, HEADER_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(HEADER_BYTES)), 4);
  return bytes;
}

export interface FileContents {
  /** Every readable record, in order; beyond damage too, where records can be told again. */
  readonly records: Uint8Array[];
  /**
   * `torn`: the file ends in what a crash leaves behind, from `goodBytes` on, and nothing readable follows.
   * `corrupt`: anything else that is not as it was written.
   */
  readonly damage: 'none' | 'torn' | 'corrupt';
  /** Length of the undamaged start. */
  readonly goodBytes: number;
  readonly bytes: number;
}

/** Reads a log segment. */
export async function readSegment(files: Files, file: number): Promise<FileContents> {
  const bytes = await files.sizeOf(file);
  const { records, end, readable } = await readPrefix(files, file, bytes);
  if (end === bytes && readable) return { records, damage: 'none', goodBytes: end, bytes };
  if (!readable) return { records, damage: 'corrupt', goodBytes: end, bytes };
  const rest = Buffer.allocUnsafe(bytes - end);
  if (!(await fill(files, file, rest, end))) return { records, damage: 'corrupt', goodBytes: end, bytes };
  const salvaged = salvage(rest);
  for (const record of salvaged) records.push(record);
  const damage = salvaged.length === 0 && looksTorn(rest) ? 'torn' : 'corrupt';
  return { records, damage, goodBytes: end, bytes };
}

/** Reads a checkpoint: whole with its footer, or corrupt. */
export async function readCheckpoint(files: Files, file: number): Promise<FileContents> {
  const bytes = await files.sizeOf(file);
  const { records, end, readable } = await readPrefix(files, file, bytes);
  const rest = Buffer.allocUnsafe(bytes - end);
  if (!readable || !(await fill(files, file, rest, end)))
    return { records, damage: 'corrupt', goodBytes: end, bytes };
  if (rest.equals(footer(records.length))) return { records, damage: 'none', goodBytes: bytes, bytes };
  for (const record of salvage(rest)) records.push(record);
  return { records, damage: 'corrupt', goodBytes: end, bytes };
}

async function fill(files: Files, file: number, into: Uint8Array, position: number): Promise<boolean> {
  try {
    return (await files.read(file, into, position)) === into.length;
  } catch {
    return false;
  }
}

/** Well-formed records from the start; `readable: false` where the device refused to read on. */
async function readPrefix(files: Files, file: number, bytes: number) {
  const records: Uint8Array[] = [];
  let block = Buffer.alloc(0);
  let position = 0;
  let end = 0;
  while (position < bytes) {
    const wanted = Math.max(BLOCK_BYTES, lengthWanted(block)) - block.length;
    const next = Buffer.allocUnsafe(block.length + Math.min(wanted, bytes - position));
    next.set(block);
    if (!(await fill(files, file, next.subarray(block.length), position)))
      return { records, end, readable: false };
    position += next.length - block.length;
    const used = parseBlock(next, records);
    end += used;
    block = next.subarray(used);
    if (!isCutShort(block)) break;
  }
  return { records, end, readable: true };
}

/** How long a block must be to hold the record that it starts with. */
function lengthWanted(block: Buffer): number {
  if (block.length < HEADER_BYTES) return 0;
  return HEADER_BYTES + Math.min(block.readUInt32LE(0), limits.journalRecordBytes);
}

function isCutShort(block: Buffer): boolean {
  if (block.length < HEADER_BYTES) return true;
  const length = block.readUInt32LE(0);
  return length > 0 && length <= limits.journalRecordBytes && HEADER_BYTES + length > block.length;
}

/** Takes whole, well-formed records from the front of the block; returns how many bytes they take. */
function parseBlock(block: Buffer, into: Uint8Array[]): number {
  let at = 0;
  for (;;) {
    const record = recordAt(block, at);
    if (record === undefined) return at;
    into.push(record);
    at += HEADER_BYTES + record.length;
  }
}

function recordAt(block: Buffer, at: number): Uint8Array | undefined {
  if (at + HEADER_BYTES > block.length) return undefined;
  const length = block.readUInt32LE(at);
  if (length === 0 || length > limits.journalRecordBytes) return undefined;
  if (at + HEADER_BYTES + length > block.length) return undefined;
  const record = new Uint8Array(block.buffer, block.byteOffset + at + HEADER_BYTES, length);
  return crc32(record, length) === block.readUInt32LE(at + 4) ? record : undefined;
}

/**
 * Records behind damage: first where the damaged record's length says the next one starts, then at every byte. The
 * bytes checksummed in vain are bounded, since every offset may look like the header of a long record.
 */
function salvage(rest: Buffer): Uint8Array[] {
  const found: Uint8Array[] = [];
  let budget = 64 * Math.max(rest.length, BLOCK_BYTES);
  let at = 0;
  while (at + HEADER_BYTES < rest.length && budget > 0) {
    const record = recordAt(rest, at);
    if (record !== undefined) {
      found.push(record);
      at += HEADER_BYTES + record.length;
      continue;
    }
    const length = rest.readUInt32LE(at);
    const next = at + HEADER_BYTES + length;
    if (length > 0 && next <= rest.length) {
      budget -= length;
      if (recordAt(rest, next) !== undefined) {
        at = next;
        continue;
      }
    }
    at += 1;
  }
  return found;
}

/**
 * A crash leaves a record that runs past the end of the file, or one whose last blocks are still zeros because
 * they never reached the disk. A whole record with a wrong checksum is neither: something changed it.
 */
function looksTorn(rest: Buffer): boolean {
  if (rest.length < HEADER_BYTES) return true;
  if (rest[rest.length - 1] === 0) return true;
  const length = rest.readUInt32LE(0);
  return length > 0 && length <= limits.journalRecordBytes && HEADER_BYTES + length > rest.length;
}
