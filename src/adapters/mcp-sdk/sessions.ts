/** Sessions of clients older than 2026-07-28: random ids, bound to their principal, bounded, expiring. */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  isInitializeRequest,
  type JSONRPCMessage,
  type Server,
  SUPPORTED_PROTOCOL_VERSIONS,
} from '@modelcontextprotocol/server';
import { type ErrorBody, errorBody } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import type { Principal } from '../../mcp/principal.ts';
import { isMessage, isRequest, type RequestId } from './messages.ts';
import { SessionTransport } from './session-transport.ts';

interface Session {
  readonly principal: string;
  readonly transport: SessionTransport;
  readonly server: Server;
  usedAtMs: number;
}

interface SessionsSetting {
  /** A server of the legacy era for this caller. */
  readonly createServer: (principal: Principal) => Server;
  /** Refuses with a JSON-RPC error on the response. */
  readonly refuse: (response: ServerResponse, status: number, error: ErrorBody, code?: number) => void;
  readonly idleMs?: number;
}

const SESSION_HEADER = 'mcp-session-id';
const SESSION_NOT_FOUND = -32001;

export class LegacySessions {
  readonly #sessions = new Map<string, Session>();
  readonly #setting: SessionsSetting;
  readonly #idleMs: number;
  readonly #sweep: NodeJS.Timeout;

  constructor(setting: SessionsSetting) {
    this.#setting = setting;
    this.#idleMs = setting.idleMs ?? limits.mcpSessionIdleMs;
    this.#sweep = setInterval(() => this.#expire(), Math.min(this.#idleMs, 60_000));
    this.#sweep.unref();
  }

  get size(): number {
    return this.#sessions.size;
  }

  async handle(
    request: IncomingMessage,
    response: ServerResponse,
    body: unknown,
    principal: Principal,
  ): Promise<void> {
    const version = request.headers['mcp-protocol-version'];
    if (typeof version === 'string' && !SUPPORTED_PROTOCOL_VERSIONS.includes(version)) {
      this.#setting.refuse(response, 400, unsupportedVersion(version));
      return;
    }
    const id = request.headers[SESSION_HEADER];
    if (request.method === 'POST') await this.#post(request, response, body, principal, id);
    else if (request.method === 'GET') this.#get(response, principal, id);
    else if (request.method === 'DELETE') await this.#delete(response, principal, id);
    else {
      response.setHeader('allow', 'GET, POST, DELETE');
      this.#setting.refuse(response, 405, methodNotAllowed());
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    await Promise.all([...this.#sessions.keys()].map((id) => this.#end(id)));
  }

  async #post(
    request: IncomingMessage,
    response: ServerResponse,
    body: unknown,
    principal: Principal,
    id: string | string[] | undefined,
  ): Promise<void> {
    const batch = Array.isArray(body);
    const messages: unknown[] = batch ? body : [body];
    const problem = problemWith(messages, batch);
    if (problem !== undefined) {
      this.#setting.refuse(response, 400, problem, -32600);
      return;
    }
    const opens = messages.some((message) => isInitializeRequest(message));
    if (opens && (batch || id !== undefined)) {
      this.#setting.refuse(response, 400, initializeAlone(), -32600);
      return;
    }
    const session = opens ? await this.#begin(response, principal) : this.#find(response, principal, id);
    if (session === undefined) return;
    session.usedAtMs = performance.now();
    const typed = messages as readonly JSONRPCMessage[];
    const doubled = typed.filter(isRequest).find((message) => session.transport.hasOpen(message.id));
    if (doubled !== undefined) {
      this.#setting.refuse(response, 400, doubledId(), -32600);
      return;
    }
    const accept = request.headers.accept ?? '';
    session.transport.post(typed, response, {
      batch,
      opens,
      streams: accept.includes('text/event-stream') || accept.includes('*/*'),
    });
    for (const message of typed) {
      if ('method' in message && message.method === 'notifications/cancelled') {
        session.transport.cancelled(message.params?.requestId as RequestId);
      }
    }
  }

  #get(response: ServerResponse, principal: Principal, id: string | string[] | undefined): void {
    const session = this.#find(response, principal, id);
    if (session === undefined) return;
    session.usedAtMs = performance.now();
    if (!session.transport.listen(response)) this.#setting.refuse(response, 409, streamOpen());
  }

  async #delete(
    response: ServerResponse,
    principal: Principal,
    id: string | string[] | undefined,
  ): Promise<void> {
    const session = this.#find(response, principal, id);
    if (session === undefined) return;
    await this.#end(session.transport.sessionId);
    response.writeHead(200, { 'content-length': 0 }).end();
  }

  /** A session of another principal is as unknown as one that never was. */
  #find(
    response: ServerResponse,
    principal: Principal,
    id: string | string[] | undefined,
  ): Session | undefined {
    if (typeof id !== 'string') {
      this.#setting.refuse(response, 400, sessionNeeded());
      return undefined;
    }
    const session = this.#sessions.get(id);
    if (session !== undefined && session.principal === principal.name) return session;
    this.#setting.refuse(response, 404, sessionUnknown(), SESSION_NOT_FOUND);
    return undefined;
  }

  async #begin(response: ServerResponse, principal: Principal): Promise<Session | undefined> {
    const own = [...this.#sessions].filter(([, session]) => session.principal === principal.name);
    const full = this.#sessions.size >= limits.mcpSessions;
    if (own.length >= limits.mcpSessionsPerPrincipal || full) {
      const idle = own.filter(([, session]) => !session.transport.busy);
      const oldest = idle.sort(([, left], [, right]) => left.usedAtMs - right.usedAtMs)[0];
      if (oldest === undefined) {
        this.#setting.refuse(response, 429, tooManySessions());
        return undefined;
      }
      await this.#end(oldest[0]);
    }
    const transport = new SessionTransport(randomBytes(24).toString('base64url'));
    const server = this.#setting.createServer(principal);
    const session: Session = { principal: principal.name, transport, server, usedAtMs: performance.now() };
    this.#sessions.set(transport.sessionId, session);
    await server.connect(transport);
    return session;
  }

  async #end(id: string): Promise<void> {
    const session = this.#sessions.get(id);
    this.#sessions.delete(id);
    await session?.server.close();
  }

  #expire(): void {
    const before = performance.now() - this.#idleMs;
    for (const [id, session] of this.#sessions) {
      if (!session.transport.busy && session.usedAtMs < before) void this.#end(id);
    }
  }
}

function problemWith(messages: readonly unknown[], batch: boolean): ErrorBody | undefined {
  if (batch && (messages.length === 0 || messages.length > limits.mcpBatch)) {
    return errorBody(
      'TOO_LARGE',
      `A batch has 1 to ${limits.mcpBatch} messages.`,
      'Send fewer messages at once.',
    );
  }
  if (!messages.every(isMessage)) {
    return errorBody(
      'INVALID_ARGUMENT',
      'This is not a JSON-RPC 2.0 message.',
      'Send {"jsonrpc":"2.0","id":…,"method":…}.',
    );
  }
  const ids = messages.filter(isRequest).map(({ id }) => id);
  if (new Set(ids).size !== ids.length) return doubledId();
  return undefined;
}

function doubledId(): ErrorBody {
  return errorBody(
    'INVALID_ARGUMENT',
    'A request with this id is open already.',
    'Give every request an id of its own.',
  );
}

function initializeAlone(): ErrorBody {
  return errorBody(
    'INVALID_ARGUMENT',
    'initialize opens a new session: it stands alone and names no session.',
    'Send it without the Mcp-Session-Id header and outside of batches.',
  );
}

function unsupportedVersion(version: string): ErrorBody {
  return errorBody(
    'UNSUPPORTED',
    `Protocol version ${JSON.stringify(version.slice(0, 32))} is not supported in a session.`,
    `Sessions speak ${SUPPORTED_PROTOCOL_VERSIONS.join(', ')}; 2026-07-28 needs no session.`,
  );
}

function methodNotAllowed(): ErrorBody {
  return errorBody('UNSUPPORTED', 'This method is not allowed here.', 'Use POST, GET or DELETE.');
}

function sessionNeeded(): ErrorBody {
  return errorBody(
    'INVALID_ARGUMENT',
    'The Mcp-Session-Id header is missing.',
    'Send initialize first and repeat the session id of its response, or speak revision 2026-07-28.',
  );
}

function sessionUnknown(): ErrorBody {
  return errorBody('NOT_FOUND', 'There is no such session.', 'Send initialize to begin a new one.');
}

function streamOpen(): ErrorBody {
  return errorBody('CONFLICT', 'This session has its event stream open already.', 'Use that one.');
}

function tooManySessions(): ErrorBody {
  return errorBody(
    'RATE_LIMITED',
    'Too many sessions are open.',
    'End sessions with DELETE when they are not needed, or use revision 2026-07-28, which has none.',
    { retryAfterMs: 5_000 },
  );
}
