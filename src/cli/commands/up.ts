import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { SkeinError } from '../../kernel/errors.ts';
import { loadConfig } from '../../node/config/load.ts';
import type { Config } from '../../node/config/options.ts';
import { alone, type CommonFlags, type Session, withJson } from '../context.ts';
import { mcpSnippet, quoted, skeinCommand, startCommand } from '../entry.ts';
import type { Io } from '../io.ts';
import { Progress } from '../progress.ts';
import { settingsGiven, withSettings } from '../settings.ts';
import { spareMemory } from '../spare-memory.ts';

interface UpFlags extends CommonFlags {
  readonly config?: string;
}

interface Ready {
  readonly nodeId: string;
  readonly name: string;
  readonly swarm: string;
  readonly httpUrl: string | undefined;
  readonly mcpUrl: string | undefined;
  readonly meshAddresses: readonly string[];
}

/** A node that has not stopped by then has work it cannot finish; what was acknowledged is on disk all the same. */
const STOP_MS = 10_000;

export function upCommand(io: Io): Command {
  const command = withSettings(withJson(new Command('up'))).description('run a node in the foreground');
  return command.action(
    alone(io, async (session: Session<UpFlags>) => {
      const { config, warnings } = await loadConfig({
        flags: settingsGiven(command),
        environment: io.environment,
        ...(session.flags.config === undefined ? {} : { file: session.flags.config }),
      });
      for (const warning of warnings) session.out.warn(warning);
      const progress = new Progress(io, 'Starting…');
      // Loaded only now: a wrong setting is told before the node's libraries are read.
      const { startNode } = await import('../../node/node.ts');
      const node = await startNode(config, {
        signal: io.signal,
        progress: (line) => progress.update(line),
      }).finally(() => progress.end());
      await session.out.result({ ready: true, ...node.ready }, () => welcome(node.ready, config));
      const endSparing = spareMemory();
      await Promise.race([interrupted(io.signal), node.closed]);
      endSparing();
      session.out.note('Stopping; press Ctrl-C again to stop at once.');
      await within(STOP_MS, node.stop());
    }),
  );
}

function welcome(ready: Ready, { node: { data }, swarm: { secret } }: Config): string {
  const { name, nodeId, swarm, mcpUrl, meshAddresses } = ready;
  const peer = meshAddresses.find((address) => !/\/ip4\/127\.|\/ip6\/::1\/|\/ws(\/|$)/.test(address));
  return [
    `${name} is up in swarm ${swarm}.`,
    '',
    `  node   ${nodeId}`,
    ...(mcpUrl === undefined ? [] : [`  MCP    ${mcpUrl}`]),
    ...meshAddresses.map((address, index) => `  ${index === 0 ? 'mesh' : '    '}   ${address}`),
    `  data   ${data}`,
    '',
    "For an agent's client configuration:",
    '',
    mcpSnippet(data),
    '',
    'To join a second machine, run there (on the same network --peer may be left out):',
    '',
    `  ${joinCommand(secret === undefined ? join(data, 'swarm.secret') : undefined, peer)}`,
    '',
    `In another terminal: ${skeinCommand} peers${data === resolve('.skein') ? '' : ` --data ${quoted(data)}`}${skeinCommand === 'skein' ? '' : '   (messages say just "skein")'}`,
    'Ctrl-C stops the node.',
  ].join('\n');
}

/** The secret itself is never printed: terminals keep what they show, and so do the logs of services. */
function joinCommand(secretFile: string | undefined, peer: string | undefined): string {
  const secret =
    secretFile === undefined ? "'the same secret'" : `"$(ssh THIS-MACHINE cat ${quoted(secretFile)})"`;
  return `SKEIN_SWARM_SECRET=${secret} ${startCommand}${peer === undefined ? '' : ` --peer ${peer}`}`;
}

function interrupted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  const giveUp = new AbortController();
  const late = delay(ms, undefined, { signal: giveUp.signal }).then(() => {
    throw SkeinError.of(
      'TIMEOUT',
      `The node did not stop within ${ms / 1000} s.`,
      'What was acknowledged is on disk; the process ends now.',
    );
  });
  try {
    await Promise.race([work, late]);
  } finally {
    giveUp.abort();
    await late.catch(() => {});
  }
}
