/** Routes of the HTTP face, the same behind TCP and behind the control socket. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { YjsAccess } from '../../blackboard/api.ts';
import { type ErrorBody, errorBody, type Result } from '../../kernel/errors.ts';
import { checkKey } from '../../kernel/key.ts';
import { limits } from '../../kernel/limits.ts';
import type { Logger } from '../../kernel/ports.ts';
import { boardOf } from '../../mcp/board-arguments.ts';
import { Catalogue } from '../../mcp/catalogue.ts';
import type { NodeFaces } from '../../mcp/faces.ts';
import type { Principal } from '../../mcp/principal.ts';
import { type McpHttpHandler, mcpHttpHandler } from '../mcp-sdk/http.ts';
import type { ServerIdentity } from '../mcp-sdk/server.ts';
import { type Body, drained, hasBody, readJson } from './body.ts';
import { asAgent } from './keys.ts';
import { endSocket, prepareRefusal, STATUS_OF, sendError, sendJson, sendText } from './respond.ts';
import { decode, methodNotAllowed, noSuchPath, Rest } from './rest.ts';
import { StreamCount, tooManyStreams } from './streams.ts';
import { YjsFace, type YjsTarget } from './yjs.ts';

/** Counters and gauges as `/metrics` shows them: the text format of Prometheus, version 0.0.4. */
interface MeterReading {
  text(): string;
}

/** What the faces need of a node. */
export interface NodePorts extends NodeFaces {
  readonly yjs: YjsAccess;
  readonly meter: MeterReading;
  /** Whether the node can serve; default: always. */
  readonly ready?: () => boolean;
}

export interface ApplicationSetting {
  readonly node: NodePorts;
  readonly logger: Logger;
  readonly identity: ServerIdentity;
}

/** Who may come in, and as whom. */
export interface Door {
  /** Whether callers must prove who they are; the others are not kept connected. */
  readonly wantsKey: boolean;
  /** Why a request is refused whoever sent it, or `undefined`: Host and Origin. */
  refusal(request: IncomingMessage): ErrorBody | undefined;
  caller(request: IncomingMessage, query: URLSearchParams): Result<Principal>;
  /** The origin to name in CORS headers, where the request has one that may read answers. */
  corsOrigin(request: IncomingMessage): string | undefined;
}

export class Application {
  readonly catalogue: Catalogue;
  readonly #setting: ApplicationSetting;
  readonly #door: Door;
  readonly #mcp: McpHttpHandler;
  readonly #rest: Rest;
  readonly #yjs: YjsFace;
  readonly #streams = new StreamCount();
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.documentBytes,
    perMessageDeflate: false,
    clientTracking: false,
  });

  constructor(setting: ApplicationSetting, door: Door) {
    const { node, logger, identity } = setting;
    this.#setting = setting;
    this.#door = door;
    this.catalogue = new Catalogue(node, (error, where) => {
      logger.log('error', 'faces.fault', {
        where,
        error: error instanceof Error ? error.stack : String(error),
      });
    });
    this.#mcp = mcpHttpHandler({ catalogue: this.catalogue, identity, logger });
    this.#rest = new Rest(this.catalogue);
    this.#yjs = new YjsFace(node, logger);
  }

  /** Serves one request; never rejects. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#handle(request, response);
    } catch (error) {
      if (request.destroyed || response.destroyed) return;
      this.#setting.logger.log('error', 'http.fault', {
        method: request.method,
        path: pathOf(request),
        error: error instanceof Error ? error.stack : String(error),
      });
      const details = { outcome: 'unknown' };
      sendError(
        response,
        errorBody('INTERNAL', 'The node failed to answer.', 'Its log says more.', { details }),
      );
    }
  }

  /** Serves a request to become a WebSocket; never throws. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const onError = () => socket.destroy();
    socket.on('error', onError);
    const admitted = this.#admitSocket(request);
    if (!admitted.ok) {
      refuseUpgrade(socket, admitted.error);
      return;
    }
    const { target, principal } = admitted.value;
    const release = this.#streams.take(principal);
    if (release === undefined) {
      refuseUpgrade(socket, tooManyStreams());
      return;
    }
    socket.once('close', release);
    this.#sockets.handleUpgrade(request, socket, head, (webSocket: WebSocket) => {
      socket.off('error', onError);
      this.#yjs.serve(webSocket, target, principal);
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#yjs.close(), this.#mcp.close()]);
    this.catalogue.close();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request);
    const isMcp = path === '/mcp';
    const refuse = (error: ErrorBody, status = STATUS_OF[error.code]) => {
      if (isMcp) {
        prepareRefusal(response, error);
        this.#mcp.refuse(response, status, error);
      } else sendError(response, error, status);
    };
    const keepAlive = response.shouldKeepAlive;
    // Whoever has no key could otherwise hold every connection of the node idle.
    if (this.#door.wantsKey) response.shouldKeepAlive = false;
    const refusal = this.#door.refusal(request);
    if (refusal !== undefined) return refuse(refusal);
    this.#allowOrigin(request, response);
    if (request.method === 'OPTIONS') {
      response.writeHead(204).end();
      return;
    }
    if (this.#probe(path, response)) return;
    const query = queryOf(request);
    const caller = this.#caller(request, query);
    if (!caller.ok) {
      if (hasBody(request)) await drained(request);
      return refuse(caller.error);
    }
    response.shouldKeepAlive = keepAlive;
    const principal = caller.value;
    if (isMcp) return this.#handleMcp(request, response, principal, refuse);
    if (path === '/metrics') return this.#metrics(request, response);
    const segments = path.split('/').slice(1);
    const abort = new AbortController();
    response.once('close', () => abort.abort());
    const call = { request, response, principal, query, signal: abort.signal };
    if (segments[0] === 'v1') {
      const rest = { ...call, path: segments.slice(1) };
      if (segments.at(-1) === 'watch')
        return this.#countedStream(response, principal, () => this.#rest.handle(rest));
      return this.#rest.handle(rest);
    }
    if (segments[0] === 'mcp' && segments.length >= 3) return this.#plainCall(segments, call);
    sendError(response, noSuchPath());
  }

  #caller(request: IncomingMessage, query: URLSearchParams): Result<Principal> {
    const caller = this.#door.caller(request, query);
    if (!caller.ok) return caller;
    const named = request.headers['x-skein-agent'];
    return asAgent(caller.value, typeof named === 'string' ? named : undefined);
  }

  async #handleMcp(
    request: IncomingMessage,
    response: ServerResponse,
    principal: Principal,
    refuse: (error: ErrorBody, status?: number) => void,
  ): Promise<void> {
    let body: Body = { ok: true, value: undefined };
    if (request.method === 'POST') body = await readJson(request, false);
    if (!body.ok) return refuse(body.error, body.status);
    const value = body.value;
    const streams =
      request.method === 'GET' || (value as { method?: unknown } | null)?.method === 'subscriptions/listen';
    const serve = () => this.#mcp.handle(request, response, value, principal);
    if (!streams) return serve();
    const release = this.#streams.take(principal);
    if (release === undefined) return refuse(tooManyStreams());
    response.once('close', release);
    return serve();
  }

  async #countedStream(
    response: ServerResponse,
    principal: Principal,
    serve: () => Promise<void>,
  ): Promise<void> {
    const release = this.#streams.take(principal);
    if (release === undefined) {
      sendError(response, tooManyStreams());
      return;
    }
    response.once('close', release);
    await serve();
  }

  /** Liveness and readiness say nothing that needs a key. */
  #probe(path: string, response: ServerResponse): boolean {
    if (path === '/healthz') {
      sendText(response, 200, 'ok\n');
      return true;
    }
    if (path === '/readyz') {
      const ready = this.#setting.node.ready?.() ?? true;
      sendText(response, ready ? 200 : 503, ready ? 'ready\n' : 'starting\n');
      return true;
    }
    return false;
  }

  #metrics(request: IncomingMessage, response: ServerResponse): void {
    if (request.method !== 'GET') {
      response.setHeader('allow', 'GET');
      sendError(response, methodNotAllowed(['GET']), 405);
      return;
    }
    sendText(response, 200, this.#setting.node.meter.text(), 'text/plain; version=0.0.4');
  }

  /** `POST /mcp/tools/{toolName}` and `GET /mcp/resources/{uri}`. */
  async #plainCall(
    segments: readonly string[],
    call: {
      request: IncomingMessage;
      response: ServerResponse;
      principal: Principal;
      signal: AbortSignal;
    },
  ): Promise<void> {
    const { request, response, principal, signal } = call;
    const name = decode(segments.slice(2).join('/'));
    const method = { tools: 'POST', resources: 'GET' }[segments[1] ?? ''];
    if (name === undefined || method === undefined) return sendError(response, noSuchPath());
    if (request.method !== method) {
      response.setHeader('allow', method);
      return sendError(response, methodNotAllowed([method]), 405);
    }
    if (method === 'GET') {
      const content = await this.catalogue.readResource(name, { principal, signal });
      if (content.ok) sendText(response, 200, content.value.text, content.value.mimeType);
      else sendError(response, content.error);
      return;
    }
    const body = await readJson(request, true);
    if (!body.ok) return sendError(response, body.error, body.status);
    const answer = await this.catalogue.call(name, body.value ?? {}, { principal, signal });
    if (answer.ok) sendJson(response, 200, answer.value);
    else sendError(response, answer.error);
  }

  #admitSocket(request: IncomingMessage): Result<{ target: YjsTarget; principal: Principal }> {
    const refusal = this.#door.refusal(request);
    if (refusal !== undefined) return { ok: false, error: refusal };
    const query = queryOf(request);
    const caller = this.#caller(request, query);
    if (!caller.ok) return caller;
    const principal = asAgent(caller.value, query.get('agent'));
    if (!principal.ok) return principal;
    const target = yjsTarget(pathOf(request));
    return target.ok ? { ok: true, value: { target: target.value, principal: principal.value } } : target;
  }

  #allowOrigin(request: IncomingMessage, response: ServerResponse): void {
    const origin = this.#door.corsOrigin(request);
    response.setHeader('x-content-type-options', 'nosniff');
    if (origin === undefined) return;
    response.setHeader('access-control-allow-origin', origin);
    response.setHeader('access-control-expose-headers', 'Mcp-Session-Id, WWW-Authenticate, Retry-After');
    response.setHeader('vary', 'Origin');
    if (request.method !== 'OPTIONS') return;
    response.setHeader('access-control-allow-methods', 'GET, POST, PUT, PATCH, DELETE');
    response.setHeader(
      'access-control-allow-headers',
      'Authorization, Content-Type, Last-Event-ID, Mcp-Method, Mcp-Name, Mcp-Protocol-Version, Mcp-Session-Id, X-Api-Key, X-Skein-Agent',
    );
    response.setHeader('access-control-max-age', '600');
  }
}

/** The path as it was sent: nothing in it is resolved, so that a key such as `../x` stays a key. */
function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/';
}

function queryOf(request: IncomingMessage): URLSearchParams {
  const url = request.url ?? '';
  const at = url.indexOf('?');
  return new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
}

function yjsTarget(path: string): Result<YjsTarget> {
  const [, first, second, ...rest] = path.split('/');
  const boardName = decode(second ?? '');
  const document = decode(rest.join('/'));
  if (first !== 'yjs' || boardName === undefined || document === undefined) {
    return { ok: false, error: noSuchPath() };
  }
  const board = boardOf(boardName);
  if (!board.ok) return board;
  if (document === '') return { ok: true, value: { board: board.value, document: undefined } };
  const checked = checkKey(document, 'document');
  return checked.ok ? { ok: true, value: { board: board.value, document } } : checked;
}

function refuseUpgrade(socket: Duplex, error: ErrorBody): void {
  const body = JSON.stringify({ error });
  const status = STATUS_OF[error.code];
  endSocket(
    socket,
    [
      `HTTP/1.1 ${status} ${error.code}`,
      'Connection: close',
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...(status === 401 ? ['WWW-Authenticate: Bearer realm="skein"'] : []),
      '',
      body,
    ].join('\r\n'),
  );
}
