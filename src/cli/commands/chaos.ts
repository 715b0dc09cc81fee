import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import { nearestWord } from '../../kernel/nearest.ts';
import { alone, type CommonFlags, type Session, wholeNumber, withJson } from '../context.ts';
import { EXIT, Reported, UsageError } from '../exit.ts';
import type { Io } from '../io.ts';

interface ChaosFlags extends CommonFlags {
  readonly nodes?: number;
  readonly seconds?: number;
  readonly seed?: number;
  readonly history?: string;
  readonly loopback?: boolean;
}

/** What is used of `simulations/live/chaos.ts`, which belongs to the source and not to the published package. */
interface Chaos<Report extends { readonly violations: readonly string[] }> {
  runChaos(
    options: Omit<ChaosFlags, 'json'> & {
      readonly scenario?: string;
      readonly signal: AbortSignal;
      readonly onLine: (line: string) => void;
    },
  ): Promise<
    | { readonly kind: 'unknownScenario'; readonly groups: Readonly<Record<string, readonly string[]>> }
    | { readonly kind: 'done'; readonly report: Report }
  >;
  describeReport(report: Report): string;
}

export function chaosCommand(io: Io): Command {
  return withJson(new Command('chaos'))
    .argument('[scenario]', 'one scenario or fault; without it all of them')
    .option('--nodes <n>', 'so many nodes (default 3)', wholeNumber(2, 9))
    .option('--seconds <n>', 'so long under load and faults (default 60)', wholeNumber(1, 86_400))
    .option('--seed <n>', 'decides the order of faults (default 1)', wholeNumber(0, Number.MAX_SAFE_INTEGER))
    .option('--history <file>', 'where to write what the clients did and were told, as JSON lines')
    .option('--loopback', 'without network namespaces, even as root')
    .action(alone(io, run));
}

async function run({ io, flags, out }: Session<ChaosFlags>, scenario: string | undefined): Promise<void> {
  const { runChaos, describeReport } = await chaos();
  const { json: _json, ...options } = flags;
  const result = await runChaos({
    ...options,
    ...(scenario === undefined ? {} : { scenario }),
    signal: io.signal,
    onLine: (line) => out.note(line),
  });
  if (result.kind === 'unknownScenario') {
    const groups = Object.entries(result.groups);
    const near = nearestWord(
      scenario ?? '',
      groups.flatMap(([, names]) => names),
    );
    const lines = groups.map(([group, names]) => `  ${group}: ${names.join(', ')}`);
    const all = `There are:\n${lines.join('\n')}`;
    throw new UsageError(
      `There is no scenario "${scenario}".`,
      near === undefined ? all : `Did you mean ${near}?\n${all}`,
    );
  }
  const { report } = result;
  await out.result(report, () => describeReport(report));
  if (report.violations.length > 0) throw new Reported(EXIT.refused);
}

async function chaos(): Promise<Chaos<{ readonly violations: readonly string[] }>> {
  const module = new URL('../../../simulations/live/chaos.ts', import.meta.url);
  if (!existsSync(fileURLToPath(module)))
    throw SkeinError.of(
      'UNSUPPORTED',
      'Live chaos is part of the source, not of the published package.',
      'Run it in a checkout: npm ci && npm run chaos',
    );
  return (await import(module.href)) as Chaos<{ readonly violations: readonly string[] }>;
}
