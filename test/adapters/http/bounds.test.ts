/** What a hostile or clumsy HTTP client cannot do (S11 to S19). */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { IDENTITY, memoryNode, QUIET } from '../../support/memory-node.ts';
import { jsonRequest, rawBytes, rawRequest } from '../../support/raw-http.ts';

let face: HttpFace;
let target: { port: number };
const JSON_TYPE = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

beforeAll(async () => {
  face = await startHttp({
    node: memoryNode(),
    logger: QUIET,
    identity: IDENTITY,
    host: '127.0.0.1',
    port: 0,
    keys: [],
    allowedHosts: [],
    allowedOrigins: [],
  });
  target = { port: Number(new URL(face.url).port) };
});
afterAll(() => face.close());

const ENTRY = '/v1/boards/main/entries/k';

describe('http bounds', () => {
  const writers = [
    { method: 'PUT', path: ENTRY },
    { method: 'POST', path: '/mcp' },
    { method: 'POST', path: '/mcp/tools/board_write' },
  ];

  it.each(writers)(
    '$method $path answers 413 to a body over the limit, announced or not (S12)',
    async (sent) => {
      const body = Buffer.alloc(limits.httpBodyBytes + 1, 0x20);
      const announced = await rawRequest(target, { ...sent, headers: JSON_TYPE, body });
      expect(announced.status).toBe(413);
      expect(announced.text).toContain('TOO_LARGE');
      const chunked = await rawRequest(target, {
        ...sent,
        headers: { ...JSON_TYPE, 'transfer-encoding': 'chunked' },
        body,
      });
      expect(chunked.status).toBe(413);
    },
  );

  it('answers 413 to a value of 100 MB without taking it in', async () => {
    const before = process.memoryUsage().rss;
    const answer = await rawRequest(target, {
      method: 'PUT',
      path: ENTRY,
      headers: { ...JSON_TYPE, 'content-length': String(100 * 1024 * 1024) },
      body: '{"value":"',
    }).catch((error: NodeJS.ErrnoException) => error);
    expect(answer).toMatchObject({ status: 413 });
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  it('refuses encoded bodies, so that none can unpack into more than it is (S12)', async () => {
    const headers = { ...JSON_TYPE, 'content-encoding': 'gzip' };
    const answer = await rawRequest(target, { method: 'PUT', path: ENTRY, headers, body: 'x' });
    expect(answer.status).toBe(415);
  });

  const bombs = [
    { name: 'a million brackets', body: '['.repeat(limits.httpBodyBytes - 10), status: 400 },
    { name: 'deep objects', body: `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`, status: 400 },
    { name: 'half a million elements', body: `[${'1,'.repeat(500_000)}1]`, status: 413 },
    {
      name: 'a hundred thousand keys',
      body: `{${Array.from({ length: 100_001 }, (_, at) => `"${at}":1`).join()}}`,
      status: 413,
    },
    { name: 'invalid UTF-8', body: Buffer.from('{"value":"\xff\xfe"}', 'latin1'), status: 400 },
    { name: 'half a document', body: '{"value":', status: 400 },
    { name: 'nothing', body: '', status: 400 },
  ];
  // A tool without arguments may be called without a body.
  const bombCases = writers
    .flatMap((sent) => bombs.map((bomb) => ({ ...sent, ...bomb })))
    .filter(({ path, body }) => body !== '' || !path.startsWith('/mcp/tools'));
  it.each(bombCases)('$method $path refuses $name at once (S13)', async ({ method, path, body, status }) => {
    const started = performance.now();
    const answer = await rawRequest(target, { method, path, headers: JSON_TYPE, body });
    expect(answer.status).toBe(status);
    expect(answer.text).toMatch(/"code":"(INVALID_ARGUMENT|TOO_LARGE)"/);
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('stores no poisoned key and changes no prototype (S14)', async () => {
    for (const key of ['__proto__', 'constructor', 'prototype']) {
      const body = `{"value":{"x":{"${key}":{"admin":true}}}}`;
      const answer = await rawRequest(target, { method: 'PUT', path: ENTRY, headers: JSON_TYPE, body });
      expect(answer.status).toBe(400);
      expect(answer.text).toContain(key);
      const outer = `{"value":1,"${key}":{"admin":true}}`;
      expect(
        (await rawRequest(target, { method: 'PUT', path: ENTRY, headers: JSON_TYPE, body: outer })).status,
      ).toBe(400);
    }
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    expect((await rawRequest(target, { path: ENTRY })).status).toBe(404);
  });

  const types = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/json; charset=utf-16',
    '',
  ];
  it.each(types)('answers 415 to the content type %j (S19)', async (type) => {
    for (const { method, path } of writers) {
      const answer = await rawRequest(target, {
        method,
        path,
        headers: { 'content-type': type },
        body: '{}',
      });
      expect(answer.status, path).toBe(415);
    }
  });

  it.each([
    { method: 'POST', path: '/v1/status', allow: 'GET' },
    { method: 'PATCH', path: ENTRY, allow: 'GET, PUT, DELETE' },
    { method: 'PUT', path: '/mcp', allow: 'GET, POST, DELETE' },
    { method: 'GET', path: '/mcp/tools/board_read', allow: 'POST' },
  ])('answers 405 to $method $path and says what is allowed (S19)', async ({ method, path, allow }) => {
    const answer = await rawRequest(target, { method, path, headers: JSON_TYPE });
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe(allow);
  });

  it('refuses headers over the limit with 431 (S12)', async () => {
    const answer = await rawBytes(
      target.port,
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Flood: ${'x'.repeat(limits.httpHeaderBytes)}\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 431/);
  });

  it('answers 400 to what is not HTTP', async () => {
    expect(await rawBytes(target.port, 'GET nonsense\r\n\r\n')).toMatch(/^HTTP\/1\.1 400/);
  });

  it('refuses two lengths for one body', async () => {
    const smuggled =
      'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n';
    expect(await rawBytes(target.port, smuggled)).toMatch(/^HTTP\/1\.1 400/);
  });

  it('drops connections that dribble headers or a body, and serves others meanwhile (S11)', async () => {
    const dribbles = [
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ',
      `PUT ${ENTRY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`,
    ];
    const closed = Array.from({ length: 100 }, (_, at) => {
      const socket = connect(target.port, '127.0.0.1', () => socket.write(dribbles[at % 2] ?? ''));
      const dribble = setInterval(() => socket.write('a'), 500);
      socket.on('error', () => {});
      return new Promise<number>((resolve) => {
        const started = performance.now();
        socket.on('close', () => {
          clearInterval(dribble);
          resolve(performance.now() - started);
        });
        socket.resume();
      });
    });
    expect((await rawRequest(target, { path: '/healthz' })).status).toBe(200);
    const times = await Promise.all(closed);
    expect(Math.max(...times)).toBeLessThan(limits.httpRequestMs + 3_000);
  }, 30_000);
});

describe('http bounds: JSON-RPC (S16)', () => {
  const post = (body: unknown, headers = {}) =>
    jsonRequest(target, 'POST', '/mcp', body, { ...JSON_TYPE, ...headers });
  const initialize = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-03-26', capabilities: {}, clientInfo: { name: 't', version: '1' } },
  };
  async function session() {
    const opened = await post(initialize);
    expect(opened.status).toBe(200);
    return { 'mcp-session-id': String(opened.headers['mcp-session-id']) };
  }

  it.each([
    { name: 'an object as id', body: { jsonrpc: '2.0', id: {}, method: 'ping' } },
    { name: 'another version', body: { jsonrpc: '1.0', id: 1, method: 'ping' } },
    { name: 'no method', body: { jsonrpc: '2.0', id: 1 } },
    { name: 'a list as parameters', body: { jsonrpc: '2.0', id: 1, method: 'ping', params: [] } },
    { name: 'a number', body: 7 },
    { name: 'null', body: null },
  ])('refuses $name', async ({ body }) => {
    const answer = await post(body, await session());
    expect(answer.status).toBe(400);
    expect(answer.json).toMatchObject({ jsonrpc: '2.0', error: { code: -32600 } });
  });

  it('takes small batches of old revisions and refuses one of ten thousand', async () => {
    const headers = await session();
    const ping = (id: number) => ({ jsonrpc: '2.0', id, method: 'ping' });
    const small = await post([ping(1), ping(2)], headers);
    expect((small.json as { id: number }[]).map(({ id }) => id).sort()).toEqual([1, 2]);
    expect(
      (
        await post(
          Array.from({ length: 10_000 }, (_, at) => ping(at)),
          headers,
        )
      ).status,
    ).toBe(400);
    expect((await post([], headers)).status).toBe(400);
    expect((await post([ping(1), ping(1)], headers)).status).toBe(400);
  });

  it('refuses an id that is open already', async () => {
    const headers = await session();
    const wait = {
      jsonrpc: '2.0',
      id: 7,
      method: 'tools/call',
      params: { name: 'board_wait', arguments: { prefix: 'never', timeout_seconds: 1 } },
    };
    const first = post(wait, headers);
    let second = await post(wait, headers);
    // Which of the two arrives first is open; one of them must be refused.
    if (second.status === 200) second = await first;
    expect([second.status, (await first).status].sort()).toContain(400);
  });

  it('wants a session, and an initialize that names none', async () => {
    expect((await post({ jsonrpc: '2.0', id: 1, method: 'tools/list' })).status).toBe(400);
    expect((await post(initialize, await session())).status).toBe(400);
    expect((await post({ jsonrpc: '2.0', id: 1, method: 'ping' }, { 'mcp-session-id': 'x' })).status).toBe(
      404,
    );
  });

  it('ends a session on DELETE', async () => {
    const headers = await session();
    expect((await rawRequest(target, { method: 'DELETE', path: '/mcp', headers })).status).toBe(200);
    expect((await post({ jsonrpc: '2.0', id: 1, method: 'ping' }, headers)).status).toBe(404);
  });

  it('refuses a modern request whose headers and body differ', async () => {
    const body = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: {
        name: 'mesh_status',
        arguments: {},
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      },
    };
    const right = {
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': 'mesh_status',
    };
    expect((await post(body, right)).status).toBe(200);
    const wrong = await post(body, { ...right, 'mcp-name': 'board_delete' });
    expect(wrong.status).toBe(400);
    expect(wrong.json).toMatchObject({ error: { code: -32020 } });
  });
});
