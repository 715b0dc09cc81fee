/**
 * The node's two sockets in its data directory: `control.sock` speaks HTTP, for the command line; `mcp.sock`
 * speaks MCP line by line, for `skein mcp`. Whoever can open them is an operator of this node: their mode is 0600.
 */
import { chmod, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { ok, SkeinError } from '../../kernel/errors.ts';
import type { AgentId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import { localPrincipal } from '../../mcp/principal.ts';
import { type McpConnection, serveMcpConnection } from '../mcp-sdk/connection.ts';
import { socketPath } from '../node/socket-path.ts';
import { Application, type ApplicationSetting, type Door } from './application.ts';
import { boundedServer, closed, listening } from './server.ts';

interface ControlSetting extends ApplicationSetting {
  readonly dataDirectory: string;
}

interface ControlFace {
  readonly controlPath: string;
  readonly mcpPath: string;
  close(): Promise<void>;
}

const OPERATOR = 'operator' as AgentId;

/** Throws a `SkeinError`: `CONFLICT` where another node serves the same data directory. */
export async function startControl(setting: ControlSetting): Promise<ControlFace> {
  const controlPath = socketPath(setting.dataDirectory, 'control.sock');
  const mcpPath = socketPath(setting.dataDirectory, 'mcp.sock');
  const application = new Application(setting, controlDoor());
  const control = boundedServer(application);
  const connections = new Set<McpConnection>();
  const mcp = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    serveMcp(socket, application, setting, connections),
  );
  mcp.maxConnections = limits.mcpConnections;
  await listenPrivately(control, controlPath);
  try {
    await listenPrivately(mcp, mcpPath);
  } catch (error) {
    await closed(control);
    throw error;
  }
  return {
    controlPath,
    mcpPath,
    close: async () => {
      const mcpClosed = new Promise<void>((done) => {
        mcp.close(() => done());
      });
      await Promise.all([...connections].map((connection) => connection.close()));
      await application.close();
      await Promise.all([closed(control), mcpClosed]);
    },
  };
}

function controlDoor(): Door {
  return {
    wantsKey: false,
    refusal: () => undefined,
    caller: () => ok(localPrincipal(OPERATOR)),
    corsOrigin: () => undefined,
  };
}

function serveMcp(
  socket: Socket,
  application: Application,
  { logger, identity }: ApplicationSetting,
  connections: Set<McpConnection>,
): void {
  const { catalogue } = application;
  const connection = serveMcpConnection(socket, localPrincipal(), { catalogue, identity, logger });
  connections.add(connection);
  void connection.ended.then(() => {
    connections.delete(connection);
    // A client that ended its side but keeps the socket open must not hold the node up.
    socket.destroySoon();
  });
}

/** Listens on a socket that only this user can open, from its first moment where the platform allows. */
async function listenPrivately(server: Server, path: string): Promise<void> {
  await removeStale(path);
  const umask = isMainThread ? process.umask(0o177) : undefined;
  try {
    const started = listening(server, { path });
    if (umask !== undefined) process.umask(umask);
    await started;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') throw inUse(path);
    if (code === 'EACCES' || code === 'ENOENT' || code === 'EROFS') {
      throw SkeinError.of(
        'DENIED',
        `The socket ${path} cannot be made: ${code}.`,
        'Choose a data directory that exists and that this user can write to with --data.',
      );
    }
    throw error;
  }
  await chmod(path, 0o600);
}

/** A socket that a killed node left behind answers nobody and stands in the way. */
async function removeStale(path: string): Promise<void> {
  const answers = await new Promise<boolean>((done) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      done(true);
    });
    probe.once('error', () => done(false));
  });
  if (answers) throw inUse(path);
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

function inUse(path: string): SkeinError {
  return SkeinError.of(
    'CONFLICT',
    `Another node is running on this data directory (${path} answers).`,
    'Stop it, or give this one a directory of its own with --data.',
  );
}
