/**
 * Frames on a stream of bytes: an unsigned varint (LEB128, as everywhere in libp2p) with the length, then the frame.
 * An empty frame is a sign of the wire's own, see `Lane.announce`.
 */

/** Three digits of seven bits reach 2 MiB, twice the largest frame. */
const LENGTH_DIGITS = 3;
/** Copied one by one: making a view costs more. */
const FEW_BYTES = 32;
const SHARED_BYTES = 256 * 1024;

/** How many bytes the frame takes on the stream. */
export function framedBytes(frame: Uint8Array): number {
  const { length } = frame;
  return length + (length < 0x80 ? 1 : length < 0x4000 ? 2 : LENGTH_DIGITS);
}

/** What stands before the frame on the stream. */
export function lengthOf(frame: Uint8Array): Uint8Array {
  const digits: number[] = [];
  let rest = frame.length;
  for (; rest >= 0x80; rest >>>= 7) digits.push((rest & 0x7f) | 0x80);
  digits.push(rest);
  return Uint8Array.from(digits);
}

let lastFrames: readonly Uint8Array[] = [];
let lastJoined = new Uint8Array(0);

/**
 * As `joinFrames`, but the very same frames in the same order give the very same bytes once more: what goes to many
 * peers is joined once. Frames never change once they are handed to the wire. The first `room` bytes are free.
 */
export function joinShared(frames: readonly Uint8Array[], total: number, room = 0): Uint8Array {
  const { length } = frames;
  let same = length === lastFrames.length && room + total === lastJoined.length;
  for (let at = 0; same && at < length; at++) same = frames[at] === lastFrames[at];
  if (same) return lastJoined;
  const joined = joinFrames(frames, total, room);
  // The largest frames are not worth being kept for a repetition that may never come.
  const kept = total <= SHARED_BYTES;
  lastFrames = kept ? frames : [];
  lastJoined = kept ? joined : new Uint8Array(0);
  return joined;
}

/** The frames as they go over the stream, behind `room` free bytes; `total` is the sum of their `framedBytes`. */
export function joinFrames(frames: readonly Uint8Array[], total: number, room = 0): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.allocUnsafe(room + total);
  let at = room;
  for (const frame of frames) {
    let rest = frame.length;
    for (; rest >= 0x80; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
    bytes[at++] = rest;
    bytes.set(frame, at);
    at += frame.length;
  }
  return bytes;
}

/**
 * Cuts a stream of bytes into frames again. Memory for a frame grows with what has arrived of it, never with what
 * was announced; a frame announced as larger than allowed ends the reading.
 */
export class FrameReader {
  readonly #maxBytes: number;
  readonly #onFrame: (frame: Uint8Array) => void;
  #length = 0;
  #digits = 0;
  /** The frame under way, once its length is known; `#filled` bytes of `#partial` have arrived. */
  #partial: Uint8Array | undefined;
  #filled = 0;
  #lent = false;

  constructor(maxBytes: number, onFrame: (frame: Uint8Array) => void) {
    this.#maxBytes = maxBytes;
    this.#onFrame = onFrame;
  }

  /** True where a frame of the chunk that was read last is a view of it, not a copy. */
  get lent(): boolean {
    return this.#lent;
  }

  /** False where a length was not allowed: nothing that follows on the stream can be understood. */
  read(chunk: Uint8Array): boolean {
    let at = 0;
    this.#lent = false;
    while (at < chunk.length) {
      if (this.#partial !== undefined) {
        at += this.#fill(this.#partial, chunk, at);
        continue;
      }
      const digit = chunk[at++] as number;
      this.#length |= (digit & 0x7f) << (7 * this.#digits);
      if (digit >= 0x80) {
        if (++this.#digits === LENGTH_DIGITS) return false;
        continue;
      }
      if (this.#length > this.#maxBytes) return false;
      const length = this.#length;
      this.#length = 0;
      this.#digits = 0;
      if (at + length <= chunk.length) {
        if (length > 0) this.#lent = true;
        // Not `subarray`: of a Buffer it would be one, whose `slice` does not copy.
        this.#onFrame(new Uint8Array(chunk.buffer, chunk.byteOffset + at, length));
        at += length;
      } else {
        this.#length = length;
        // Four times what has come of it: a frame of repair, in packets of 64 KiB, then mostly needs no second buffer.
        this.#partial = bufferOf(Math.min(length, Math.max(64, 4 * (chunk.length - at))));
        this.#filled = 0;
      }
    }
    return true;
  }

  /** Takes what the frame under way still lacks; returns how much. */
  #fill(partial: Uint8Array, chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.#length - this.#filled, chunk.length - at);
    let buffer = partial;
    if (this.#filled + taken > buffer.length) {
      buffer = bufferOf(Math.min(this.#length, Math.max(2 * buffer.length, this.#filled + taken)));
      buffer.set(partial.subarray(0, this.#filled));
      this.#partial = buffer;
    }
    if (taken <= FEW_BYTES)
      for (let byte = 0; byte < taken; byte++) buffer[this.#filled + byte] = chunk[at + byte] as number;
    else buffer.set(chunk.subarray(at, at + taken), this.#filled);
    this.#filled += taken;
    if (this.#filled === this.#length) {
      this.#partial = undefined;
      this.#length = 0;
      this.#onFrame(buffer.subarray(0, this.#filled));
    }
    return taken;
  }
}

/** Not filled with zeros, and alone in its memory: what is made of the frame may keep all of it. */
function bufferOf(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
}
