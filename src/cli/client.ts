/** A node's control interface: HTTP on the Unix socket in its data directory, or on a URL with an API key. */
import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { resolve } from 'node:path';
import { ERROR_CODES, type ErrorBody, errorBody, SkeinError } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import { socketPath } from '../node/answers.ts';
import { NodeUnreachable } from './exit.ts';

interface ClientOptions {
  /** Data directory of a node on this machine; not used with `url`. */
  readonly data: string;
  /** Such as `http://10.0.0.5:7330`. */
  readonly url?: string | undefined;
  /** API key for `url`. */
  readonly key?: string | undefined;
  /** Ends every call that has no signal of its own. */
  readonly signal?: AbortSignal | undefined;
}

type Query = Readonly<Record<string, string | number | undefined>>;

export interface Call {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
  /** Without an answer for this long the call fails; default 30 s. */
  readonly timeoutMs?: number;
  /** For `events`: the node has begun to answer. */
  readonly onOpen?: () => void;
}

type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

const DEFAULT_TIMEOUT_MS = 30_000;
/** No list page or document of a node is larger; keeps a stranger at the other end from filling the memory. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

export class ControlClient {
  readonly #options: ClientOptions;
  readonly #agent: Agent;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 32 });
  }

  /** @throws NodeUnreachable without an answer, SkeinError with the node's own error. */
  async call<Answer>(method: Method, path: string, call: Call = {}): Promise<Answer> {
    const response = await this.#send(method, path, call);
    const document = parsed(await this.#read(response));
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300 && document !== undefined) return document as Answer;
    throw new SkeinError(errorOf(document) ?? notSkein(status, this.#where()));
  }

  /**
   * The `data` of each server-sent event, parsed, until the node ends the stream or the signal aborts.
   *
   * @throws as `call`; NodeUnreachable where the stream breaks.
   */
  async *events(path: string, call: Call = {}): AsyncGenerator<unknown> {
    const response = await this.#send('GET', path, { timeoutMs: 0, ...call }, 'text/event-stream');
    if (response.statusCode !== 200) {
      const document = parsed(await this.#read(response));
      throw new SkeinError(errorOf(document) ?? notSkein(response.statusCode ?? 0, this.#where()));
    }
    call.onOpen?.();
    try {
      for await (const data of eventsIn(response)) {
        const error = errorOf(data);
        if (error !== undefined) throw new SkeinError(error);
        yield data;
      }
    } catch (error) {
      if ((call.signal ?? this.#options.signal)?.aborted) return;
      throw unreachable(error, this.#options);
    } finally {
      response.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #read(response: IncomingMessage): Promise<string> {
    try {
      return await readAll(response);
    } catch (error) {
      throw unreachable(error, this.#options);
    }
  }

  #where(): string {
    return this.#options.url ?? resolve(this.#options.data);
  }

  async #send(
    method: Method,
    path: string,
    call: Call,
    accept = 'application/json',
  ): Promise<IncomingMessage> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    if (body !== undefined && Buffer.byteLength(body) > limits.httpBodyBytes) throw tooLarge(body);
    const { url, key } = this.#options;
    const signal = call.signal ?? this.#options.signal;
    const base = new URL(url ?? 'http://localhost');
    const target = `${base.pathname.replace(/\/$/, '')}${path}${queryText(call.query)}`;
    const options: RequestOptions = {
      method,
      path: target,
      agent: this.#agent,
      headers: {
        host: url === undefined ? 'localhost' : base.host,
        accept,
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
      ...(url === undefined
        ? { socketPath: socketPath(this.#options.data, 'control.sock') }
        : { host: base.hostname.replace(/^\[|\]$/g, ''), port: base.port === '' ? 80 : Number(base.port) }),
      ...(signal === undefined ? {} : { signal }),
      timeout: call.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    };
    try {
      return await exchange(options, body, base.protocol === 'https:');
    } catch (error) {
      throw unreachable(error, this.#options);
    }
  }
}

async function exchange(
  options: RequestOptions,
  body: string | undefined,
  secure: boolean,
): Promise<IncomingMessage> {
  // TLS takes 20 ms to load, and the common way is a socket on this machine.
  const secureRequest = secure ? (await import('node:https')).request : undefined;
  const request =
    secureRequest === undefined
      ? httpRequest(options)
      : secureRequest({ ...options, agent: undefined, ...(options.port === 80 ? { port: 443 } : {}) });
  request.on('timeout', () => {
    const seconds = (options.timeout ?? 0) / 1000;
    request.destroy(Object.assign(new Error(`no answer within ${seconds} s`), { code: 'ETIMEDOUT' }));
  });
  request.end(body);
  // The node may answer and hang up while the body is still on its way: then the answer counts.
  request.on('error', () => {});
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return response;
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) {
      response.destroy();
      throw SkeinError.of(
        'TOO_LARGE',
        'The answer is larger than this program takes.',
        'Ask for a smaller page.',
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function* eventsIn(response: IncomingMessage): AsyncGenerator<unknown> {
  response.setEncoding('utf8');
  let rest = '';
  let data: string[] = [];
  for await (const chunk of response as AsyncIterable<string>) {
    const lines = (rest + chunk).split(/\r\n|\n|\r/);
    rest = lines.pop() ?? '';
    if (rest.length > MAX_ANSWER_BYTES) throw new Error('an event is too large');
    for (const line of lines) {
      if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
      else if (line === '' && data.length > 0) {
        yield parsed(data.join('\n'));
        data = [];
      }
    }
  }
}

function queryText(query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) parameters.append(name, String(value));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function errorOf(document: unknown): ErrorBody | undefined {
  const error = (document as { error?: Partial<ErrorBody> } | null | undefined)?.error;
  if (error === undefined || !ERROR_CODES.some((code) => code === error.code)) return undefined;
  return { message: 'The node refused.', hint: '', retryable: false, ...error } as ErrorBody;
}

function tooLarge(body: string): SkeinError {
  return SkeinError.of(
    'TOO_LARGE',
    `This takes ${Buffer.byteLength(body)} bytes, but a node takes ${limits.httpBodyBytes} at most in one call.`,
    'Nothing was sent. Split large data over several keys, or keep it elsewhere and write where it is.',
  );
}

function notSkein(status: number, where: string): ErrorBody {
  return errorBody(
    'INTERNAL',
    `What answers at ${where} does not answer as a Skein node (HTTP status ${status}).`,
    'Check --url: it is the address that `skein up` prints, without a path.',
  );
}

function unreachable(error: unknown, { url, data }: ClientOptions): Error {
  if (error instanceof SkeinError || (error as Error).name === 'AbortError') return error as Error;
  const { code, message } = error as NodeJS.ErrnoException;
  const outcome = isBeforeConnecting(error as NodeJS.ErrnoException) ? 'not-done' : 'unknown';
  if (url !== undefined)
    return new NodeUnreachable(
      `No answer from ${url}: ${message}.`,
      'Check the address, and that the node runs and listens there (`http.host`).',
      outcome,
    );
  const directory = resolve(data);
  if (code === 'EACCES' || code === 'EPERM')
    return new NodeUnreachable(
      `This user may not talk to the node with the data directory ${directory}.`,
      'Use the user who started the node, or --url with --key.',
    );
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR')
    return new NodeUnreachable(
      `No node runs with the data directory ${directory}.`,
      `Start one (skein up --data ${directory}), or name another directory with --data.`,
    );
  return new NodeUnreachable(
    `The node with the data directory ${directory} does not answer: ${message}.`,
    'Look at its log; if it hangs, stop it and start it again.',
    outcome,
  );
}

/** Nothing was sent yet. Several addresses that were tried fail together, without a system call of their own. */
function isBeforeConnecting({
  code,
  syscall,
  errors,
}: NodeJS.ErrnoException & { errors?: unknown }): boolean {
  return (
    syscall === 'connect' || syscall === 'getaddrinfo' || (code === 'ECONNREFUSED' && errors !== undefined)
  );
}
