import { Command } from 'commander';
import { bridge } from '../bridge.ts';
import { alone, type CommonFlags, DEFAULT_DATA, type Session } from '../context.ts';
import type { Io } from '../io.ts';

interface McpFlags extends CommonFlags {
  readonly data: string;
}

export function mcpCommand(io: Io): Command {
  return new Command('mcp')
    .option('--data <dir>', 'data directory of the node', io.environment.SKEIN_NODE_DATA || DEFAULT_DATA)
    .addHelpText(
      'after',
      '\nStarts a node in the background where none runs; its log is node.log in the data directory.',
    )
    .action(alone(io, ({ flags }: Session<McpFlags>) => bridge(flags.data, io)));
}
