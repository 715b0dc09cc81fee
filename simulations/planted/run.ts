/**
 * Breaks a copy of the source in every known way, one at a time, and has a light world find it: a simulator that
 * finds nothing in a broken source proves nothing about a whole one. `npm run planted -- [NAME or WORLD…] [--seeds N] [--json]`
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { plantedBudgetBugs } from './budget-bugs.ts';
import { type Edit, type PlantedBug, plantedBugs } from './bugs.ts';
import type { Hunt } from './hunt.ts';

export interface PlantedResult extends Hunt {
  readonly name: string;
  readonly ms: number;
  /** Seeds that were passed over, as they fail in the source as it is too: there the bug proves nothing. */
  readonly failAnyway: readonly number[];
}

const root = resolve(import.meta.dirname, '../..');
const FIRST_SEED = 1;
const MOST_SEEDS = 2_000;
/** Nothing is broken: nothing may be found. */
const CONTROL: PlantedBug = { name: 'none', about: 'the source as it is', edits: [] };
const CONTROL_SEEDS = 50;

/** The file with the edit; throws where its text is not there exactly once. */
export function edited(text: string, edit: Edit): string {
  const parts = text.split(edit.find);
  if (edit.find === '' || parts.length !== 2)
    throw new Error(
      `${edit.file} has this ${parts.length - 1} times, not once: ${JSON.stringify(edit.find)}; mend the list of planted bugs`,
    );
  return parts.join(edit.replace);
}

/** Every edit of a bug, carried out in memory. */
export function brokenFiles(bug: PlantedBug): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const edit of bug.edits) {
    const path = join(
      bug.world === 'budget' || bug.world === 'hours' ? 'src/budget' : 'src/quorum',
      edit.file,
    );
    files.set(path, edited(files.get(path) ?? readFileSync(join(root, path), 'utf8'), edit));
  }
  return files;
}

export async function plant(bug: PlantedBug, mostSeeds: number = MOST_SEEDS): Promise<PlantedResult> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-planted-'));
  try {
    for (const part of ['src', 'simulations', 'package.json'])
      cpSync(join(root, part), join(folder, part), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    for (const [path, text] of brokenFiles(bug)) writeFileSync(join(folder, path), text);
    const startedMs = performance.now();
    const failAnyway: number[] = [];
    const world = bug.world ?? 'quorum';
    for (let seeds = 0; ; ) {
      const hunt = await huntIn(folder, FIRST_SEED + seeds, mostSeeds - seeds, world);
      seeds += hunt.seeds;
      const seed = hunt.found?.seed;
      const isOfBug =
        seed === undefined ||
        bug.edits.length === 0 ||
        (await huntIn(root, seed, 1, world)).found === undefined;
      if (isOfBug) return { name: bug.name, ms: performance.now() - startedMs, failAnyway, ...hunt, seeds };
      failAnyway.push(seed);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function huntIn(folder: string, from: number, mostSeeds: number, world: string): Promise<Hunt> {
  const program = join(folder, 'simulations/planted/hunt.ts');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [program, String(from), String(mostSeeds), world],
    { maxBuffer: 16 * 1024 * 1024 },
  );
  return JSON.parse(stdout) as Hunt;
}

function describe(result: PlantedResult): string {
  const { name, found, seeds, ms, failAnyway } = result;
  const outcome = found === undefined ? 'NOT FOUND' : `${found.check} (seed ${found.seed})`;
  const passedOver =
    failAnyway.length === 0 ? '' : `; fails in the source as it is: ${failAnyway.join(', ')}`;
  return `${name.padEnd(28)} ${String(seeds).padStart(5)} seeds ${(ms / 1000).toFixed(1).padStart(7)} s  ${outcome}${passedOver}`;
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { seeds: { type: 'string' }, json: { type: 'boolean', default: false } },
  });
  const all = [...plantedBugs, ...plantedBudgetBugs];
  const wanted = all.filter(
    ({ name, world }) =>
      positionals.length === 0 || positionals.includes(name) || positionals.includes(world ?? 'quorum'),
  );
  if (wanted.length === 0) {
    console.error(`No such bug. There are: ${all.map(({ name }) => name).join(', ')}`);
    process.exitCode = 2;
    return;
  }
  for (const bug of wanted) brokenFiles(bug);
  const results: PlantedResult[] = [];
  const seeds = values.seeds === undefined ? MOST_SEEDS : Number(values.seeds);
  for (const bug of wanted) {
    const result = await plant(bug, seeds);
    results.push(result);
    if (!values.json) console.log(describe(result));
  }
  const controls: PlantedResult[] = [];
  for (const world of new Set(wanted.map((bug) => bug.world ?? 'quorum')))
    controls.push(
      await plant({ ...CONTROL, name: `none (${world})`, world }, Math.min(seeds, CONTROL_SEEDS)),
    );
  const missed = results.filter(({ found }) => found === undefined).length;
  if (values.json) console.log(JSON.stringify({ results, controls }));
  else {
    console.log(`${results.length - missed} of ${results.length} planted bugs found`);
    for (const control of controls)
      console.log(
        control.found === undefined
          ? `nothing found in the source as it is: ${control.name}, ${control.seeds} seeds`
          : `but also in the source as it is: ${describe(control)}: ${control.found.what}`,
      );
  }
  const isSound = results.every(({ failAnyway }) => failAnyway.length === 0);
  if (missed > 0 || !isSound || controls.some(({ found }) => found !== undefined)) process.exitCode = 1;
}

if (import.meta.main) await main();
