/**
 * The floor: Yjs updates with a length in front, over plain TCP between every two participants. No hub, no
 * encryption, no authentication, no check, no disk: what is left when everything else is taken away.
 */
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import * as Y from 'yjs';
import type { Candidate } from '../lib/candidate.ts';
import { until } from '../lib/clock.ts';
import { mapFace } from './ymap.ts';

const HEADER_BYTES = 4;

function framesTo(onFrame: (frame: Uint8Array) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    let buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (buffer.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + buffer.readUInt32BE(0);
      if (buffer.length < end) break;
      onFrame(buffer.subarray(HEADER_BYTES, end));
      buffer = buffer.subarray(end);
    }
    rest = buffer;
  };
}

function framed(update: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + update.length);
  frame.writeUInt32BE(update.length, 0);
  frame.set(update, HEADER_BYTES);
  return frame;
}

export const candidate: Candidate = {
  name: 'tcp',
  async open() {
    const doc = new Y.Doc();
    const sockets = new Set<Socket>();
    const remote = Symbol('remote');
    const adopt = (socket: Socket) => {
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on(
        'data',
        framesTo((update) => Y.applyUpdate(doc, update, remote)),
      );
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    };
    doc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin === remote) return;
      const frame = framed(update);
      for (const socket of sockets) socket.write(frame);
    });
    const server = createServer(adopt);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return {
      ...mapFace(doc),
      address: String(port),
      connect: async (addresses, participants) => {
        for (const address of addresses) {
          const socket = dial(Number(address), '127.0.0.1');
          await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
          adopt(socket);
        }
        await until('full mesh', () => sockets.size === participants - 1, 10_000);
      },
      close: async () => {
        for (const socket of sockets) socket.destroy();
        server.close();
      },
    };
  },
};
