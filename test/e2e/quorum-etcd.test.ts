/** Nodes whose quorum store is kept by a real etcd: the same boards, leases and refusals. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EtcdCluster } from '../adapters/etcd-server.ts';
import type { TestClient } from '../support/mcp-clients.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { command, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const world = new WholeNodes('quorum-etcd');
let etcd: EtcdCluster;
let nodes: readonly [NodeProcess, NodeProcess];
let clients: readonly [TestClient, TestClient];

beforeAll(async () => {
  etcd = await EtcdCluster.start();
  const endpoints = etcd.endpoints.map((endpoint) => `http://${endpoint}`);
  const flags = [
    '--quorum-engine',
    'etcd',
    ...endpoints.flatMap((endpoint) => ['--quorum-etcd-endpoints', endpoint]),
  ];
  const a = await world.start('a', { flags });
  const b = await world.start('b', { flags, peers: [a] });
  nodes = [a, b];
  clients = [await world.client(a), await world.client(b, 'v1 (2025-11-25)')];
}, 60_000);
afterAll(async () => {
  await world.end();
  await etcd.close();
});

it('of two agents that claim a task exactly one wins, and both read who', { timeout: 30_000 }, async () => {
  const claims = await Promise.all(
    clients.map((client, index) =>
      client.call('board_compare_and_set', { key: 'task', expected_revision: 0, value: index }),
    ),
  );
  const winners = claims.flatMap(({ isError }, index) => (isError ? [] : [index]));
  expect(winners).toHaveLength(1);
  for (const client of clients) {
    for (const level of ['strong', 'eventual'] as const) {
      await eventually(`${level} read`, async () => {
        const { structured } = await client.call('board_read', { board: 'tasks', key: 'task', level });
        return structured.value === winners[0] || undefined;
      });
    }
  }
});

it('a token is honoured on the other node, and waiting sees what the other wrote', {
  timeout: 30_000,
}, async () => {
  const [a, b] = clients;
  const { cursor } = (await b.call('board_wait', { board: 'tasks', prefix: '', timeout_seconds: 0 }))
    .structured;
  const { session } = (await a.call('board_write', { board: 'tasks', key: 'k', value: 'v' })).structured;
  const read = await b.call('board_read', { board: 'tasks', key: 'k', level: 'session', session });
  expect(read.structured).toMatchObject({ found: true, value: 'v' });
  const waited = await b.call('board_wait', { board: 'tasks', prefix: '', cursor, timeout_seconds: 5 });
  expect(waited.structured.changes).toMatchObject([{ key: 'k', value: 'v' }]);
  const { entries } = (await b.call('board_list', { board: 'tasks' })).structured as { entries: object[] };
  expect(entries).toMatchObject([{ key: 'k' }, { key: 'task' }]);
});

it('a lease has one holder, and its time is the time of etcd', { timeout: 30_000 }, async () => {
  const lease = { name: 'l', ttl_seconds: 1 };
  const first = (await clients[0].call('lease_acquire', lease)).structured;
  expect(first).toMatchObject({ held: true });
  expect((await clients[1].call('lease_acquire', lease)).structured).toMatchObject({ held: false });
  expect((await clients[0].call('lease_renew', { name: 'l' })).structured).toMatchObject({ held: true });
  const second = await eventually('the lease ran out', async () => {
    const { structured } = await clients[1].call('lease_acquire', lease);
    return structured.held === true ? structured : undefined;
  });
  expect(second.fencing_token as number).toBeGreaterThan(first.fencing_token as number);
});

it('voters are those of etcd, and say so', async () => {
  const { json } = await command(nodes[0], 'voters', 'list', '--json');
  expect(json).toMatchObject({ voters: [] });
  const added = await command(nodes[0], 'voters', 'add', 'b', '--json');
  expect([added.code, added.json]).toMatchObject([1, { error: { code: 'UNSUPPORTED' } }]);
  expect((await command(nodes[0], 'status')).out).toContain('kept by etcd');
});

it('without etcd strong calls are refused in time, and what is mirrored is read', {
  timeout: 30_000,
}, async () => {
  expect(await problemsOf(nodes[0])).toEqual([]);
  await etcd.kill(0);
  const startedMs = performance.now();
  const write = await clients[0].call('board_write', { board: 'tasks', key: 'k', value: 1 });
  expect(write.structured).toMatchObject({ error: { code: 'QUORUM_UNAVAILABLE' } });
  expect(performance.now() - startedMs).toBeLessThan(2_500);
  const read = await clients[0].call('board_read', { board: 'tasks', key: 'k', level: 'eventual' });
  expect(read.structured).toMatchObject({ found: true, value: 'v', level: 'eventual' });
  for (const node of nodes)
    await eventually('doctor says so', async () => {
      const [{ code, message } = { code: '', message: '' }] = await problemsOf(node);
      return (
        (code === 'ETCD_UNREACHABLE' && /ECONNREFUSED [\d.:]+\d\. Strong reads/.test(message)) || undefined
      );
    });
  await etcd.restart(0);
  await eventually('etcd serves again', async () =>
    (await problemsOf(nodes[0])).length === 0 && (await problemsOf(nodes[1])).length === 0 ? true : undefined,
  );
});
