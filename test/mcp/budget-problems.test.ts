/** What the doctor says of the books of budgets. */
import { describe, expect, it } from 'vitest';
import type { BudgetStatus } from '../../src/budget/api.ts';
import { balanceOf } from '../../src/budget/conservation.ts';
import { accountOf } from '../../src/budget/names.ts';
import { EMPTY_ROW } from '../../src/budget/row.ts';
import { allProblems } from '../../src/mcp/budget-problems.ts';
import { amountOf, nodeIdOf } from '../budget/support.ts';
import { memoryNode } from '../support/memory-node.ts';

describe('books that do not add up', () => {
  const some = amountOf;
  /** Written off with 80 of 100 left, and it had spent 50 by the time at which it heard of that. */
  const wentOn = {
    account: accountOf(nodeIdOf(1), 7),
    row: { ...EMPTY_ROW, sequence: 9, granted: some(100), spent: some(50) },
    entry: { granted: some(100), returned: some(0), writtenOff: some(80), lastSequence: 5 },
  };
  const reserve = { limit: some(1_000), owed: some(0), reserve: some(980) };

  it.each([
    { made: 0, hint: /Lower the limit by as many tokens: skein budget limit team N/ },
    { made: 1, hint: /Money was made or lost/ },
  ])(
    'advise to lower the limit where an account was written off while it ran, and nothing else is wrong ($made)',
    async ({ made, hint }) => {
      const node = memoryNode();
      await node.budgets.call({ op: 'create', budget: 'team', limit: 1_000 });
      const { problems } = balanceOf({ ...reserve, reserve: some(980 + made) }, [wentOn]);
      expect(problems).toHaveLength(1 + made);
      const [status] = node.budgets.list() as [BudgetStatus];
      node.budgets.list = () => [{ ...status, problems }];
      const found = allProblems(node).filter(({ code }) => code === 'BUDGET_BOOKS');
      expect(found).toHaveLength(1);
      expect(found[0]?.message).toMatch(/30 more was written off than/);
      expect(found[0]?.hint).toMatch(hint);
    },
  );
});
