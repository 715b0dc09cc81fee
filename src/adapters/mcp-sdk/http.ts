/** MCP of both eras over HTTP: sessions for older clients, single exchanges for 2026-07-28. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { classifyInboundRequest, createMcpHandler } from '@modelcontextprotocol/server';
import type { ErrorBody } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/ports.ts';
import type { Catalogue } from '../../mcp/catalogue.ts';
import type { Principal } from '../../mcp/principal.ts';
import { errorMessage } from './messages.ts';
import { createServer, type ServerIdentity } from './server.ts';
import { LegacySessions } from './sessions.ts';
import { ListenSubscriptions } from './subscriptions.ts';

export interface McpHttpSetting {
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
  const subscriptions = new ListenSubscriptions(catalogue.updates, (uri) =>
    modern.notify.resourceUpdated(uri),
  );

  const handle: McpHttpHandler['handle'] = async (request, response, body, principal) => {
    const method = request.method ?? 'GET';
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
    const abort = new AbortController();
    response.once('close', () => {
      if (!response.writableFinished) abort.abort();
    });
    const isListen = (body as { method?: unknown } | undefined)?.method === 'subscriptions/listen';
    const release = isListen ? subscriptions.open((body as { params?: unknown }).params) : undefined;
    try {
      const answer = await modern.fetch(webRequest(request, method, abort.signal), {
        parsedBody: body,
        authInfo: { token: '', clientId: principal.name, scopes: [], extra: { principal } },
      });
      await writeAnswer(answer, response, abort.signal);
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

async function writeAnswer(answer: Response, response: ServerResponse, signal: AbortSignal): Promise<void> {
  if (response.destroyed) {
    await answer.body?.cancel();
    return;
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of answer.headers) if (name !== 'connection') headers[name] = value;
  if (answer.body === null || headers['content-type'] === 'application/json') {
    const text = answer.body === null ? '' : await answer.text();
    headers['content-length'] = String(Buffer.byteLength(text));
    response.writeHead(answer.status, headers).end(text);
    return;
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
