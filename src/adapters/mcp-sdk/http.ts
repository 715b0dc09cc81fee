/** MCP of both eras over HTTP: sessions for older clients, single exchanges for 2026-07-28. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { classifyInboundRequest, createMcpHandler } from '@modelcontextprotocol/server';
import type { ErrorBody } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/ports.ts';
import type { Catalogue } from '../../mcp/catalogue.ts';
import type { Principal } from '../../mcp/principal.ts';
import { KnownCalls, type PlainCall } from './known-calls.ts';
import { errorMessage } from './messages.ts';
import { createServer, type ServerIdentity } from './server.ts';
import { LegacySessions } from './sessions.ts';
import { ListenSubscriptions } from './subscriptions.ts';

interface McpHttpSetting {
  readonly catalogue: Catalogue;
  readonly identity: ServerIdentity;
  readonly logger: Logger;
  /** Idle time after which a session ends; default `limits.mcpSessionIdleMs`. */
  readonly sessionIdleMs?: number;
}

export interface McpHttpHandler {
  /**
   * Serves one request whose caller is established. `body` is the parsed JSON of a POST; other methods have none.
   */
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    body: unknown,
    principal: Principal,
  ): Promise<void>;
  /** Answers with a JSON-RPC error that carries the error body. */
  refuse(response: ServerResponse, status: number, error: ErrorBody, code?: number): void;
  readonly sessions: number;
  close(): Promise<void>;
}

/** A reader of a modern stream that takes nothing for this long is gone. */
const STALLED_MS = 30_000;
const REFUSED = -32000;
const JSON_HEADERS = { 'content-type': 'application/json' };
/** Headers of a request by which the SDK judges it. */
const JUDGED = ['accept', 'content-type', 'mcp-protocol-version', 'mcp-method', 'mcp-name'];

export function mcpHttpHandler(setting: McpHttpSetting): McpHttpHandler {
  const { catalogue, identity, logger, sessionIdleMs } = setting;
  const sessions = new LegacySessions({
    createServer: (principal) => createServer({ catalogue, principal, identity, era: 'legacy' }),
    refuse,
    ...(sessionIdleMs === undefined ? {} : { idleMs: sessionIdleMs }),
  });
  const modern = createMcpHandler(
    ({ authInfo }) => {
      const principal = authInfo?.extra?.principal as Principal;
      return createServer({ catalogue, principal, identity, era: 'modern' });
    },
    {
      legacy: 'reject',
      onerror: (error) => logger.log('debug', 'mcp.http', { error: error.message }),
    },
  );
  const known = new KnownCalls(catalogue);
  const subscriptions = new ListenSubscriptions(catalogue.updates, (uri) =>
    modern.notify.resourceUpdated(uri),
  );

  const handle: McpHttpHandler['handle'] = async (request, response, body, principal) => {
    const method = request.method ?? 'GET';
    const call = method === 'POST' ? plainCall(known, request, body) : undefined;
    const abort = new AbortController();
    const direct = call === undefined ? undefined : known.answer(call, principal, abort.signal);
    abortOnClose(response, abort);
    if (direct !== undefined) return answerKnown(await direct, response, body);
    const route = classifyInboundRequest({
      httpMethod: method,
      ...header(request, 'protocolVersionHeader', 'mcp-protocol-version'),
      ...header(request, 'mcpMethodHeader', 'mcp-method'),
      ...header(request, 'mcpNameHeader', 'mcp-name'),
      ...(body === undefined ? {} : { body }),
    });
    if (route.kind === 'legacy') {
      await sessions.handle(request, response, body, principal);
      return;
    }
    const isListen = (body as { method?: unknown } | undefined)?.method === 'subscriptions/listen';
    const release = isListen ? subscriptions.open((body as { params?: unknown }).params) : undefined;
    try {
      const answer = await modern.fetch(webRequest(request, method, abort.signal), {
        parsedBody: body,
        authInfo: { token: '', clientId: principal.name, scopes: [], extra: { principal } },
      });
      const text = await writeAnswer(answer, response, abort.signal);
      if (call !== undefined && text !== undefined && answer.status === 200) {
        known.learn(call, (JSON.parse(text) as { result?: unknown }).result);
      }
    } finally {
      release?.();
    }
  };

  return {
    handle,
    refuse,
    get sessions() {
      return sessions.size;
    },
    async close() {
      subscriptions.close();
      await Promise.all([sessions.close(), modern.close()]);
    },
  };
}

function refuse(response: ServerResponse, status: number, error: ErrorBody, code = REFUSED): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const text = JSON.stringify(errorMessage(null, code, error));
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

function header<Name extends string>(
  request: IncomingMessage,
  as: Name,
  name: string,
): { [Key in Name]?: string } {
  const value = request.headers[name];
  return (typeof value === 'string' ? { [as]: value } : {}) as { [Key in Name]?: string };
}

/** The body travels beside the request, parsed: the SDK reads it from there alone. */
function webRequest(request: IncomingMessage, method: string, signal: AbortSignal): Request {
  const headers: [string, string][] = [];
  for (const [name, value] of Object.entries(request.headers)) {
    if (typeof value === 'string') headers.push([name, value]);
  }
  return new Request('http://localhost/mcp', { method, headers, signal });
}

function abortOnClose(response: ServerResponse, abort: AbortController): void {
  response.once('close', () => {
    if (!response.writableFinished) abort.abort();
  });
}

function answerKnown(result: unknown, response: ServerResponse, body: unknown): void {
  if (response.destroyed) return;
  const { id } = body as { readonly id: unknown };
  writeJson(response, 200, JSON_HEADERS, JSON.stringify({ jsonrpc: '2.0', id, result }));
}

/** A plain call of a tool, with the headers by which the SDK judges it. */
function plainCall(known: KnownCalls, { headers }: IncomingMessage, body: unknown): PlainCall | undefined {
  for (const name in headers) {
    if (name === 'last-event-id' || (name.startsWith('mcp-') && !JUDGED.includes(name))) return undefined;
  }
  const named = headers['mcp-name'];
  const call = known.plain(body, judgedText(headers));
  return named === undefined || named === call?.name ? call : undefined;
}

/** The name varies from call to call; that it is there and right is what counts. */
function judgedText(headers: IncomingMessage['headers']): string {
  const values = JUDGED.map((name) => (name === 'mcp-name' ? typeof headers[name] : (headers[name] ?? null)));
  return JSON.stringify(values);
}

function writeJson(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  text: string,
): void {
  response.writeHead(status, {
    ...headers,
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** The text of an answer that is JSON. */
async function writeAnswer(
  answer: Response,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (response.destroyed) {
    await answer.body?.cancel();
    return undefined;
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of answer.headers) if (name !== 'connection') headers[name] = value;
  if (answer.body === null || headers['content-type'] === 'application/json') {
    const text = answer.body === null ? '' : await answer.text();
    writeJson(response, answer.status, headers, text);
    return answer.body === null ? undefined : text;
  }
  response.writeHead(answer.status, headers);
  response.flushHeaders();
  for await (const chunk of answer.body) {
    if (signal.aborted) break;
    if (response.write(chunk)) continue;
    if (!(await drained(response))) {
      response.destroy();
      break;
    }
  }
  response.end();
  return undefined;
}

/** False where the reader took nothing for `STALLED_MS`. */
function drained(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (moved: boolean) => {
      clearTimeout(timer);
      response.off('drain', onMove);
      response.off('close', onMove);
      resolve(moved);
    };
    const onMove = () => done(true);
    const timer = setTimeout(() => done(false), STALLED_MS);
    response.once('drain', onMove);
    response.once('close', onMove);
  });
}
