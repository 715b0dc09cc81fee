/** Many seeds of the world of money, and what they add up to. */
import { fewestFaults } from '../lib/shrink.ts';
import type { BudgetFault } from './faults.ts';
import { type BudgetRunReport, runBudget } from './run.ts';

/** The failing run with as few of its faults as still break the same promise. */
export function shrinkBudget(failing: BudgetRunReport): BudgetRunReport {
  const { seed, plan } = failing;
  const run = (faults: readonly BudgetFault[]) => ({
    ...runBudget({ seed, plan, faults }),
    replay: failing.replay,
  });
  return fewestFaults(failing, run).report;
}

export function describeBudget(report: BudgetRunReport): string {
  const { seed, nodes, outcomes, served, violations, healedMs, gathered, checks, traceHash } = report;
  const verdict =
    violations.length === 0
      ? `healed in ${Math.round(healedMs ?? 0)} ms`
      : `${violations.length} VIOLATIONS (${violations[0]?.check})`;
  const reserved = outcomes['reserve ok'] ?? 0;
  return `budget seed ${seed} nodes ${nodes}: ${verdict}, ${reserved} reserved, ${served} served, ${gathered} gathered at last, ${checks} checks, trace ${traceHash}`;
}

/** Seeds, faults by kind, operations, simulated hours. */
export function describeBudgetSeries(reports: readonly BudgetRunReport[]): string {
  const sum = (count: (report: BudgetRunReport) => number) =>
    reports.reduce((total, report) => total + count(report), 0);
  const struck = summed(reports.map((report) => report.struck));
  const forgiven = summed(reports.map((report) => report.forgiven));
  const broken = summed(
    reports.map(({ violations: [first] }) => (first === undefined ? {} : { [first.check]: 1 })),
  );
  const total = [...struck.values()].reduce((all, count) => all + count, 0);
  return [
    `${reports.length} seeds, ${(sum(({ simulatedMs }) => simulatedMs) / 3_600_000).toFixed(2)} simulated hours, ${sum(({ nodes }) => nodes)} nodes, ${sum(({ events }) => events)} events`,
    `calls: ${listed(summed(reports.map(({ outcomes }) => outcomes)))}`,
    `all that was left of a budget was in one node's hands within ${Math.round(Math.max(...reports.map(({ gatherMs }) => gatherMs)))} ms, in ${reports.filter(({ gatherMs }) => gatherMs <= 2_000).length} of ${reports.length} seeds within 2 s`,
    `served ${sum(({ served }) => served)}, gathered at last ${sum(({ gathered }) => gathered)}, accounts that ended ${sum(({ replaced }) => replaced)}`,
    `cuts that added up ${sum(({ checks }) => checks)}, statuses held against the truth ${sum(({ samples }) => samples)}`,
    `not promised, at most: ${listed(forgiven) || 'nothing'}; of that really lost: ${sum(({ lost }) => lost)}`,
    `faults: ${total} (${listed(struck)})`,
    broken.size === 0 ? 'every promise held' : `BROKEN: ${listed(broken)}`,
  ].join('\n');
}

function summed(counts: readonly Readonly<Record<string, number>>[]): ReadonlyMap<string, number> {
  const sums = new Map<string, number>();
  for (const each of counts)
    for (const [name, count] of Object.entries(each)) sums.set(name, (sums.get(name) ?? 0) + count);
  return sums;
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([, left], [, right]) => right - left)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
}
