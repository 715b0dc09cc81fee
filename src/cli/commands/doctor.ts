import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import type { Problem } from '../../node/answers.ts';
import { type NodeFlags, type NodeSession, onNode, withNode } from '../context.ts';
import { NodeUnreachable } from '../exit.ts';
import type { Io } from '../io.ts';
import { problemsText } from './status.ts';

interface DoctorFlags extends NodeFlags {
  readonly crashPoints?: boolean;
}

export function doctorCommand(io: Io): Command {
  const command = withNode(new Command('doctor'), io).option(
    '--crash-points',
    'list the names that SKEIN_CRASH_AT=NAME[:N] takes, for tests of durability',
  );
  return command.action(
    onNode(io, async ({ client, out, flags }: NodeSession<DoctorFlags>) => {
      if (flags.crashPoints === true) return listCrashPoints(out);
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

async function listCrashPoints(out: NodeSession<DoctorFlags>['out']): Promise<void> {
  const { CRASH_POINTS } = await import('../../node/crash-points.ts');
  const crashPoints = Object.entries(CRASH_POINTS)
    .map(([name, about]) => ({ name, about }))
    .sort((left, right) => (left.name < right.name ? -1 : 1));
  await out.result({ crashPoints }, () =>
    crashPoints.map(({ name, about }) => `${name}\n    ${about}`).join('\n'),
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
