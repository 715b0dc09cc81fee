/** Runs of the world of money whose plan and faults are drawn up by a scenario of its own, and what they say of themselves. */
import type { BudgetFault } from './faults.ts';
import type { BudgetPlan } from './plan.ts';
import { type BudgetRunReport, runBudget } from './run.ts';
import { describeBudgetSeries } from './series.ts';

export type ScheduledReport<Name extends string> = Omit<BudgetRunReport, 'scenario'> & {
  readonly scenario: Name;
};

export interface ScheduledRun<Name extends string> {
  readonly scenario: Name;
  readonly seed: number;
  readonly plan: BudgetPlan;
  readonly faults: readonly BudgetFault[];
  /** How many nodes the scenario has where nobody says. */
  readonly usualNodes: number;
}

export function runScheduled<Name extends string>(run: ScheduledRun<Name>): ScheduledReport<Name> {
  const { scenario, seed, plan, faults, usualNodes } = run;
  const nodes = plan.nodes === usualNodes ? '' : ` --nodes ${plan.nodes}`;
  const replay = `npm run simulate -- ${scenario} --seed ${seed}${nodes}`;
  return { ...runBudget({ seed, plan, faults }), scenario, replay };
}

export function describeScheduled(report: ScheduledReport<string>): string {
  const { scenario, seed, nodes, traceHash } = report;
  const sums = describeBudgetSeries([{ ...report, scenario: 'budget' }]);
  return `${scenario} seed ${seed} nodes ${nodes}, trace ${traceHash}\n${sums}`;
}
