/** Server-sent events on one response, bounded: a reader that falls too far behind is cut off. */
import type { ServerResponse } from 'node:http';
import { limits } from '../../kernel/limits.ts';

const KEEP_ALIVE_MS = 15_000;

const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #keepAlive: NodeJS.Timeout;

  /** Sends the headers. `headers` are added to those of an event stream. */
  constructor(response: ServerResponse, headers: Readonly<Record<string, string>> = {}) {
    this.#response = response;
    response.writeHead(200, { ...EVENT_STREAM_HEADERS, ...headers });
    response.flushHeaders();
    this.#keepAlive = setInterval(() => this.#write(': keep-alive\n\n'), KEEP_ALIVE_MS);
    this.#keepAlive.unref();
    response.once('close', () => clearInterval(this.#keepAlive));
  }

  /** False once the reader is gone. */
  send(event: string, data: unknown, id?: string): boolean {
    const head = id === undefined ? `event: ${event}` : `id: ${id}\nevent: ${event}`;
    return this.#write(`${head}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  comment(text: string): void {
    this.#write(`: ${text}\n\n`);
  }

  /** Resolves when what was sent has left, or the reader is gone. */
  async drained(): Promise<void> {
    const response = this.#response;
    if (!response.writableNeedDrain || response.destroyed) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        response.off('drain', done);
        response.off('close', done);
        resolve();
      };
      response.once('drain', done);
      response.once('close', done);
    });
  }

  end(): void {
    clearInterval(this.#keepAlive);
    if (!this.#response.writableEnded) this.#response.end();
  }

  #write(text: string): boolean {
    if (this.#response.destroyed || this.#response.writableEnded) return false;
    this.#response.write(text);
    if (this.#response.writableLength <= limits.streamQueueBytes) return true;
    this.#response.destroy();
    return false;
  }
}
