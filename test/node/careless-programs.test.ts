/** Programs without types: whatever they pass to a node that they run is refused, answered, and leaves the node whole. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AgentId, BoardName } from '../../src/kernel/ids.ts';
import { configWith } from '../../src/node/config/load.ts';
import { type RunningNode, startNode } from '../../src/node/node.ts';

const directory = mkdtempSync(join(tmpdir(), 'skein-careless-'));
const WRITER = { agent: 'a' as AgentId };
let node: RunningNode;

beforeAll(async () => {
  node = await startNode(
    configWith({
      node: { name: 'one', data: directory },
      mesh: { listen: ['127.0.0.1'], port: 0, wsPort: 0, mdns: false },
      http: { enabled: false },
      quorum: { foundAfter: '0s' },
    }),
  );
});

afterAll(async () => {
  await node.stop();
  rmSync(directory, { recursive: true, force: true });
});

it.each([undefined, null, 5, 'reserve', {}, [], { op: 'nope' }, { op: 'toString' }, { op: null }])(
  'budgets: %j is no call',
  async (call) => {
    expect(await node.budgets.call(call as never)).toMatchObject({
      ok: false,
      error: { code: 'INVALID_ARGUMENT', details: { outcome: 'not-done' } },
    });
  },
);

it.each([
  { op: 'create', budget: {}, limit: 1 },
  { op: 'create', budget: 'b', limit: 10, thresholds: 'x' },
  { op: 'create', budget: 'b', limit: 10, parent: 7 },
  { op: 'reserve', budget: 'b', amount: 1, agent: {} },
  { op: 'settle', id: {}, amount: 1 },
  { op: 'report', budget: null, amount: 1 },
  { op: 'transfer' },
  { op: 'writeOff' },
  { op: 'rebalance', budget: 1 },
  { op: 'setLimit' },
  { op: 'request' },
])('budgets: %j is refused', async (call) => {
  const answer = await node.budgets.call(call as never);
  expect(answer).toMatchObject({ ok: false, error: { hint: expect.stringMatching(/\w/) } });
  expect(answer).not.toMatchObject({ error: { code: 'INTERNAL' } });
});

it.each([
  {},
  { op: 'nope', board: 'main' },
  { op: 'nope', board: 'tasks' },
  { board: 'tasks' },
  { op: 'write', board: 'tasks', key: 5, value: 1 },
  { op: 'write', board: 5, key: 'k', value: 1 },
  { op: 'write', board: 'main', key: 5, value: 1 },
  { op: 'write', board: 'main', key: 'k', value: () => 1 },
  { op: 'write', board: 'main', key: 'k', value: 1n },
  { op: 'write', board: 'main', key: 'k', value: 1, session: 5 },
  { op: 'write', board: 'main', key: 'k', value: 1, ttlSeconds: 'x' },
  { op: 'append', board: 'main', key: 'l', items: 5 },
  { op: 'documentEdit', board: 'main', document: 'd', edits: 5 },
  { op: 'documentEdit', board: 'main', document: 'd', edits: [null] },
  { op: 'documentEdit', board: 'main', document: 'd', edits: ['append'] },
  { op: 'list', board: 'main', prefix: 5 },
  { op: 'wait', board: 'main', key: 'k', timeoutMs: 'x' },
  { op: 'compareAndSet', board: 'tasks', key: 'k', expectedRevision: 'x', value: 1 },
])('blackboard: call %# is refused', async (call) => {
  const answer = await node.blackboard.call(call as never, WRITER);
  expect(answer).toMatchObject({ ok: false, error: { hint: expect.stringMatching(/\w/) } });
  expect(answer).not.toMatchObject({ error: { code: 'INTERNAL' } });
});

it('the node is whole after all of this', async () => {
  const call = { board: 'main' as BoardName, key: 'k' };
  expect(await node.blackboard.call({ op: 'write', ...call, value: 1 }, WRITER)).toMatchObject({ ok: true });
  expect(node.mesh.status().problems).toEqual([]);
});
