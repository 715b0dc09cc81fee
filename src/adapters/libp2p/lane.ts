import type { Channel } from '../../kernel/effects.ts';
import { limits } from '../../kernel/limits.ts';
import { framedBytes, joinShared } from './frames.ts';
import { HEADER_BYTES, sendJoined, sendLarge } from './shortcuts.ts';
import type { Connection, Stream } from './stack.ts';

/** What a lane may hold, and what it counts against; lanes of one peer share a quota, so that none starves the rest. */
export class Quota {
  readonly #maxBytes: number;
  readonly #maxFrames: number;
  #bytes = 0;
  #frames = 0;

  constructor(maxBytes: number, maxFrames: number) {
    this.#maxBytes = maxBytes;
    this.#maxFrames = maxFrames;
  }

  take(bytes: number): boolean {
    if (this.#frames >= this.#maxFrames || this.#bytes + bytes > this.#maxBytes) return false;
    this.#bytes += bytes;
    this.#frames++;
    return true;
  }

  give(bytes: number, frames: number): void {
    this.#bytes -= bytes;
    this.#frames -= frames;
  }
}

const REOPEN_MS = { first: 20, most: 2_000 };
const EMPTY = new Uint8Array(0);
/** Frames this large travel alone, and uncopied. */
const LARGE_BYTES = 32 * 1024;
/** Lanes that have something to send at the end of this tick. */
let flushing: Lane[] = [];

/**
 * The way out to one peer on one channel: a queue, and one long-lived stream behind it.
 *
 * The first frame of a tick leaves at once: whoever sent it may have much to do yet. What follows it in the same tick
 * queues until the tick ends and then leaves in as few writes as possible. While the stream is full they stay queued;
 * where the queue is full they are lost, and said to be.
 */
export class Lane {
  readonly #channel: Channel;
  readonly #quota: Quota;
  readonly #onLost: (channel: Channel, frames: number) => void;
  #connection: Connection | undefined;
  #stream: Stream | undefined;
  #opening = false;
  #full = false;
  #flushAsked = false;
  #reopenMs = REOPEN_MS.first;
  #reopenTimer: NodeJS.Timeout | undefined;
  #frames: Uint8Array[] = [];
  #queuedBytes = 0;

  constructor(channel: Channel, quota: Quota, onLost: (channel: Channel, frames: number) => void) {
    this.#channel = channel;
    this.#quota = quota;
    this.#onLost = onLost;
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  get isEmpty(): boolean {
    return this.#frames.length === 0;
  }

  send(frame: Uint8Array): void {
    const bytes = framedBytes(frame);
    if (!this.#quota.take(bytes)) {
      this.#onLost(this.#channel, 1);
      return;
    }
    this.#frames.push(frame);
    this.#queuedBytes += bytes;
    if (this.#full || this.#connection === undefined) return;
    if (this.#queuedBytes < limits.batchBytes && this.#flushAsked) return;
    this.#askToFlush();
    this.#flush();
  }

  /** An empty frame: on `hello` it says "I have admitted you". */
  announce(): void {
    this.send(EMPTY);
  }

  /** From now on use this connection. With `eager`, the stream is opened before there is anything to send. */
  attach(connection: Connection, eager: boolean): void {
    if (this.#connection === connection) return;
    this.#leave();
    this.#connection = connection;
    if (eager || !this.isEmpty) this.#open();
  }

  /** The connection is gone; what is queued waits for the next one. */
  detach(): void {
    this.#leave();
    this.#connection = undefined;
  }

  /** Gives up what is queued and says so. */
  drop(): void {
    const lost = this.#frames.length;
    this.#quota.give(this.#queuedBytes, lost);
    this.#frames = [];
    this.#queuedBytes = 0;
    if (lost > 0) this.#onLost(this.#channel, lost);
  }

  #leave(): void {
    clearTimeout(this.#reopenTimer);
    this.#reopenTimer = undefined;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#full = false;
    this.#reopenMs = REOPEN_MS.first;
    // With its connection the stream goes by itself.
    if (stream?.status === 'open' && this.#connection?.status === 'open')
      stream.close().catch(() => stream.abort(new Error('left')));
  }

  #open(): void {
    const connection = this.#connection;
    if (this.#opening || this.#stream !== undefined || this.#reopenTimer !== undefined) return;
    if (connection?.status !== 'open') return;
    this.#opening = true;
    const signal = AbortSignal.timeout(limits.dialMs);
    connection.newStream(protocolOf(this.#channel), { signal }).then(
      (stream) => {
        this.#opening = false;
        if (this.#connection === connection) this.#use(stream);
        else this.#abandon(stream);
      },
      () => {
        this.#opening = false;
        if (this.#connection === connection) this.#reopenLater();
        else if (!this.isEmpty) this.#open();
      },
    );
  }

  #abandon(stream: Stream): void {
    stream.abort(new Error('the connection was replaced'));
    this.#open();
  }

  #use(stream: Stream): void {
    if (stream.status !== 'open') {
      this.#reopenLater();
      return;
    }
    this.#stream = stream;
    stream.addEventListener('drain', () => this.#resume(stream));
    stream.addEventListener('idle', () => this.#resume(stream));
    stream.addEventListener('close', () => this.#onClosed(stream));
    this.#flush();
  }

  /** The stream can take more. While it holds anything itself, more would pile up there until it gives up all of it. */
  #resume(stream: Stream): void {
    if (this.#stream !== stream || !this.#full || stream.writeBufferLength > 0) return;
    this.#full = false;
    this.#askToFlush();
  }

  #onClosed(stream: Stream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#full = false;
    if (this.#connection?.status !== 'open') return;
    // The other side reset the stream alone: something was under way and is lost, how much nobody knows.
    this.#onLost(this.#channel, 1);
    this.#reopenLater();
  }

  #reopenLater(): void {
    if (this.#connection?.status !== 'open' || this.#reopenTimer !== undefined) return;
    this.#reopenTimer = setTimeout(() => {
      this.#reopenTimer = undefined;
      if (!this.isEmpty) this.#open();
    }, this.#reopenMs).unref();
    this.#reopenMs = Math.min(2 * this.#reopenMs, REOPEN_MS.most);
  }

  #askToFlush(): void {
    if (this.#flushAsked) return;
    this.#flushAsked = true;
    if (flushing.push(this) === 1) process.nextTick(Lane.#flushAll);
  }

  static #flushAll(): void {
    const lanes = flushing;
    flushing = [];
    for (const lane of lanes) {
      lane.#flushAsked = false;
      lane.#flush();
    }
  }

  #flush(): void {
    if (this.#full || this.isEmpty) return;
    const stream = this.#stream;
    if (stream === undefined) {
      this.#open();
      return;
    }
    while (!this.#full && this.#frames.length > 0) {
      try {
        this.#full = !(this.#sendLarge(stream) ?? sendJoined(stream, this.#takeBatch()));
      } catch {
        // Closed under our hands; its `close` event counts the loss and opens another.
        return;
      }
    }
  }

  /** The first frame, where it is large and can leave as it is; `undefined` where not. */
  #sendLarge(stream: Stream): boolean | undefined {
    const [frame] = this.#frames as [Uint8Array];
    if (frame.length < LARGE_BYTES) return undefined;
    const more = sendLarge(stream, frame);
    if (more === undefined) return undefined;
    this.#frames.shift();
    this.#left(framedBytes(frame), 1);
    return more;
  }

  #left(bytes: number, frames: number): void {
    this.#queuedBytes -= bytes;
    this.#quota.give(bytes, frames);
  }

  /** At least one frame; more while they fit into one write. With room in front, see `sendJoined`. */
  #takeBatch(): Uint8Array {
    let bytes = 0;
    let count = 0;
    for (const frame of this.#frames) {
      const more = framedBytes(frame);
      if (count > 0 && bytes + more > limits.batchBytes) break;
      bytes += more;
      count++;
    }
    const frames = this.#frames.splice(0, count);
    this.#left(bytes, count);
    return joinShared(frames, bytes, HEADER_BYTES);
  }
}

export function protocolOf(channel: Channel): string {
  return `/skein/${channel}/1`;
}
