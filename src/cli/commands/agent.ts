import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import {
  fraction,
  type NodeFlags,
  type NodeSession,
  onNode,
  repeated,
  wholeNumber,
  withNode,
} from '../context.ts';
import type { Io } from '../io.ts';
import { ago, table } from '../text.ts';

interface AgentInfo {
  readonly agent_id: string;
  readonly machine_id: string;
  readonly machine_name: string;
  readonly capabilities: readonly string[];
  readonly trust_level: number;
  readonly last_seen: string;
  readonly endpoint: string | null;
  readonly description?: string;
}

interface PageFlags extends NodeFlags {
  readonly limit?: number;
  readonly cursor?: string;
}

interface DiscoverFlags extends PageFlags {
  readonly capability?: string;
  readonly minTrust?: number;
}

interface RegisterFlags extends NodeFlags {
  readonly capability: readonly string[];
  readonly trust?: number;
  readonly endpoint?: string;
  readonly description?: string;
  readonly ttl: number;
  readonly keep?: boolean;
}

const DEFAULT_TTL_SECONDS = 60;

export function agentCommand(io: Io): Command {
  return new Command('agent')
    .addCommand(listCommand(io))
    .addCommand(discoverCommand(io))
    .addCommand(registerCommand(io));
}

function paged(command: Command): Command {
  return command
    .option('--limit <n>', 'at most so many', wholeNumber(1, 1_000))
    .option('--cursor <cursor>', 'continue where an earlier answer ended');
}

function listCommand(io: Io): Command {
  return paged(withNode(new Command('list'), io))
    .description('all agents in the mesh')
    .action(onNode(io, (session: NodeSession<DiscoverFlags>) => showAgents(session)));
}

function discoverCommand(io: Io): Command {
  return paged(withNode(new Command('discover'), io))
    .description('agents that can do something, anywhere in the mesh')
    .option('--capability <name>', 'only agents with this capability')
    .option('--min-trust <level>', 'only agents trusted at least so far, 0 to 1', fraction)
    .action(onNode(io, (session: NodeSession<DiscoverFlags>) => showAgents(session)));
}

async function showAgents({ client, out, flags }: NodeSession<DiscoverFlags>): Promise<void> {
  const answer = await client.call<{ agents: readonly AgentInfo[]; cursor?: string }>('GET', '/v1/agents', {
    query: {
      capability: flags.capability,
      min_trust: flags.minTrust,
      limit: flags.limit,
      cursor: flags.cursor,
    },
  });
  await out.result(answer, () => (answer.agents.length === 0 ? '' : agentsText(answer.agents)));
  if (answer.agents.length === 0)
    out.note('No such agent. Register one: skein agent register NAME --capability WHAT');
  if (answer.cursor !== undefined) out.note(`There are more: --cursor ${answer.cursor}`);
}

function agentsText(agents: readonly AgentInfo[]): string {
  return table(
    ['AGENT', 'MACHINE', 'TRUST', 'SEEN', 'CAPABILITIES', 'ENDPOINT'],
    agents.map((agent) => [
      agent.agent_id,
      agent.machine_name,
      String(agent.trust_level),
      ago(agent.last_seen, Date.now()),
      agent.capabilities.join(','),
      agent.endpoint ?? '-',
    ]),
  );
}

function registerCommand(io: Io): Command {
  return withNode(new Command('register'), io)
    .description('register an agent on this node, so that every node can find it')
    .argument('<agent>', 'name of the agent')
    .requiredOption('--capability <name>', 'what it can do; repeat for more', repeated)
    .option('--trust <level>', 'trust level, 0 to 1', fraction)
    .option('--endpoint <url>', 'where the agent itself can be called')
    .option('--description <text>', 'what it is, for people')
    .option(
      '--ttl <seconds>',
      'listed so long without a heartbeat',
      wholeNumber(5, 3_600),
      DEFAULT_TTL_SECONDS,
    )
    .option('--keep', 'stay, and send heartbeats until interrupted')
    .action(
      onNode(io, async (session: NodeSession<RegisterFlags>, agentId: string) => {
        const { client, out, flags } = session;
        const agent = await client.call<AgentInfo>('POST', '/v1/agents', {
          body: {
            agent_id: agentId,
            capabilities: flags.capability,
            trust_level: flags.trust,
            endpoint: flags.endpoint,
            description: flags.description,
            ttl_seconds: flags.ttl,
          },
        });
        await out.result(agent, () => agentsText([agent]));
        if (flags.keep === true) await keepAlive(session, agentId);
        else out.note(`Listed for ${flags.ttl} s; --keep stays and sends heartbeats.`);
      }),
    );
}

async function keepAlive({ client, io, flags }: NodeSession<RegisterFlags>, agentId: string): Promise<void> {
  const path = `/v1/agents/${encodeURIComponent(agentId)}/heartbeat`;
  // A third of its life: two lost heartbeats do not yet make the agent vanish.
  const everyMs = (flags.ttl * 1000) / 3;
  while (!io.signal.aborted) {
    await delay(everyMs, undefined, { signal: io.signal }).catch(() => {});
    if (!io.signal.aborted) await client.call('POST', path, { body: {} });
  }
}
