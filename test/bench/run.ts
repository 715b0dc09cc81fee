/** `npm run bench`: measures Skein beside its peers in one run and prints what it found beside what was wanted. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { budget } from './budget.ts';
import { cost } from './cost.ts';
import { detection } from './detection.ts';
import { type Options, parseOptions, type Section, USAGE } from './lib/options.ts';
import { profileInto } from './lib/remote.ts';
import { outcomeOf, Report, render } from './lib/report.ts';
import { cleanUpAlways } from './lib/scratch.ts';
import { mcp } from './mcp.ts';
import { propagation } from './propagation.ts';
import { quorum } from './quorum.ts';
import { rest } from './rest.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const RUN: Readonly<Record<Section, (options: Options, report: Report) => Promise<void>>> = {
  propagation,
  cost,
  mcp,
  rest,
  detection,
  quorum,
  budget,
};

interface Machine {
  readonly commit: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly startedAt: string;
  readonly loadAtStart: number;
}

function machine(): Machine {
  let commit = 'unknown';
  try {
    commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  } catch {
    // A copy without its history can be measured all the same.
  }
  return {
    commit,
    node: process.version,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    startedAt: new Date().toISOString(),
    loadAtStart: loadavg()[0] ?? 0,
  };
}

/** The number of parts that could not be measured: only these, not missed goals, are an error. */
async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  cleanUpAlways();
  if (options.profile !== undefined) {
    mkdirSync(options.profile, { recursive: true });
    profileInto(options.profile);
  }
  const facts = machine();
  const report = new Report();
  for (const section of options.sections) {
    await RUN[section](options, report).catch((error: unknown) => report.failed(section, 'all', error));
  }
  print(options, report, facts);
  const name = `${facts.startedAt.replaceAll(/[:.]/g, '-')}.json`;
  const file = options.json ?? join(ROOT, 'bench-results', name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(
    file,
    `${JSON.stringify({ machine: facts, options, figures: report.figures, remarks: report.remarks }, null, 2)}\n`,
  );
  console.error(`\nKept in ${file}`);
  return report.failures;
}

function print(options: Options, report: Report, facts: Machine): void {
  const missed = report.figures.filter((figure) => outcomeOf(figure) === 'MISSED').length;
  const met = report.figures.filter((figure) => outcomeOf(figure) === 'met').length;
  console.log(`\n${render(report)}\n`);
  console.log(
    `${facts.cpu}, ${facts.cores} cores, Node ${facts.node}, commit ${facts.commit}, ` +
      `load ${facts.loadAtStart.toFixed(1)} at the start; medians of ${options.rounds} round(s)` +
      `${options.quick ? ', QUICK: not to be quoted' : ''}. Goals met: ${met}, missed: ${missed}, parts that failed: ${report.failures}.`,
  );
}

main().then(
  (failures) => process.exit(failures === 0 ? 0 : 1),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(2);
  },
);
