/**
 * Calls to an etcd cluster: one channel an endpoint, the first that is connected is used until it fails.
 *
 * What may be sent again and what may not is decided here. A request that never left, or that a member refused
 * before it proposed anything, goes to the next member. A write that was sent and not answered is `unknown` and is
 * left to the caller. Reads are asked again until their time is up.
 */
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  connectivityState,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { type ErrorBody, fail, failWith, ok, type Result } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { unavailable } from '../../quorum/messages.ts';
import { errorOf, isRefusedBeforehand, isRetriedAfterSignIn } from './failures.ts';
import { authenticateMethod, type Method, rangeMethod } from './schema.ts';

interface EtcdTls {
  /** PEM; the system's authorities where it is left out. */
  readonly ca?: Uint8Array;
  /** PEM, both or neither: how the client shows who it is. */
  readonly certificate?: Uint8Array;
  readonly key?: Uint8Array;
  /** Name in the servers' certificates where it is not the host in the endpoint. */
  readonly serverName?: string;
}

export interface EtcdOptions {
  /** `host:port`, with or without `http://` or `https://` before it. */
  readonly endpoints: readonly string[];
  /** Needed for certificates of one's own; an endpoint with `https://` uses TLS without it too. */
  readonly tls?: EtcdTls;
  readonly user?: string;
  readonly password?: string;
  /** Before every key: so that several stores share one etcd. */
  readonly prefix?: string;
}

/** `mirror` is answered by whichever member is asked, whether or not it has a leader. */
type CallKind = 'write' | 'read' | 'mirror';

interface Endpoint {
  readonly address: string;
  readonly client: Client;
}

/** One try of a read: short enough that another member is asked within the time of the call. */
const READ_TRY_MS = 700;
const PAUSE_MS = 50;
const POLL_MS = 100;

const CHANNEL = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  // A proxy of the environment is for the web, and a call must not be repeated behind our back.
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
} as const;

export class Connection {
  readonly #options: EtcdOptions;
  readonly #endpoints: readonly Endpoint[];
  readonly #closing = new AbortController();
  #current = 0;
  #token: string | undefined;
  #signingIn: Promise<Result<string>> | undefined;
  #failure: string | undefined;

  constructor(options: EtcdOptions) {
    if (options.endpoints.length === 0) throw new Error('etcd: no endpoints');
    this.#options = options;
    this.#endpoints = options.endpoints.map((endpoint) => connect(endpoint, options.tls));
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Why no member served this node when it last asked; `undefined` where one did. */
  get failure(): string | undefined {
    return this.#failure;
  }

  close(): void {
    this.#closing.abort();
    for (const { client } of this.#endpoints) client.close();
  }

  /** Answers within `limits.quorumWaitMs`. */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    kind: CallKind,
    signal?: AbortSignal,
  ): Promise<Result<Response>> {
    const deadlineMs = performance.now() + limits.quorumWaitMs;
    const cancel =
      signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    let last: string | undefined;
    for (;;) {
      if (cancel.aborted) return this.#cancelled(signal, 'not-done');
      const endpoint = await this.#ready(deadlineMs, cancel);
      if (cancel.aborted) return this.#cancelled(signal, 'not-done');
      const leftMs = deadlineMs - performance.now();
      if (endpoint === undefined || leftMs <= 0) {
        const why = last ?? (await this.#whyNot());
        return fail(this.#unreachable(why, 'not-done', kind === 'write' ? 'write' : 'read'));
      }
      const metadata = await this.#metadata(endpoint, kind, leftMs);
      if (cancel.aborted) return this.#cancelled(signal, 'not-done');
      if (!metadata.ok) {
        if (metadata.error.code !== 'QUORUM_UNAVAILABLE') return this.#refused(metadata.error);
        await pause(PAUSE_MS, cancel);
        continue;
      }
      const tryMs = kind === 'write' ? leftMs : Math.min(leftMs, READ_TRY_MS);
      const answer = await unary(endpoint.client, method, request, metadata.value, tryMs, cancel);
      if (answer.ok) {
        this.#failure = undefined;
        return answer;
      }
      last = answer.error.details;
      if (cancel.aborted) return this.#cancelled(signal, kind === 'write' ? 'unknown' : 'not-done');
      const error = this.#judge(endpoint, answer.error, kind);
      if (error !== undefined) return this.#refused(error);
      await pause(PAUSE_MS, cancel);
    }
  }

  /** A stream to the first connected member that has a leader; `undefined` where none is within `waitMs`. */
  async stream<Request, Response>(
    method: Method<Request, Response>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<ClientDuplexStream<Request, Response> | undefined> {
    const cancel = AbortSignal.any([signal, this.#closing.signal]);
    const endpoint = await this.#ready(performance.now() + waitMs, cancel);
    if (cancel.aborted) return undefined;
    if (endpoint === undefined) {
      this.#failure = await this.#whyNot();
      return undefined;
    }
    const metadata = await this.#metadata(endpoint, 'read', waitMs);
    if (!metadata.ok) this.#failure = metadata.error.message;
    if (!metadata.ok || cancel.aborted) return undefined;
    const { path, requestSerialize, responseDeserialize } = method;
    const stream = endpoint.client.makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata.value,
    );
    const onAbort = (): void => stream.cancel();
    cancel.addEventListener('abort', onAbort, { once: true });
    stream.on('close', () => cancel.removeEventListener('abort', onAbort));
    stream.on('error', (error: ServiceError) => {
      cancel.removeEventListener('abort', onAbort);
      if (cancel.aborted) return;
      // Its reader has done with it.
      if (error.code !== status.CANCELLED) this.#failure = error.details;
      this.#failed(endpoint, error);
    });
    stream.once('data', () => {
      this.#failure = undefined;
    });
    return stream;
  }

  /** What a member answers to a call of this node alone says nothing of the cluster; that it may not ask at all does. */
  #refused(error: ErrorBody): Result<never> {
    if (error.code === 'UNAUTHENTICATED' || error.code === 'DENIED') this.#failure = error.message;
    return fail(error);
  }

  /** Go on elsewhere, or after signing in anew. */
  #failed(endpoint: Endpoint, error: ServiceError): void {
    if (isRetriedAfterSignIn(error)) this.#token = undefined;
    else if (this.#endpoints[this.#current] === endpoint) {
      this.#current = (this.#current + 1) % this.#endpoints.length;
    }
  }

  /** The error to answer with; `undefined` where the request may be sent again. */
  #judge(endpoint: Endpoint, failure: ServiceError, kind: CallKind): ReturnType<typeof errorOf> {
    const final = errorOf(failure);
    if (final !== undefined) return final;
    this.#failed(endpoint, failure);
    const maySendAgain = kind !== 'write' || isRefusedBeforehand(failure) || isRetriedAfterSignIn(failure);
    return maySendAgain ? undefined : this.#unreachable(failure.details, 'unknown');
  }

  /** A connected endpoint: the one used last where it can be had, else whichever connects first. */
  async #ready(deadlineMs: number, cancel: AbortSignal): Promise<Endpoint | undefined> {
    for (;;) {
      for (let offset = 0; offset < this.#endpoints.length; offset++) {
        const at = (this.#current + offset) % this.#endpoints.length;
        const endpoint = this.#endpoints[at] as Endpoint;
        if (endpoint.client.getChannel().getConnectivityState(true) !== connectivityState.READY) continue;
        this.#current = at;
        return endpoint;
      }
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0 || cancel.aborted) return undefined;
      await this.#stateChange(Math.min(leftMs, POLL_MS), cancel);
    }
  }

  #stateChange(mostMs: number, cancel: AbortSignal): Promise<unknown> {
    const until = Date.now() + mostMs;
    return Promise.race([
      pause(mostMs, cancel),
      ...this.#endpoints.map(
        ({ client }) =>
          new Promise<void>((resolve) => {
            const channel = client.getChannel();
            channel.watchConnectivityState(channel.getConnectivityState(true), until, () => resolve());
          }),
      ),
    ]);
  }

  /** A channel tells why it cannot connect only to a call. */
  async #whyNot(): Promise<string> {
    const { client } = this.#endpoints[this.#current] as Endpoint;
    if (this.isClosed) return 'the store was closed';
    const request = { key: Uint8Array.of(0), serializable: true, limit: 1 };
    const answer = await unary(client, rangeMethod, request, new Metadata(), PAUSE_MS, this.#closing.signal);
    // Of names that were not resolved gRPC tells in a note, which is mostly empty.
    return answer.ok
      ? 'it was connected too late'
      : answer.error.details.replace(/\.?\s*Resolution note:\s*$/, '');
  }

  async #metadata(endpoint: Endpoint, kind: CallKind, mostMs: number): Promise<Result<Metadata>> {
    const metadata = new Metadata();
    // Makes a member that lost its leader say so at once, before it does anything.
    if (kind !== 'mirror') metadata.set('hasleader', 'true');
    if (this.#options.user === undefined) return ok(metadata);
    if (this.#token === undefined) {
      this.#signingIn ??= this.#signIn(endpoint).finally(() => {
        this.#signingIn = undefined;
      });
      const token = await Promise.race([this.#signingIn, pause(mostMs, this.#closing.signal)]);
      if (token === undefined) return fail(this.#unreachable('nobody let this node sign in', 'not-done'));
      if (!token.ok) return token;
      this.#token = token.value;
    }
    metadata.set('token', this.#token);
    return ok(metadata);
  }

  async #signIn(endpoint: Endpoint): Promise<Result<string>> {
    const request = { name: this.#options.user ?? '', password: this.#options.password ?? '' };
    const { signal } = this.#closing;
    const answer = await unary(
      endpoint.client,
      authenticateMethod,
      request,
      new Metadata(),
      READ_TRY_MS,
      signal,
    );
    if (answer.ok) return ok(answer.value.token);
    this.#failed(endpoint, answer.error);
    return fail(errorOf(answer.error) ?? this.#unreachable(answer.error.details, 'not-done'));
  }

  #unreachable(why: string, outcome: 'not-done' | 'unknown', asked: 'write' | 'read' = 'write') {
    const endpoints = this.#endpoints.map(({ address }) => address);
    this.#failure = why;
    return unavailable(`etcd did not answer: ${why}`, outcome, { endpoints }, asked);
  }

  #cancelled(signal: AbortSignal | undefined, outcome: 'not-done' | 'unknown'): Result<never> {
    if (signal?.aborted !== true) return fail(this.#unreachable('the store was closed', outcome));
    return failWith(
      'TIMEOUT',
      'The call was cancelled by its caller.',
      outcome === 'unknown' ? 'Read the entry to see whether the call took hold.' : 'Nothing was changed.',
      { details: { outcome } },
    );
  }
}

function connect(endpoint: string, tls: EtcdTls | undefined): Endpoint {
  const isUrl = /^https?:\/\//.test(endpoint);
  const url = new URL(isUrl ? endpoint : `${tls === undefined ? 'http' : 'https'}://${endpoint}`);
  const address = `${url.hostname}:${url.port === '' ? '2379' : url.port}`;
  const isSecure = url.protocol === 'https:';
  const options = {
    ...CHANNEL,
    ...(tls?.serverName === undefined
      ? {}
      : { 'grpc.ssl_target_name_override': tls.serverName, 'grpc.default_authority': tls.serverName }),
  };
  return {
    address,
    client: new Client(address, isSecure ? secured(tls) : credentials.createInsecure(), options),
  };
}

function secured(tls: EtcdTls | undefined): ChannelCredentials {
  const buffer = (bytes: Uint8Array | undefined) => (bytes === undefined ? null : Buffer.from(bytes));
  return credentials.createSsl(buffer(tls?.ca), buffer(tls?.key), buffer(tls?.certificate));
}

function unary<Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
  metadata: Metadata,
  timeoutMs: number,
  cancel: AbortSignal,
): Promise<Result<Response, ServiceError>> {
  return new Promise((resolve) => {
    const { path, requestSerialize, responseDeserialize } = method;
    const options = { deadline: Date.now() + timeoutMs };
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
      (error, value) => {
        cancel.removeEventListener('abort', onAbort);
        if (error !== null) resolve(fail(error));
        else resolve(ok(value as Response));
      },
    );
    function onAbort(): void {
      call.cancel();
    }
    cancel.addEventListener('abort', onAbort, { once: true });
  });
}

/** Never rejects: ends early where `cancel` aborts. */
export function pause(ms: number, cancel: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      cancel.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    cancel.addEventListener('abort', done, { once: true });
    if (cancel.aborted) done();
  });
}
