/** Runs a worker: agents of this machine work through it. Takes the flags of `skein up`. */
import { runProcess } from '../src/cli/run.ts';

await runProcess(['up', '--role', 'worker', ...process.argv.slice(2)]);
