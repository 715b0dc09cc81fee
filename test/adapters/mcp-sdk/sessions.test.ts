/** Sessions of older clients: bounded, expiring, and streams when there is something to stream. */
import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { readJson } from '../../../src/adapters/http/body.ts';
import { type McpHttpHandler, mcpHttpHandler } from '../../../src/adapters/mcp-sdk/http.ts';
import type { AgentId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { Catalogue } from '../../../src/mcp/catalogue.ts';
import { localPrincipal } from '../../../src/mcp/principal.ts';
import { connectClient } from '../../support/mcp-clients.ts';
import { IDENTITY, type MemoryNode, memoryNode, QUIET, until } from '../../support/memory-node.ts';
import { jsonRequest } from '../../support/raw-http.ts';

const opened: { server: Server; handler: McpHttpHandler }[] = [];
afterEach(async () => {
  for (const { server, handler } of opened.splice(0)) {
    await handler.close();
    server.closeAllConnections();
    server.close();
  }
});

/** The caller's name stands in a header here: who it is, is the door's business. */
async function open(
  sessionIdleMs?: number,
): Promise<{ node: MemoryNode; handler: McpHttpHandler; port: number }> {
  const node = memoryNode();
  const handler = mcpHttpHandler({
    catalogue: new Catalogue(node, () => {}),
    identity: IDENTITY,
    logger: QUIET,
    ...(sessionIdleMs === undefined ? {} : { sessionIdleMs }),
  });
  const server = createServer((request, response) => {
    const name = String(request.headers['x-name'] ?? 'local') as AgentId;
    void readJson(request, true).then((body) =>
      handler.handle(request, response, body.ok ? body.value : undefined, { ...localPrincipal(), name }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push({ server, handler });
  return { node, handler, port: (server.address() as { port: number }).port };
}

const ACCEPT = { accept: 'application/json, text/event-stream' };
const initialize = (port: number, name: string) =>
  jsonRequest(
    { port },
    'POST',
    '/mcp',
    {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } },
    },
    { ...ACCEPT, 'x-name': name },
  );
const ping = (port: number, name: string, session: string, headers = {}) =>
  jsonRequest(
    { port },
    'POST',
    '/mcp',
    { jsonrpc: '2.0', id: 2, method: 'ping' },
    {
      ...ACCEPT,
      'x-name': name,
      'mcp-session-id': session,
      ...headers,
    },
  );

describe('mcp sessions', () => {
  it('are ended when nobody uses them, and live on while a client listens', async () => {
    const { handler, port } = await open(1_000);
    const client = await connectClient('v1 (2025-11-25)', { url: `http://127.0.0.1:${port}/mcp` });
    const unused = String((await initialize(port, 'a')).headers['mcp-session-id']);
    await until(() => handler.sessions === 1, 'the unused session expires', 10_000);
    expect((await ping(port, 'a', unused)).status).toBe(404);
    expect((await client.call('board_read', { key: 'k' })).isError).toBe(false);
    await client.close();
  });

  it(`make room for the same principal's newest (${limits.mcpSessionsPerPrincipal} at most) and for no other's`, async () => {
    const { handler, port } = await open();
    const first = String((await initialize(port, 'a')).headers['mcp-session-id']);
    const other = String((await initialize(port, 'b')).headers['mcp-session-id']);
    for (let at = 1; at < limits.mcpSessionsPerPrincipal; at++) await initialize(port, 'a');
    expect((await ping(port, 'a', first)).status).toBe(200);
    expect(handler.sessions).toBe(limits.mcpSessionsPerPrincipal + 1);
    expect((await initialize(port, 'a')).status).toBe(200);
    expect(handler.sessions).toBe(limits.mcpSessionsPerPrincipal + 1);
    expect((await ping(port, 'a', first)).status).toBe(200);
    expect((await ping(port, 'b', other)).status).toBe(200);
  });

  it('refuse a revision that they do not speak', async () => {
    const { port } = await open();
    const session = String((await initialize(port, 'a')).headers['mcp-session-id']);
    const answer = await ping(port, 'a', session, { 'mcp-protocol-version': '1999-01-01' });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain('2025-11-25');
  });

  it('answer with one body, and with events once there is progress to tell', async () => {
    const { node, port } = await open();
    const url = `http://127.0.0.1:${port}/mcp`;
    const clients = await Promise.all(
      (['v1 (2025-11-25)', 'v2 (2025-11-25)', 'v2 (2026-07-28)'] as const).map((kind) =>
        connectClient(kind, { url }),
      ),
    );
    const progress: number[][] = clients.map(() => []);
    const waits = clients.map((client, at) =>
      client.call(
        'board_wait',
        { prefix: 'p/', timeout_seconds: 30 },
        { onProgress: (done) => progress[at]?.push(done) },
      ),
    );
    await until(() => progress.every((seen) => seen.length >= 1), 'progress for each', 10_000);
    await node.blackboard.call(
      { op: 'write', board: 'main' as never, key: 'p/1', value: 1 },
      { agent: 'a' as AgentId },
    );
    for (const wait of waits) expect((await wait).structured.changes).toHaveLength(1);
    for (const seen of progress) expect(seen[0]).toBeGreaterThanOrEqual(5);
    for (const client of clients) await client.close();
  });
});
