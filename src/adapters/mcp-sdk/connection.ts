/** MCP of both eras on one byte stream. */
import type { JSONRPCMessage, Server } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { parseAgentId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/ports.ts';
import type { Catalogue } from '../../mcp/catalogue.ts';
import type { Principal } from '../../mcp/principal.ts';
import { type ByteStream, ByteStreamTransport } from './byte-stream-transport.ts';
import { KnownCalls } from './known-calls.ts';
import type { RequestId } from './messages.ts';
import { OpenCalls } from './open-calls.ts';
import { createServer, type ServerIdentity } from './server.ts';
import { ListenSubscriptions } from './subscriptions.ts';

interface ConnectionSetting {
  readonly catalogue: Catalogue;
  readonly identity: ServerIdentity;
  readonly logger: Logger;
}

export interface McpConnection {
  /** Resolves when the connection has ended, from either side. */
  readonly ended: Promise<void>;
  close(): Promise<void>;
}

/**
 * A notification by which the bridge of `skein mcp` says, as its first message, as which agent its client acts.
 * `params.agent` is the agent's id. Servers of other make ignore it, as they must ignore unknown notifications.
 */
export const AGENT_NOTIFICATION = 'notifications/skein/agent';

/**
 * Serves the catalogue on the stream until either side ends it. The opening message decides the era
 * (2024-11-05 to 2025-11-25, or 2026-07-28), as on stdio.
 */
export function serveMcpConnection(
  stream: ByteStream,
  principal: Principal,
  { catalogue, identity, logger }: ConnectionSetting,
): McpConnection {
  let caller = principal;
  /** As whom the server that the SDK has made serves. */
  let served: Principal | undefined;
  let modern: Server | undefined;
  const listens = new Map<RequestId, () => void>();
  const subscriptions = new ListenSubscriptions(catalogue.updates, (uri) => {
    modern?.sendResourceUpdated({ uri }).catch(() => {});
  });
  const calls = new OpenCalls(new KnownCalls(catalogue), (message) => {
    transport.send(message).catch(() => {});
  });
  const inspect = (message: JSONRPCMessage): boolean => {
    if (!('method' in message)) return false;
    if (served !== undefined && calls.take(message, served)) return true;
    const { method, params } = message;
    if (method === AGENT_NOTIFICATION) {
      const agent = parseAgentId(params?.agent);
      if (agent !== undefined && caller.actsForAnyone) caller = { ...caller, agent };
      return true;
    }
    if (method === 'subscriptions/listen' && 'id' in message) {
      listens.get(message.id)?.();
      listens.set(message.id, subscriptions.open(params));
    } else if (method === 'notifications/cancelled') {
      const id = params?.requestId as RequestId;
      listens.get(id)?.();
      listens.delete(id);
      calls.cancel(id);
    }
    return false;
  };
  const transport = new ByteStreamTransport(stream, {
    inspect,
    sent: (message) => calls.sent(message),
  });
  let markEnded = () => {};
  const ended = new Promise<void>((resolve) => {
    markEnded = resolve;
  });
  const handle = serveStdio(
    ({ era }) => {
      served = caller;
      const server = createServer({ catalogue, principal: caller, identity, era });
      if (era === 'modern') modern = server;
      return server;
    },
    {
      transport,
      onerror: (error) => logger.log('debug', 'mcp.connection', { error: error.message }),
    },
  );
  const before = transport.onclose;
  transport.onclose = () => {
    subscriptions.close();
    calls.close();
    before?.();
    markEnded();
  };
  return { ended, close: () => handle.close() };
}
