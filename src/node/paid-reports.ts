import { parseAmount } from '../budget/amount.ts';
import type { BudgetAnswers, BudgetCall, Budgets, Report } from '../budget/api.ts';
import { ok, type Result } from '../kernel/errors.ts';

type Reported = Result<BudgetAnswers['report']>;

/**
 * The same budgets, whose reports are paid out of what the budget still has. What was spent is counted at once, out of
 * the rights of this node; where it exceeds them, rights are brought for the rest before the answer. So `overrun` is what exceeds
 * the budget as far as it can be reached, and no agent is in debt while there is money for it.
 */
export function payingReports(budgets: Budgets): Budgets {
  return {
    call: <C extends BudgetCall>(call: C, signal?: AbortSignal) =>
      (call.op === 'report' ? paid(budgets, call, signal) : budgets.call(call, signal)) as Promise<
        Result<BudgetAnswers[C['op']]>
      >,
    status: (budget) => budgets.status(budget),
    list: () => budgets.list(),
    watch: (listener) => budgets.watch(listener),
    onThreshold: (listener) => budgets.onThreshold(listener),
    get orchestrator() {
      return budgets.orchestrator;
    },
  };
}

async function paid(budgets: Budgets, call: Report, signal: AbortSignal | undefined): Promise<Reported> {
  const answer = await budgets.call(call, signal);
  if (!answer.ok || answer.value.overrun === 0) return answer;
  const { overrun } = answer.value;
  const granted = await bring(budgets, call.budget, overrun, signal);
  return ok({ ...answer.value, overrun: Math.max(0, overrun - granted) });
}

/** All of it, or as much as there is. What cannot be had now is paid by rights that come later. */
async function bring(
  budgets: Budgets,
  budget: string,
  amount: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const all = await budgets.call({ op: 'request', budget, amount }, signal);
  if (all.ok) return all.value.granted;
  const left = parseAmount(all.error.details?.reserve, 1);
  if (all.error.code !== 'BUDGET_EXHAUSTED' || left === undefined || left >= amount) return 0;
  const rest = await budgets.call({ op: 'request', budget, amount: left }, signal);
  return rest.ok ? rest.value.granted : 0;
}
