import { Command, InvalidArgumentError, Option } from 'commander';
import { type AgentId, parseAgentId } from '../../kernel/ids.ts';
import { bridge } from '../bridge.ts';
import { alone, type CommonFlags, DEFAULT_DATA, type Session } from '../context.ts';
import type { Io } from '../io.ts';

interface McpFlags extends CommonFlags {
  readonly data: string;
  readonly agent?: AgentId;
}

export function mcpCommand(io: Io): Command {
  const { SKEIN_NODE_DATA, SKEIN_AGENT } = io.environment;
  const agent = new Option(
    '--agent <name>',
    'the agent that calls, where a call names none (default: "local"); environment: SKEIN_AGENT',
  );
  agent.argParser(parseAgent);
  if (SKEIN_AGENT) agent.default(parseAgent(SKEIN_AGENT), SKEIN_AGENT);
  return new Command('mcp')
    .option('--data <dir>', 'data directory of the node', SKEIN_NODE_DATA || DEFAULT_DATA)
    .addOption(agent)
    .addHelpText(
      'after',
      '\nStarts a node in the background where none runs; its log is node.log in the data directory.',
    )
    .action(alone(io, ({ flags }: Session<McpFlags>) => bridge(flags, io)));
}

function parseAgent(text: string): AgentId {
  const agent = parseAgentId(text);
  if (agent === undefined)
    throw new InvalidArgumentError('It must be 1 to 128 printable characters without white space.');
  return agent;
}
