/** A TCP proxy that counts what passes: the bytes of a link as the network sees them, whoever speaks over it. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CountingProxy {
  readonly port: number;
  /** Bytes that the dialled side has sent to the dialling side, and the other way. */
  counts(): { readonly fromTarget: number; readonly toTarget: number };
  close(): void;
}

export async function countingProxy(targetPort: number): Promise<CountingProxy> {
  let fromTarget = 0;
  let toTarget = 0;
  const sockets = new Set<Socket>();
  const server = createServer((inbound) => {
    const outbound = connect(targetPort, '127.0.0.1');
    for (const socket of [inbound, outbound]) {
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    }
    outbound.on('data', (chunk: Buffer) => {
      fromTarget += chunk.length;
      inbound.write(chunk);
    });
    inbound.on('data', (chunk: Buffer) => {
      toTarget += chunk.length;
      outbound.write(chunk);
    });
    inbound.on('close', () => outbound.destroy());
    outbound.on('close', () => inbound.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    counts: () => ({ fromTarget, toTarget }),
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
