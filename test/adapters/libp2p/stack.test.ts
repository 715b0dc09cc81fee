import { Socket } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import type { MessageStream } from '../../../src/adapters/libp2p/muxer-guard.ts';
import { createStack, onceClosed, type Stack } from '../../../src/adapters/libp2p/stack.ts';
import { TCP, until } from './support.ts';

const PROTOCOL = '/skein/test/1';
const open: Stack[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map(({ libp2p }) => libp2p.stop()));
});

async function started(number: number): Promise<Stack> {
  const stack = await createStack({ listen: [TCP], seed: new Uint8Array(32).fill(number) });
  open.push(stack);
  await stack.libp2p.start();
  await stack.libp2p.handle(PROTOCOL, () => {});
  return stack;
}

it('an encrypted connection that closes while a stream is being opened fails that stream, and throws to nobody', async () => {
  const [near, far] = [await started(1), await started(2)];
  const [address] = far.libp2p.getMultiaddrs();
  if (address === undefined) throw new Error('it listens nowhere');
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  process.on('uncaughtException', note);
  try {
    const connection = await near.libp2p.dial(address);
    const { maConn: encrypted } = (connection as unknown as { muxer: { maConn: MessageStream } }).muxer;
    const opening = connection.newStream(PROTOCOL).catch(() => 'failed');
    const closing = encrypted.close();
    expect(await opening).toBe('failed');
    await closing.catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
    expect(uncaught).toEqual([]);
  } finally {
    process.off('uncaughtException', note);
  }
});

it('an open connection asks for the round trip once, by which windows grow, and for no sign of life after that, and is not cut for giving none', async () => {
  const [near, far] = [await started(1), await started(2)];
  const [address] = far.libp2p.getMultiaddrs();
  if (address === undefined) throw new Error('it listens nowhere');
  const timeouts = vi.spyOn(Socket.prototype, 'setTimeout');
  await near.libp2p.dial(address);
  await until(() => far.libp2p.getConnections().length === 1, 'connected');
  const connections = [...near.libp2p.getConnections(), ...far.libp2p.getConnections()];
  const muxers = connections.map(
    (each) => (each as unknown as { muxer: { rtt: number; keepAliveInterval: number } }).muxer,
  );
  await until(() => muxers.every(({ rtt }) => rtt >= 0), 'asked once');
  expect(muxers.every(({ keepAliveInterval }) => keepAliveInterval >= 3_600_000)).toBe(true);
  expect(timeouts.mock.calls.map(([ms]) => ms)).toEqual([0, 0]);
  timeouts.mockRestore();
});

it('that a connection was closed is told before its streams are taken down', async () => {
  const [near, far] = [await started(1), await started(2)];
  const [address] = far.libp2p.getMultiaddrs();
  if (address === undefined) throw new Error('it listens nowhere');
  const connection = await near.libp2p.dial(address);
  const stream = await connection.newStream(PROTOCOL);
  const told: string[] = [];
  expect(onceClosed(connection, () => told.push(`connection ${connection.status}`))).toBe(true);
  stream.addEventListener('close', () => told.push('stream'));
  await until(() => far.libp2p.getConnections().length === 1, 'connected');
  // As when its process is killed: without a word to the streams.
  const [cut] = far.libp2p.getConnections() as unknown as { maConn: { socket: Socket } }[];
  cut?.maConn.socket.destroy();
  await until(() => told.length === 2, 'both are told');
  expect(told).toEqual([expect.stringMatching(/^connection (closed|aborted)$/), 'stream']);
});
