/** Three nodes by default options: what exactly one may have, through real MCP clients and the command line. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestClient } from '../support/mcp-clients.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { command, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const world = new WholeNodes('quorum');
let nodes: readonly [NodeProcess, NodeProcess, NodeProcess];
let clients: readonly [TestClient, TestClient, TestClient];

beforeAll(async () => {
  const a = await world.start('a');
  const [b, c] = await Promise.all([world.start('b', { peers: [a] }), world.start('c', { peers: [a] })]);
  nodes = [a, b, c];
  clients = [
    await world.client(a, 'v1 (2025-11-25)'),
    await world.client(b, 'v2 (2026-07-28)'),
    await world.client(c, 'v1 (2025-11-25)'),
  ];
  await eventually('three members are three voters', () => votersSeen(3), 25_000);
}, 60_000);
afterAll(() => world.end());

async function votersSeen(count: number): Promise<true | undefined> {
  for (const client of clients) {
    const { voters, leader } = (await client.call('mesh_status')).structured as {
      voters: unknown[];
      leader: string | null;
    };
    if (voters.length !== count || leader === null) return undefined;
  }
  return true;
}

const error = ({ structured }: { structured: Record<string, unknown> }) =>
  structured.error as { code: string; hint: string; details?: Record<string, unknown> };

describe('a quorum of processes', { timeout: 60_000 }, () => {
  it('of agents on three machines that claim a task at once exactly one wins, ten times', async () => {
    for (let round = 0; round < 10; round++) {
      const key = `task-${round}`;
      const claims = await Promise.all(
        clients.map((client, index) =>
          client.call('board_compare_and_set', {
            board: 'tasks',
            key,
            expected_revision: 0,
            value: { owner: index },
          }),
        ),
      );
      const winners = claims.flatMap(({ isError }, index) => (isError ? [] : [index]));
      expect(winners).toHaveLength(1);
      for (const claim of claims.filter(({ isError }) => isError)) {
        expect(error(claim)).toMatchObject({
          code: 'CONFLICT',
          details: { entry: { key, value: { owner: winners[0] } } },
        });
      }
      for (const client of clients) {
        const { structured } = await client.call('board_read', { board: 'tasks', key });
        expect(structured).toMatchObject({ found: true, value: { owner: winners[0] }, level: 'strong' });
      }
    }
  });

  it('agents that count together lose no count, and one that waits sees every value in order (K47)', async () => {
    const first = await clients[0].call('board_wait', { board: 'tasks', key: 'counter', timeout_seconds: 0 });
    const count = async (client: TestClient) => {
      for (let done = 0; done < 20; ) {
        const { structured } = await client.call('board_read', { board: 'tasks', key: 'counter' });
        const answer = await client.call('board_compare_and_set', {
          board: 'tasks',
          key: 'counter',
          expected_revision: structured.revision,
          value: ((structured.value as number | null) ?? 0) + 1,
        });
        if (!answer.isError) done++;
      }
    };
    const seen: number[] = [];
    const watch = async () => {
      let { cursor } = first.structured;
      while (seen.length < 60) {
        const { structured } = await clients[0].call('board_wait', {
          board: 'tasks',
          key: 'counter',
          cursor,
          timeout_seconds: 5,
        });
        cursor = structured.cursor;
        seen.push(...(structured.changes as { value: number }[]).map(({ value }) => value));
      }
    };
    await Promise.all([...clients.map(count), watch()]);
    expect(seen).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  });

  it('a session moves between machines and boards of both modes with one token', async () => {
    const [a, b, c] = clients;
    const plan = await a.call('board_write', { key: 'plan', value: 'crdt' });
    const task = await a.call('board_write', {
      board: 'tasks',
      key: 'plan',
      value: 'quorum',
      session: plan.structured.session,
    });
    const { session } = task.structured;
    for (const client of [b, c]) {
      for (const [board, value] of [
        ['main', 'crdt'],
        ['tasks', 'quorum'],
      ]) {
        const { structured } = await client.call('board_read', {
          board,
          key: 'plan',
          level: 'session',
          session,
        });
        expect(structured).toMatchObject({ found: true, value });
      }
    }
  });

  it('the command line claims, lists voters and shows the store; a board without documents says so', async () => {
    const [a, b] = nodes;
    const claim = (on: NodeProcess) =>
      command(on, 'board', 'cas', 'tasks', 'by-cli', '"mine"', '--if-revision', '0', '--json');
    expect(await claim(a)).toMatchObject({ code: 0 });
    const lost = await claim(b);
    expect([lost.code, lost.json]).toMatchObject([1, { error: { code: 'CONFLICT' } }]);
    const { json } = await command(b, 'voters', 'list', '--json');
    const { voters } = json as { voters: { name: string; role: string }[] };
    expect(voters.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    expect(voters.filter(({ role }) => role === 'leader')).toHaveLength(1);
    expect((await command(b, 'status')).out).toMatch(/quorum {2}store \S+, 3 voters, led by [abc]\n/);
    const edit = { board: 'tasks', document: 'd', edits: [{ kind: 'append', text: 'x' }] };
    expect(error(await clients[0].call('document_edit', edit)).code).toBe('LEVEL_NOT_OFFERED');
    expect(await problemsOf(a)).toEqual([]);
  });

  it('a person takes a vote away and gives it back, by the name of the machine', async () => {
    const [a] = nodes;
    const voting = async () => {
      const { json } = await command(a, 'voters', 'list', '--json');
      const { voters } = json as { voters: { name: string; role: string }[] };
      return voters.flatMap(({ name, role }) => (role === 'learner' ? [] : [name])).join();
    };
    const early = await command(a, 'voters', 'remove', 'b', '--json');
    expect([early.code, early.json]).toMatchObject([1, { error: { code: 'CONFLICT' } }]);
    const d = await world.start('d', { peers: [a] });
    const known = async () => (await command(a, 'voters', 'list')).out.includes(d.ready.nodeId) || undefined;
    await eventually('d has a copy', known, 15_000);
    expect((await command(a, 'voters', 'remove', 'b')).code).toBe(0);
    await eventually('d has its place', async () => (await voting()) === 'a,c,d' || undefined, 15_000);
    expect((await command(a, 'voters', 'add', 'b')).code).toBe(0);
    await eventually('b votes again', async () => (await voting()) === 'a,b,c,d' || undefined, 15_000);
    expect((await command(a, 'voters', 'remove', 'd')).code).toBe(0);
    await eventually('d has no vote', async () => (await voting()) === 'a,b,c' || undefined, 15_000);
    await d.end('SIGKILL');
    const stranger = await command(a, 'voters', 'remove', 'nobody', '--json');
    expect([stranger.code, stranger.json]).toMatchObject([1, { error: { code: 'NOT_FOUND' } }]);
    await eventually('all see it', () => votersSeen(3), 15_000);
  });

  it('a holder that is killed is followed by the next with a greater fencing token; then the last one left refuses', async () => {
    const [a, b, c] = nodes;
    const lease = { name: 'leader', ttl_seconds: 2 };
    const held = await clients[2].call('lease_acquire', lease);
    expect(held.structured).toMatchObject({ held: true, machine_id: c.ready.nodeId });
    expect((await clients[0].call('lease_acquire', lease)).structured).toMatchObject({
      held: false,
      fencing_token: null,
      machine_id: c.ready.nodeId,
    });
    await c.end('SIGKILL');
    const next = await eventually(
      'the lease is free again',
      async () => {
        const { structured, isError } = await clients[0].call('lease_acquire', lease);
        return !isError && structured.held === true ? structured : undefined;
      },
      15_000,
    );
    expect(next.fencing_token as number).toBeGreaterThan(held.structured.fencing_token as number);

    await clients[0].call('board_write', { board: 'tasks', key: 'last', value: 'known' });
    await b.end('SIGKILL');
    await refusesInTime(clients[0]);
    const { structured } = await clients[0].call('board_read', {
      board: 'tasks',
      key: 'last',
      level: 'eventual',
    });
    expect(structured).toMatchObject({ found: true, value: 'known', level: 'eventual' });
    const { code, json } = await command(a, 'board', 'get', 'tasks', 'last', '--json');
    expect([code, json]).toMatchObject([4, { error: { code: 'QUORUM_UNAVAILABLE' } }]);
    expect((await problemsOf(a)).map((problem) => problem.code)).toContain('QUORUM_LOST');
  });

  it('once a voter is back what waited can be done', async () => {
    const b = world.own(await nodes[1].again());
    await eventually(
      'writes work again',
      async () => {
        const { isError } = await clients[0].call('board_write', {
          board: 'tasks',
          key: 'last',
          value: 'again',
        });
        return !isError || undefined;
      },
      15_000,
    );
    const read = await command(b, 'board', 'get', 'tasks', 'last', '--json');
    expect([read.code, read.json]).toMatchObject([0, { value: 'again' }]);
  });
});

/** Every strong call within 2 s and a little; the first after a kill may still find the old leadership. */
async function refusesInTime(client: TestClient): Promise<void> {
  const calls: [string, Record<string, unknown>][] = [
    ['board_write', { board: 'tasks', key: 'x', value: 1 }],
    ['board_read', { board: 'tasks', key: 'x' }],
    ['board_compare_and_set', { board: 'tasks', key: 'x', expected_revision: 0, value: 1 }],
    ['lease_acquire', { name: 'other', ttl_seconds: 5 }],
  ];
  for (const [tool, args] of calls) {
    const startedMs = performance.now();
    const answer = await client.call(tool, args);
    expect(performance.now() - startedMs, tool).toBeLessThan(2_500);
    expect(error(answer), tool).toMatchObject({
      code: 'QUORUM_UNAVAILABLE',
      details: { missing: expect.any(Array) },
    });
    expect(error(answer).details?.missing, tool).not.toEqual([]);
    expect(error(answer).hint).toMatch(/eventual/);
  }
}
