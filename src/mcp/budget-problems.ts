/** What a person should know of the budgets: books that do not add up, what nobody can reach, and which limits come near. */
import type { BudgetStatus, Budgets, MachineShare } from '../budget/api.ts';
import { wasWrittenOffEarly } from '../budget/conservation.ts';
import { limits } from '../kernel/limits.ts';
import type { Problem } from '../mesh/view.ts';
import { thresholdsPassed } from './budget-results.ts';
import type { NodeFaces } from './faces.ts';

/** Of a kind: the first, by name. */
const MOST = 20;
const DAY_MS = 86_400_000;

/** Of the node and of its budgets. Sums of all budgets are worked out, so this is for whoever asks, not for every call. */
export function allProblems({ mesh, budgets }: NodeFaces): readonly Problem[] {
  return [...mesh.status().problems, ...(budgets === undefined ? [] : budgetProblems(budgets))];
}

function budgetProblems(budgets: Budgets): readonly Problem[] {
  const all = budgets.list();
  const ofEach = [booksProblem, strandedProblem, thresholdProblem].flatMap((problemOf) =>
    all.flatMap((status) => problemOf(status) ?? []).slice(0, MOST),
  );
  return [...ofEach, ...overdueProblems(budgets)];
}

function overdueProblems({ overdue, orchestrator }: Budgets): readonly Problem[] {
  if (overdue === 0) return [];
  const days = Math.round((limits.budgetGraceMs + limits.budgetLoneGraceMs) / DAY_MS);
  return [
    {
      code: 'BUDGET_PERIODS_KEPT',
      message: `The quorum store keeps ${overdue} periods of budgets that ended more than ${days} days ago, by the clock of this node.`,
      hint:
        orchestrator === undefined
          ? 'Who shares out the budgets takes them out, and nobody does: run a node with the role orchestrator.'
          : 'They go once two nodes agree that they are over: see that the clocks of all nodes are right (timedatectl), and that they run for some hours without a restart (docs/BUDGETS.md).',
    },
  ];
}

function booksProblem({ budget, unit, problems }: BudgetStatus): Problem | undefined {
  const [first] = problems;
  if (first === undefined) return undefined;
  const more = problems.length === 1 ? '' : ` (and ${problems.length - 1} more)`;
  return {
    code: 'BUDGET_BOOKS',
    message: `The books of the budget "${budget}" do not add up: ${first}${more}`,
    hint: problems.every(wasWrittenOffEarly)
      ? `It was running when it was written off, and what it spent or passed on until it heard of that is in the reserve as well. Lower the limit by as many ${unit}: skein budget limit ${budget} N (docs/BUDGETS.md).`
      : 'Money was made or lost, by an error of Skein or by a member that does not play by the rules. Keep the logs and the data directories of all nodes, and report it.',
  };
}

function strandedProblem({ budget, unit, stranded, machines }: BudgetStatus): Problem | undefined {
  if (stranded === 0) return undefined;
  const lost = machines.filter((machine) => machine.stranded > 0);
  const where = lost.map(({ name }) => name);
  return {
    code: 'BUDGET_STRANDED',
    message: `${stranded} ${unit} of the budget "${budget}" belong to machines, or to former data of machines, that cannot be reached: ${where.slice(0, 5).join(', ')}${where.length > 5 ? ', …' : ''}.`,
    hint: strandedHint(budget, lost, machines),
  };
}

/** The name of a machine serves where no other has it. */
function strandedHint(budget: string, lost: readonly MachineShare[], all: readonly MachineShare[]): string {
  const [one, ...others] = lost;
  const isAmbiguous = all.filter(({ name }) => name === one?.name).length > 1;
  const named = (isAmbiguous ? one?.nodeId : one?.name) ?? 'MACHINE';
  const when = lost.every(({ state }) => state === 'alive')
    ? 'They come back only with the data that the machine had before. If that is gone for good'
    : 'They come back with the machine. If it, or its disk, is gone for good';
  return `${when}: skein budget write-off ${budget} ${others.length > 0 ? 'MACHINE' : named} (docs/OPERATIONS.md).`;
}

function thresholdProblem(status: BudgetStatus): Problem | undefined {
  const percent = thresholdsPassed(status).at(-1);
  if (percent === undefined) return undefined;
  const { budget, unit, limit, spent, overrun, periodEnd } = status;
  const until =
    periodEnd !== undefined && Number.isFinite(periodEnd) ? ' A new period begins later; or raise' : ' Raise';
  return {
    code: 'BUDGET_THRESHOLD',
    message: `The budget "${budget}" has passed ${percent} % of its limit: ${spent + overrun} of ${limit} ${unit} are spent.`,
    hint: `Agents are refused once it is spent.${until} the limit: skein budget limit ${budget} N.`,
  };
}
