/**
 * Frames between two anti-entropy machines: one byte of type, a fixed header, and bytes that only the lattice
 * understands. Decoding never throws; whatever is not exactly one of these is `undefined`.
 */
import { limits } from '../kernel/limits.ts';

/** A digest of a whole replica, as `Lattice.root` gives it. */
const ROOT_BYTES = 16;
/** No header is longer; a push may be this much shorter than a frame at least. */
export const FRAME_HEADER_BYTES = 32;

export type Frame =
  /** What its sender changed, unasked. */
  | { readonly kind: 'push'; readonly delta: Uint8Array }
  /**
   * "This is my root." With `pulled` the sender has just taken all that the receiver holds: where the roots
   * still differ, it is the receiver that lacks something.
   */
  | { readonly kind: 'root'; readonly pulled: boolean; readonly root: Uint8Array }
  /** "Send me what I lack": answered by at most `frames` deltas (1 to `limits.repairFrames`) under its request number. */
  | {
      readonly kind: 'digest';
      readonly request: number;
      readonly frames: number;
      readonly digest: Uint8Array;
    }
  /** "Go on": so many deltas more (1 to `limits.repairFrames`) may answer the digest of this number. Too late, it is void. */
  | { readonly kind: 'grant'; readonly request: number; readonly frames: number }
  /** An empty delta: the asker lacks nothing of the sender's, whose root at that moment is `root`. */
  | {
      readonly kind: 'delta';
      readonly request: number;
      /** Once this answer is taken in, another digest will find more. */
      readonly more: boolean;
      /** Another delta of the same answer follows this one. */
      readonly follows: boolean;
      readonly root: Uint8Array;
      readonly delta: Uint8Array;
      /**
       * So many bytes before `delta` in its buffer are free: the header is written there, and nothing copied. Of a frame
       * that was read they are its header, free once `root` is not needed any more.
       */
      readonly room?: number;
    };

const TYPES = { push: 1, root: 2, digest: 3, delta: 4, grant: 5 } as const;
const FLAG = 1;
const MORE = 1;
const FOLLOWS = 2;
const DIGEST_HEADER_BYTES = 6;
const NOTHING = new Uint8Array(0);

export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.kind) {
    case 'push':
      return assemble([TYPES.push], frame.delta);
    case 'root':
      return assemble([TYPES.root, frame.pulled ? FLAG : 0], frame.root);
    case 'digest':
      return assemble([TYPES.digest, ...uint32(frame.request), frame.frames], frame.digest);
    case 'grant':
      return assemble([TYPES.grant, ...uint32(frame.request), frame.frames], NOTHING);
    case 'delta':
      return assemble(
        [
          TYPES.delta,
          ...uint32(frame.request),
          (frame.more ? MORE : 0) | (frame.follows ? FOLLOWS : 0),
          ...frame.root,
        ],
        frame.delta,
        frame.room,
      );
  }
}

/** Views into `bytes`, not copies. */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  if (bytes.length > limits.frameBytes) return undefined;
  switch (bytes[0]) {
    case TYPES.push:
      return bytes.length > 1 ? { kind: 'push', delta: bytes.subarray(1) } : undefined;
    case TYPES.root: {
      const pulled = flag(bytes[1]);
      if (bytes.length !== 2 + ROOT_BYTES || pulled === undefined) return undefined;
      return { kind: 'root', pulled, root: bytes.subarray(2) };
    }
    case TYPES.digest:
      return decodeDigest(bytes);
    case TYPES.grant: {
      const frames = bytes[5] as number;
      if (bytes.length !== DIGEST_HEADER_BYTES || !isWindow(frames)) return undefined;
      return { kind: 'grant', request: readUint32(bytes, 1), frames };
    }
    case TYPES.delta: {
      const flags = bytes[5] as number;
      if (bytes.length < 6 + ROOT_BYTES || flags > (MORE | FOLLOWS)) return undefined;
      return {
        kind: 'delta',
        request: readUint32(bytes, 1),
        more: (flags & MORE) !== 0,
        follows: (flags & FOLLOWS) !== 0,
        root: bytes.subarray(6, 6 + ROOT_BYTES),
        delta: bytes.subarray(6 + ROOT_BYTES),
        room: 6 + ROOT_BYTES,
      };
    }
    default:
      return undefined;
  }
}

function decodeDigest(bytes: Uint8Array): Frame | undefined {
  const { length } = bytes;
  if (length < DIGEST_HEADER_BYTES || length > DIGEST_HEADER_BYTES + limits.frameBytes / 2) return undefined;
  const frames = bytes[5] as number;
  if (!isWindow(frames)) return undefined;
  return {
    kind: 'digest',
    request: readUint32(bytes, 1),
    frames,
    digest: bytes.subarray(DIGEST_HEADER_BYTES),
  };
}

function isWindow(frames: number): boolean {
  return frames > 0 && frames <= limits.repairFrames;
}

function assemble(header: readonly number[], payload: Uint8Array, room = 0): Uint8Array {
  const length = header.length + payload.length;
  const inPlace = header.length <= room;
  const frame = inPlace
    ? new Uint8Array(payload.buffer, payload.byteOffset - header.length, length)
    : new Uint8Array(length);
  frame.set(header);
  if (!inPlace) frame.set(payload, header.length);
  return frame;
}

function flag(byte: number | undefined): boolean | undefined {
  return byte === 0 ? false : byte === FLAG ? true : undefined;
}

function uint32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function readUint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);
}
