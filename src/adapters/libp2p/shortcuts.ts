/**
 * The short way through libp2p's three layers (socket, Noise, Yamux) for what is sent and received all the time: data
 * on an open stream of an idle connection. The bytes are the same; what is left out is the work.
 *
 * Intuition: each layer queues what passes in a list of its own, slices it out again, and tells of it by an event. As
 * long as nothing is queued, paused, closing or short of window, that amounts to calling the next layer. So each
 * layer's entrance is replaced by one that looks whether this is so, and otherwise takes libp2p's own way; what lies
 * in a queue is therefore never overtaken.
 *
 * Source: `@libp2p/utils` (`AbstractMessageStream`), `@libp2p/noise` and `@libp2p/yamux` as in package-lock.json. Where
 * a part of them that is used here is missing, their own way is taken.
 */
import { lengthOf } from './frames.ts';
import { failAlone, type MessageStream, MuxerGuard, WINDOW_BYTES } from './muxer-guard.ts';
import {
  type Bytes,
  frameSealed,
  MOST_PLAIN_BYTES,
  NoiseFrames,
  OWN_BYTES,
  sealParts,
  TAG_BYTES,
} from './noise-crypto.ts';
import { giveBack } from './spent.ts';
import type { Stream } from './stack.ts';

/** A Yamux header; what `sendJoined` gets has as many free bytes in front. */
export const HEADER_BYTES = 12;
const DATA = 0;
const NOTHING = new Uint8Array(0);

/** What libp2p's message streams have in common. */
interface Layer {
  readonly status: string;
  readonly readStatus: string;
  readonly writeStatus: string;
  readonly remoteWriteStatus: string;
  readonly readBuffer: { readonly byteLength: number };
  readonly writeBuffer: { readonly byteLength: number };
  readonly sendingData: boolean;
  writableNeedsDrain: boolean;
  send(data: Bytes): boolean;
  onData(data: Bytes): void;
  abort(error: Error): void;
}

interface Raw extends Layer {
  /** Absent where the connection is a WebSocket. */
  readonly socket?: {
    write(bytes: Uint8Array, written?: () => void): boolean;
    cork(): void;
    uncork(): void;
  };
}

interface Secured extends Layer {
  decoder: unknown;
  readonly handshake: {
    encrypt(plain: Uint8Array): Bytes;
    decrypt(sealed: Uint8Array, into: Uint8Array): Bytes;
  };
}

interface Muxed extends Layer {
  readonly streamId: number;
  sendWindowCapacity: number;
  recvWindowCapacity: number;
  getSendFlags(): number;
  sendWindowUpdate(): void;
}

interface Muxer {
  readonly streams: readonly Muxed[];
  readonly decoder: { readonly buffer: { readonly byteLength: number } };
  send(data: Bytes): boolean;
  _newStream(...parts: unknown[]): Muxed;
}

interface Way {
  readonly muxer: Muxer;
  readonly secured: Secured;
}

/** Takes what arrived on a stream; true where it, or a view of it, is kept. */
type Sink = (chunk: Uint8Array) => boolean;

/** How a stream's bytes leave, and who takes those that arrive. */
const ways = new WeakMap<object, Way>();
const sinks = new WeakMap<object, Sink>();
/** What lies below a secured connection. */
const belows = new WeakMap<object, Raw>();
/** Nothing of what the muxer was given last is kept by anybody. */
let isSpent = false;

function mayWrite(layer: Layer): boolean {
  return (
    layer.writeStatus === 'writable' &&
    !layer.writableNeedsDrain &&
    !layer.sendingData &&
    layer.writeBuffer.byteLength === 0
  );
}

function mayRead(layer: Layer): boolean {
  return (
    layer.status === 'open' &&
    layer.readStatus === 'readable' &&
    layer.remoteWriteStatus === 'writable' &&
    layer.readBuffer.byteLength === 0
  );
}

/** Noise hands its connection a length and a ciphertext, which would be two packets and two wake-ups; joined they are one. */
export function shortenRaw(connection: MessageStream): void {
  const raw = connection as unknown as Raw;
  const send = raw.send.bind(raw);
  raw.send = (data) => {
    const bytes = flat(data);
    if (raw.socket === undefined || !mayWrite(raw)) return send(bytes);
    const more = raw.socket.write(bytes);
    if (!more) raw.writableNeedsDrain = true;
    return more;
  };
}

/** Once the handshake is over: `connection` is what Noise made of `below`. */
export function shortenSecured(connection: MessageStream, below: MessageStream): void {
  const secured = connection as unknown as Secured;
  const raw = below as unknown as Raw;
  const begun = (secured.decoder as { buffer?: Uint8Array } | undefined)?.buffer;
  if (begun === undefined || secured.handshake === undefined) return;
  const frames = new NoiseFrames();
  // What libp2p's decoder has of a frame under way.
  if (!frames.decode(begun).next().done) throw new Error('noise: a whole frame was left unread');
  secured.decoder = frames;
  belows.set(secured, raw);
  const send = secured.send.bind(secured);
  secured.send = (data) => {
    if ((data as unknown) instanceof LargeFrame)
      return sendPieces(secured, raw, data as unknown as LargeFrame);
    if (!mayWrite(secured)) return send(data);
    let more: boolean;
    try {
      more = raw.send(sealed(secured, flat(data)));
    } catch (cause) {
      secured.abort(cause instanceof Error ? cause : new Error(String(cause)));
      throw cause;
    }
    if (!more) secured.writableNeedsDrain = true;
    return more;
  };
  const onData = raw.onData.bind(raw);
  raw.onData = (data) => {
    if (!(data instanceof Uint8Array) || !mayRead(raw)) {
      onData(data);
      return;
    }
    try {
      if (takeSealed(data, frames, secured) && raw.socket !== undefined) giveBack(data);
    } catch (cause) {
      secured.abort(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
}

/** Opens what arrived and hands it on; true where nothing of it is kept, since all was opened elsewhere. */
function takeSealed(data: Uint8Array, frames: NoiseFrames, secured: Secured): boolean {
  let kept = false;
  frames.feed(data);
  for (let frame = frames.take(); frame !== undefined; frame = frames.take()) {
    if (frame.length < TAG_BYTES) throw new Error('Invalid chunk');
    const plain = secured.handshake.decrypt(frame, frame.subarray(0, frame.length - TAG_BYTES));
    isSpent = false;
    secured.onData(plain);
    if (frame.length < OWN_BYTES) kept = true;
    else if (isSpent && plain instanceof Uint8Array) giveBack(plain);
  }
  return !kept;
}

function sealed(secured: Secured, plain: Uint8Array): Uint8Array {
  if (plain.length <= MOST_PLAIN_BYTES) return frameSealed(secured.handshake.encrypt(plain));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < plain.length; at += MOST_PLAIN_BYTES) {
    pieces.push(frameSealed(secured.handshake.encrypt(plain.subarray(at, at + MOST_PLAIN_BYTES))));
  }
  return Buffer.concat(pieces);
}

/** Guards and shortens what a muxer reads from `connection`, and its streams. Call before the muxer is made, and `take` with it. */
export function shortenMuxer(connection: MessageStream): { readonly take: (made: object) => void } {
  const guard = new MuxerGuard(connection);
  const secured = connection as unknown as Secured;
  return {
    take(made) {
      const muxer = made as Muxer;
      if (typeof muxer._newStream !== 'function' || muxer.decoder?.buffer === undefined) return;
      const way = { muxer, secured };
      const newStream = muxer._newStream.bind(muxer);
      muxer._newStream = (...parts) => {
        const stream = newStream(...parts);
        failAlone(stream);
        ways.set(stream, way);
        return stream;
      };
      const onData = secured.onData.bind(secured);
      secured.onData = (data) => {
        if (!(data instanceof Uint8Array)) {
          onData(data);
          return;
        }
        const { rest, kept } = takeFrames(data, way, guard);
        if (rest.length > 0) onData(rest);
        isSpent = rest.length === 0 && !kept;
      };
    },
  };
}

/** Hands whole frames of data to those who take them; `rest` is to go libp2p's own way, `kept` says that views are kept. */
function takeFrames(
  chunk: Uint8Array,
  { muxer, secured }: Way,
  guard: MuxerGuard,
): { readonly rest: Uint8Array; readonly kept: boolean } {
  let at = 0;
  let kept = false;
  while (at + HEADER_BYTES <= chunk.length) {
    // Version, type and flags: data without any flag.
    if (chunk[at] !== 0 || chunk[at + 1] !== DATA || chunk[at + 2] !== 0 || chunk[at + 3] !== 0) break;
    if (!guard.atBoundary || muxer.decoder.buffer.byteLength > 0 || !mayRead(secured)) break;
    const length = readUint32(chunk, at + 8);
    const end = at + HEADER_BYTES + length;
    if (length === 0 || length > WINDOW_BYTES || end > chunk.length) break;
    const id = readUint32(chunk, at + 4);
    const stream = muxer.streams.find((each) => each.streamId === id);
    const sink = stream === undefined ? undefined : sinks.get(stream);
    if (stream === undefined || sink === undefined) break;
    if (!mayRead(stream) || length > stream.recvWindowCapacity) break;
    stream.recvWindowCapacity -= length;
    if (sink(chunk.subarray(at + HEADER_BYTES, end))) kept = true;
    if (stream.status === 'open') stream.sendWindowUpdate();
    at = end;
  }
  return { rest: at === 0 ? chunk : chunk.subarray(at), kept };
}

/** From now on all bytes that arrive on the stream are handed to `sink`, in order. One sink for each stream. */
export function drain(stream: Stream, sink: Sink): void {
  stream.addEventListener('message', (event) => {
    if (event.data instanceof Uint8Array) sink(event.data);
    else for (const chunk of event.data) sink(chunk);
  });
  if (ways.has(stream)) sinks.set(stream, sink);
}

/** Sends what stands behind the first `HEADER_BYTES` of `joined`, which are free to be written. Otherwise as `stream.send`. */
export function sendJoined(stream: Stream, joined: Uint8Array): boolean {
  const way = ways.get(stream);
  const muxed = stream as unknown as Muxed;
  const length = joined.length - HEADER_BYTES;
  // Only what is sealed at once may be overwritten for the next peer.
  if (way === undefined || !mayWrite(muxed) || !mayWrite(way.secured) || length > muxed.sendWindowCapacity) {
    return stream.send(joined.subarray(HEADER_BYTES));
  }
  writeHeader(joined, muxed, length);
  muxed.sendWindowCapacity -= length;
  const more = way.muxer.send(joined);
  if (!more) muxed.writableNeedsDrain = true;
  return more;
}

/** On its way down: a frame with the lengths that stand before it. Never leaves this file. */
class LargeFrame {
  readonly frame: Uint8Array;
  /** Behind a Yamux header; the length of the frame, see `frames.ts`. */
  readonly prefix: Uint8Array;
  readonly header: (bytes: number) => Uint8Array;

  constructor(frame: Uint8Array, prefix: Uint8Array, header: (bytes: number) => Uint8Array) {
    this.frame = frame;
    this.prefix = prefix;
    this.header = header;
  }
}

/**
 * Sends a large frame without copying it together: sealed in pieces, each of them whole in Yamux and in Noise, so that
 * its receiver need not join them either. `undefined` where that cannot be now; then `sendJoined` can.
 */
export function sendLarge(stream: Stream, frame: Uint8Array): boolean | undefined {
  const way = ways.get(stream);
  if (way === undefined) return undefined;
  const raw = belows.get(way.secured);
  const muxed = stream as unknown as Muxed;
  if (raw?.socket === undefined || !mayWrite(muxed) || !mayWrite(way.secured) || !mayWrite(raw))
    return undefined;
  const prefix = lengthOf(frame);
  const length = prefix.length + frame.length;
  if (length > muxed.sendWindowCapacity) return undefined;
  muxed.sendWindowCapacity -= length;
  const header = (bytes: number) => headerOf(muxed, bytes);
  const more = way.muxer.send(new LargeFrame(frame, prefix, header) as unknown as Uint8Array);
  if (!more) muxed.writableNeedsDrain = true;
  return more;
}

function sendPieces(secured: Secured, raw: Raw, { frame, prefix, header }: LargeFrame): boolean {
  const { socket } = raw;
  if (socket === undefined) throw new Error('shortcuts: a large frame for a connection without a socket');
  const bodies: Uint8Array[] = [];
  const written = () => {
    for (const body of bodies) giveBack(body);
  };
  let more = true;
  socket.cork();
  try {
    for (let at = 0; at < frame.length; ) {
      const before = at === 0 ? prefix : NOTHING;
      const body = frame.subarray(at, at + MOST_PLAIN_BYTES - HEADER_BYTES - before.length);
      at += body.length;
      const head = Buffer.concat([header(before.length + body.length), before]);
      const sealed = sealParts(secured.handshake.encrypt, head, body);
      bodies.push(sealed.body);
      socket.write(sealed.head);
      socket.write(sealed.body);
      more = socket.write(sealed.tag, at < frame.length ? undefined : written);
    }
  } catch (cause) {
    secured.abort(cause instanceof Error ? cause : new Error(String(cause)));
    throw cause;
  } finally {
    socket.uncork();
  }
  if (!more) raw.writableNeedsDrain = secured.writableNeedsDrain = true;
  return more;
}

function headerOf(muxed: Muxed, length: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  writeHeader(header, muxed, length);
  return header;
}

function writeHeader(into: Uint8Array, muxed: Muxed, length: number): void {
  const flags = muxed.getSendFlags();
  into[0] = 0;
  into[1] = DATA;
  into[2] = flags >>> 8;
  into[3] = flags;
  writeUint32(into, 4, muxed.streamId);
  writeUint32(into, 8, length);
}

function flat(data: Bytes): Uint8Array {
  return data instanceof Uint8Array ? data : data.subarray();
}

function readUint32(bytes: Uint8Array, at: number): number {
  const [first, second, third, fourth] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return (
    (first as number) * 0x1000000 +
    (((second as number) << 16) | ((third as number) << 8) | (fourth as number))
  );
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
