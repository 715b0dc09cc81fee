import { configWith, startNode } from '../../src/index.ts';

const node = await startNode(
  configWith({
    node: { data: '.skein/program' },
    mesh: { port: 0, mdns: false },
    http: { enabled: false },
    quorum: { foundAfter: '0s' }, // alone for now: look for no other node first
  }),
);
const created = await node.budgets.call({ op: 'create', budget: 'report', limit: 10_000 });
if (!created.ok && created.error.code !== 'CONFLICT') throw new Error(created.error.message);

await node.requestAllocation('report', 2_000); // rights of this machine: to spend them takes no network
await node.reportSpending('report', 1_200);
await node.rebalance('report'); // what lies idle goes where it is needed, as it does by itself in time

const status = node.budgets.status('report');
if (status.ok) console.log(`${status.value.spent} of ${status.value.limit} spent`);
await node.stop();
