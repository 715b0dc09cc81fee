/** The node through real MCP clients: both SDKs, both eras, Streamable HTTP and byte streams. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlFace, startControl } from '../../../src/adapters/http/control.ts';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import { CLIENTS, connectClient, type TestClient, type Where } from '../../support/mcp-clients.ts';
import {
  IDENTITY,
  type MemoryNode,
  memoryNode,
  QUIET,
  randomName,
  until,
} from '../../support/memory-node.ts';

let node: MemoryNode;
let http: HttpFace;
let control: ControlFace;
let directory: string;
let places: Record<string, Where>;

beforeAll(async () => {
  node = memoryNode();
  directory = await mkdtemp(join(tmpdir(), 'skein-faces-'));
  const setting = { node, logger: QUIET, identity: IDENTITY };
  http = await startHttp({
    ...setting,
    host: '127.0.0.1',
    port: 0,
    keys: [],
    allowedHosts: [],
    allowedOrigins: [],
  });
  control = await startControl({ ...setting, dataDirectory: directory });
  places = { 'Streamable HTTP': { url: http.mcpUrl }, 'byte stream': { socketPath: control.mcpPath } };
});

afterAll(async () => {
  await http.close();
  await control.close();
  await rm(directory, { recursive: true });
});

const cases = CLIENTS.flatMap((client) =>
  ['Streamable HTTP', 'byte stream'].map((transport) => ({ client, transport })),
);

describe.each(cases)('mcp: $client over $transport', ({ client: kind, transport }) => {
  let client: TestClient;
  const board = randomName('b');

  beforeAll(async () => {
    client = await connectClient(kind, places[transport] as Where);
  });
  afterAll(() => client.close());

  it('names the server and lists tools, resources, templates and prompts', async () => {
    expect(client.raw.getServerVersion()).toMatchObject(IDENTITY);
    const { tools } = await client.raw.listTools();
    expect(tools.map(({ name }) => name)).toContain('board_read');
    const { resources } = await client.raw.listResources();
    expect(resources.map(({ uri }) => uri)).toEqual(
      expect.arrayContaining(['mesh://agents', 'mesh://nodes']),
    );
    const { resourceTemplates } = await client.raw.listResourceTemplates();
    expect(resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual([
      'board://{board}',
      'board://{board}/{key}',
    ]);
    const { prompts } = await client.raw.listPrompts();
    expect(prompts.map(({ name }) => name)).toEqual(['hand_over', 'join_swarm']);
  });

  it('writes and reads an entry, as structure and as text', async () => {
    const written = await client.call('board_write', { board, key: 'a', value: { n: [1, 'ü', null] } });
    expect(written.isError).toBe(false);
    const read = await client.call('board_read', { board, key: 'a', session: written.structured.session });
    expect(read.structured).toMatchObject({
      found: true,
      value: { n: [1, 'ü', null] },
      author: 'local',
      revision: written.structured.revision,
    });
    expect(JSON.parse(read.text)).toEqual(read.structured);
  });

  it('answers a failed call with a result that says what to do', async () => {
    const outcome = await client.call('board_write', { board, key: 'a', value: 1, ttl: 5 });
    expect(outcome.isError).toBe(true);
    expect(outcome.structured).toEqual({
      error: {
        code: 'INVALID_ARGUMENT',
        message: 'board_write has no argument "ttl".',
        hint: expect.stringContaining('ttl_seconds') as string,
        retryable: false,
        details: { unknown: 'ttl', nearest: 'ttl_seconds' },
      },
    });
    expect(JSON.parse(outcome.text)).toEqual(outcome.structured);
  });

  it('refuses the key __proto__ inside a value (S14)', async () => {
    const value: unknown = JSON.parse('{"a":{"__proto__":{"admin":true}}}');
    const outcome = await client.call('board_write', { board, key: 'poison', value });
    expect(outcome.structured).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } });
    expect((await client.call('board_read', { board, key: 'poison' })).structured.found).toBe(false);
  });

  it('refuses an unknown tool with a protocol error that names the nearest', async () => {
    await expect(client.call('board_raed', { key: 'a' })).rejects.toThrow(/board_read/);
  });

  it('reads resources, and says which are not there', async () => {
    await client.call('board_write', { board, key: 'deep/key', value: 7 });
    const { contents } = await client.raw.readResource({ uri: `board://${board}/deep/key` });
    const first = contents[0] as { text: string };
    expect(JSON.parse(first.text)).toMatchObject({ key: 'deep/key', value: 7 });
    const whole = await client.raw.readResource({ uri: `board://${board}` });
    expect(
      (JSON.parse((whole.contents[0] as { text: string }).text) as { entries: unknown[] }).entries,
    ).toHaveLength(2);
    await expect(client.raw.readResource({ uri: `board://${board}/none` })).rejects.toThrow(/no resource/);
  });

  it('gets a prompt with its arguments in it', async () => {
    const { messages } = await client.raw.getPrompt({
      name: 'hand_over',
      arguments: { task: 'Fix the roof' },
    });
    expect(messages[0]?.content).toMatchObject({
      type: 'text',
      text: expect.stringContaining('Fix the roof') as string,
    });
    await expect(client.raw.getPrompt({ name: 'hand_over', arguments: {} })).rejects.toThrow(/task/);
  });

  it('waits until another writes', async () => {
    const waiting = client.call('board_wait', { board, prefix: 'w/', timeout_seconds: 10 });
    await until(() => node.blackboard.waiting > 0, 'the wait begins');
    await client.call('board_write', { board, key: 'w/1', value: 'now' });
    const { structured } = await waiting;
    expect(structured.changes).toMatchObject([{ key: 'w/1', value: 'now', deleted: false }]);
  });

  it('cancels a wait in the node when the client gives it up', async () => {
    const abort = new AbortController();
    const waiting = client.call(
      'board_wait',
      { board, prefix: 'never/', timeout_seconds: 60 },
      { signal: abort.signal },
    );
    waiting.catch(() => {});
    await until(() => node.blackboard.waiting > 0, 'the wait begins');
    abort.abort('enough');
    await expect(waiting).rejects.toThrow();
    await until(() => node.blackboard.waiting === 0, 'the wait ends in the node');
  });

  it('tells of updates of a subscribed entry, and no more after the subscription ended', async () => {
    const updates: string[] = [];
    const uri = `board://${board}/sub`;
    const end = await client.subscribe(uri, (updated) => updates.push(updated));
    await until(() => node.blackboard.listenersOf(board) > 0, 'the board is watched');
    // The event stream of a session opens by itself, at some time after the connection.
    await until(() => {
      void node.blackboard.call(
        { op: 'write', board: board as never, key: 'sub', value: updates.length },
        { agent: 'other' as never },
      );
      return updates.length > 0;
    }, 'an update arrives');
    expect(new Set(updates)).toEqual(new Set([uri]));
    await end();
    await until(() => node.blackboard.listenersOf(board) === 0, 'the board is no longer watched');
  });
});
