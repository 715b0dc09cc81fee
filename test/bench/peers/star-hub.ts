/**
 * A star server of the y-websocket protocol, kept as small and fast as the protocol allows: y-protocols on `ws`,
 * one document, no log, no authentication, and no echo of an update to its sender.
 */
import type { AddressInfo } from 'node:net';
import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';
import { type WebSocket, WebSocketServer } from 'ws';
import { readSyncMessage, writeSyncStep1, writeUpdate } from 'y-protocols/sync';
import * as Y from 'yjs';
import { serve } from '../lib/remote.ts';

const SYNC = 0;
const AWARENESS = 1;

const doc = new Y.Doc();
const clients = new Set<WebSocket>();

doc.on('update', (update: Uint8Array, origin: unknown) => {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, SYNC);
  writeUpdate(encoder, update);
  const message = encoding.toUint8Array(encoder);
  for (const client of clients) if (client !== origin) client.send(message);
});

function receive(client: WebSocket, message: Uint8Array): void {
  const decoder = decoding.createDecoder(message);
  const kind = decoding.readVarUint(decoder);
  if (kind === SYNC) {
    const reply = encoding.createEncoder();
    encoding.writeVarUint(reply, SYNC);
    readSyncMessage(decoder, reply, doc, client);
    if (encoding.length(reply) > 1) client.send(encoding.toUint8Array(reply));
  } else if (kind === AWARENESS) {
    for (const other of clients) if (other !== client) other.send(message);
  }
}

function welcome(client: WebSocket): void {
  client.binaryType = 'nodebuffer';
  clients.add(client);
  client.on('close', () => clients.delete(client));
  client.on('message', (data) => receive(client, new Uint8Array(data as Buffer)));
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, SYNC);
  writeSyncStep1(encoder, doc);
  client.send(encoding.toUint8Array(encoder));
}

serve({
  listen: async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
    server.on('connection', welcome);
    await new Promise((resolve) => server.once('listening', resolve));
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
});
