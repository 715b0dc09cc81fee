/**
 * Nodes that are whole up to the board: they greet, answer heartbeats and keep records over the real wire, but only
 * look through the frames of boards instead of taking them in. So many of them fit on one core that it is the
 * writer which is measured. They link with the writer alone.
 */

import { libp2pWire } from '../../../src/adapters/libp2p/wire.ts';
import { hkdf, nodeCryptography, signerFromSeed } from '../../../src/adapters/node/cryptography.ts';
import { openDataDirectory } from '../../../src/adapters/node/data-directory.ts';
import { Journal } from '../../../src/adapters/node/journal.ts';
import { loadIdentity } from '../../../src/adapters/node/keys.ts';
import { createLogger } from '../../../src/adapters/node/log.ts';
import type { Wire } from '../../../src/kernel/ports.ts';
import { swarmFromSecret } from '../../../src/mesh/identity/swarm.ts';
import { configWith } from '../../../src/node/config/load.ts';
import { Host } from '../../../src/node/host.ts';
import { nowUs, until } from '../lib/clock.ts';
import { serve } from '../lib/remote.ts';
import { SECRET } from '../lib/skein-process.ts';

interface Sink {
  readonly host: Host;
  bytes: number;
  label: Buffer;
  doneUs: number;
}

const sinks: Sink[] = [];

async function startSink(directory: string, name: string, writer: string): Promise<Sink> {
  const data = openDataDirectory(directory, { version: '0.0.0' });
  const identity = loadIdentity(data.path);
  const swarm = swarmFromSecret(SECRET, { hash: nodeCryptography.hash, hkdf, signerFromSeed });
  if (!swarm.ok) throw new Error(swarm.error.message);
  const disk = new Journal({ directory: data.journalPath });
  const journal = await disk.load();
  const wire = toWriterOnly(libp2pWire({ listen: ['/ip4/127.0.0.1/tcp/0'], seed: identity.seed }), writer);
  const config = configWith({ node: { name, data: directory }, swarm: { secret: SECRET } });
  const logger = createLogger({ level: 'error' });
  const onBroken = (error: unknown) => {
    console.error(error);
    process.exit(1);
  };
  const host = new Host({ config, identity, swarm: swarm.value, journal, disk, wire, logger, onBroken });
  const sink: Sink = { host, bytes: 0, label: Buffer.alloc(0), doneUs: 0 };
  await wire.listen((event) => {
    if (event.kind === 'frame' && event.channel === 'board') drain(sink, event.bytes);
    else host.deliver(event);
  });
  host.deliver({ kind: 'listening', addresses: wire.addresses() });
  host.deliver({ kind: 'claimed', source: 'static', claims: [{ addresses: [writer] }] });
  return sink;
}

function drain(sink: Sink, bytes: Uint8Array): void {
  sink.bytes += bytes.length;
  if (sink.label.length === 0 || sink.doneUs > 0) return;
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (frame.includes(sink.label)) sink.doneUs = nowUs();
}

/** Dials to other addresses are dropped: forty-nine nodes on one machine are not to become a full mesh. */
function toWriterOnly(inner: Wire, writer: string): Wire {
  return {
    listen: (onEvent) => inner.listen(onEvent),
    addresses: () => inner.addresses(),
    dial: (address) => {
      if (address === writer) inner.dial(address);
    },
    send: (to, channel, bytes) => inner.send(to, channel, bytes),
    admit: (peer) => inner.admit(peer),
    disconnect: (peer, reason) => inner.disconnect(peer, reason),
    close: () => inner.close(),
  };
}

serve({
  start: async ({ directory, name, writer }: { directory: string; name: string; writer: string }) => {
    sinks.push(await startSink(directory, name, writer));
  },
  linked: ({ deadlineMs }: { deadlineMs: number }) =>
    until('links', () => sinks.every(({ host }) => host.faces.mesh.status().links > 0), deadlineMs),
  expect: ({ label }: { label: string }) => {
    for (const sink of sinks) Object.assign(sink, { bytes: 0, label: Buffer.from(label), doneUs: 0 });
  },
  /** When the last of the sinks had the labelled entry, and how many bytes each got. */
  done: async ({ deadlineMs }: { deadlineMs: number }) => {
    await until('the last entry at every sink', () => sinks.every(({ doneUs }) => doneUs > 0), deadlineMs);
    return { doneUs: Math.max(...sinks.map(({ doneUs }) => doneUs)), bytes: sinks.map(({ bytes }) => bytes) };
  },
});
