/** Runs an orchestrator: a node that other nodes see as the one that plans and hands out work. */
import { runProcess } from '../src/cli/run.ts';

await runProcess(['up', '--role', 'orchestrator', ...process.argv.slice(2)]);
