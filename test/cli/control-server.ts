/** Stands in for a node's control interface: answers what a test tells it to, and remembers what was asked. */

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

type Reply = (asked: Asked, response: ServerResponse) => void;

export class ControlServer implements AsyncDisposable {
  readonly data = mkdtempSync(join(tmpdir(), 'skein-cli-'));
  readonly asked: Asked[] = [];
  reply: Reply = (_, response) => send(response, 200, {});
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  static async start(place: 'socket' | 'tcp' = 'socket'): Promise<ControlServer> {
    const control = new ControlServer();
    if (place === 'socket') control.#server.listen(join(control.data, 'control.sock'));
    else control.#server.listen(0, '127.0.0.1');
    await once(control.#server, 'listening');
    return control;
  }

  /** Of one on TCP. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  answers(value: unknown, status = 200): void {
    this.reply = (_, response) => send(response, status, value);
  }

  get last(): Asked {
    const last = this.asked.at(-1);
    if (last === undefined) throw new Error('nothing was asked');
    return last;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    const { method = '', url = '', headers } = request;
    const asked = { method, url, headers, body: text === '' ? undefined : JSON.parse(text) };
    this.asked.push(asked);
    this.reply(asked, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    rmSync(this.data, { recursive: true, force: true });
  }
}

export function send(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof value === 'string' ? value : JSON.stringify(value));
}
