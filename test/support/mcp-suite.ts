/**
 * What a node owes its MCP clients: both SDKs, both eras, Streamable HTTP and byte streams. Any node can be put
 * under it; what only a node in memory can show is asked for where it offers it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLIENTS, connectClient, type TestClient, type Where } from './mcp-clients.ts';
import { randomName, until } from './memory-node.ts';

export interface McpNode {
  /** `http://127.0.0.1:…/mcp`, without a key. */
  readonly mcpUrl: string;
  /** The socket that speaks MCP line by line. */
  readonly mcpPath: string;
  /** Waits that are open in the node. */
  readonly waiting?: () => number;
  /** Listeners of a board in the node. */
  readonly listeners?: (board: string) => number;
  close(): Promise<void>;
}

const TRANSPORTS = ['Streamable HTTP', 'byte stream'] as const;
const CASES = CLIENTS.flatMap((client) => TRANSPORTS.map((transport) => ({ client, transport })));

export function describeMcpClients(what: string, open: () => Promise<McpNode>): void {
  let node: McpNode;
  beforeAll(async () => {
    node = await open();
  });
  afterAll(() => node.close());

  describe.each(CASES)(`${what}: $client over $transport`, ({ client: kind, transport }) => {
    let client: TestClient;
    const board = randomName('b');

    beforeAll(async () => {
      const where: Where = transport === 'byte stream' ? { socketPath: node.mcpPath } : { url: node.mcpUrl };
      client = await connectClient(kind, where);
    });
    afterAll(() => client.close());

    it('names the server and lists tools, resources, templates and prompts', async () => {
      expect(client.raw.getServerVersion()).toMatchObject({ name: 'skein' });
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
        'budget://{task_id}',
      ]);
      const { prompts } = await client.raw.listPrompts();
      expect(prompts.map(({ name }) => name)).toEqual(['hand_over', 'join_swarm', 'plan_with_budget']);
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
      const other = await connectClient(kind, { url: node.mcpUrl });
      const waiting = client.call('board_wait', { board, prefix: 'w/', timeout_seconds: 10 });
      let done = false;
      const noted = waiting.then(() => {
        done = true;
      });
      // Whether the wait has begun cannot be seen from outside; so the other writes until it was heard.
      while (!done) await other.call('board_write', { board, key: 'w/1', value: 'now' });
      await noted;
      const { structured } = await waiting;
      expect(structured.changes).toMatchObject([{ key: 'w/1', value: 'now', deleted: false }]);
      await other.close();
    });

    it('misses nothing between two waits that a cursor joins, and gives nothing at the time-out', async () => {
      const first = await client.call('board_wait', { board, prefix: 'c/', timeout_seconds: 0 });
      expect(first.structured.changes).toEqual([]);
      for (const key of ['c/1', 'c/2']) await client.call('board_write', { board, key, value: key });
      const { cursor } = first.structured;
      const second = await client.call('board_wait', { board, prefix: 'c/', cursor, timeout_seconds: 5 });
      expect((second.structured.changes as { key: string }[]).map(({ key }) => key)).toEqual(['c/1', 'c/2']);
      const again = { board, prefix: 'c/', cursor: second.structured.cursor, timeout_seconds: 0.05 };
      expect((await client.call('board_wait', again)).structured.changes).toEqual([]);
    });

    it('cancels a wait when the client gives it up, and goes on serving', async () => {
      const abort = new AbortController();
      const waiting = client.call(
        'board_wait',
        { board, prefix: 'never/', timeout_seconds: 60 },
        { signal: abort.signal },
      );
      waiting.catch(() => {});
      const count = node.waiting;
      if (count !== undefined) await until(() => count() > 0, 'the wait begins');
      abort.abort('enough');
      await expect(waiting).rejects.toThrow();
      if (count !== undefined) await until(() => count() === 0, 'the wait ends in the node');
      expect((await client.call('board_read', { board, key: 'a' })).isError).toBe(false);
    });

    it('tells of updates of a subscribed entry, and no more after the subscription ended', async () => {
      const updates: string[] = [];
      const uri = `board://${board}/sub`;
      const end = await client.subscribe(uri, (updated) => updates.push(updated));
      // The event stream of a session opens by itself, at some time after the connection.
      for (let at = 0; updates.length === 0 && at < 1_000; at++) {
        await client.call('board_write', { board, key: 'sub', value: at });
      }
      expect(new Set(updates)).toEqual(new Set([uri]));
      await end();
      const { listeners } = node;
      if (listeners !== undefined)
        await until(() => listeners(board) === 0, 'the board is no longer watched');
      const before = updates.length;
      for (let at = 0; at < 20; at++) await client.call('board_write', { board, key: 'sub', value: at });
      expect(updates).toHaveLength(before);
    });

    it('registers an agent and finds it by what it can do', async () => {
      const agent_id = randomName('agent');
      const capabilities = [randomName('can')];
      const registered = await client.call('agent_register', {
        agent_id,
        capabilities,
        endpoint: 'http://[::1]:9/',
      });
      expect(registered.structured).toMatchObject({ agent_id, capabilities, trust_level: 0.9 });
      expect((await client.call('agent_heartbeat', { agent_id })).isError).toBe(false);
      const found = await client.call('agent_discover', { capability: capabilities[0] });
      expect(found.structured.agents).toMatchObject([{ agent_id, endpoint: 'http://[::1]:9/' }]);
    });

    it('edits a document by exact text', async () => {
      const document = randomName('doc');
      await client.call('document_edit', { board, document, edits: [{ kind: 'append', text: 'one two' }] });
      const edits = [{ kind: 'replace', find: 'two', text: '2' }];
      const edited = await client.call('document_edit', { board, document, edits });
      expect(edited.structured.text).toBe('one 2');
      expect((await client.call('document_read', { board, document })).structured.text).toBe('one 2');
      const missing = await client.call('document_edit', { board, document, edits });
      expect(missing.isError).toBe(true);
    });

    it('deletes a document', async () => {
      const document = randomName('doc');
      await client.call('document_edit', { board, document, edits: [{ kind: 'append', text: 'old' }] });
      const deleted = await client.call('document_delete', { board, document });
      expect(deleted.structured).toMatchObject({ deleted: true });
      expect((await client.call('document_read', { board, document })).structured.text).toBe('');
      expect((await client.call('document_delete', { board, document })).structured.deleted).toBe(false);
    });
  });

  describe(`${what}: a client that negotiates`, () => {
    it('gets the newest revision', async () => {
      const client = await connectClient('v2 (negotiated)', { url: node.mcpUrl });
      expect((client.raw as unknown as { getProtocolEra(): string }).getProtocolEra()).toBe('modern');
      await client.close();
    });
  });
}
