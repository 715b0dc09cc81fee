/** A node started in the background, for an agent whose client starts `skein mcp` and nothing else. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SkeinError } from '../kernel/errors.ts';
import { makeDirectory } from '../node/make-directory.ts';
import { programArguments } from './entry.ts';
import { EXIT, NodeUnreachable } from './exit.ts';
import type { Io } from './io.ts';
import { Progress } from './progress.ts';

const READY_MS = 20_000;
const POLL_MS = 25;
/** Where two clients start at once, one node loses the data directory to the other, which is then soon ready. */
const RIVAL_MS = 5_000;
const LOG_TAIL_LINES = 12;

/**
 * Starts `skein up` detached, with its output in `node.log`, and waits until `connect` gives something.
 *
 * @throws NodeUnreachable with the end of the log where no node comes up in time; SkeinError where the directory cannot
 * be used.
 */
export async function startInBackground<Connection>(
  data: string,
  io: Io,
  connect: () => Promise<Connection | undefined>,
): Promise<Connection> {
  const log = join(data, 'node.log');
  const child = launch(data, log);
  let untilMs = performance.now() + READY_MS;
  let reason = `no answer within ${READY_MS / 1000} s`;
  child.once('error', (error) => {
    reason = error.message;
    untilMs = 0;
  });
  child.once('exit', (code) => {
    reason = `it ended with exit code ${code}`;
    untilMs = code === EXIT.usage ? 0 : Math.min(untilMs, performance.now() + RIVAL_MS);
  });
  const progress = new Progress(io, `Starting a node in the background (log: ${log})…`);
  try {
    while (performance.now() < untilMs && !io.signal.aborted) {
      const connection = await connect();
      if (connection !== undefined) return connection;
      await delay(POLL_MS);
    }
  } finally {
    progress.end();
    child.removeAllListeners();
    child.unref();
  }
  throw new NodeUnreachable(
    `A node could not be started in ${data}: ${reason}.`,
    `The end of ${log}:\n${tailOf(log)}`,
  );
}

function launch(data: string, log: string) {
  let descriptor: number;
  try {
    makeDirectory(data, 0o700);
    descriptor = openSync(log, 'a', 0o600);
  } catch (error) {
    throw SkeinError.of(
      'INTERNAL',
      `The data directory ${data} cannot be used: ${(error as Error).message}.`,
      'Name a directory that this user may write: skein mcp --data DIR',
    );
  }
  const { command, args } = programArguments();
  try {
    return spawn(command, [...args, 'up', '--data', data], {
      detached: true,
      stdio: ['ignore', descriptor, descriptor],
    });
  } finally {
    closeSync(descriptor);
  }
}

function tailOf(log: string): string {
  try {
    return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  } catch {
    return '(no log)';
  }
}
