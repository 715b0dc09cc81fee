/** Many seeds of the world of several stores, and what they add up to. */
import { fewestFaults } from '../../lib/shrink.ts';
import type { QuorumFault } from '../faults.ts';
import { runStores, type StoresRunReport } from './run.ts';

/** The failing run with as few of its faults as still break the same promise. */
export function shrinkStores(failing: StoresRunReport): StoresRunReport {
  const { seed, plan } = failing;
  return fewestFaults(failing, (faults: readonly QuorumFault[]) => runStores({ seed, plan, faults })).report;
}

export function describeStores(report: StoresRunReport): string {
  const { seed, nodes, story, founded, stores, acknowledged, violations, traceHash } = report;
  const verdict =
    violations.length === 0 ? 'held' : `${violations.length} VIOLATIONS (${violations[0]?.check})`;
  return `quorum-stores seed ${seed} nodes ${nodes} ${story}: ${verdict}, ${founded} founded, ${stores} left, ${acknowledged} writes, trace ${traceHash}`;
}

export function describeStoresSeries(reports: readonly StoresRunReport[]): string {
  const stories = new Map<string, number>();
  for (const { story } of reports) stories.set(story, (stories.get(story) ?? 0) + 1);
  const sum = (count: (report: StoresRunReport) => number) =>
    reports.reduce((total, report) => total + count(report), 0);
  const faults = sum(({ struck }) => Object.values(struck).reduce((total, count) => total + count, 0));
  const broken = reports.filter(({ violations }) => violations.length > 0);
  return [
    `stores: ${reports.length} seeds (${[...stories].map(([story, count]) => `${story} ${count}`).join(', ')}), ${(sum(({ simulatedMs }) => simulatedMs) / 3_600_000).toFixed(2)} simulated hours`,
    `founded ${sum(({ founded }) => founded)}, left ${sum(({ stores }) => stores)}, writes acknowledged ${sum(({ acknowledged }) => acknowledged)}, faults ${faults}`,
    broken.length === 0 ? 'every promise held' : `BROKEN: ${broken.length} seeds`,
  ].join('\n');
}
