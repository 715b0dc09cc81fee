/**
 * Streamable HTTP of the revisions before 2026-07-28, for one session.
 *
 * A call is answered with one JSON body, which is cheapest for both sides, and becomes an event stream only when
 * there is something to say before the result, or when the result takes so long that a client might take the
 * silence for a lost connection. There are no event ids, so a broken stream loses what was on it, as the
 * protocol allows; calls whose response is gone are cancelled, for nobody could hear their result.
 */
import type { ServerResponse } from 'node:http';
import type { JSONRPCMessage, Transport, TransportSendOptions } from '@modelcontextprotocol/server';
import { EventStream } from './event-stream.ts';
import { isRequest, type RequestId } from './messages.ts';

const STREAM_AFTER_MS = 5_000;

class Exchange {
  readonly unanswered: Set<RequestId>;
  readonly #response: ServerResponse;
  readonly #batch: boolean;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #streams: boolean;
  readonly #answers: JSONRPCMessage[] = [];
  readonly #timer: NodeJS.Timeout | undefined;
  #stream: EventStream | undefined;

  constructor(
    response: ServerResponse,
    ids: readonly RequestId[],
    options: { batch: boolean; streams: boolean; headers: Readonly<Record<string, string>> },
  ) {
    this.#response = response;
    this.unanswered = new Set(ids);
    this.#batch = options.batch;
    this.#headers = options.headers;
    this.#streams = options.streams;
    if (options.streams) {
      this.#timer = setTimeout(() => this.#upgrade(), STREAM_AFTER_MS);
      this.#timer.unref();
    }
  }

  notify(message: JSONRPCMessage): void {
    if (this.#streams) this.#upgrade().send('message', message);
  }

  answer(id: RequestId, message: JSONRPCMessage): void {
    this.unanswered.delete(id);
    if (this.#stream !== undefined) this.#stream.send('message', message);
    else this.#answers.push(message);
    if (this.unanswered.size === 0) this.#finish();
  }

  /** What is unanswered stays so. */
  abandon(): void {
    clearTimeout(this.#timer);
    if (this.#stream !== undefined) this.#stream.end();
    else if (!this.#response.headersSent) this.#response.writeHead(204).end();
  }

  #finish(): void {
    clearTimeout(this.#timer);
    if (this.#stream !== undefined) {
      this.#stream.end();
      return;
    }
    const body = JSON.stringify(this.#batch ? this.#answers : this.#answers[0]);
    this.#response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...this.#headers,
    });
    this.#response.end(body);
  }

  #upgrade(): EventStream {
    if (this.#stream === undefined) {
      this.#stream = new EventStream(this.#response, this.#headers);
      for (const answer of this.#answers.splice(0)) this.#stream.send('message', answer);
    }
    return this.#stream;
  }
}

export class SessionTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  readonly sessionId: string;

  readonly #exchanges = new Map<RequestId, Exchange>();
  #events: EventStream | undefined;
  #closed = false;

  constructor(sessionId: string) {
    this.sessionId = sessionId;
  }

  async start(): Promise<void> {}

  /** Whether a client is waiting for something. */
  get busy(): boolean {
    return this.#events !== undefined || this.#exchanges.size > 0;
  }

  /** An id that is open already would get the other call's answer. */
  hasOpen(id: RequestId): boolean {
    return this.#exchanges.has(id);
  }

  /** Takes the messages of one POST in and answers on `response`. */
  post(
    messages: readonly JSONRPCMessage[],
    response: ServerResponse,
    options: { batch: boolean; streams: boolean; opens: boolean },
  ): void {
    const ids = messages.filter(isRequest).map(({ id }) => id);
    if (ids.length === 0) {
      response.writeHead(202).end();
    } else {
      const headers = options.opens ? { 'mcp-session-id': this.sessionId } : {};
      const exchange = new Exchange(response, ids, { ...options, headers });
      for (const id of ids) this.#exchanges.set(id, exchange);
      response.once('close', () => this.#gone(exchange));
    }
    for (const message of messages) this.onmessage?.(message);
  }

  /** Opens the stream of what belongs to no call. False where one is open already. */
  listen(response: ServerResponse): boolean {
    if (this.#events !== undefined) return false;
    const events = new EventStream(response, { 'mcp-session-id': this.sessionId });
    this.#events = events;
    response.once('close', () => {
      if (this.#events === events) this.#events = undefined;
    });
    return true;
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#closed) throw new Error('The session is closed.');
    if (!('method' in message)) {
      const id = message.id as RequestId;
      const exchange = this.#exchanges.get(id);
      this.#exchanges.delete(id);
      exchange?.answer(id, message);
      return;
    }
    const related = options?.relatedRequestId;
    if (related !== undefined) this.#exchanges.get(related)?.notify(message);
    else this.#events?.send('message', message);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const exchange of new Set(this.#exchanges.values())) exchange.abandon();
    this.#exchanges.clear();
    this.#events?.end();
    this.#events = undefined;
    this.onclose?.();
  }

  /** The client cancelled a call: it expects no answer, but its response must end. */
  cancelled(id: RequestId): void {
    const exchange = this.#exchanges.get(id);
    if (exchange === undefined) return;
    this.#exchanges.delete(id);
    exchange.unanswered.delete(id);
    if (exchange.unanswered.size === 0) exchange.abandon();
  }

  #gone(exchange: Exchange): void {
    for (const id of exchange.unanswered) {
      this.#exchanges.delete(id);
      this.onmessage?.({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { requestId: id, reason: 'The response was closed.' },
      });
    }
    exchange.unanswered.clear();
    exchange.abandon();
  }
}
