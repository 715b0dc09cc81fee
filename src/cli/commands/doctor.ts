import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { type NodeFlags, type NodeSession, onNode, withNode } from '../context.ts';
import { NodeUnreachable } from '../exit.ts';
import type { Io } from '../io.ts';
import { problemsText } from './status.ts';

interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

export function doctorCommand(io: Io): Command {
  return withNode(new Command('doctor'), io).action(
    onNode(io, async ({ client, out, flags }: NodeSession<NodeFlags>) => {
      try {
        const answer = await client.call<{ problems: readonly Problem[] }>('GET', '/v1/doctor');
        await out.result(answer, () =>
          answer.problems.length === 0 ? 'Nothing is wrong.' : problemsText(answer.problems),
        );
      } catch (error) {
        if (!(error instanceof NodeUnreachable) || flags.url !== undefined) throw error;
        throw new NodeUnreachable(
          error.body.message,
          [error.body.hint, ...directoryFaults(flags.data)].join('\n'),
        );
      }
    }),
  );
}

/** What keeps a node from running there, as far as one can see from outside. */
function directoryFaults(data: string): string[] {
  const directory = resolve(data);
  try {
    if (!statSync(directory).isDirectory())
      return [`${directory} is not a directory: name another with --data.`];
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    return [];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    return [`This user may not read and write ${directory}: change its owner, or name another with --data.`];
  }
}
