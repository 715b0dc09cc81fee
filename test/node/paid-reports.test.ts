/** Reports that exceed the rights of a node, over budgets that only play what they would answer. */
import { describe, expect, it } from 'vitest';
import type { BudgetCall, Budgets } from '../../src/budget/api.ts';
import { failWith, ok, type Result } from '../../src/kernel/errors.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import { payingReports } from '../../src/node/paid-reports.ts';

function open(overrun: number, reserve: number) {
  const asked: BudgetCall[] = [];
  const answerTo = (call: BudgetCall): Result<unknown> => {
    if (call.op === 'report') return ok({ id: 'i', amount: 100, overrun });
    if (call.op !== 'request') return ok('other');
    if (call.amount <= reserve) return ok({ granted: call.amount, rights: 0 });
    return failWith('BUDGET_EXHAUSTED', 'm', 'h', { details: { reserve } });
  };
  const lead = { node: 'n1' as NodeId };
  const inner = {
    call: async (call: BudgetCall) => {
      asked.push(call);
      return answerTo(call);
    },
    get orchestrator() {
      return lead.node;
    },
  } as unknown as Budgets;
  const budgets = payingReports(inner);
  const report = () =>
    budgets.call({ op: 'report', budget: 't', agent: 'a' as AgentId, amount: 100, id: 'i' });
  return { asked, budgets, report, lead };
}

describe('a report', () => {
  it('within the rights of the node asks for nothing', async () => {
    const { asked, report } = open(0, 1_000);
    expect(await report()).toEqual(ok({ id: 'i', amount: 100, overrun: 0 }));
    expect(asked.map(({ op }) => op)).toEqual(['report']);
  });

  it('beyond them is paid out of what the budget has', async () => {
    const { asked, report } = open(60, 1_000);
    expect(await report()).toEqual(ok({ id: 'i', amount: 100, overrun: 0 }));
    expect(asked[1]).toEqual({ op: 'request', budget: 't', amount: 60 });
  });

  it.each([
    [25, 35, [60, 25]],
    [0, 60, [60]],
  ])('beyond what there is (%i) leaves the rest as overrun (%i)', async (reserve, overrun, requests) => {
    const { asked, report } = open(60, reserve);
    expect(await report()).toEqual(ok({ id: 'i', amount: 100, overrun }));
    expect(asked.slice(1).map((call) => (call as { amount: number }).amount)).toEqual(requests);
  });

  it('is all that differs', async () => {
    const { budgets, asked, lead } = open(60, 0);
    const settle = { op: 'settle', id: 'r', amount: 1 } as const;
    expect(await budgets.call(settle)).toEqual(ok('other'));
    expect(asked).toEqual([settle]);
    expect(budgets.orchestrator).toBe('n1');
    lead.node = 'n2' as NodeId;
    expect(budgets.orchestrator).toBe('n2');
  });
});
