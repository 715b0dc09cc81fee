/** REST, as the command line and programs use it. */
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import type { BoardName, NodeId } from '../../../src/kernel/ids.ts';
import {
  IDENTITY,
  MEMORY_NODE_ID,
  type MemoryNode,
  memoryNode,
  QUIET,
  until,
} from '../../support/memory-node.ts';
import { jsonRequest, rawRequest } from '../../support/raw-http.ts';

let face: HttpFace;
let node: MemoryNode;
let target: { port: number };

const SETTING = {
  logger: QUIET,
  identity: IDENTITY,
  host: '127.0.0.1',
  port: 0,
  keys: [],
  allowedHosts: [],
  allowedOrigins: [],
};

function fault(): never {
  throw new Error('a fault');
}

beforeAll(async () => {
  node = memoryNode();
  face = await startHttp({ ...SETTING, node });
  target = { port: Number(new URL(face.url).port) };
});
afterAll(() => face.close());

const get = (path: string) => rawRequest(target, { path });
const put = (path: string, body: unknown) => jsonRequest(target, 'PUT', path, body);

interface StreamedEvent {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** Follows an event stream; the returned list grows. */
function follow(path: string, headers: Record<string, string> = {}) {
  const events: StreamedEvent[] = [];
  const sent = request({ host: '127.0.0.1', port: target.port, path, headers, agent: false });
  const opened = new Promise<number>((resolve) => {
    sent.on('response', (response) => {
      resolve(response.statusCode ?? 0);
      let rest = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        const blocks = (rest + chunk).split('\n\n');
        rest = blocks.pop() ?? '';
        for (const block of blocks) {
          const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
          const data = field('data');
          if (data === undefined) continue;
          events.push({
            id: field('id'),
            event: field('event') ?? '',
            data: JSON.parse(data) as Record<string, unknown>,
          });
        }
      });
    });
  });
  sent.on('error', () => {});
  sent.end();
  return { events, opened, stop: () => sent.destroy() };
}

describe('rest', () => {
  it('a fault of the node is INTERNAL with outcome "unknown", in a tool and outside of one', async () => {
    const faulty: MemoryNode = Object.assign(memoryNode(), {
      meter: { text: () => fault() },
      blackboard: { call: () => fault() },
    });
    const other = await startHttp({ ...SETTING, node: faulty });
    try {
      const at = { port: Number(new URL(other.url).port) };
      const answers = [
        await rawRequest(at, { path: '/metrics' }),
        await jsonRequest(at, 'PUT', '/v1/boards/main/entries/k', { value: 1 }),
      ];
      for (const { status, json } of answers) {
        expect(status).toBe(500);
        expect(json).toMatchObject({ error: { code: 'INTERNAL', details: { outcome: 'unknown' } } });
      }
    } finally {
      await other.close();
    }
  });

  it('puts, gets and deletes an entry', async () => {
    const written = await put('/v1/boards/main/entries/plan', { value: { step: 1 }, agent_id: 'planner' });
    expect(written.status).toBe(200);
    const read = await get('/v1/boards/main/entries/plan');
    expect(read.json).toEqual({
      found: true,
      key: 'plan',
      value: { step: 1 },
      author: 'planner',
      node: MEMORY_NODE_ID,
      writtenAt: expect.any(String) as string,
      revision: (written.json as { revision: number }).revision,
      session: expect.any(String) as string,
    });
    const gone = await rawRequest(target, { method: 'DELETE', path: '/v1/boards/main/entries/plan' });
    expect(gone.json).toMatchObject({ deleted: true });
    const absent = await get('/v1/boards/main/entries/plan');
    expect(absent.status).toBe(404);
    expect(absent.json).toMatchObject({
      error: { code: 'NOT_FOUND', details: { session: expect.any(String) as string } },
    });
  });

  it.each(['a/b', 'a%2Fb', '..%2F..%2Fetc%2Fpasswd', '../../etc/passwd', '%C3%BC', 'a%20b', '%252e%252e'])(
    'takes the key %s as it stands (S09)',
    async (encoded) => {
      expect((await put(`/v1/boards/keys/entries/${encoded}`, { value: encoded })).status).toBe(200);
      const read = await get(`/v1/boards/keys/entries/${encoded}`);
      expect(read.json).toMatchObject({ key: decodeURIComponent(encoded), value: encoded });
    },
  );

  it.each(['%', '%00', '%E0%A4%A', 'x'.repeat(600)])('refuses the key %s', async (encoded) => {
    const answer = await put(`/v1/boards/keys/entries/${encoded}`, { value: 1 });
    expect([400, 404, 413]).toContain(answer.status);
  });

  it.each(['UPPER', '-x', 'a b', 'x'.repeat(65), '..'])('refuses the board %s', async (board) => {
    const answer = await put(`/v1/boards/${encodeURIComponent(board)}/entries/k`, { value: 1 });
    expect(answer.json).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
  });

  it('lists by prefix in pages that a cursor joins', async () => {
    for (const key of ['l/1', 'l/2', 'l/3', 'm/1'])
      await put(`/v1/boards/lists/entries/${key}`, { value: key });
    const first = (await get('/v1/boards/lists/entries?prefix=l/&limit=2')).json as {
      entries: { key: string }[];
      cursor: string;
    };
    expect(first.entries.map(({ key }) => key)).toEqual(['l/1', 'l/2']);
    const second = (await get(`/v1/boards/lists/entries?prefix=l/&limit=2&cursor=${first.cursor}`))
      .json as typeof first;
    expect(second.entries.map(({ key }) => key)).toEqual(['l/3']);
    expect(second.cursor).toBeUndefined();
    for (const query of ['limit=0', 'limit=x', 'limit=', 'limit=1001', 'limt=1']) {
      expect((await get(`/v1/boards/lists/entries?${query}`)).status, query).toBe(400);
    }
  });

  it('appends items to a log', async () => {
    await jsonRequest(target, 'POST', '/v1/boards/main/entries/log/items', { items: [1, 2] });
    await jsonRequest(target, 'POST', '/v1/boards/main/entries/log/items', { items: [3] });
    expect((await get('/v1/boards/main/entries/log')).json).toMatchObject({ value: [1, 2, 3] });
  });

  it('reads, edits and deletes a document', async () => {
    const path = '/v1/boards/main/documents/report';
    await jsonRequest(target, 'PATCH', path, { edits: [{ kind: 'append', text: 'Hello world' }] });
    const edits = [
      { kind: 'replace', find: 'world', text: 'mesh' },
      { kind: 'insert_after', find: 'Hello', text: ', dear' },
    ];
    expect((await jsonRequest(target, 'PATCH', path, { edits })).json).toMatchObject({
      text: 'Hello, dear mesh',
    });
    expect((await get(path)).json).toMatchObject({
      text: 'Hello, dear mesh',
      revision: expect.any(Number) as number,
    });
    const missing = await jsonRequest(target, 'PATCH', path, {
      edits: [{ kind: 'replace', find: 'x', text: '' }],
    });
    expect(missing.status).toBe(400);
    expect((await jsonRequest(target, 'DELETE', path)).json).toMatchObject({ deleted: true });
    expect((await get(path)).json).toMatchObject({ text: '' });
    expect((await jsonRequest(target, 'PUT', path, { text: 'x' })).status).toBe(405);
  });

  it('lists the names of documents a page at a time', async () => {
    const names = ['a', 'b/c', 'd'];
    const board = { name: 'papers' as BoardName, mode: 'crdt', keys: 0, bytes: 0 } as const;
    const boards = vi
      .spyOn(node.blackboard, 'boards')
      .mockReturnValue([{ ...board, allDocuments: () => names }]);
    try {
      const page = (await get('/v1/boards/papers/documents?limit=2')).json as { cursor: string };
      expect(page).toEqual({ documents: ['a', 'b/c'], cursor: expect.any(String) });
      const rest = await get(`/v1/boards/papers/documents?cursor=${page.cursor}`);
      expect(rest.json).toEqual({ documents: ['d'] });
      expect((await get('/v1/boards/papers/documents?limit=1001')).status).toBe(400);
      expect((await get('/v1/boards/others/documents')).json).toEqual({ documents: [] });
    } finally {
      boards.mockRestore();
    }
  });

  it('carries session and level from the query or the body, and refuses an argument given twice', async () => {
    expect((await get('/v1/boards/main/entries/log?session=m.999999')).status).toBe(503);
    expect((await get('/v1/boards/main/entries/log?level=strong')).status).toBe(422);
    expect((await get('/v1/boards/main/entries/log?level=best')).status).toBe(400);
    expect(
      (await put('/v1/boards/main/entries/x?level=session', { value: 1, level: 'session' })).status,
    ).toBe(400);
    expect((await put('/v1/boards/main/entries/x', { value: 1, key: 'y' })).status).toBe(400);
    expect((await put('/v1/boards/main/entries/x?ttl_seconds=60', { value: 1 })).status).toBe(200);
    expect((await put('/v1/boards/main/entries/x', [1])).status).toBe(400);
    expect((await put('/v1/boards/main/entries/x', {})).json).toMatchObject({
      error: { code: 'INVALID_ARGUMENT' },
    });
  });

  it('registers, keeps alive and finds agents', async () => {
    const registered = await jsonRequest(target, 'POST', '/v1/agents', {
      agent_id: 'painter',
      capabilities: ['paint'],
      endpoint: 'http://127.0.0.1:1/',
    });
    expect(registered.json).toEqual({
      agent_id: 'painter',
      machine_id: MEMORY_NODE_ID,
      machine_name: 'memory',
      capabilities: ['paint'],
      trust_level: 0.9,
      last_seen: expect.any(String) as string,
      endpoint: 'http://127.0.0.1:1/',
    });
    expect((await rawRequest(target, { method: 'POST', path: '/v1/agents/painter/heartbeat' })).status).toBe(
      200,
    );
    expect((await rawRequest(target, { method: 'POST', path: '/v1/agents/nobody/heartbeat' })).status).toBe(
      404,
    );
    const found = (await get('/v1/agents?capability=paint&min_trust=0.5')).json as { agents: unknown[] };
    expect(found.agents).toHaveLength(1);
    expect((await get('/v1/agents?capability=sing')).json).toEqual({ agents: [] });
  });

  it('shows status, peers in pages, boards and problems', async () => {
    expect((await get('/v1/status')).json).toMatchObject({ nodeId: MEMORY_NODE_ID, members: { alive: 1 } });
    expect((await get('/v1/doctor')).json).toEqual({ problems: node.mesh.status().problems });
    const boards = (await get('/v1/boards')).json as { boards: { name: string }[] };
    expect(boards.boards.map(({ name }) => name)).toEqual(['keys', 'lists', 'main']);
    const [self] = node.mesh.members;
    node.mesh.members = ['c', 'a', 'b'].map((name) => ({
      ...self!,
      name,
      nodeId: `id-${name}` as NodeId,
      self: false,
    }));
    const names: string[] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page = (await get(`/v1/peers?limit=2${cursor && `&cursor=${cursor}`}`)).json as {
        peers: { name: string }[];
        cursor?: string;
      };
      names.push(...page.peers.map(({ name }) => name));
      cursor = page.cursor;
    }
    expect(names).toEqual(['a', 'b', 'c']);
    expect((await get('/v1/peers?cursor=***')).status).toBe(400);
  });

  it('watches changes of a prefix, and goes on from a cursor without a gap', async () => {
    const stream = follow('/v1/boards/watched/watch?prefix=w/');
    expect(await stream.opened).toBe(200);
    await put('/v1/boards/watched/entries/w/1', { value: 1 });
    await put('/v1/boards/watched/entries/other', { value: 1 });
    await rawRequest(target, { method: 'DELETE', path: '/v1/boards/watched/entries/w/1' });
    await until(() => stream.events.length === 2, 'two changes arrive');
    expect(stream.events.map(({ event, data }) => [event, data.key, data.deleted])).toEqual([
      ['change', 'w/1', false],
      ['change', 'w/1', true],
    ]);
    const lastId = stream.events.at(-1)?.id;
    stream.stop();
    await until(() => node.blackboard.waiting === 0, 'the watch ends in the node');
    await put('/v1/boards/watched/entries/w/2', { value: 2 });
    const resumed = follow('/v1/boards/watched/watch?prefix=w/', { 'last-event-id': String(lastId) });
    await until(() => resumed.events.length === 1, 'the missed change arrives');
    expect(resumed.events[0]?.data.key).toBe('w/2');
    resumed.stop();
    expect((await get('/v1/boards/watched/watch?prefix=a&key=b')).status).toBe(400);
  });

  it('calls tools and reads resources without MCP', async () => {
    const called = await jsonRequest(target, 'POST', '/mcp/tools/board_write', { key: 'plain', value: true });
    expect(called.json).toEqual({
      revision: expect.any(Number) as number,
      session: expect.any(String) as string,
    });
    expect((await jsonRequest(target, 'POST', '/mcp/tools/board_reed', { key: 'plain' })).status).toBe(404);
    expect((await rawRequest(target, { method: 'POST', path: '/mcp/tools/mesh_status' })).status).toBe(200);
    const uri = encodeURIComponent('board://main/plain');
    expect((await get(`/mcp/resources/${uri}`)).json).toMatchObject({ key: 'plain', value: true });
    expect((await get('/mcp/resources/file%3A%2F%2F%2Fetc%2Fpasswd')).status).toBe(404);
  });

  it('shows counters and gauges as Prometheus reads them', async () => {
    node.meter.counters.count('board.writes', 3);
    node.meter.counters.gauge('link.rttMs', 1.5);
    const { text, headers } = await get('/metrics');
    expect(headers['content-type']).toContain('version=0.0.4');
    expect(text).toContain('# TYPE skein_board_writes_total counter\nskein_board_writes_total 3\n');
    expect(text).toContain('# TYPE skein_link_rtt_ms gauge\nskein_link_rtt_ms 1.5\n');
  });

  it('answers unknown paths with the one shape of errors', async () => {
    for (const path of [
      '/',
      '/v1',
      '/v1/nothing',
      '/v1/boards/main/entries',
      '/mcp/tools',
      '/v1/boards/main/x/y',
    ]) {
      const answer = await get(path);
      if (path.endsWith('entries')) expect(answer.status).toBe(200);
      else {
        expect(answer.status, path).toBe(404);
        expect(answer.json).toMatchObject({
          error: {
            code: 'NOT_FOUND',
            message: expect.any(String) as string,
            hint: expect.any(String) as string,
            retryable: false,
          },
        });
      }
    }
  });
});
