/** Who gets in over HTTP: Host, Origin, keys, addresses and the node's own sockets. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { startControl } from '../../../src/adapters/http/control.ts';
import { type HttpFace, type HttpSetting, startHttp } from '../../../src/adapters/http/server.ts';
import type { SkeinError } from '../../../src/kernel/errors.ts';
import { connectClient } from '../../support/mcp-clients.ts';
import { IDENTITY, memoryNode, QUIET } from '../../support/memory-node.ts';
import { jsonRequest, rawBytes, rawRequest } from '../../support/raw-http.ts';

const SECRET = 'a-secret-of-some-length';
const OTHER_SECRET = 'another-secret-entirely';
const EXTERNAL_SECRET = 'a-secret-for-the-outside';
const KEYS = [
  { principal: 'ci', zone: 'trusted' as const, hash: createHash('sha256').update(SECRET).digest('hex') },
  { principal: 'ops', zone: 'local' as const, secret: OTHER_SECRET },
  { principal: 'guest', zone: 'external' as const, secret: EXTERNAL_SECRET },
];

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const face of opened.splice(0)) await face.close();
});

async function open(change: Partial<HttpSetting> = {}): Promise<{ face: HttpFace; port: number }> {
  const face = await startHttp({
    node: memoryNode(),
    logger: QUIET,
    identity: IDENTITY,
    host: '127.0.0.1',
    port: 0,
    keys: [],
    allowedHosts: [],
    allowedOrigins: [],
    ...change,
  });
  opened.push(face);
  return { face, port: Number(new URL(face.url).port) };
}

function upgradeStatus(port: number, path: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers });
    socket.on('unexpected-response', (request, response) => {
      resolve(response.statusCode ?? 0);
      request.destroy();
    });
    socket.on('open', () => {
      resolve(101);
      socket.close();
    });
    socket.on('error', () => {});
  });
}

describe('http door: Host (S01)', () => {
  const foreign = [
    'evil.example',
    'evil.example:7330',
    '127.0.0.1.evil.example',
    'localhost@evil.example',
    '10.0.0.1',
  ];
  it.each(foreign)('refuses the host %j on every path and on upgrades', async (host) => {
    const { port } = await open();
    for (const path of ['/mcp', '/v1/status', '/healthz', '/metrics', '/nowhere']) {
      const answer = await rawRequest({ port }, { path, headers: { host } });
      expect(answer.status, path).toBe(403);
    }
    expect(await upgradeStatus(port, '/yjs/main', { host })).toBe(403);
  });

  it.each(['GET /v1/status HTTP/1.1\r\nHost: \r\n\r\n', 'GET /v1/status HTTP/1.0\r\n\r\n'])(
    'refuses a request that names no host: %j',
    async (bytes) => {
      const { port } = await open();
      const answer = await rawBytes(port, bytes.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      expect(answer).toMatch(/^HTTP\/1\.1 403/);
    },
  );

  const own = ['localhost', '127.0.0.1', 'LOCALHOST:1', '[::1]', '[::1]:7330', 'node.lan:80'];
  it.each(own)('accepts the host %j', async (host) => {
    const { port } = await open({ allowedHosts: ['node.lan'] });
    expect((await rawRequest({ port }, { path: '/v1/status', headers: { host } })).status).toBe(200);
  });

  it('serves IPv6 loopback under its own address', async () => {
    const { face } = await open({ host: '::1' });
    expect(face.url).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await fetch(`${face.url}/v1/status`)).status).toBe(200);
  });
});

describe('http door: Origin (S02)', () => {
  const foreign = [
    'https://evil.example',
    'null',
    'http://localhost.evil.example',
    'file://',
    'moz-extension://x',
    'x',
    'http://localhost:5173',
    'http://127.0.0.1',
    'http://[::1]:80',
    'https://localhost:PORT',
    'http://127.0.0.2:PORT',
    'http://app.example',
    'https://app.example:8443',
  ];
  it.each(foreign)('refuses the origin %j on every path and on upgrades', async (named) => {
    const { port } = await open({ allowedOrigins: ['https://app.example', 'null'] });
    const origin = named.replace('PORT', String(port));
    for (const path of ['/mcp', '/v1/status', '/healthz']) {
      const answer = await rawRequest({ port }, { path, headers: { origin } });
      expect(answer.status).toBe(403);
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    }
    expect(await upgradeStatus(port, '/yjs/main', { origin })).toBe(403);
  });

  it('refuses a page of another port whose proxy passes its own Host on', async () => {
    const { port } = await open();
    const headers = { host: 'localhost:5173', origin: 'http://localhost:5173' };
    expect((await rawRequest({ port }, { path: '/v1/status', headers })).status).toBe(403);
  });

  const own = ['http://localhost:PORT', 'http://127.0.0.1:PORT', 'http://[::1]:PORT', 'https://app.example'];
  it.each(own)('accepts the origin %j, named back and never as a wildcard', async (named) => {
    const { port } = await open({ allowedOrigins: ['https://app.example/'] });
    const origin = named.replace('PORT', String(port));
    const answer = await rawRequest({ port }, { path: '/v1/status', headers: { origin } });
    expect(answer.status).toBe(200);
    expect(answer.headers['access-control-allow-origin']).toBe(origin);
    expect(answer.headers.vary).toBe('Origin');
    expect(await upgradeStatus(port, '/yjs/main', { origin })).toBe(101);
  });

  it.each(['cross-site', 'same-site'])(
    'refuses what a page loads without naming itself (%s)',
    async (site) => {
      const { port } = await open();
      const headers = { 'sec-fetch-site': site };
      for (const path of ['/v1/status', '/v1/boards/main/watch', '/mcp', '/healthz'])
        expect((await rawRequest({ port }, { path, headers })).status, path).toBe(403);
      expect(await upgradeStatus(port, '/yjs/main', headers)).toBe(403);
    },
  );

  it.each(['none', 'same-origin'])('answers what the user or its own page loads (%s)', async (site) => {
    const { port } = await open();
    const headers = { 'sec-fetch-site': site };
    expect((await rawRequest({ port }, { path: '/v1/status', headers })).status).toBe(200);
  });

  it('answers a page of an allowed origin that names itself', async () => {
    const { port } = await open({ allowedOrigins: ['https://app.example'] });
    const headers = { origin: 'https://app.example', 'sec-fetch-site': 'cross-site' };
    expect((await rawRequest({ port }, { path: '/v1/status', headers })).status).toBe(200);
  });
});

describe('http door: keys', () => {
  it('wants no key on loopback where none is configured, and acts as the agent that is named', async () => {
    const { port } = await open();
    const put = await jsonRequest(
      { port },
      'PUT',
      '/v1/boards/main/entries/k',
      { value: 1 },
      { 'x-skein-agent': 'me' },
    );
    expect(put.status).toBe(200);
    expect((await rawRequest({ port }, { path: '/v1/boards/main/entries/k' })).json).toMatchObject({
      author: 'me',
    });
  });

  it.each(['/mcp', '/v1/status', '/metrics', '/v1/boards'])(
    'refuses %s without a key, and with a wrong one',
    async (path) => {
      const { port } = await open({ keys: KEYS });
      for (const headers of [
        {},
        { authorization: 'Bearer wrong' },
        { 'x-api-key': 'wrong' },
        { authorization: 'Basic eDp5' },
      ]) {
        const answer = await rawRequest({ port }, { path, headers });
        expect(answer.status).toBe(401);
        expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
        expect(answer.text).toContain('UNAUTHENTICATED');
      }
      // A key in the query would end up in logs of proxies: it is for WebSockets only.
      expect((await rawRequest({ port }, { path: `${path}?key=${SECRET}` })).status).toBe(401);
    },
  );

  it('lets liveness and readiness be asked without a key', async () => {
    const { port } = await open({ keys: KEYS });
    expect((await rawRequest({ port }, { path: '/healthz' })).status).toBe(200);
    expect((await rawRequest({ port }, { path: '/readyz' })).status).toBe(200);
  });

  it.each(['/healthz', '/readyz', '/v1/status', '/mcp', '/nowhere'])(
    'keeps no connection of a stranger who asks %s, and keeps that of a key',
    async (path) => {
      const { port } = await open({ keys: KEYS });
      const ask = (more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`;
      const answer = await rawBytes(port, ask() + ask(), 5_000);
      expect(answer).toMatch(/^connection: close\r$/im);
      expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
      const key = `X-Api-Key: ${SECRET}\r\n`;
      const status = (more: string) => `GET /v1/status HTTP/1.1\r\nHost: localhost\r\n${key}${more}\r\n`;
      const kept = await rawBytes(port, status('') + status('Connection: close\r\n'), 5_000);
      expect(kept.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    },
  );

  it('lets a stranger with a large body read why it is refused', async () => {
    const { port } = await open({ keys: KEYS });
    const headers = { 'content-type': 'application/json', connection: 'keep-alive' };
    const body = Buffer.alloc(8 * 1024 * 1024, 0x20);
    const path = '/v1/boards/main/entries/k';
    expect((await rawRequest({ port }, { method: 'PUT', path, headers, body })).status).toBe(401);
  });

  it.each([
    { authorization: `Bearer ${SECRET}` },
    { authorization: `bearer  ${SECRET}` },
    { 'x-api-key': SECRET },
  ])('accepts %j and acts as its principal', async (headers) => {
    const { port } = await open({ keys: KEYS });
    const put = await jsonRequest({ port }, 'PUT', '/v1/boards/main/entries/k', { value: 1 }, headers);
    expect(put.status).toBe(200);
    const read = await rawRequest({ port }, { path: '/v1/boards/main/entries/k', headers });
    expect(read.json).toMatchObject({ author: 'ci' });
  });

  it('lets a key act for agents under its name and for no other', async () => {
    const { port } = await open({ keys: KEYS });
    const headers = { 'x-api-key': SECRET };
    const put = (agent_id: string) =>
      jsonRequest({ port }, 'PUT', '/v1/boards/main/entries/k', { value: 1, agent_id }, headers);
    expect((await put('ci/planner')).status).toBe(200);
    expect((await put('ops')).status).toBe(403);
    expect((await put('cinema')).status).toBe(403);
    const named = await rawRequest(
      { port },
      { path: '/v1/status', headers: { ...headers, 'x-skein-agent': 'ops' } },
    );
    expect(named.status).toBe(403);
  });

  it('lets a key of the zone external read and not write, and caps what it claims', async () => {
    const { port } = await open({ keys: KEYS });
    const headers = { 'x-api-key': EXTERNAL_SECRET };
    expect(
      (await jsonRequest({ port }, 'PUT', '/v1/boards/main/entries/k', { value: 1 }, headers)).status,
    ).toBe(403);
    expect((await rawRequest({ port }, { path: '/v1/boards', headers })).status).toBe(200);
    const registered = await jsonRequest(
      { port },
      'POST',
      '/v1/agents',
      { capabilities: ['x'], trust_level: 1 },
      { 'x-api-key': SECRET },
    );
    expect(registered.json).toMatchObject({ agent_id: 'ci', trust_level: 0.7 });
  });

  it('takes the key of a WebSocket from a header or from the query', async () => {
    const { port } = await open({ keys: KEYS });
    expect(await upgradeStatus(port, '/yjs/main', {})).toBe(401);
    expect(await upgradeStatus(port, '/yjs/main?key=wrong', {})).toBe(401);
    expect(await upgradeStatus(port, `/yjs/main?key=${SECRET}`, {})).toBe(101);
    expect(await upgradeStatus(port, '/yjs/main', { authorization: `Bearer ${SECRET}` })).toBe(101);
  });

  it('gives a session to its own principal only (S04)', async () => {
    const { face, port } = await open({ keys: KEYS });
    const client = await connectClient('v1 (2025-11-25)', { url: face.mcpUrl, key: SECRET });
    const sessionId = (client.raw as unknown as { transport: { sessionId: string } }).transport.sessionId;
    expect(Buffer.from(sessionId, 'base64url').length).toBeGreaterThanOrEqual(16);
    const ping = (key: string, id: string) =>
      jsonRequest(
        { port },
        'POST',
        '/mcp',
        { jsonrpc: '2.0', id: 99, method: 'ping' },
        {
          'x-api-key': key,
          'mcp-session-id': id,
          accept: 'application/json, text/event-stream',
        },
      );
    expect((await ping(SECRET, sessionId)).status).toBe(200);
    expect((await ping(OTHER_SECRET, sessionId)).status).toBe(404);
    expect((await ping(SECRET, 'chosen-by-the-client')).status).toBe(404);
    await client.close();
  });

  it('refuses to start with a key that cannot work', async () => {
    await expect(open({ keys: [{ principal: 'x', zone: 'local', secret: 'short' }] })).rejects.toThrow(
      /at least 16/,
    );
    await expect(open({ keys: [{ principal: 'x', zone: 'local', hash: 'abc' }] })).rejects.toThrow(/hash/);
    await expect(open({ keys: [{ principal: 'a b', zone: 'local', secret: SECRET }] })).rejects.toThrow(
      /principal/,
    );
  });
});

describe('http door: addresses (S03)', () => {
  it.each(['0.0.0.0', '::', '192.0.2.1', 'example.org'])(
    'refuses to listen on %s without a key',
    async (host) => {
      const error = await open({ host }).catch((thrown: SkeinError) => thrown);
      expect((error as SkeinError).body).toMatchObject({
        code: 'DENIED',
        hint: expect.stringContaining('guard.keys') as string,
      });
    },
  );

  it('listens elsewhere with a key, and takes the address used as its host', async () => {
    const { port } = await open({ host: '0.0.0.0', keys: KEYS });
    const headers = { 'x-api-key': SECRET, host: `127.0.0.1:${port}` };
    expect((await rawRequest({ port }, { path: '/v1/status', headers })).status).toBe(200);
    const rebound = await rawRequest(
      { port },
      { path: '/v1/status', headers: { ...headers, host: 'evil.example' } },
    );
    expect(rebound.status).toBe(403);
  });

  it.each(['0.0.0.0', '::'])(
    'listening on all (%s) tells a URL under which others reach it',
    async (host) => {
      const { face } = await open({ host, keys: KEYS });
      expect(new URL(face.mcpUrl).hostname).not.toMatch(/^(0\.0\.0\.0|\[::\])$/);
      const answer = await fetch(`${face.url}/v1/status`, { headers: { 'x-api-key': SECRET } });
      expect(answer.status).toBe(200);
    },
  );

  it('names a port that is taken, and says what to do', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => holder.once('listening', resolve));
    const { port } = holder.address() as { port: number };
    const error = await open({ port }).catch((thrown: SkeinError) => thrown);
    expect((error as SkeinError).body).toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining(String(port)) as string,
      hint: expect.stringContaining('--http-port') as string,
    });
    holder.close();
  });
});

describe('control socket', () => {
  async function directory(): Promise<string> {
    return mkdtemp(join(tmpdir(), 'skein-control-'));
  }

  it('is open to its user alone, and that user is the operator', async () => {
    const dataDirectory = await directory();
    const control = await startControl({
      node: memoryNode(),
      logger: QUIET,
      identity: IDENTITY,
      dataDirectory,
    });
    opened.push(control);
    for (const path of [control.controlPath, control.mcpPath])
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    const target = { socketPath: control.controlPath };
    await jsonRequest(target, 'PUT', '/v1/boards/main/entries/k', { value: 1 });
    expect((await rawRequest(target, { path: '/v1/boards/main/entries/k' })).json).toMatchObject({
      author: 'operator',
    });
  });

  it('replaces sockets that a killed node left, and leaves a living node alone', async () => {
    const dataDirectory = await directory();
    await writeFile(join(dataDirectory, 'control.sock'), '');
    const setting = { node: memoryNode(), logger: QUIET, identity: IDENTITY, dataDirectory };
    const control = await startControl(setting);
    await expect(startControl(setting)).rejects.toMatchObject({ body: { code: 'CONFLICT' } });
    expect((await rawRequest({ socketPath: control.controlPath }, { path: '/healthz' })).status).toBe(200);
    await control.close();
    await rm(dataDirectory, { recursive: true });
  });

  it('says what to do about a data directory that is not there or too deep', async () => {
    const setting = { node: memoryNode(), logger: QUIET, identity: IDENTITY };
    await expect(startControl({ ...setting, dataDirectory: '/nowhere/at/all' })).rejects.toMatchObject({
      body: { code: 'DENIED', hint: expect.stringContaining('--data') as string },
    });
    await expect(startControl({ ...setting, dataDirectory: `/${'x'.repeat(200)}` })).rejects.toMatchObject({
      body: { code: 'INVALID_ARGUMENT', hint: expect.stringContaining('--data') as string },
    });
  });
});
