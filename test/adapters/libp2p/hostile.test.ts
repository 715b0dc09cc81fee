/** A peer that speaks libp2p well and our protocols badly. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2p } from 'libp2p';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Connection, Stream } from '../../../src/adapters/libp2p/stack.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import type { WireEvent } from '../../../src/kernel/ports.ts';
import { end, until } from './support.ts';

type Bytes = { send(bytes: Uint8Array): boolean };

let attacker: Libp2p;
/** The attacker's connection below the muxer. */
let below: Bytes | undefined;
let victim: ReturnType<typeof end>;
let events: WireEvent[];
let admits: boolean;

beforeEach(async () => {
  below = undefined;
  admits = false;
  events = [];
  attacker = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [
      () => {
        const inner = yamux()();
        return {
          protocol: inner.protocol,
          createStreamMuxer(connection) {
            below = connection as Bytes;
            return inner.createStreamMuxer(connection);
          },
        };
      },
    ],
    connectionMonitor: { enabled: false },
  });
  victim = end(1);
  await victim.wire.listen((event) => {
    events.push(event);
    if (event.kind === 'connected' && admits) victim.wire.admit(event.peer);
  });
});

afterEach(async () => {
  await Promise.all([attacker.stop(), victim.wire.close()]);
});

async function dial(): Promise<Connection> {
  const connection = await attacker.dial(multiaddr(victim.wire.addresses()[0] ?? ''));
  await until(() => events.some((event) => event.kind === 'connected'), 'connected');
  return connection;
}

const id = () => attacker.peerId.toString() as NodeId;
const frames = () => events.filter((event) => event.kind === 'frame');
const disconnected = () => events.filter((event) => event.kind === 'disconnected');
const gone = (stream: Stream) => stream.status !== 'open';

describe('libp2p wire, hostile peers', () => {
  it.each(['mesh', 'records', 'board', 'quorum', 'call'])(
    'a stranger that opens %s is reset, and nothing it wrote is heard (S57)',
    async (channel) => {
      const connection = await dial();
      const stream = await connection.newStream(`/skein/${channel}/1`);
      if (!gone(stream)) stream.send(Uint8Array.of(3, 1, 2, 3));
      await until(() => gone(stream), 'reset');
      expect(frames()).toEqual([]);
      expect(disconnected()).toEqual([]);
    },
  );

  it.each([
    ['hello', Uint8Array.of(0xff, 0xff, 0x7f)],
    ['hello', Uint8Array.of(0x81, 0x80, 0x01)],
    ['hello', Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x10)],
    ['mesh', Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x10)],
    ['board', Uint8Array.of(0x81, 0x80, 0x40)],
  ])('a frame announced as too large on %s cuts the peer off (S54): %o', async (channel, announcement) => {
    admits = true;
    const connection = await dial();
    const stream = await connection.newStream(`/skein/${channel}/1`);
    stream.send(announcement);
    await until(() => disconnected().length === 1, 'cut off');
    expect(disconnected()).toMatchObject([{ peer: id(), reason: expect.stringContaining('frame') }]);
    expect(frames()).toEqual([]);
  });

  it('a muxer frame announced as 4 GiB cuts the connection before it is gathered (S54)', async () => {
    await dial();
    const before = process.memoryUsage().rss;
    below?.send(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff));
    const filler = new Uint8Array(60_000);
    await until(() => {
      if (disconnected().length === 0) {
        try {
          below?.send(filler);
        } catch {
          // Cut off already.
        }
      }
      return disconnected().length === 1;
    }, 'cut off');
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  it('half a frame and then nothing holds nothing up (S54)', async () => {
    admits = true;
    const connection = await dial();
    const stalled = await connection.newStream('/skein/mesh/1');
    stalled.send(Uint8Array.of(100, 1, 2, 3));
    const lively = await connection.newStream('/skein/records/1');
    lively.send(Uint8Array.of(3, 7, 8, 9));
    await until(() => frames().length === 1, 'the other stream is heard');
    expect(frames()).toMatchObject([{ channel: 'records', bytes: Uint8Array.of(7, 8, 9) }]);
  });

  it('a flood of streams on one channel is cut down to a few', async () => {
    admits = true;
    const connection = await dial();
    const streams: Stream[] = [];
    for (let count = 0; count < 12; count++) {
      const stream = await connection
        .newStream('/skein/hello/1', { maxOutboundStreams: 100 })
        .catch(() => undefined);
      if (stream !== undefined) streams.push(stream);
    }
    await until(() => streams.filter((stream) => !gone(stream)).length <= 4, 'the rest is reset');
    expect(disconnected()).toEqual([]);
  });

  it('an unknown protocol is refused', async () => {
    const connection = await dial();
    await expect(connection.newStream('/skein/hello/99')).rejects.toThrow();
    await expect(connection.newStream('/ipfs/id/1.0.0')).rejects.toThrow();
  });

  it('a connection without encryption is not offered (S57)', async () => {
    const [, port] = /\/tcp\/(\d+)/.exec(victim.wire.addresses()[0] ?? '') ?? [];
    const socket = connect(Number(port), '127.0.0.1');
    await once(socket, 'connect');
    const said: Buffer[] = [];
    socket.on('data', (data) => said.push(data));
    socket.write('\x13/multistream/1.0.0\n\x11/plaintext/2.0.0\n');
    await until(() => Buffer.concat(said).toString().includes('na\n'), 'refused');
    socket.destroy();
    expect(events).toEqual([]);
  });

  it('garbage instead of a handshake is dropped, and the next peer is served', async () => {
    const [, port] = /\/tcp\/(\d+)/.exec(victim.wire.addresses()[0] ?? '') ?? [];
    const socket = connect(Number(port), '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(Buffer.alloc(100_000, 0xff));
    await dial();
    await until(() => socket.destroyed, 'dropped');
    expect(events).toMatchObject([{ kind: 'connected', peer: id() }]);
  });
});
