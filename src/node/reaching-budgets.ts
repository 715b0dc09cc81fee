import { parseAmount } from '../budget/amount.ts';
import type {
  BudgetAnswers,
  BudgetCall,
  Budgets,
  MachineShare,
  Report,
  RequestRights,
} from '../budget/api.ts';
import { ok, type Result } from '../kernel/errors.ts';
import type { AgentId, NodeId } from '../kernel/ids.ts';

type Requested = Result<BudgetAnswers['request']>;
type Reported = Result<BudgetAnswers['report']>;

/** Holds rights for a moment and never spends any, so it is never in debt. */
const FETCHER = 'skein' as AgentId;
const HELD_MS = 60_000;

/**
 * The same budgets, whose requests and reports reach for all that can be reached, as reservations do: the reserve, then other
 * nodes. A report that this node has no rights for has them brought before it counts; so `overrun` is what exceeds the
 * budget as far as it can be reached, and no agent is in debt while there is money for it.
 */
export function reachingBudgets(budgets: Budgets, self: NodeId): Budgets {
  const run = (call: BudgetCall, signal: AbortSignal | undefined): Promise<Result<unknown>> => {
    if (call.op === 'request') return request(budgets, self, call, signal);
    if (call.op === 'report') return report(budgets, self, call, signal);
    return budgets.call(call, signal);
  };
  return {
    call: <C extends BudgetCall>(call: C, signal?: AbortSignal) =>
      run(call, signal) as Promise<Result<BudgetAnswers[C['op']]>>,
    status: (budget) => budgets.status(budget),
    list: () => budgets.list(),
    watch: (listener) => budgets.watch(listener),
    onThreshold: (listener) => budgets.onThreshold(listener),
    get orchestrator() {
      return budgets.orchestrator;
    },
  };
}

async function request(
  budgets: Budgets,
  self: NodeId,
  call: RequestRights,
  signal: AbortSignal | undefined,
): Promise<Requested> {
  const answer = await budgets.call(call, signal);
  if (answer.ok || (answer.error.code !== 'BUDGET_EXHAUSTED' && answer.error.code !== 'QUORUM_UNAVAILABLE'))
    return answer;
  // Others are asked for what reservations lack; one that is given back at once leaves its rights here.
  const before = shareOf(budgets, self, call.budget)?.rights ?? 0;
  const held = await budgets.call(
    { op: 'reserve', budget: call.budget, agent: FETCHER, amount: before + call.amount, ttlMs: HELD_MS },
    signal,
  );
  if (!held.ok) return held;
  const freed = await budgets.call({ op: 'settle', id: held.value.reservationId, amount: 0 });
  if (!freed.ok) return freed;
  return ok({ granted: call.amount, rights: shareOf(budgets, self, call.budget)?.rights ?? call.amount });
}

async function report(
  budgets: Budgets,
  self: NodeId,
  call: Report,
  signal: AbortSignal | undefined,
): Promise<Reported> {
  const amount = parseAmount(call.amount, 1);
  const lacks = amount === undefined ? 0 : amount - (shareOf(budgets, self, call.budget)?.rights ?? 0);
  if (lacks > 0) await bring(budgets, self, call.budget, lacks, signal);
  const answer = await budgets.call(call, signal);
  if (!answer.ok || answer.value.overrun === 0) return answer;
  // Priced by model, or somebody else was quicker.
  const { overrun } = answer.value;
  await bring(budgets, self, call.budget, overrun, signal);
  const unpaid = shareOf(budgets, self, call.budget)?.overrun ?? overrun;
  return ok({ ...answer.value, overrun: Math.min(overrun, unpaid) });
}

/** All of it, or as much as is known to be left. What cannot be had now is paid by rights that come later. */
async function bring(
  budgets: Budgets,
  self: NodeId,
  budget: string,
  amount: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const all = await request(budgets, self, { op: 'request', budget, amount }, signal);
  if (all.ok || all.error.code !== 'BUDGET_EXHAUSTED') return;
  const status = budgets.status(budget);
  const known = status.ok ? status.value.remaining - (shareOf(budgets, self, budget)?.rights ?? 0) : 0;
  for (const left of new Set([known, all.error.details?.reserve])) {
    const less = parseAmount(left, 1);
    if (less === undefined || less >= amount) continue;
    if ((await request(budgets, self, { op: 'request', budget, amount: less }, signal)).ok) return;
  }
}

function shareOf(budgets: Budgets, self: NodeId, budget: string): MachineShare | undefined {
  const status = budgets.status(budget);
  return status.ok ? status.value.machines.find(({ nodeId }) => nodeId === self) : undefined;
}
