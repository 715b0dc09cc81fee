/** The HTTP server on TCP: bounded in connections, time and size. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Duplex } from 'node:stream';
import { errorBody, SkeinError } from '../../kernel/errors.ts';
import { limits } from '../../kernel/limits.ts';
import { AddressCount } from './addresses.ts';
import { Application, type ApplicationSetting, type Door } from './application.ts';
import { type ApiKey, callerOverTcp, KeyRing } from './keys.ts';
import { isLoopback, OriginCheck } from './origins.ts';
import { endSocket } from './respond.ts';

export interface HttpSetting extends ApplicationSetting {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly keys: readonly ApiKey[];
  /** Names besides the loopback ones under which the node may be addressed. */
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
}

export interface HttpFace {
  /** `http://127.0.0.1:7330`; where all addresses are listened on, with one of this machine's. */
  readonly url: string;
  readonly mcpUrl: string;
  /** Ends open streams and connections; bounded in time. */
  close(): Promise<void>;
}

const CLOSE_MS = 1_000;

/**
 * Listens. Throws a `SkeinError`: `DENIED` for an address other than loopback without a key, `CONFLICT` for a
 * port that is taken, `INVALID_ARGUMENT` for an address that this machine does not have.
 */
export async function startHttp(setting: HttpSetting): Promise<HttpFace> {
  const { host, port } = setting;
  const ring = new KeyRing(setting.keys);
  if (ring.isEmpty && !isLoopback(host)) {
    throw SkeinError.of(
      'DENIED',
      `Listening on ${host} needs an API key, and none is configured.`,
      'Add one under guard.keys in the configuration (principal, zone, hash), or listen on 127.0.0.1.',
    );
  }
  const check = new OriginCheck(setting);
  const application = new Application(setting, tcpDoor(check, ring));
  const server = boundedServer(application);
  await listening(server, { host: host.replace(/^\[(.*)\]$/, '$1'), port }).catch((error: unknown) => {
    throw explainListenError(error, host, port);
  });
  const { port: actual } = server.address() as AddressInfo;
  const reached = hostToReach(host);
  const shown = reached.includes(':') && !reached.startsWith('[') ? `[${reached}]` : reached;
  const url = `http://${shown}:${actual}`;
  return {
    url,
    mcpUrl: `${url}/mcp`,
    close: async () => {
      await application.close();
      await closed(server);
    },
  };
}

/** Where all addresses are listened on, one under which other machines reach this one; loopback where there is none. */
function hostToReach(host: string): string {
  if (!/^(0\.0\.0\.0|\[?::\]?)$/.test(host)) return host;
  const outward = Object.values(networkInterfaces())
    .flatMap((addresses = []) => addresses)
    .find(({ family, internal }) => family === 'IPv4' && !internal);
  return outward?.address ?? '127.0.0.1';
}

function tcpDoor(check: OriginCheck, ring: KeyRing): Door {
  return {
    wantsKey: !ring.isEmpty,
    refusal: ({ headers, socket: { localAddress, localPort } }) =>
      check.refusal({ headers, localAddress, localPort }),
    // Browsers cannot send headers with a WebSocket, so there the key may stand in the query.
    caller: (request, query) =>
      callerOverTcp(ring, request, request.headers.upgrade === undefined ? undefined : query.get('key')),
    corsOrigin: ({ headers }) => headers.origin,
  };
}

/** A server with every bound set, for TCP and Unix sockets alike. */
export function boundedServer(application: Application): Server {
  const server = createServer(
    {
      headersTimeout: limits.httpHeadersMs,
      requestTimeout: limits.httpRequestMs,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: 60_000,
      maxHeaderSize: limits.httpHeaderBytes,
      noDelay: true,
    },
    (request, response) => {
      void application.handle(request, response);
    },
  );
  server.maxConnections = limits.httpConnections;
  const addresses = new AddressCount();
  server.on('connection', (socket) => {
    const release = addresses.take(socket.remoteAddress);
    if (release === undefined) socket.destroy();
    else socket.once('close', release);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    application.upgrade(request, socket, head);
  });
  server.on('clientError', answerClientError);
  return server;
}

export function listening(
  server: Server | import('node:net').Server,
  where: { host: string; port: number } | { path: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Stops listening, lets answers under way finish for `CLOSE_MS`, then breaks what is left. */
export function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [status, body] = explainClientError(error.code);
  const text = JSON.stringify({ error: body });
  endSocket(
    socket,
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}

function explainClientError(code: string | undefined) {
  if (code === 'HPE_HEADER_OVERFLOW') {
    const body = errorBody(
      'TOO_LARGE',
      `The headers are over ${limits.httpHeaderBytes} bytes.`,
      'Send fewer headers.',
    );
    return ['431 Request Header Fields Too Large', body] as const;
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const body = errorBody(
      'TIMEOUT',
      'The request did not arrive in time.',
      `Send it whole within ${limits.httpRequestMs / 1000} seconds.`,
    );
    return ['408 Request Timeout', body] as const;
  }
  const body = errorBody('INVALID_ARGUMENT', 'This is not an HTTP request.', 'Speak HTTP/1.1.');
  return ['400 Bad Request', body] as const;
}

function explainListenError(error: unknown, host: string, port: number): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE') {
    return SkeinError.of(
      'CONFLICT',
      `Port ${port} on ${host} is taken by another program.`,
      'Choose another with --http-port (0 takes any free one), or stop that program.',
      { details: { host, port } },
    );
  }
  if (code === 'EACCES') {
    return SkeinError.of(
      'DENIED',
      `This user may not listen on port ${port}.`,
      'Choose a port from 1024 upwards with --http-port.',
      { details: { host, port } },
    );
  }
  if (
    code === 'EADDRNOTAVAIL' ||
    code === 'ENOTFOUND' ||
    code === 'EAI_AGAIN' ||
    code === 'ERR_SOCKET_BAD_PORT'
  ) {
    return SkeinError.of(
      'INVALID_ARGUMENT',
      `This machine cannot listen on ${host}:${port}.`,
      'Use 127.0.0.1, 0.0.0.0 or an address of this machine with --http-host.',
      { details: { host, port } },
    );
  }
  return error;
}
