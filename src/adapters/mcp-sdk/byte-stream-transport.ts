/** MCP as lines of JSON over a byte stream: stdio, or a Unix socket that stands in for it. */
import type { Duplex, Readable, Writable } from 'node:stream';
import type { JSONRPCMessage, Transport } from '@modelcontextprotocol/server';
import { errorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { glimpseId, LineReader } from './line-reader.ts';
import { errorMessage, idOf, isMessage, isRequest, parseJsonBytes, type RequestId } from './messages.ts';

const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;
/** JSON-RPC leaves -32000 downwards to servers; the body in `data` says which error it is. */
const REFUSED = -32000;
/** After the client has ended its side, for so long. */
const DRAIN_MS = 3_000;

/** A socket, or the two ends of a process's stdio. */
export type ByteStream = Duplex | { readonly readable: Readable; readonly writable: Writable };

interface ByteStreamOptions {
  /** Sees every message before the server does; `true` keeps it from the server. */
  readonly inspect: (message: JSONRPCMessage) => boolean;
  /** Sees every message that is sent. */
  readonly sent?: (message: JSONRPCMessage) => void;
}

export class ByteStreamTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;

  readonly #input: Readable;
  readonly #output: Writable;
  readonly #inspect: ByteStreamOptions['inspect'];
  readonly #sent: ByteStreamOptions['sent'];
  readonly #reader: LineReader;
  readonly #open = new Set<RequestId>();
  #corked = false;
  #draining: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(stream: ByteStream, options: ByteStreamOptions) {
    this.#input = 'read' in stream ? stream : stream.readable;
    this.#output = 'read' in stream ? stream : stream.writable;
    this.#inspect = options.inspect;
    this.#sent = options.sent;
    this.#reader = new LineReader(limits.httpBodyBytes, {
      line: (bytes) => this.#line(bytes),
      oversized: (id, bytes) => this.#refuse(id, REFUSED, tooLarge(bytes)),
    });
  }

  async start(): Promise<void> {
    this.#input.on('data', this.#onData);
    this.#input.on('end', this.#onEnd);
    this.#input.on('close', this.#onEnd);
    this.#input.on('error', this.#onError);
    this.#output.on('drain', this.#onDrain);
    this.#output.on('error', this.#onError);
    this.#output.on('close', this.#onClose);
  }

  async send(message: JSONRPCMessage): Promise<void> {
    if (this.#closed) throw new Error('The connection is closed.');
    this.#write(message);
    this.#sent?.(message);
    if ('id' in message && !('method' in message)) this.#settle(message.id as RequestId);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#input.off('data', this.#onData);
    this.#input.off('end', this.#onEnd);
    this.#input.off('close', this.#onEnd);
    this.#output.off('drain', this.#onDrain);
    this.#output.off('close', this.#onClose);
    clearTimeout(this.#draining);
    // The listeners for errors stay: a write under way may still fail, and nobody else would catch it.
    this.#uncork();
    this.#output.end();
    this.#input.resume();
    this.onclose?.();
  }

  readonly #onData = (chunk: Buffer): void => this.#reader.push(chunk);

  readonly #onDrain = (): void => {
    this.#input.resume();
  };

  readonly #onError = (error: Error): void => {
    if (this.#closed) return;
    this.onerror?.(error);
    void this.close();
  };

  /** A client that has said all it had to say, such as a script, still gets the answers that are under way. */
  readonly #onEnd = (): void => {
    if (this.#closed || this.#draining !== undefined) return;
    if (this.#open.size === 0) {
      void this.close();
      return;
    }
    this.#draining = setTimeout(() => void this.close(), DRAIN_MS);
    this.#draining.unref();
  };

  readonly #onClose = (): void => {
    void this.close();
  };

  #line(bytes: Buffer): void {
    if (this.#closed) return;
    const parsed = parseJsonBytes(bytes);
    if (!parsed.ok) {
      this.#refuse(glimpseId(bytes), PARSE_ERROR, parsed.error);
      return;
    }
    const message = parsed.value;
    if (!isMessage(message)) {
      this.#refuse(idOf(message), INVALID_REQUEST, notAMessage(Array.isArray(message)));
      return;
    }
    if (isRequest(message)) {
      if (this.#open.size >= limits.mcpRequestsInFlight) {
        this.#refuse(message.id, REFUSED, tooMany());
        return;
      }
      if (this.#open.has(message.id)) {
        this.#refuse(message.id, INVALID_REQUEST, doubledId(message.id));
        return;
      }
      this.#open.add(message.id);
    } else if ('method' in message && message.method === 'notifications/cancelled') {
      const cancelled = message.params?.requestId;
      if (cancelled !== undefined) this.#settle(cancelled as RequestId);
    }
    if (!this.#inspect(message)) this.onmessage?.(message);
  }

  #settle(id: RequestId): void {
    this.#open.delete(id);
    if (this.#draining !== undefined && this.#open.size === 0) void this.close();
  }

  #refuse(id: RequestId | null, code: number, error: Parameters<typeof errorMessage>[2]): void {
    if (!this.#closed) this.#write(errorMessage(id, code, error));
  }

  /** What is answered at once goes out in one system call: ticks come after all promises that are ready. */
  #write(message: unknown): void {
    if (!this.#corked) {
      this.#corked = true;
      this.#output.cork();
      process.nextTick(this.#uncork);
    }
    const flowing = this.#output.write(`${JSON.stringify(message)}\n`);
    if (flowing) return;
    if (this.#output.writableLength > limits.streamQueueBytes) {
      this.onerror?.(new Error('The client does not read its answers; the connection is cut.'));
      this.#input.destroy();
      this.#output.destroy();
      return;
    }
    // Whoever does not read answers gets no further questions in.
    this.#input.pause();
  }

  readonly #uncork = (): void => {
    if (!this.#corked) return;
    this.#corked = false;
    this.#output.uncork();
  };
}

function tooLarge(bytes: number) {
  return errorBody(
    'TOO_LARGE',
    `A message of ${bytes} bytes is over the limit of ${limits.httpBodyBytes}.`,
    `A value may have ${limits.valueBytes} bytes; split large data over several keys, or use a document.`,
  );
}

function tooMany() {
  return errorBody(
    'RATE_LIMITED',
    `More than ${limits.mcpRequestsInFlight} requests are open on this connection.`,
    'Wait for answers before sending more.',
    { retryAfterMs: 100 },
  );
}

function doubledId(id: RequestId) {
  return errorBody(
    'INVALID_ARGUMENT',
    `A request with the id ${JSON.stringify(id)} is open already.`,
    'Give every request an id of its own.',
  );
}

function notAMessage(batch: boolean) {
  return errorBody(
    'INVALID_ARGUMENT',
    batch ? 'Batches are not supported.' : 'This is not a JSON-RPC 2.0 message.',
    batch ? 'Send each message on a line of its own.' : 'See the Model Context Protocol.',
  );
}
