/** Budgets by three plain calls, for programs that ask for an allocation, spend, and say what they spent. */
import type { BudgetAnswers, Budgets } from '../budget/api.ts';
import type { Result } from '../kernel/errors.ts';
import type { AgentId } from '../kernel/ids.ts';

/** Amounts are whole numbers of the budget's unit, from 1 to 2^53 - 1. The budget has been created before: `budgets.call({ op: 'create', … })`. */
export interface TaskBudgets {
  /**
   * Brings rights to this node: they can then be spent without any network, even when cut off.
   *
   * Errors: INVALID_ARGUMENT, NOT_FOUND, BUDGET_EXHAUSTED (`details`: what is left, where), QUORUM_UNAVAILABLE.
   */
  requestAllocation(taskId: string, tokens: number): Promise<Result<BudgetAnswers['request']>>;
  /**
   * Counts what was spent, out of this node's rights. It is never refused for lack of money: what exceeds the rights is `overrun`,
   * the debt of the agent (default `local`).
   *
   * Errors: INVALID_ARGUMENT, NOT_FOUND, INTERNAL (the disk).
   */
  reportSpending(taskId: string, tokens: number, agent?: AgentId): Promise<Result<BudgetAnswers['report']>>;
  /**
   * Has the rights evened out among the nodes now, by how fast each of them spends.
   *
   * Errors: NOT_FOUND, QUORUM_UNAVAILABLE, UNREACHABLE.
   */
  rebalance(taskId: string): Promise<Result<BudgetAnswers['rebalance']>>;
}

const LOCAL = 'local' as AgentId;

export function taskBudgetsOf(budgets: Budgets): TaskBudgets {
  return {
    requestAllocation: (taskId, tokens) => budgets.call({ op: 'request', budget: taskId, amount: tokens }),
    reportSpending: (taskId, tokens, agent = LOCAL) =>
      budgets.call({ op: 'report', budget: taskId, agent, amount: tokens }),
    rebalance: (taskId) => budgets.call({ op: 'rebalance', budget: taskId }),
  };
}
