/**
 * Three corrections to Yamux, which has no settings for them.
 *
 * Its decoder gathers a frame of whatever length the other side announces, up to 4 GiB, before it looks at the
 * window; so the headers are watched as they pass by. And it gives back window space after every single message,
 * which doubles the packets of a conversation of short ones. And it opens a stream in a task of its own, in which nobody
 * catches that the connection has been closed since.
 */
import type { Libp2pOptions } from 'libp2p';

type Encrypter = ReturnType<NonNullable<Libp2pOptions['connectionEncrypters']>[number]>;
/** A connection below the streams. */
export type MessageStream = Parameters<Encrypter['secureInbound']>[0];

/** Most that a stream may have under way, and so the largest frame of an honest muxer. */
export const WINDOW_BYTES = 1024 * 1024;

const HEADER_BYTES = 12;
const DATA = 0;

/** Aborts the connection at the first header that announces more than a window can hold. Make it before the muxer. */
export class MuxerGuard {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #filled = 0;
  #skip = 0;

  constructor(connection: MessageStream) {
    connection.addEventListener('message', (event) => {
      const chunks = event.data instanceof Uint8Array ? [event.data] : event.data;
      for (const chunk of chunks) {
        if (this.#watch(chunk)) continue;
        event.stopImmediatePropagation();
        connection.abort(new Error('a muxer frame larger than any window'));
        return;
      }
    });
  }

  /** True where what comes next is a header. */
  get atBoundary(): boolean {
    return this.#filled === 0 && this.#skip === 0;
  }

  #watch(chunk: Uint8Array): boolean {
    const header = this.#header;
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at);
        this.#skip -= skipped;
        at += skipped;
        continue;
      }
      const taken = Math.min(HEADER_BYTES - this.#filled, chunk.length - at);
      for (let end = at + taken; at < end; at++) header[this.#filled++] = chunk[at] as number;
      if (this.#filled < HEADER_BYTES) break;
      this.#filled = 0;
      if (header[1] !== DATA) continue;
      this.#skip = readUint32(header, 8);
      if (this.#skip > WINDOW_BYTES) return false;
    }
    return true;
  }
}

function readUint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0);
}

/** The parts of a Yamux stream that window updates are made of; absent in any other muxer. */
interface WindowState {
  sendWindowUpdate?: () => void;
  readonly recvWindow?: number;
  readonly recvWindowCapacity?: number;
}

/** Window space of an incoming stream is given back once half of it is used, as other implementations do. */
export function updateWindowLazily(stream: object): void {
  const yamuxStream = stream as WindowState;
  const update = yamuxStream.sendWindowUpdate?.bind(stream);
  if (update === undefined) return;
  yamuxStream.sendWindowUpdate = () => {
    const { recvWindow, recvWindowCapacity } = yamuxStream;
    if (recvWindow === undefined || recvWindowCapacity === undefined || recvWindowCapacity * 2 <= recvWindow)
      update();
  };
}

/** Such a failure is the stream's, which is aborted. Thrown into a task of its own it would end the process. */
export function failAlone(stream: object): void {
  const yamuxStream = stream as WindowState & { abort(error: Error): void };
  const update = yamuxStream.sendWindowUpdate?.bind(stream);
  if (update === undefined) return;
  yamuxStream.sendWindowUpdate = () => {
    try {
      update();
    } catch (cause) {
      yamuxStream.abort(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
}
