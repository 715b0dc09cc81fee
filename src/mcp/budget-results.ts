/** Budgets as results and resources show them. */
import type { BudgetStatus, Budgets, MachineShare } from '../budget/api.ts';
import { fail, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import { type Page, pageOf } from './page.ts';
import type { Structured } from './tool.ts';

/** ECMA-262, 21.4.1.1: no date is further from 1970. */
const LAST_MS = 8.64e15;

export function isoTime(wallMs: number | undefined): string | null {
  const known = wallMs !== undefined && Number.isFinite(wallMs) && Math.abs(wallMs) <= LAST_MS;
  return known ? new Date(wallMs).toISOString() : null;
}

export function budgetResult(status: BudgetStatus): Structured {
  return {
    task_id: status.budget,
    unit: status.unit,
    window: status.window,
    parent: status.parent ?? null,
    expiry: status.expiry,
    limit: status.limit,
    owed: status.owed,
    reserve: status.reserve,
    allocated: status.allocated,
    held: status.held,
    spent: status.spent,
    overrun: status.overrun,
    remaining: status.remaining,
    limitedBy: status.limitedBy ?? null,
    stranded: status.stranded,
    onTheWay: status.onTheWay,
    burnPerSecond: status.burnPerSecond,
    projectedEnd: isoTime(status.projectedEnd),
    periodEnd: isoTime(status.periodEnd),
    asOf: isoTime(status.asOf),
    thresholds: status.thresholds,
    thresholdsPassed: thresholdsPassed(status),
    machines: status.machines.map(machineResult),
    debts: status.debts.map(({ agent, amount }) => ({ agent_id: agent, tokens: amount })),
    problems: status.problems,
  };
}

function machineResult({ nodeId, asOf, ...share }: MachineShare): Structured {
  return { machine_id: nodeId, ...share, asOf: isoTime(asOf) };
}

/** Percentages of the limit that spending has reached in the period that runs, within rights or not. */
export function thresholdsPassed({
  thresholds,
  spent,
  overrun,
  limit,
}: Pick<BudgetStatus, 'thresholds' | 'spent' | 'overrun' | 'limit'>): readonly number[] {
  const all = BigInt(spent) + BigInt(overrun);
  return thresholds.filter((percent) => all * 100n >= BigInt(limit) * BigInt(percent));
}

/** A page of budgets, cut short where the machines of all of them would make it larger than an answer may be. */
export function budgetListing(
  budgets: Budgets,
  request: { readonly limit?: number | undefined; readonly cursor?: string | undefined },
): Result<Structured> {
  if (budgets.notRead !== undefined) return fail(budgets.notRead);
  const all = budgets.list();
  const nameOf = ({ budget }: BudgetStatus) => budget;
  const page = pageOf(all, nameOf, request);
  if (!page.ok) return page;
  const fitting = countWithin(page.value, limits.listAnswerBytes);
  const cut = fitting < page.value.items.length ? pageOf(all, nameOf, { ...request, limit: fitting }) : page;
  if (!cut.ok) return cut;
  const { items, cursor } = cut.value;
  return ok({ budgets: items.map(budgetResult), ...(cursor === undefined ? {} : { cursor }) });
}

/** How many of the page stay within the bytes, roughly; at least one. */
function countWithin({ items }: Page<BudgetStatus>, bytes: number): number {
  let left = bytes;
  const over = items.findIndex(({ machines }) => {
    left -= 1_000 + 400 * machines.length;
    return left < 0;
  });
  return over < 0 ? items.length : Math.max(1, over);
}
