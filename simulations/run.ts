/**
 * Runs scenarios from the command line: `node simulations/run.ts [SCENARIO] [--seed N] [--seeds N] [--nodes N] [--json]`.
 * Without a scenario all of them; without `--seed` from seed 1 on. Exit code 1 where a promise was broken.
 */
import { parseArgs } from 'node:util';
import { type ChurnReport, runChurn } from './budget/churn.ts';
import { type DenialsReport, describeDenials, runDenials } from './budget/denials.ts';
import { type HoursReport, runHours } from './budget/hours.ts';
import { type BudgetRunReport, runBudget } from './budget/run.ts';
import { describeScheduled } from './budget/scheduled.ts';
import { describeBudget, describeBudgetSeries, shrinkBudget } from './budget/series.ts';
import { type RunReport, runScenario } from './lib/scenario.ts';
import { shrink } from './lib/shrink.ts';
import { type QuorumRunReport, runQuorum } from './quorum/run.ts';
import { describeQuorum, describeQuorumSeries, shrinkQuorum } from './quorum/series.ts';
import { runStores, type StoresRunReport } from './quorum/stores/run.ts';
import { describeStores, describeStoresSeries, shrinkStores } from './quorum/stores/series.ts';
import { type ScenarioName, scenarios } from './scenarios.ts';

export interface SimulateOptions {
  readonly scenario?: string;
  readonly seed?: number;
  readonly seeds?: number;
  readonly nodes?: number;
  /** Called after every run; of a long series of `quorum`, after every hundredth and those that failed. */
  readonly onReport?: (report: Report) => void;
}

/** Of whole nodes, or of the light worlds that run the quorum store or the budgets alone. */
export type Report =
  | RunReport
  | QuorumRunReport
  | StoresRunReport
  | BudgetRunReport
  | DenialsReport
  | HoursReport
  | ChurnReport;

export type SimulateResult =
  | { readonly kind: 'unknownScenario'; readonly scenarios: readonly string[] }
  | { readonly kind: 'done'; readonly reports: readonly Report[]; readonly failed: readonly Report[] };

/** Runs one scenario or all, `seeds` seeds each from `seed` on; the first failure of each comes back with its faults cut down. */
export async function simulate(options: SimulateOptions): Promise<SimulateResult> {
  const { scenario, seed = 1, seeds = 1, nodes, onReport } = options;
  const known = [
    ...(Object.keys(scenarios) as ScenarioName[]),
    QUORUM,
    STORES,
    BUDGET,
    HOURS,
    DENIALS,
  ] as const;
  const wanted: readonly Runnable[] =
    scenario === CHURN ? [CHURN] : known.filter((name) => scenario === undefined || name === scenario);
  if (wanted.length === 0) return { kind: 'unknownScenario', scenarios: [...known, CHURN] };
  const reports: Report[] = [];
  for (const name of wanted) {
    for (let offset = 0; offset < seeds; offset++) {
      const run = { seed: seed + offset, ...(nodes === undefined ? {} : { nodes }) };
      const report = runOne(name, run);
      reports.push(report);
      const isTold = seeds <= TOLD_ONE_BY_ONE || !LIGHT.includes(name);
      if (isTold || offset % 100 === 99 || report.violations.length > 0) onReport?.(report);
      // A long series must not keep the process from hearing signals.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const failing = reports.filter(({ violations }) => violations.length > 0);
  // Cutting down takes many runs: the first failure of each scenario is worth them, the others may share its cause.
  const failed = failing.map((report, index) =>
    failing.findIndex(({ scenario: name }) => name === report.scenario) === index ? cutDown(report) : report,
  );
  return { kind: 'done', reports, failed };
}

const QUORUM = 'quorum';
const STORES = 'quorum-stores';
const BUDGET = 'budget';
const HOURS = 'budget-hours';
const DENIALS = 'budget-denials';
/** Takes minutes: only where it is asked for by name. */
const CHURN = 'budget-churn';
/** So fast that a line for each would be too many. */
const LIGHT: readonly string[] = [QUORUM, STORES, BUDGET];

type Runnable =
  | ScenarioName
  | typeof QUORUM
  | typeof STORES
  | typeof BUDGET
  | typeof HOURS
  | typeof DENIALS
  | typeof CHURN;

function runOne(name: Runnable, run: { readonly seed: number; readonly nodes?: number }): Report {
  if (name === QUORUM) return runQuorum(run);
  if (name === BUDGET) return runBudget(run);
  if (name === HOURS) return runHours(run);
  if (name === DENIALS) return runDenials(run);
  if (name === CHURN) return runChurn(run);
  return name === STORES ? runStores({ seed: run.seed }) : runScenario({ ...run, scenario: name });
}

const TOLD_ONE_BY_ONE = 200;

function cutDown(report: Report): Report {
  if (report.scenario === QUORUM) return shrinkQuorum(report);
  if (report.scenario === BUDGET) return shrinkBudget(report);
  if (report.scenario === HOURS || report.scenario === DENIALS || report.scenario === CHURN) return report;
  return report.scenario === STORES ? shrinkStores(report) : shrink(report).report;
}

/** What a series adds up to, for a person; empty where its lines say it all. */
export function describeSeries(reports: readonly Report[]): string {
  const quorum = reports.filter((report) => report.scenario === QUORUM);
  const stores = reports.filter((report) => report.scenario === STORES);
  const budget = reports.filter((report) => report.scenario === BUDGET);
  return [
    ...(quorum.length > 1 ? [describeQuorumSeries(quorum)] : []),
    ...(stores.length > 1 ? [describeStoresSeries(stores)] : []),
    ...(budget.length > 1 ? [describeBudgetSeries(budget)] : []),
  ].join('\n');
}

/** One line for a person. */
export function describeReport(report: Report): string {
  if (report.scenario === QUORUM) return describeQuorum(report);
  if (report.scenario === STORES) return describeStores(report);
  if (report.scenario === BUDGET) return describeBudget(report);
  if (report.scenario === DENIALS) return describeDenials(report);
  if (report.scenario === HOURS || report.scenario === CHURN) return describeScheduled(report);
  const { scenario, seed, nodes, traceHash, operations, violations, convergedMs, events } = report;
  const verdict =
    violations.length === 0 ? `converged in ${convergedMs} ms` : `${violations.length} VIOLATIONS`;
  return `${scenario} seed ${seed} nodes ${nodes}: ${verdict}, ${operations.ok} ok ${operations.fail} refused ${operations.info} unknown, ${events} events, trace ${traceHash}`;
}

const SHOWN_VIOLATIONS = 5;

export function describeFailure(report: Report): string {
  const { scenario, seed, violations, faults } = report;
  return [
    `${scenario} seed ${seed} failed under ${faults.length} faults:`,
    ...faults.map((fault) => `  ${JSON.stringify(fault)}`),
    ...violations
      .slice(0, SHOWN_VIOLATIONS)
      .map(({ atMs, check, what }) => `  at ${atMs.toFixed(1)} ms, ${check}: ${what}`),
    `Replay: ${report.replay}`,
  ].join('\n');
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: 'string' },
      seeds: { type: 'string' },
      nodes: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const number = (text: string | undefined) => (text === undefined ? {} : { value: Number(text) }).value;
  const numbers = Object.entries({
    seed: number(values.seed),
    seeds: number(values.seeds),
    nodes: number(values.nodes),
  });
  const result = await simulate({
    ...(positionals[0] === undefined ? {} : { scenario: positionals[0] }),
    ...Object.fromEntries(numbers.filter(([, value]) => value !== undefined)),
    ...(values.json ? {} : { onReport: (report) => console.log(describeReport(report)) }),
  });
  if (result.kind === 'unknownScenario') {
    console.error(`No such scenario. There are: ${result.scenarios.join(', ')}`);
    process.exitCode = 2;
    return;
  }
  if (values.json) console.log(JSON.stringify({ reports: result.reports }));
  else {
    console.log(describeSeries(result.reports));
    for (const report of result.failed) console.error(describeFailure(report));
  }
  if (result.failed.length > 0) process.exitCode = 1;
}

if (import.meta.main) await main();
