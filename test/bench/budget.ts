/** Spending within a limit beside the usual alternative, Redis with a script, both durable; and how rights move between nodes. */

import type { Spending, SpendRequest } from './budget-driver.ts';
import { budgetMesh, MESH_PARTS } from './budget-mesh.ts';
import type { Purse } from './lib/money.ts';
import { type Options, wanted } from './lib/options.ts';
import { phase, Remote } from './lib/remote.ts';
import type { Goal, Report, Unit } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Budgets';
const PURSES: readonly Purse[] = ['disk', 'redis', 'redis, pipelined', 'skein'];
const CALLERS = [1, 128] as const;
const ABOVE = 'reserve, 1 caller, p50, above the disk';
const GOALS: Readonly<Record<string, Goal>> = {
  'reserve and settle, 128 callers': { direction: 'at least', bound: 1.5, peer: 'redis' },
  [ABOVE]: { direction: 'at most', bound: 100 },
};

export async function budget(options: Options, report: Report): Promise<void> {
  const purses = PURSES.filter((purse) => wanted(options, purse));
  const samples = new Samples();
  for (let round = 1; round <= options.rounds; round++) {
    for (const purse of purses) {
      console.error(`budget: round ${round}/${options.rounds}, ${purse}`);
      await measure(purse, options, samples).catch((error: unknown) => report.failed(SECTION, purse, error));
    }
  }
  addRows(report, samples, purses);
  if (purses.length > 0)
    report.remark(
      `${SECTION}: spenders are in the process of the node, or of the client of Redis (appendfsync always, ioredis, a Lua script for ` +
        'each of the two steps; `pipelined` with enableAutoPipelining). `disk` is one write with O_DSYNC for each step, callers that ' +
        'wait meanwhile sharing the next. Processor time is of the thread that the callers are in: all of a node, of Redis the client alone.',
    );
  if (wanted(options, ...MESH_PARTS)) await budgetMesh(options, report);
}

async function measure(purse: Purse, options: Options, samples: Samples): Promise<void> {
  const directory = scratchDirectory();
  const driver = new Remote(new URL('./budget-driver.ts', import.meta.url), [], `budget-${purse}`);
  const forMs = options.quick ? 400 : 3000;
  try {
    await driver.ask('open', { purse, directory });
    await driver.ask<Spending>('spend', { callers: 64, forMs: forMs / 2 } satisfies SpendRequest);
    for (const callers of CALLERS) {
      const what = nameOf(callers);
      const spending = await phase(`${purse} ${what}`, [driver], () =>
        driver.ask<Spending>('spend', { callers, forMs } satisfies SpendRequest),
      );
      samples.add(`${purse}, ${what}`, spending.perSecond);
      samples.add(`${purse}, ${what}, p50 of reserve`, spending.reserveP50Us);
      samples.add(`${purse}, ${what}, p99 of reserve`, spending.reserveP99Us);
      samples.add(`${purse}, ${what}, p50 of settle`, spending.settleP50Us);
      samples.add(`${purse}, ${what}, processor time of one`, spending.processorUs);
    }
    await driver.ask('close');
  } finally {
    await driver.end();
    removeScratch(directory);
  }
}

function nameOf(callers: number): string {
  return `reserve and settle, ${callers} caller${callers === 1 ? '' : 's'}`;
}

function addRows(report: Report, samples: Samples, purses: readonly Purse[]): void {
  for (const callers of CALLERS) {
    for (const [suffix, unit] of [
      ['', 'ops/s'],
      [', p50 of reserve', 'us'],
      [', p99 of reserve', 'us'],
      [', p50 of settle', 'us'],
      [', processor time of one', 'us'],
    ] as const)
      addRow(report, samples, purses, `${nameOf(callers)}${suffix}`, unit);
  }
  const floor = samples.spread(`disk, ${nameOf(1)}, p50 of reserve`)?.median;
  const ours = samples.spread(`skein, ${nameOf(1)}, p50 of reserve`);
  if (floor === undefined || ours === undefined) return;
  const above = { ...ours, median: ours.median - floor, min: ours.min - floor, max: ours.max - floor };
  const goal = GOALS[ABOVE];
  report.add({
    section: SECTION,
    what: ABOVE,
    who: 'skein',
    unit: 'us',
    spread: above,
    ...(goal && { goal }),
  });
}

function addRow(report: Report, samples: Samples, purses: readonly Purse[], what: string, unit: Unit): void {
  const redis = samples.spread(`redis, ${what}`)?.median;
  for (const purse of purses) {
    const spread = samples.spread(`${purse}, ${what}`);
    if (spread === undefined) continue;
    const goal = purse === 'skein' ? GOALS[what] : undefined;
    report.add({
      section: SECTION,
      what,
      who: purse,
      unit,
      spread,
      ...(redis === undefined || purse === 'redis' ? {} : { ratio: spread.median / redis }),
      ...(goal === undefined ? {} : { goal }),
    });
  }
}
