/** MCP on a byte stream with clients that are clumsy, hostile, or gone. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AGENT_NOTIFICATION, serveMcpConnection } from '../../../src/adapters/mcp-sdk/connection.ts';
import type { AgentId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { Catalogue } from '../../../src/mcp/catalogue.ts';
import { localPrincipal, type Principal } from '../../../src/mcp/principal.ts';
import { IDENTITY, type MemoryNode, memoryNode, until } from '../../support/memory-node.ts';

let node: MemoryNode;
let server: Server;
let principal: Principal;
let ended: Promise<void>[];
let logged: string[];

interface Line {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { code: number; message: string; data?: { error?: { code?: string; hint?: string } } };
}

beforeEach(async () => {
  node = memoryNode();
  principal = localPrincipal();
  ended = [];
  logged = [];
  const catalogue = new Catalogue(node, () => {});
  const logger = {
    log: (_level: string, name: string, fields: Readonly<Record<string, unknown>>) =>
      logged.push(`${name} ${String(fields.error)}`),
  };
  server = createServer({ allowHalfOpen: true }, (socket) => {
    ended.push(serveMcpConnection(socket, principal, { catalogue, identity: IDENTITY, logger }).ended);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => {
  server.close();
});

async function dial(): Promise<{ socket: Socket; lines: Line[]; send(message: unknown): void }> {
  const socket = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1' });
  await new Promise((resolve) => socket.once('connect', resolve));
  const lines: Line[] = [];
  let rest = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) lines.push(JSON.parse(part) as Line);
  });
  socket.on('error', () => {});
  return { socket, lines, send: (message) => socket.write(`${JSON.stringify(message)}\n`) };
}

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } },
};
const call = (id: unknown, name: string, args: unknown) => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name, arguments: args },
});

async function opened() {
  const client = await dial();
  client.send(INITIALIZE);
  await until(() => client.lines.length === 1, 'the answer to initialize');
  client.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  return client;
}

describe('mcp byte stream', () => {
  it.each(['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'])(
    'agrees on revision %s',
    async (protocolVersion) => {
      const client = await dial();
      client.send({ ...INITIALIZE, params: { ...INITIALIZE.params, protocolVersion } });
      await until(() => client.lines.length === 1, 'the answer');
      expect(client.lines[0]?.result).toMatchObject({ protocolVersion, serverInfo: IDENTITY });
      client.socket.destroy();
    },
  );

  it('answers a message of 100 MB with an error under its id, without keeping it, and goes on', async () => {
    const client = await opened();
    const before = process.memoryUsage().rss;
    // Clients write the id last; the whole message is never in one piece here.
    client.socket.write(
      '{"method":"tools/call","params":{"name":"board_write","arguments":{"key":"k","value":"',
    );
    const block = Buffer.alloc(1024 * 1024, 0x61);
    for (let at = 0; at < 100; at++) {
      if (!client.socket.write(block)) await new Promise((resolve) => client.socket.once('drain', resolve));
    }
    client.socket.write('"}},"jsonrpc":"2.0","id":42}\n');
    client.send(call(43, 'board_read', { key: 'k' }));
    await until(() => client.lines.some(({ id }) => id === 43), 'the next answer');
    const refused = client.lines.find(({ id }) => id === 42);
    expect(refused?.error?.data?.error).toMatchObject({
      code: 'TOO_LARGE',
      hint: expect.any(String) as string,
    });
    expect(client.lines.find(({ id }) => id === 43)?.result).toMatchObject({
      structuredContent: { found: false },
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
    client.socket.destroy();
  });

  it.each([
    { name: 'a JSON bomb', line: `{"id":5,"x":${'['.repeat(500_000)}}`, id: 5, code: -32700 },
    { name: 'no JSON', line: 'hello', id: null, code: -32700 },
    { name: 'half a document', line: '{"jsonrpc":"2.0","id":6,', id: 6, code: -32700 },
    {
      name: 'invalid UTF-8',
      line: Buffer.from('{"jsonrpc":"2.0","id":7,"method":"\xff"}', 'latin1'),
      id: 7,
      code: -32700,
    },
    { name: 'a batch', line: '[{"jsonrpc":"2.0","id":8,"method":"ping"}]', id: null, code: -32600 },
    { name: 'another version', line: '{"jsonrpc":"1.0","id":9,"method":"ping"}', id: 9, code: -32600 },
    { name: 'an object as id', line: '{"jsonrpc":"2.0","id":{},"method":"ping"}', id: null, code: -32600 },
  ])('refuses $name, says why, and goes on (S13, S16)', async ({ line, id, code }) => {
    const client = await opened();
    client.socket.write(line);
    client.socket.write('\r\n\n');
    client.send({ jsonrpc: '2.0', id: 99, method: 'ping' });
    await until(() => client.lines.length === 3, 'both answers');
    expect(client.lines[1]).toMatchObject({ id, error: { code } });
    expect(client.lines[1]?.error?.data?.error?.hint).toBeTruthy();
    expect(client.lines[2]).toMatchObject({ id: 99, result: {} });
    client.socket.destroy();
  });

  it('refuses an id that is open already, and more open requests than the bound', async () => {
    const client = await opened();
    const wait = (id: number) => call(id, 'board_wait', { prefix: 'never', timeout_seconds: 60 });
    client.send(wait(1));
    client.send(wait(1));
    await until(() => client.lines.length === 2, 'the refusal');
    expect(client.lines[1]).toMatchObject({ id: 1, error: { code: -32600 } });
    for (let id = 2; id <= limits.mcpRequestsInFlight + 1; id++) client.send(wait(id));
    await until(() => client.lines.length === 3, 'the bound');
    expect(client.lines[2]?.error?.data?.error).toMatchObject({ code: 'RATE_LIMITED' });
    client.socket.destroy();
    await until(() => node.blackboard.waiting === 0, 'all waits end with the connection');
  });

  it('still answers what is under way when a client has ended its side', async () => {
    const client = await dial();
    client.send(INITIALIZE);
    client.send(call(1, 'board_wait', { prefix: '', timeout_seconds: 0.2 }));
    client.socket.end();
    await until(() => client.lines.length === 2, 'both answers');
    expect(client.lines[1]?.result).toMatchObject({ structuredContent: { changes: [] } });
    await Promise.all(ended);
  });

  it('lets a bridge name the agent, where the caller may act for anyone', async () => {
    const naming = { jsonrpc: '2.0', method: AGENT_NOTIFICATION, params: { agent: 'planner' } };
    for (const [who, author] of [
      [localPrincipal(), 'planner'],
      [{ ...localPrincipal('fixed' as AgentId), actsForAnyone: false }, 'fixed'],
    ] as const) {
      principal = who;
      const client = await dial();
      client.send(naming);
      client.send(INITIALIZE);
      client.send(call(1, 'board_write', { key: author, value: 1 }));
      client.send(call(2, 'board_read', { key: author }));
      await until(() => client.lines.length === 3, 'the answers');
      expect(client.lines[2]?.result).toMatchObject({ structuredContent: { author } });
      client.socket.destroy();
    }
  });

  it('asks nothing more of a client that does not read, and cuts it off at the bound', async () => {
    const client = await opened();
    await node.blackboard.call(
      { op: 'write', board: 'main' as never, key: 'big', value: 'x'.repeat(250_000) },
      { agent: 'a' as AgentId },
    );
    client.socket.pause();
    // Sent at once, so that they are all taken in before the first answers fill the pipe.
    const lines = Array.from(
      { length: 200 },
      (_, at) => `${JSON.stringify(call(at + 1, 'board_read', { key: 'big' }))}\n`,
    );
    client.socket.write(lines.join(''));
    await Promise.all(ended);
    expect(logged.some((line) => line.includes('does not read'))).toBe(true);
    client.socket.destroy();
  });

  it('holds nothing once a client with subscriptions is gone', async () => {
    const client = await opened();
    client.send({ jsonrpc: '2.0', id: 1, method: 'resources/subscribe', params: { uri: 'board://main' } });
    await until(() => node.blackboard.listenersOf('main') === 1, 'the board is watched');
    client.socket.destroy();
    await until(() => node.blackboard.listenersOf('main') === 0, 'the board is let go');
  });
});
