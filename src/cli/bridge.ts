/**
 * Between an agent's client on stdio and the node's MCP socket: bytes as they come, nothing parsed, so that the
 * bridge costs next to nothing. Each side's pauses slow the other down. Standard output carries MCP alone.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import { startInBackground } from './background.ts';
import { NodeUnreachable } from './exit.ts';
import type { Io } from './io.ts';
import { socketPath } from './socket.ts';

/** After the client has closed its end, answers that are under way still reach it for so long. */
const DRAIN_MS = 5_000;

/**
 * Runs until the client closes standard input, or an interrupt.
 *
 * @throws NodeUnreachable where no node runs and none can be started, or the node goes away.
 */
export async function bridge(data: string, io: Io): Promise<void> {
  const directory = resolve(data);
  const path = socketPath(directory, 'mcp.sock');
  const socket = (await open(path)) ?? (await startInBackground(directory, io, () => open(path)));
  const stop = () => socket.destroy();
  io.signal.addEventListener('abort', stop, { once: true });
  let clientLeft = false;
  const incoming = pipeline(process.stdin, socket, { signal: io.signal }).then(
    () => {
      clientLeft = true;
      setTimeout(stop, DRAIN_MS).unref();
    },
    () => {},
  );
  socket.pipe(process.stdout, { end: false });
  await finished(socket, { writable: false }).catch(() => {});
  process.stdin.destroy();
  await incoming;
  if (!clientLeft && !io.signal.aborted)
    throw new NodeUnreachable(
      'The node went away.',
      `Restart this MCP server to start the node again; its log is ${join(directory, 'node.log')}.`,
    );
}

/** Undefined where nobody listens. */
async function open(path: string): Promise<Socket | undefined> {
  const socket = connect({ path, allowHalfOpen: true });
  try {
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw new NodeUnreachable(
      `Cannot talk to the node at ${path}: ${message}.`,
      'Use the user who started the node, or another --data directory.',
    );
  }
}
