/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util';

export const SECTIONS = ['propagation', 'cost', 'mcp', 'rest', 'detection', 'quorum', 'budget'] as const;
export type Section = (typeof SECTIONS)[number];

export interface Options {
  readonly sections: readonly Section[];
  /** Each candidate is measured this many times, in turn with the others. */
  readonly rounds: number;
  /** Short phases and small loads: to see that everything runs, not to quote. */
  readonly quick: boolean;
  readonly json: string | undefined;
  /** Length of the run under full load that counts false deaths; 0 leaves it out. */
  readonly minutes: number;
  /** Only candidates and parts whose name contains one of these; empty: all. */
  readonly only: readonly string[];
  /** CPU profiles of the measured phases go here. */
  readonly profile: string | undefined;
  readonly help: boolean;
}

export const USAGE = `node test/bench/run.ts [${SECTIONS.join('|')}|all]… [options]

  --rounds N      rounds per candidate, alternating (default 5; 1 with --quick)
  --quick         short phases: shows that everything runs; not to be quoted
  --minutes N     detection: count false deaths for N minutes at 100 % CPU (default 0: leave out)
  --only A,B      only the parts and candidates whose name contains one of these
  --json FILE     where the figures go as JSON (default bench-results/<time>.json)
  --profile DIR   write CPU profiles of the measured phases into DIR`;

export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      minutes: { type: 'string', default: '0' },
      only: { type: 'string' },
      profile: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const quick = values.quick;
  return {
    sections: parseSections(positionals),
    rounds: numberIn('--rounds', values.rounds ?? (quick ? '1' : '5'), 1),
    quick,
    json: values.json,
    minutes: numberIn('--minutes', values.minutes, 0),
    only: values.only?.split(',') ?? [],
    profile: values.profile,
    help: values.help,
  };
}

function parseSections(names: readonly string[]): readonly Section[] {
  if (names.length === 0 || names.includes('all')) return SECTIONS;
  for (const name of names) {
    if (!SECTIONS.some((section) => section === name)) throw new Error(`No section "${name}".\n\n${USAGE}`);
  }
  return SECTIONS.filter((section) => names.includes(section));
}

function numberIn(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < least) {
    throw new Error(`${flag} wants a number of at least ${least}, not "${text}".\n\n${USAGE}`);
  }
  return value;
}

/** Whether `--only` lets this part or candidate run. */
export function wanted(options: Options, ...names: readonly string[]): boolean {
  const { only } = options;
  return only.length === 0 || names.some((name) => only.some((part) => name.includes(part)));
}
