/** Runs a gateway: with API keys configured (`--config configs/gateway.yaml`) it serves MCP to other machines. */
import { runProcess } from '../src/cli/run.ts';

await runProcess(['up', '--role', 'gateway', ...process.argv.slice(2)]);
