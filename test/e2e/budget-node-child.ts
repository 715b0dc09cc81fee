/** One whole node in a process of its own, its budgets served over the channel to the parent. */
import type { BudgetCall } from '../../src/budget/api.ts';
import { configWith } from '../../src/node/config/load.ts';
import { startNode } from '../../src/node/node.ts';
import type { Asked, Told } from './budget-node.ts';

const node = await startNode(configWith(JSON.parse(process.argv[2] as string)));

function say(told: Told): void {
  process.send?.(told);
}

process.on('message', (asked: Asked) => {
  const { id } = asked;
  switch (asked.kind) {
    case 'call':
      void node.budgets.call(asked.call as BudgetCall).then((result) => say({ kind: 'answer', id, result }));
      return;
    case 'status':
      say({ kind: 'answer', id, result: node.budgets.status(asked.budget) });
      return;
    case 'problems':
      say({ kind: 'answer', id, result: { ok: true, value: node.mesh.status().problems } });
      return;
    case 'stop':
      void node.stop().then(() => process.exit(0));
  }
});
process.on('disconnect', () => process.exit());
node.budgets.onThreshold((passed) => say({ kind: 'threshold', passed }));
say({ kind: 'ready', ready: node.ready });
