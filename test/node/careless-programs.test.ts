/** Programs without types: whatever they pass to a node that they run is refused, answered, and leaves the node whole. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SkeinError } from '../../src/kernel/errors.ts';
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
  const deadline = performance.now() + 10_000;
  for (let isFounded = false; !isFounded; ) {
    isFounded = (await node.budgets.call({ op: 'create', budget: 'b', limit: 100 })).ok;
    if (!isFounded && performance.now() > deadline) throw new Error('The quorum store was not founded.');
  }
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
  undefined,
  null,
  5,
  'read',
  [],
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
  { op: 'write', board: 'main', key: 'k', value: 1, stamp: null },
  { op: 'write', board: 'main', key: 'k', value: 1, stamp: { revision: 'x', lane: 1 } },
  { op: 'delete', board: 'main', key: 'k', stamp: {} },
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

/** Everything else that a program can call, with one argument that is odd; the others are right. */
const CALLS: Readonly<Record<string, (odd: never) => unknown>> = {
  'blackboard.call, its writer': (odd) =>
    node.blackboard.call({ op: 'write', board: 'main' as BoardName, key: 'k', value: 1 }, odd),
  'blackboard.call, its signal': (odd) =>
    node.blackboard.call({ op: 'write', board: 'main' as BoardName, key: 'k', value: 1 }, WRITER, odd),
  'blackboard.watch, its listener': (odd) => node.blackboard.watch('main' as BoardName, odd),
  'blackboard.watch of a quorum board, its listener': (odd) =>
    node.blackboard.watch('tasks' as BoardName, odd),
  'yjs.applyUpdate, its board': (odd) => node.yjs.applyUpdate(odd, 'd', NO_UPDATE, WRITER),
  'yjs.applyUpdate, its document': (odd) => node.yjs.applyUpdate('main' as BoardName, odd, NO_UPDATE, WRITER),
  'yjs.applyUpdate, its update': (odd) => node.yjs.applyUpdate('main' as BoardName, 'd', odd, WRITER),
  'yjs.encodeState, its state vector': (odd) => node.yjs.encodeState('main' as BoardName, 'd', odd),
  'yjs.observe, its board': (odd) => node.yjs.observe(odd, 'd', () => undefined),
  'yjs.observe, its listener': (odd) => node.yjs.observe('main' as BoardName, 'd', odd),
  'agents.register': (odd) => node.agents.register(odd),
  'agents.heartbeat': (odd) => node.agents.heartbeat(odd),
  'agents.discover': (odd) => node.agents.discover(odd),
  'agents.watch': (odd) => node.agents.watch(odd),
  'mesh.watch': (odd) => node.mesh.watch(odd),
  'budgets.call': (odd) => node.budgets.call(odd),
  'budgets.call, its signal': (odd) => node.budgets.call({ op: 'rebalance', budget: 'b' }, odd),
  'budgets.watch': (odd) => node.budgets.watch(odd),
  'budgets.onThreshold': (odd) => node.budgets.onThreshold(odd),
  'requestAllocation, its tokens': (odd) => node.requestAllocation('b', odd),
  'reportSpending, its tokens': (odd) => node.reportSpending('b', odd),
  'leases.acquire': (odd) => node.leases.acquire(odd),
  'leases.renew': (odd) => node.leases.renew(odd),
  'leases.release': (odd) => node.leases.release(odd),
  'leases.list': (odd) => node.leases.list(odd),
  'voters.add': (odd) => node.voters.add(odd),
  'voters.remove': (odd) => node.voters.remove(odd),
  'voters.recover': (odd) => node.voters.recover(odd),
  'quorum.store.transact': (odd) => node.quorum.store.transact(odd),
  'quorum.store.get': (odd) => node.quorum.store.get(odd, 'strong'),
  'quorum.store.range': (odd) => node.quorum.store.range(odd, 1, 'strong'),
  'quorum.store.grantLease': (odd) => node.quorum.store.grantLease(odd),
  startNode: (odd) => startNode(odd),
  configWith: (odd) => configWith(odd),
};
const NO_UPDATE = Uint8Array.of(0, 0);
const ODD: readonly (readonly [string, unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ['a negative number', -5],
  ['a symbol', Symbol('odd')],
  ['a bigint', 1n],
];
/** Called without it is as called with nothing in it. */
const MAY_LACK = new Set([
  'blackboard.call, its signal',
  'budgets.call, its signal',
  'yjs.encodeState, its state vector',
  'yjs.applyUpdate, its document',
  'configWith',
]);

it.each(Object.keys(CALLS))('%s: whatever it is, the answer says what to pass', async (name) => {
  for (const [what, odd] of ODD) {
    if (odd === undefined && MAY_LACK.has(name)) continue;
    const error = await refusal(() => CALLS[name]?.(odd as never));
    expect(error, `${name} with ${what}`).toMatchObject({
      code: expect.stringMatching(/^(INVALID_ARGUMENT|NOT_FOUND|CONFLICT)$/),
      hint: expect.stringMatching(/\w/),
    });
  }
});

/** What a call was refused with, as a result or as a `SkeinError`; what else is thrown is no answer. */
async function refusal(call: () => unknown): Promise<unknown> {
  try {
    const answer = (await call()) as { readonly ok?: boolean; readonly error?: unknown } | undefined;
    return answer?.ok === false ? answer.error : { answered: answer };
  } catch (error) {
    return error instanceof SkeinError ? error.body : error;
  }
}

it('the node is whole after all of this', async () => {
  const call = { board: 'main' as BoardName, key: 'k' };
  expect(await node.blackboard.call({ op: 'write', ...call, value: 1 }, WRITER)).toMatchObject({ ok: true });
  expect(node.mesh.status().problems).toEqual([]);
});
