/** Calls past the SDK are answered as the SDK answers them: a warm connection beside a fresh one. */
import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import { serveMcpConnection } from '../../../src/adapters/mcp-sdk/connection.ts';
import { Catalogue } from '../../../src/mcp/catalogue.ts';
import { localPrincipal } from '../../../src/mcp/principal.ts';
import { IDENTITY, type MemoryNode, memoryNode, QUIET, until } from '../../support/memory-node.ts';

const REVISION = '2026-07-28';
const META = {
  'io.modelcontextprotocol/protocolVersion': REVISION,
  'io.modelcontextprotocol/clientCapabilities': {},
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
};

let node: MemoryNode;
let server: Server;
/** Calls that reached a tool, and how many of them were told that nobody waits any more. */
let aborted = 0;

beforeAll(async () => {
  node = memoryNode();
  const { call } = node.blackboard;
  node.blackboard.call = ((asked: never, writer: never, signal?: AbortSignal) => {
    signal?.addEventListener('abort', () => aborted++);
    return call.call(node.blackboard, asked, writer, signal);
  }) as typeof call;
  const catalogue = new Catalogue(node, () => {});
  server = createServer({ allowHalfOpen: true }, (socket) => {
    serveMcpConnection(socket, localPrincipal(), { catalogue, identity: IDENTITY, logger: QUIET });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.close();
});

/** A face of its own has seen no call yet. */
function httpFace(): Promise<HttpFace> {
  return startHttp({
    node,
    logger: QUIET,
    identity: IDENTITY,
    host: '127.0.0.1',
    port: 0,
    keys: [],
    allowedHosts: [],
    allowedOrigins: [],
  });
}

interface Client {
  /** The answer, or `undefined` for a notification. */
  ask(message: Readonly<Record<string, unknown>>): Promise<unknown>;
  tell(message: Readonly<Record<string, unknown>>): void;
  close(): void;
}

type Kind = 'byte stream, 2026-07-28' | 'byte stream, 2025-11-25' | 'HTTP, 2026-07-28';
const KINDS: readonly Kind[] = ['byte stream, 2026-07-28', 'byte stream, 2025-11-25', 'HTTP, 2026-07-28'];
const isModern = (kind: Kind) => kind.endsWith(REVISION);

async function open(kind: Kind): Promise<Client> {
  if (kind.startsWith('HTTP')) {
    const own = await httpFace();
    const ask = (message: Readonly<Record<string, unknown>>) => post(own.mcpUrl, message);
    return { ask, tell: () => undefined, close: () => void own.close() };
  }
  const socket = connect((server.address() as { port: number }).port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  const waiting = new Map<unknown, (answer: unknown) => void>();
  let rest = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const answer = JSON.parse(line) as { id?: unknown };
      waiting.get(answer.id)?.(answer);
      waiting.delete(answer.id);
    }
  });
  const tell = (message: object) => socket.write(`${JSON.stringify(message)}\n`);
  const client: Client = {
    ask: (message) =>
      new Promise((resolve) => {
        waiting.set(message.id, resolve);
        tell(message);
      }),
    tell,
    close: () => socket.destroy(),
  };
  if (!isModern(kind)) {
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    };
    await client.ask({ jsonrpc: '2.0', id: 'begin', method: 'initialize', params });
    tell({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }
  return client;
}

async function post(
  url: string,
  message: Readonly<Record<string, unknown>>,
  headers: Record<string, string> = {},
) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': REVISION,
      'mcp-method': String(message.method),
      'mcp-name': String((message.params as { name?: unknown } | undefined)?.name),
      ...headers,
    },
    body: JSON.stringify(message),
  });
  const text = await response.text();
  const type = response.headers.get('content-type');
  return { status: response.status, type, body: type?.includes('json') === true ? JSON.parse(text) : text };
}

function call(kind: Kind, id: unknown, name: string, args: unknown, extra: object = {}, meta: object = {}) {
  const _meta = { ...(isModern(kind) ? META : {}), ...meta };
  const params = { name, arguments: args, ...(Object.keys(_meta).length > 0 ? { _meta } : {}), ...extra };
  return { jsonrpc: '2.0', id, method: 'tools/call', params };
}

/** After this the calls that are known are carried out past the SDK. */
async function warm(kind: Kind, calls = 5): Promise<Client> {
  const client = await open(kind);
  for (let id = 1; id <= calls; id++) await client.ask(call(kind, id, 'board_read', { key: 'none' }));
  return client;
}

const STRANGE: readonly [string, (kind: Kind) => Record<string, unknown>][] = [
  ['a read', (kind) => call(kind, 9, 'board_read', { key: 'there' })],
  ['an id of text', (kind) => call(kind, 'nine', 'board_read', { key: 'there' })],
  ['a fractional id', (kind) => call(kind, 9.5, 'board_read', { key: 'there' })],
  ['no arguments', (kind) => call(kind, 9, 'mesh_status', undefined)],
  ['arguments that are a list', (kind) => call(kind, 9, 'board_read', [])],
  ['an argument that the tool does not have', (kind) => call(kind, 9, 'board_read', { kez: 'x' })],
  ['an argument of the wrong type', (kind) => call(kind, 9, 'board_read', { key: 7 })],
  ['an error of the tool', (kind) => call(kind, 9, 'board_read', { key: 'k', board: 'No Such' })],
  ['a tool that there is not', (kind) => call(kind, 9, 'board_raed', {})],
  ['a name that is no text', (kind) => call(kind, 9, 7 as never, {})],
  [
    'a field beside the parameters',
    (kind) => ({ ...call(kind, 9, 'board_read', { key: 'there' }), more: 1 }),
  ],
  ['a parameter more', (kind) => call(kind, 9, 'board_read', { key: 'there' }, { task: { ttl: 1 } })],
  ['a progress token', (kind) => call(kind, 9, 'board_read', { key: 'there' }, {}, { progressToken: 'p' })],
  ['other metadata', (kind) => call(kind, 9, 'board_read', { key: 'there' }, {}, { traceparent: '00-1' })],
  [
    'another revision',
    (kind) =>
      call(
        kind,
        9,
        'board_read',
        { key: 'there' },
        {},
        { 'io.modelcontextprotocol/protocolVersion': '1999' },
      ),
  ],
  ['metadata of the wrong type', (kind) => call(kind, 9, 'board_read', { key: 'there' }, { _meta: 7 })],
];

/** Resolves when two further calls, one after the other, have been answered. */
async function later(client: Client, kind: Kind): Promise<'no answer'> {
  for (const id of ['later', 'still later']) await client.ask(call(kind, id, 'board_read', { key: 'none' }));
  return 'no answer';
}

describe.each(KINDS)('known calls, %s', (kind) => {
  it.each(STRANGE)('answers %s as a fresh connection does', async (_, message) => {
    await node.blackboard.call(
      { op: 'write', board: 'main', key: 'there', value: { x: 1 } } as never,
      { agent: 'a' } as never,
    );
    const [fresh, warmed] = [await warm(kind, 1), await warm(kind)];
    const answers = [];
    for (const client of [fresh, warmed]) {
      // Of some messages the SDK says nothing: what is asked after them is answered all the same.
      const answer = client.ask(message(kind));
      const isSilent = kind.startsWith('HTTP') ? new Promise<never>(() => {}) : later(client, kind);
      answers.push(await Promise.race([answer, isSilent]));
    }
    expect(answers[1]).toEqual(answers[0]);
    fresh.close();
    warmed.close();
  });
});

describe.each(KINDS.slice(0, 2))('known calls, %s', (kind) => {
  it('that are cancelled are not answered, and those of a client that left are ended', async () => {
    const client = await warm(kind);
    const before = aborted;
    const wait = (id: number) => call(kind, id, 'board_wait', { key: 'never', timeout_seconds: 60 });
    let answers = 0;
    void client.ask(wait(20)).then(() => answers++);
    client.tell({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 20 } });
    await until(() => aborted === before + 1, 'the wait is ended');
    await client.ask(call(kind, 21, 'board_read', { key: 'none' }));
    expect(answers).toBe(0);
    void client.ask(wait(22));
    await client.ask(call(kind, 23, 'board_read', { key: 'none' }));
    client.close();
    await until(() => aborted === before + 2, 'the other wait is ended');
  });

  it('under an id that is still open are refused like any', async () => {
    const client = await warm(kind);
    void client.ask(call(kind, 30, 'board_wait', { key: 'never', timeout_seconds: 60 }));
    const again = await client.ask(call(kind, 30, 'board_read', { key: 'none' }));
    expect(again).toMatchObject({ error: { data: { error: { code: 'INVALID_ARGUMENT' } } } });
    client.close();
  });
});

describe('known calls over HTTP', () => {
  const read = call('HTTP, 2026-07-28', 9, 'board_read', { key: 'there' });

  it.each([
    ['a name in the header that is another', { 'mcp-name': 'board_list' }],
    ['a method in the header that is another', { 'mcp-method': 'tools/list' }],
    ['another revision in the header', { 'mcp-protocol-version': '2025-11-25' }],
    ['an Accept header without JSON', { accept: 'text/event-stream' }],
    ['a session', { 'mcp-session-id': 'x' }],
    ['another header of the protocol', { 'mcp-param-key': 'other' }],
  ])('with %s are answered as by a fresh node', async (_, headers) => {
    const [fresh, warmed] = [await httpFace(), await httpFace()];
    for (let id = 1; id <= 5; id++) await post(warmed.mcpUrl, { ...read, id });
    expect(await post(warmed.mcpUrl, read, headers)).toEqual(await post(fresh.mcpUrl, read, headers));
    await Promise.all([fresh.close(), warmed.close()]);
  });
});
