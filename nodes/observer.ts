/** Runs an observer: a full member for dashboards and people, which other nodes know by its role. */
import { runProcess } from '../src/cli/run.ts';

await runProcess(['up', '--role', 'observer', ...process.argv.slice(2)]);
