/**
 * Between an agent's client on stdio and the node's MCP socket: bytes as they come, nothing parsed, so that the
 * bridge costs next to nothing. Each side's pauses slow the other down. Standard output carries MCP alone.
 *
 * Bytes are read into one buffer per direction and written from there, past Node's queues of streams: a call passes
 * here twice, and what is saved each time is a good part of what a local call takes.
 */
import { once } from 'node:events';
import { fstatSync } from 'node:fs';
import { connect, type OnReadOpts, Socket } from 'node:net';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { AgentId } from '../kernel/ids.ts';
import { socketPath } from '../node/answers.ts';
import { startInBackground } from './background.ts';
import { NodeUnreachable } from './exit.ts';
import type { Io } from './io.ts';

/** After the client has closed its end, answers that are under way still reach it for so long. */
const DRAIN_MS = 5_000;
const BUFFER_BYTES = 64 * 1024;
const STANDARD_INPUT = 0;

interface BridgeOptions {
  readonly data: string;
  /** As whom the client acts; without one the node takes it for `local`. */
  readonly agent?: AgentId;
}

/**
 * Runs until the client closes standard input, or an interrupt.
 *
 * @throws NodeUnreachable where no node runs and none can be started, or the node goes away.
 */
export async function bridge({ data, agent }: BridgeOptions, io: Io): Promise<void> {
  const directory = resolve(data);
  const path = socketPath(directory, 'mcp.sock');
  const socket = (await open(path)) ?? (await startInBackground(directory, io, () => open(path)));
  const stop = () => socket.destroy();
  io.signal.addEventListener('abort', stop, { once: true });
  if (agent !== undefined) socket.write(introduction(agent));
  const input = passInput(socket);
  let clientLeft = false;
  input.once('end', () => {
    clientLeft = true;
    socket.end();
    setTimeout(stop, DRAIN_MS).unref();
  });
  // Whoever breaks standard input rather than closing it waits for no answers.
  input.once('error', () => {
    clientLeft = true;
    stop();
  });
  await finished(socket, { writable: false }).catch(() => {});
  input.destroy();
  if (!clientLeft && !io.signal.aborted)
    throw new NodeUnreachable(
      'The node went away.',
      `Restart this MCP server to start the node again; its log is ${join(directory, 'node.log')}.`,
    );
}

/** The node's side of this is `AGENT_NOTIFICATION`; it comes before anything of the client's. */
function introduction(agent: AgentId): string {
  return `${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/skein/agent', params: { agent } })}\n`;
}

/** Files and terminals, which a person may redirect, go the usual way: they need not be fast. */
function passInput(socket: Socket): Readable {
  const kind = fstatSync(STANDARD_INPUT);
  if (!kind.isFIFO() && !kind.isSocket()) {
    process.stdin.pipe(socket, { end: false });
    return process.stdin;
  }
  const input: Socket = new Socket({
    fd: STANDARD_INPUT,
    writable: false,
    onread: passing(() => input, socket),
  });
  return input.resume();
}

/** Undefined where nobody listens. */
async function open(path: string): Promise<Socket | undefined> {
  const socket: Socket = connect({
    path,
    allowHalfOpen: true,
    onread: passing(() => socket, process.stdout),
  });
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

/** Writes what is read to `to`, and reads no more until all of it is written, since the buffer is used again. */
function passing(from: () => Socket, to: Writable): OnReadOpts {
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  let waiting = false;
  const onWritten = () => {
    if (!waiting) return;
    waiting = false;
    from().resume();
  };
  return {
    buffer,
    callback: (bytes) => {
      to.write(buffer.subarray(0, bytes), onWritten);
      // The system mostly takes all at once.
      waiting = to.writableLength > 0;
      return !waiting;
    },
  };
}
