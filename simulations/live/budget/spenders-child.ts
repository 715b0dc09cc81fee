/** A process of agents on one machine, in its network: over MCP on HTTP, over MCP on the socket, and on the control socket. */
import { ControlClient } from '../../../src/cli/client.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import { McpClient, RestClient } from '../clients.ts';
import type { Operation } from './operations.ts';
import { Spender } from './spender.ts';
import type { SpendersTerms } from './spenders.ts';

const terms = JSON.parse(process.argv[2] as string) as SpendersTerms;
const { machine, seed, budgets, reported, provider } = terms;
const controls = [machine, ...terms.others].map(({ data }) => new ControlClient({ data }));
const rng = seededRng(seed);
const until = new AbortController();

const kinds = [
  () => new McpClient(() => ({ url: terms.mcpUrl })),
  () => new McpClient(() => ({ socketPath: `${machine.data}/mcp.sock` })),
  () => new RestClient(controls[0] as ControlClient),
  () => new McpClient(() => ({ url: terms.mcpUrl })),
];

const spenders = Array.from({ length: terms.agents }, (_, index) => {
  const own = (kinds[index % kinds.length] as (typeof kinds)[number])();
  const others = terms.others.map(({ name }, place) => ({
    machine: name,
    client: new RestClient(controls[place + 1] as ControlClient),
  }));
  const dice = rng.fork();
  return new Spender({
    name: `${machine.name}-${own.how}-${index}`,
    places: [{ machine: machine.name, client: own }, ...others],
    budgets,
    reported,
    provider,
    dice: () => dice.float(),
    record: (operation: Operation) => process.send?.(operation),
  });
});

process.on('disconnect', () => process.exit());
process.on('message', () => until.abort());
void Promise.all(spenders.map((spender) => spender.work(until.signal))).then(() => process.disconnect());
