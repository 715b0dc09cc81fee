import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import { nearestWord } from '../../kernel/nearest.ts';
import { alone, type CommonFlags, type Session, wholeNumber, withJson } from '../context.ts';
import { EXIT, Reported, UsageError } from '../exit.ts';
import type { Io } from '../io.ts';
import { count } from '../text.ts';

interface SimulateFlags extends CommonFlags {
  readonly seed?: number;
  readonly seeds?: number;
  readonly nodes?: number;
}

/** What is used of `simulations/run.ts`, which belongs to the source and not to the published package. */
interface Simulations<Report> {
  simulate(options: {
    scenario?: string;
    seed?: number;
    seeds?: number;
    nodes?: number;
    onReport?: (report: Report) => void;
  }): Promise<
    | { readonly kind: 'unknownScenario'; readonly scenarios: readonly string[] }
    | { readonly kind: 'done'; readonly reports: readonly Report[]; readonly failed: readonly Report[] }
  >;
  describeReport(report: Report): string;
  describeSeries(reports: readonly Report[]): string;
  describeFailure(report: Report): string;
}

export function simulateCommand(io: Io): Command {
  return withJson(new Command('simulate'))
    .argument('[scenario]', 'one scenario; without it all of them')
    .option(
      '--seed <n>',
      'first seed; the same seed gives the same trace (default 1)',
      wholeNumber(0, Number.MAX_SAFE_INTEGER),
    )
    .option('--seeds <n>', 'so many seeds from there on (default 1)', wholeNumber(1, 1_000_000))
    .option('--nodes <n>', "so many nodes instead of the scenario's own", wholeNumber(1, 200))
    .action(alone(io, run));
}

async function run({ io, flags, out }: Session<SimulateFlags>, scenario: string | undefined): Promise<void> {
  const { simulate, describeReport, describeSeries, describeFailure } = await simulations();
  const { seed, seeds, nodes } = flags;
  // A run does not yield, so that nothing could be shown in between.
  out.note('Simulating…');
  const result = await simulate({
    ...(scenario === undefined ? {} : { scenario }),
    ...(seed === undefined ? {} : { seed }),
    ...(seeds === undefined ? {} : { seeds }),
    ...(nodes === undefined ? {} : { nodes }),
    onReport: (report) => {
      io.signal.throwIfAborted();
      if (!out.json) void io.writeOut(`${describeReport(report)}\n`);
    },
  });
  if (result.kind === 'unknownScenario') {
    const near = nearestWord(scenario ?? '', result.scenarios);
    const all = `There are: ${result.scenarios.join(', ')}.`;
    throw new UsageError(
      `There is no scenario "${scenario}".`,
      near === undefined ? all : `Did you mean ${near}? ${all}`,
    );
  }
  const { reports, failed } = result;
  const series = describeSeries(reports);
  if (!out.json && series !== '') await io.writeOut(`${series}\n`);
  await out.result({ reports, failed }, () =>
    failed.length === 0
      ? `${count(reports.length, 'run')}: every promise held.`
      : `${failed.length} of ${count(reports.length, 'run')} failed.`,
  );
  for (const report of failed) out.warn(describeFailure(report));
  if (failed.length > 0) throw new Reported(EXIT.refused);
}

async function simulations(): Promise<Simulations<unknown>> {
  const module = new URL('../../../simulations/run.ts', import.meta.url);
  if (!existsSync(fileURLToPath(module)))
    throw SkeinError.of(
      'UNSUPPORTED',
      'The simulator is part of the source, not of the published package.',
      'Run it in a checkout: npm ci && npm run simulate',
    );
  return (await import(module.href)) as Simulations<unknown>;
}
