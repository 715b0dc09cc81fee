/** Runs seeds of a light world until one breaks a promise, and prints which, as JSON: run by `run.ts` in a broken copy of the source. */
import { runHours } from '../budget/hours.ts';
import { runBudget } from '../budget/run.ts';
import { runQuorum } from '../quorum/run.ts';
import { runStores } from '../quorum/stores/run.ts';

export interface Hunt {
  readonly seeds: number;
  readonly found?: { readonly seed: number; readonly check: string; readonly what: string };
}

const WORLDS: Readonly<Record<string, (run: { readonly seed: number }) => Report>> = {
  budget: runBudget,
  hours: runHours,
  stores: runStores,
};

interface Report {
  readonly violations: readonly { readonly check: string; readonly what: string }[];
}

function hunt(from: number, mostSeeds: number, world: string | undefined): Hunt {
  const run = (world === undefined ? undefined : WORLDS[world]) ?? runQuorum;
  for (let seed = from; seed < from + mostSeeds; seed++) {
    const [first] = run({ seed }).violations;
    if (first !== undefined)
      return { seeds: seed - from + 1, found: { seed, check: first.check, what: first.what } };
  }
  return { seeds: mostSeeds };
}

console.log(JSON.stringify(hunt(Number(process.argv[2]), Number(process.argv[3]), process.argv[4])));
