/** Budgets whose reserve is kept by a real etcd: the same limit, failures and recovery. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AgentId } from '../../src/kernel/ids.ts';
import { EtcdCluster } from '../adapters/etcd-server.ts';
import { type BudgetNode, BudgetNodes, eventually } from './budget-node.ts';

const AGENT = 'tester' as AgentId;
const LIMIT = 10_000;
const nodes = new BudgetNodes();
let etcd: EtcdCluster;
let one: BudgetNode;
let two: BudgetNode;

beforeAll(async () => {
  etcd = await EtcdCluster.start();
  const endpoints = etcd.endpoints.map((endpoint) => `http://${endpoint}`);
  const config = { quorum: { engine: 'etcd', etcd: { endpoints } } };
  one = await nodes.start('one', { config });
  two = await nodes.start('two', { config });
}, 60_000);
afterAll(async () => {
  await nodes.end();
  await etcd.close();
});

const reserve = (on: BudgetNode, amount: number) =>
  on.call({ op: 'reserve', budget: 'team', agent: AGENT, amount });
const spend = async (on: BudgetNode, amount: number): Promise<void> => {
  const held = await reserve(on, amount);
  if (!held.ok) throw new Error(JSON.stringify(held.error));
  const settled = await on.call({ op: 'settle', id: held.value.reservationId, amount });
  expect(settled).toMatchObject({ ok: true, value: { amount, overrun: 0 } });
};
const statusOf = async (on: BudgetNode) => {
  const status = await on.status('team');
  if (!status.ok) throw new Error(status.error.message);
  return status.value;
};

it('a budget is made once, known everywhere, and spent from both nodes', { timeout: 60_000 }, async () => {
  const made = await eventually(
    () => one.call({ op: 'create', budget: 'team', limit: LIMIT }),
    ({ ok }) => ok,
  );
  expect(made).toMatchObject({ value: { limit: LIMIT, reserve: LIMIT } });
  await eventually(
    () => two.status('team'),
    ({ ok }) => ok,
  );
  expect(await two.call({ op: 'create', budget: 'team', limit: 5 })).toMatchObject({
    error: { code: 'CONFLICT' },
  });
  await Promise.all([spend(one, 700), spend(two, 300)]);
  await eventually(
    () => statusOf(one),
    ({ spent, problems }) => spent === 1_000 && problems.length === 0,
  );
});

it('one node leads, and evens out rights when it is asked to', { timeout: 60_000 }, async () => {
  expect(await one.call({ op: 'request', budget: 'team', amount: 4_000 })).toMatchObject({
    ok: true,
    value: { granted: 4_000 },
  });
  await eventually(
    () => two.call({ op: 'rebalance', budget: 'team' }),
    ({ ok }) => ok,
  );
  await spend(two, 100);
});

it('what a killed node left is stranded until it is written off; then all the rest can be spent', {
  timeout: 90_000,
}, async () => {
  await spend(one, 50);
  expect(await reserve(one, 20)).toMatchObject({ ok: true });
  const nodeId = one.ready.nodeId;
  await eventually(
    () => statusOf(two),
    ({ spent, held, onTheWay }) => spent === 1_150 && held === 20 && onTheWay === 0,
  );
  await one.kill();
  await eventually(
    () => statusOf(two),
    ({ machines }) => machines.find((machine) => machine.nodeId === nodeId)?.state === 'dead',
    40_000,
  );
  const { stranded } = await statusOf(two);
  expect(stranded).toBeGreaterThanOrEqual(20);
  const writtenOff = await two.call({ op: 'writeOff', budget: 'team', account: nodeId });
  expect(writtenOff).toMatchObject({ ok: true, value: { writtenOff: stranded - 20, lost: 20 } });
  const left = LIMIT - 1_150 - 20;
  await spend(two, left);
  expect(await reserve(two, 1)).toMatchObject({ error: { code: 'BUDGET_EXHAUSTED' } });
  expect(await statusOf(two)).toMatchObject({ spent: LIMIT, remaining: 0, stranded: 0, problems: [] });
});

it('a raised limit can be spent by the node that comes back without its rights, and somebody leads', {
  timeout: 60_000,
}, async () => {
  one = nodes.own(await one.again({ peers: two.ready.meshAddresses }));
  expect(
    await eventually(
      () => two.call({ op: 'setLimit', budget: 'team', limit: LIMIT + 500 }),
      ({ ok }) => ok,
    ),
  ).toMatchObject({ value: { limit: LIMIT + 500, reserve: 500 } });
  await eventually(
    () => one.status('team'),
    (status) => status.ok && status.value.limit === LIMIT + 500,
  );
  await spend(one, 500);
  await eventually(
    () => two.call({ op: 'rebalance', budget: 'team' }),
    ({ ok }) => ok,
  );
  expect(await reserve(two, 1)).toMatchObject({ error: { code: 'BUDGET_EXHAUSTED' } });
});
