/** Cuts a failing run down to the faults that it needs: drops ever smaller parts of the schedule while it still fails (Zeller's ddmin). */
import type { Fault } from './faults.ts';
import { type RunOptions, type RunReport, runScenario } from './scenario.ts';

const SHRINK_RUNS = 40;

export interface Shrunk {
  readonly report: RunReport;
  readonly runs: number;
}

/** Keeps the first violation's check as the mark of the failure; at most `mostRuns` runs. */
export function shrink(
  failing: RunReport,
  mostRuns: number = SHRINK_RUNS,
  run: (options: RunOptions) => RunReport = runScenario,
): Shrunk {
  const { scenario, seed, nodes } = failing;
  return fewestFaults(
    failing,
    (faults: readonly Fault[]) => run({ scenario, seed, nodes, faults }),
    mostRuns,
  );
}

interface Failing<F> {
  readonly faults: readonly F[];
  readonly violations: readonly { readonly check: string }[];
}

/** The same for any world whose faults are a schedule. */
export function fewestFaults<F, Report extends Failing<F>>(
  failing: Report,
  run: (faults: readonly F[]) => Report,
  mostRuns: number = SHRINK_RUNS,
): { readonly report: Report; readonly runs: number } {
  const check = failing.violations[0]?.check;
  let best = failing;
  let runs = 0;
  const stillFails = (faults: readonly F[]): boolean => {
    runs += 1;
    const report = run(faults);
    if (!report.violations.some((violation) => violation.check === check)) return false;
    best = report;
    return true;
  };
  for (let parts = 2; parts <= Math.max(2, best.faults.length * 2) && runs < mostRuns; ) {
    const size = Math.max(1, Math.ceil(best.faults.length / parts));
    let dropped = false;
    for (let from = 0; from < best.faults.length && runs < mostRuns; from += size) {
      const left = [...best.faults.slice(0, from), ...best.faults.slice(from + size)];
      if (best.faults.length > 0 && stillFails(left)) {
        dropped = true;
        break;
      }
    }
    if (dropped) parts = Math.max(2, parts - 1);
    else if (size === 1) break;
    else parts *= 2;
  }
  return { report: best, runs };
}
