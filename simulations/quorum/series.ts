/** Many seeds of the light world, and what they add up to. */
import { fewestFaults } from '../lib/shrink.ts';
import type { QuorumFault } from './faults.ts';
import { type QuorumRunReport, runQuorum } from './run.ts';

/** The failing run with as few of its faults as still break the same promise. */
export function shrinkQuorum(failing: QuorumRunReport): QuorumRunReport {
  const { seed, plan } = failing;
  const run = (faults: readonly QuorumFault[]) => ({
    ...runQuorum({ seed, plan, faults }),
    replay: failing.replay,
  });
  return fewestFaults(failing, run).report;
}

export function describeQuorum(report: QuorumRunReport): string {
  const { seed, nodes, operations, committed, leaders, violations, healedMs, traceHash } = report;
  const verdict =
    report.void !== undefined
      ? `no verdict (${report.void})`
      : violations.length === 0
        ? `healed in ${Math.round(healedMs ?? 0)} ms`
        : `${violations.length} VIOLATIONS (${violations[0]?.check})`;
  return `quorum seed ${seed} nodes ${nodes}: ${verdict}, ${operations.ok} ok ${operations.failed} refused ${operations.unknown} unknown, ${committed} committed, ${leaders} leaders, trace ${traceHash}`;
}

/** Seeds, faults by kind, operations, simulated hours. */
export function describeQuorumSeries(reports: readonly QuorumRunReport[]): string {
  const sum = (count: (report: QuorumRunReport) => number) =>
    reports.reduce((total, report) => total + count(report), 0);
  const struck = new Map<string, number>();
  const broken = new Map<string, number>();
  const voids = reports.filter((report) => report.void !== undefined).length;
  for (const { struck: kinds, violations } of reports) {
    for (const [kind, count] of Object.entries(kinds)) struck.set(kind, (struck.get(kind) ?? 0) + count);
    const check = violations[0]?.check;
    if (check !== undefined) broken.set(check, (broken.get(check) ?? 0) + 1);
  }
  const listed = (counts: ReadonlyMap<string, number>) =>
    [...counts].sort(([, left], [, right]) => right - left).map(([name, count]) => `${name} ${count}`);
  const total = [...struck.values()].reduce((all, count) => all + count, 0);
  return [
    `${reports.length} seeds, ${(sum(({ simulatedMs }) => simulatedMs) / 3_600_000).toFixed(2)} simulated hours`,
    `operations: ${sum(({ operations }) => operations.ok)} ok, ${sum(({ operations }) => operations.failed)} refused, ${sum(({ operations }) => operations.unknown)} unknown`,
    `entries committed ${sum(({ committed }) => committed)}, terms led ${sum(({ leaders }) => leaders)}, events ${sum(({ events }) => events)}`,
    `faults: ${total} (${listed(struck).join(', ')})`,
    ...(voids === 0 ? [] : [`without a verdict, beyond what can be promised: ${voids}`]),
    broken.size === 0 ? 'every promise held' : `BROKEN: ${listed(broken).join(', ')}`,
  ].join('\n');
}
