/** Runs an orchestrator: a node that plans, hands out work and shares out the budgets, as long as no other does. */
import { runProcess } from '../src/cli/run.ts';

await runProcess(['up', '--role', 'orchestrator', ...process.argv.slice(2)]);
