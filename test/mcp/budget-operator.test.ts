/** What operators are told, over budgets in memory. */
import { describe, expect, it } from 'vitest';
import type { BudgetStatus, MachineShare } from '../../src/budget/api.ts';
import { budgetOperations } from '../../src/mcp/budget-operator.ts';
import { localPrincipal } from '../../src/mcp/principal.ts';
import { MEMORY_NODE_ID, memoryNode } from '../support/memory-node.ts';

describe('budget_write_off', () => {
  const share = (of: Partial<MachineShare>) =>
    ({ nodeId: MEMORY_NODE_ID, accounts: [], ...of }) as MachineShare;
  const account = `${MEMORY_NODE_ID}/1`;

  it.each([MEMORY_NODE_ID, account])(
    'names each other budget of which nobody can reach what %s had, as many as there are',
    async (named) => {
      const node = memoryNode();
      const { budgets } = node;
      await budgets.call({ op: 'create', budget: 'gone', limit: 5 });
      const [status] = budgets.list() as [BudgetStatus];
      const of = (budget: string, ...machines: MachineShare[]) => ({ ...status, budget, machines });
      const many = Array.from({ length: 1_200 }, (_, index) =>
        of(`part-${index}`, share({ stranded: 1, accounts: [account] })),
      );
      const list = () => [
        ...many,
        of('gone', share({ stranded: 1, accounts: [account] })),
        of('spent', share({ stranded: 0, accounts: [account] })),
        of('others', share({ nodeId: 'other' as never, stranded: 1 })),
      ];
      const faces = { ...node, budgets: { ...budgets, list, call: budgets.call.bind(budgets) } };
      const operation = budgetOperations(faces as never).get('budget_write_off');
      const answer = await operation?.call(
        { task_id: 'gone', account: named },
        { principal: localPrincipal() },
      );
      expect(answer).toMatchObject({
        ok: true,
        value: { account: named, alsoStranded: many.map(({ budget }) => budget) },
      });
    },
  );
});
