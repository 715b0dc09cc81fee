/** `node simulations/lib/checkers/check-history.ts FILE…`: exit code 0 linearizable, 1 not, 2 no such history, 3 undecided. */
import { readHistory } from '../quorum-history.ts';
import { checkLinearizability, describeVerdict } from './linearizability.ts';

const EXIT = { linearizable: 0, violated: 1, undecided: 3 } as const;

function main(paths: readonly string[]): number {
  let code = 0;
  for (const path of paths) {
    try {
      const verdict = checkLinearizability(readHistory(path));
      console.log(`${path}: ${describeVerdict(verdict)}`);
      code = Math.max(code, EXIT[verdict.kind]);
    } catch (error) {
      console.error(`${path}: ${error instanceof Error ? error.message : String(error)}`);
      code = Math.max(code, 2);
    }
  }
  if (paths.length === 0) console.error('Name the files: check-history FILE…');
  return paths.length === 0 ? 2 : code;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
