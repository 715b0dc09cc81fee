/** Unmodified y-websocket clients against `/yjs`. */
import * as encoding from 'lib0/encoding';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { connectClient } from '../../support/mcp-clients.ts';
import { IDENTITY, type MemoryNode, memoryNode, randomName, until } from '../../support/memory-node.ts';

const SECRET = 'a-secret-of-some-length';
const EXTERNAL_SECRET = 'a-secret-for-the-outside';
let face: HttpFace;
let node: MemoryNode;
let base: string;
const providers: WebsocketProvider[] = [];
const logged: string[] = [];

beforeAll(async () => {
  node = memoryNode();
  face = await startHttp({
    node,
    logger: { log: (_level, name) => logged.push(name) },
    identity: IDENTITY,
    host: '127.0.0.1',
    port: 0,
    keys: [
      { principal: 'editor', zone: 'trusted', secret: SECRET },
      { principal: 'guest', zone: 'external', secret: EXTERNAL_SECRET },
    ],
    allowedHosts: [],
    allowedOrigins: [],
  });
  base = `${face.url.replace('http', 'ws')}/yjs`;
});
afterAll(async () => {
  for (const provider of providers) provider.destroy();
  await face.close();
});

function provide(room: string, params: Record<string, string> = { key: SECRET }): WebsocketProvider {
  const provider = new WebsocketProvider(base, room, new Y.Doc(), {
    params,
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
  });
  providers.push(provider);
  return provider;
}

/** A socket that speaks bytes; resolves the code with which it is closed. */
async function rawSocket(room: string) {
  const socket = new WebSocket(`${base}/${room}?key=${SECRET}`);
  const closed = new Promise<number>((resolve) => socket.on('close', (code) => resolve(code)));
  await new Promise((resolve) => socket.on('open', resolve));
  return { socket, closed };
}

function syncMessage(step: number, payload: Uint8Array): Uint8Array {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, 0);
  encoding.writeVarUint(encoder, step);
  encoding.writeVarUint8Array(encoder, payload);
  return encoding.toUint8Array(encoder);
}

describe('yjs: a WebsocketProvider', () => {
  it('edits a free document with another one and with an agent, all ways at once', async () => {
    const document = randomName('doc');
    const [one, two] = [provide(`main/${document}`), provide(`main/${document}`)];
    await until(() => one.synced && two.synced, 'both are synced');
    const agent = await connectClient('v2 (2026-07-28)', { url: face.mcpUrl, key: SECRET });
    one.doc.getText('text').insert(0, 'from one. ');
    await until(() => two.doc.getText('text').toString() === 'from one. ', 'two sees one');
    two.doc.getText('text').insert(0, 'from two, ');
    await agent.call('document_edit', { document, edits: [{ kind: 'append', text: 'from an agent.' }] });
    const whole = 'from two, from one. from an agent.';
    await until(() => one.doc.getText('text').toString() === whole, 'one sees all');
    await until(() => two.doc.getText('text').toString() === whole, 'two sees all');
    expect((await agent.call('document_read', { document })).structured.text).toBe(whole);
    await agent.close();
  });

  it('brings what it wrote while it was away, and gets what it missed', async () => {
    const document = randomName('doc');
    const provider = provide(`main/${document}`);
    await until(() => provider.synced, 'synced');
    provider.disconnect();
    provider.doc.getText('text').insert(0, 'offline');
    node.yjs.edit('main' as never, document, [{ kind: 'append', text: ' online' }]);
    provider.connect();
    await until(() => node.yjs.text('main' as never, document).text.includes('offline'), 'the node has both');
    await until(() => provider.doc.getText('text').toString().includes('online'), 'the client has both');
    expect(provider.doc.getText('text').toString()).toBe(node.yjs.text('main' as never, document).text);
  });

  it('sees entries live, and is told that it cannot write them, without losing the connection', async () => {
    const board = randomName('b');
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const provider = provide(board);
    await until(() => provider.synced, 'synced');
    const agent = await connectClient('v1 (2025-11-25)', { url: face.mcpUrl, key: SECRET });
    await agent.call('board_write', { board, key: 'k', value: 'live' });
    await until(() => provider.doc.getMap('entries').get('k') === 'live', 'the entry arrives');
    provider.doc.getMap('entries').set('k', 'forged');
    await until(() => warn.mock.calls.length > 0, 'the refusal arrives');
    expect(String(warn.mock.calls[0]?.[0])).toContain('DENIED');
    expect((await agent.call('board_read', { board, key: 'k' })).structured.value).toBe('live');
    expect(provider.wsconnected).toBe(true);
    warn.mockRestore();
    await agent.close();
  });

  it('passes awareness on, and takes it back when its owner goes', async () => {
    const room = `main/${randomName('doc')}`;
    const [one, two] = [provide(room), provide(room)];
    await until(() => one.synced && two.synced, 'both are synced');
    one.awareness.setLocalStateField('user', { name: 'one' });
    const seen = () => two.awareness.getStates().get(one.doc.clientID) as { user?: unknown } | undefined;
    await until(() => seen()?.user !== undefined, 'two sees one');
    expect(seen()).toMatchObject({ user: { name: 'one' } });
    const late = provide(room);
    await until(() => late.awareness.getStates().has(one.doc.clientID), 'a late one sees one');
    // Broken, not closed: the client has no time to say goodbye.
    (one.ws as unknown as WebSocket).terminate();
    one.shouldConnect = false;
    await until(() => seen() === undefined, 'one is gone for two');
  });

  it('of the zone external reads and does not write', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const document = randomName('doc');
    const provider = provide(`main/${document}`, { key: EXTERNAL_SECRET });
    await until(() => provider.synced, 'synced');
    provider.doc.getText('text').insert(0, 'x');
    await until(() => warn.mock.calls.length > 0, 'the refusal arrives');
    expect(node.yjs.text('main' as never, document).text).toBe('');
    warn.mockRestore();
  });

  it('does not get in without a key', async () => {
    const provider = provide('main/secret', {});
    let errors = 0;
    provider.on('connection-error', () => errors++);
    await until(() => errors > 0, 'the connection is refused');
    expect(provider.wsconnected).toBe(false);
    provider.destroy();
  });
});

describe('yjs: a hostile client', () => {
  const malformed = [
    { name: 'nothing', bytes: new Uint8Array(0) },
    { name: 'half a number', bytes: new Uint8Array([0x80]) },
    { name: 'a length beyond the end', bytes: new Uint8Array([0, 2, 0xff, 0xff, 0xff, 0x7f]) },
    { name: 'a broken state vector', bytes: syncMessage(0, new Uint8Array([0xff, 0xff, 0xff])) },
    { name: 'a broken awareness update', bytes: new Uint8Array([1, 3, 9, 9, 9]) },
  ];
  it.each(malformed)('is closed with 4400 for $name', async ({ bytes }) => {
    const { socket, closed } = await rawSocket('main/hostile');
    socket.send(bytes);
    expect(await closed).toBe(4400);
  });

  it('is closed with 4400 for text, with 1009 for a message over the limit', async () => {
    const text = await rawSocket('main/hostile');
    text.socket.send('hello');
    expect(await text.closed).toBe(4400);
    const huge = await rawSocket('main/hostile');
    huge.socket.on('error', () => {});
    huge.socket.send(new Uint8Array(limits.documentBytes + 1));
    expect(await huge.closed).toBe(1009);
  });

  it('is closed with 4403 when it keeps writing what is refused', async () => {
    const { socket, closed } = await rawSocket('main');
    const doc = new Y.Doc();
    doc.on('update', (update: Uint8Array) => socket.send(syncMessage(2, update)));
    for (let at = 0; at < 100; at++) doc.getMap('entries').set('k', at);
    expect(await closed).toBe(4403);
  });

  it('is closed with 4403 when it asks for the whole state again and again', async () => {
    const { socket, closed } = await rawSocket('main');
    for (let at = 0; at < 100; at++) socket.send(syncMessage(0, new Uint8Array([0])));
    expect(await closed).toBe(4403);
  });

  it('that does not read is cut off, while others go on', async () => {
    const document = randomName('doc');
    const { socket, closed } = await rawSocket(`main/${document}`);
    const reader = provide(`main/${document}`);
    await until(() => reader.synced, 'the reader is synced');
    socket.pause();
    const text = node.yjs.doc('main' as never, document).getText('text');
    // The kernel's buffers take some megabytes before anything waits in the node.
    for (let at = 0; at < 100 && !logged.includes('yjs.slow'); at++) {
      text.insert(0, 'x'.repeat(512 * 1024));
      text.delete(0, text.length);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(logged).toContain('yjs.slow');
    socket.resume();
    await closed;
    text.insert(0, 'still here');
    await until(() => reader.doc.getText('text').toString() === 'still here', 'the reader goes on');
  });

  it('is held to its number of open streams (S18)', async () => {
    const sockets = Array.from(
      { length: limits.streamsPerPrincipal + 10 },
      () => new WebSocket(`${base}/main/many?key=${SECRET}`),
    );
    const outcomes = await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<number>((resolve) => {
            socket.on('open', () => resolve(101));
            socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
            socket.on('error', () => {});
          }),
      ),
    );
    expect(outcomes.filter((status) => status === 429).length).toBeGreaterThanOrEqual(10);
    for (const socket of sockets) socket.terminate();
    let open = 429;
    await until(() => {
      const socket = new WebSocket(`${base}/main/many?key=${SECRET}`);
      socket.on('open', () => {
        open = 101;
        socket.terminate();
      });
      socket.on('error', () => {});
      return open === 101;
    }, 'streams are given back');
  });
});
