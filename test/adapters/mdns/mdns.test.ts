/** Real sockets: two nodes on loopback, hostile packets, a taken port. */
import { createSocket } from 'node:dgram';
import multicastDns from 'multicast-dns';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Mdns, type MdnsOptions, startMdns } from '../../../src/adapters/mdns/mdns.ts';
import { type DnsRecord, ownNames } from '../../../src/adapters/mdns/service.ts';
import type { SwarmId } from '../../../src/kernel/ids.ts';
import type { Logger } from '../../../src/kernel/ports.ts';
import type { Claimed, Withdrawn } from '../../../src/mesh/discovery/discovery.ts';
import { nodeId } from '../../mesh/membership/cluster.ts';

const SWARM = '0123456789abcdef' as SwarmId;
const OTHER_SWARM = 'fedcba9876543210' as SwarmId;
const loopback = () => [{ name: 'lo', address: '127.0.0.1', netmask: '255.0.0.0', addresses: ['127.0.0.1'] }];
const quiet: Logger = { log: () => {} };
/** Not the port of the machine's own service discovery: tests that run beside each other stay apart. */
const PORT = 20_000 + (process.pid % 20_000);
const WITHIN = { timeout: 5_000, interval: 10 };
const stops: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

function start(index: number, more: Partial<MdnsOptions> = {}) {
  const events: (Claimed | Withdrawn)[] = [];
  const mdns: Mdns = startMdns({
    name: `n${index}`,
    nodeId: nodeId(index),
    swarm: SWARM,
    addresses: () => [`/ip4/127.0.0.1/tcp/${7_000 + index}/p2p/${nodeId(index)}`],
    on: (event) => events.push(event),
    logger: quiet,
    interfaces: loopback,
    port: PORT,
    ...more,
  });
  stops.push(() => mdns.stop());
  return { mdns, events };
}

const claimOf = (index: number) => ({
  kind: 'claimed',
  source: 'mdns',
  claims: [
    { nodeId: nodeId(index), addresses: [`/ip4/127.0.0.1/tcp/${7_000 + index}/p2p/${nodeId(index)}`] },
  ],
});

/** A plain multicast DNS program on the same link. */
async function stranger() {
  const mdns = multicastDns({ interface: '127.0.0.1', bind: '0.0.0.0', port: PORT });
  stops.push(() => new Promise((resolve) => mdns.destroy(() => resolve(undefined))));
  await new Promise<void>((resolve) => mdns.once('ready', resolve));
  return mdns;
}

describe('mdns on loopback', () => {
  it('two nodes of one machine find each other, and a goodbye takes the claim back', async () => {
    const a = start(1);
    const b = start(2);
    await vi.waitFor(() => {
      expect(a.events).toEqual([claimOf(2)]);
      expect(b.events).toEqual([claimOf(1)]);
    }, WITHIN);
    await a.mdns.stop();
    const withdrawn = { kind: 'withdrawn', source: 'mdns', nodeId: nodeId(1) };
    await vi.waitFor(() => expect(b.events).toEqual([claimOf(1), withdrawn]), WITHIN);
    expect(b.mdns.problems()).toEqual([]);
  });

  it('a node that starts later is found too, and one of another swarm is not', async () => {
    const a = start(1);
    const foreign = start(3, { swarm: OTHER_SWARM });
    await vi.waitFor(() => expect(a.mdns.problems()).toEqual([]), WITHIN);
    const b = start(2);
    await vi.waitFor(() => expect(a.events).toEqual([claimOf(2)]), WITHIN);
    await vi.waitFor(() => expect(b.events).toEqual([claimOf(1)]), WITHIN);
    expect(foreign.events).toEqual([]);
    await vi.waitFor(
      () => expect(foreign.mdns.problems()).toMatchObject([{ code: 'MDNS_OTHER_SWARM' }]),
      WITHIN,
    );
    expect([a.mdns.problems(), b.mdns.problems()]).toEqual([[], []]);
  });

  it('a node that listens nowhere looks, and is not found until it listens', async () => {
    const listening: string[] = [];
    const a = start(1, { addresses: () => listening });
    const b = start(2);
    await vi.waitFor(() => expect(a.events).toEqual([claimOf(2)]), WITHIN);
    expect(b.events).toEqual([]);
  });

  it('answers a browser: service and enumeration of services', async () => {
    start(1);
    const browser = await stranger();
    const { instance } = ownNames({ name: 'n1', nodeId: nodeId(1), swarm: SWARM });
    const answers: DnsRecord[] = [];
    browser.on('response', (packet) => answers.push(...(packet.answers ?? [])));
    await vi.waitFor(() => {
      browser.query('_services._dns-sd._udp.local', 'PTR');
      expect(answers).toContainEqual(
        expect.objectContaining({ name: '_services._dns-sd._udp.local', data: '_skein._tcp.local' }),
      );
    }, WITHIN);
    await vi.waitFor(() => {
      browser.query('_skein._tcp.local', 'PTR');
      expect(answers).toContainEqual(expect.objectContaining({ name: '_skein._tcp.local', data: instance }));
    }, WITHIN);
  });

  it('answers a plain resolver, which asks from a port of its own, there', async () => {
    const { mdns } = start(1);
    const { instance } = ownNames({ name: 'n1', nodeId: nodeId(1), swarm: SWARM });
    const resolver = multicastDns({ multicast: false, bind: '127.0.0.1', port: 0, ip: '127.0.0.1' });
    stops.push(() => new Promise((resolve) => resolver.destroy(() => resolve(undefined))));
    const legacy: { ttl?: number; flush?: boolean }[] = [];
    resolver.on('response', (packet) => legacy.push(...((packet.answers ?? []) as typeof legacy)));
    await vi.waitFor(() => {
      resolver.query([{ name: instance, type: 'SRV' }], { address: '127.0.0.1', port: PORT });
      expect(legacy[0]).toMatchObject({ ttl: 10, flush: false, data: { port: 7_001 } });
    }, WITHIN);
    expect(mdns.problems()).toEqual([]);
  });

  it('does not answer what the asker says that it knows', async () => {
    start(1);
    const browser = await stranger();
    const { instance } = ownNames({ name: 'n1', nodeId: nodeId(1), swarm: SWARM });
    const answered: string[] = [];
    browser.on('response', (packet) => {
      for (const record of packet.answers ?? []) answered.push(`${record.name} ${record.type}`);
    });
    const known = { name: '_skein._tcp.local', type: 'PTR' as const, ttl: 4_000, data: instance };
    // The second announcement comes a second after the start; afterwards nothing is said unasked.
    await vi.waitFor(
      () => expect(answered.filter((name) => name === '_skein._tcp.local PTR').length).toBeGreaterThan(0),
      WITHIN,
    );
    await vi.waitFor(() => {
      const before = answered.length;
      browser.query({
        questions: [
          { name: '_skein._tcp.local', type: 'PTR' },
          { name: '_services._dns-sd._udp.local', type: 'PTR' },
        ],
        answers: [known],
      });
      expect(before).toBeGreaterThan(0);
      expect(answered.at(-1)).toBe('_services._dns-sd._udp.local PTR');
    }, WITHIN);
  });

  it('hostile packets neither crash it nor keep it from finding others (S54, S56)', async () => {
    const a = start(1);
    const hostile = createSocket({ type: 'udp4', reuseAddr: true });
    stops.push(() => new Promise<void>((resolve) => hostile.close(() => resolve())));
    await new Promise<void>((resolve) => hostile.bind(PORT, resolve));
    hostile.setMulticastInterface('127.0.0.1');
    const send = (bytes: Uint8Array) =>
      new Promise((resolve) => hostile.send(bytes, PORT, '224.0.0.251', resolve));
    const header = [0, 0, 0x84, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    await send(Uint8Array.from(header));
    await send(Uint8Array.from([...header, 0xc0, 12, 0, 1]));
    await send(Uint8Array.from([0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 63]));
    for (let round = 0; round < 200; round++) {
      await send(
        Uint8Array.from({ length: (round * 37) % 1_400 }, (_, place) => (place * 31 + round * 17) % 256),
      );
    }
    const browser = await stranger();
    for (let round = 0; round < 20; round++) {
      browser.respond(
        Array.from({ length: 20 }, (_, place) => ({
          name: `spoof-${round}-${place}._skein._tcp.local`,
          type: 'TXT' as const,
          data: [`id=${nodeId(round)}`, 'sw=01234567', 'a=/ip4/10.0.0.1/tcp/1'],
        })),
      );
    }
    start(2);
    await vi.waitFor(() => expect(a.events).toContainEqual(claimOf(2)), WITHIN);
    expect(a.mdns.problems()).toEqual([]);
  });

  it('where the port cannot be had, it says so with a hint, and goes on', async () => {
    const taken = createSocket({ type: 'udp4' });
    stops.push(() => new Promise<void>((resolve) => taken.close(() => resolve())));
    await new Promise<void>((resolve) => taken.bind(PORT + 1, '0.0.0.0', resolve));
    const { mdns } = start(1, { port: PORT + 1 });
    await vi.waitFor(() => expect(mdns.problems()).toHaveLength(1), WITHIN);
    expect(mdns.problems()[0]).toMatchObject({
      code: 'MDNS_UNAVAILABLE',
      message: expect.stringContaining('EADDRINUSE'),
      hint: expect.stringContaining('--no-mdns'),
    });
    await mdns.stop();
  });

  it('where there is no network, it says so', () => {
    const { mdns } = start(1, { interfaces: () => [] });
    expect(mdns.problems()).toMatchObject([{ code: 'MDNS_UNAVAILABLE' }]);
  });

  it('stops by signal, once, also before it has begun', async () => {
    const controller = new AbortController();
    const a = start(1, { signal: controller.signal });
    const b = start(2);
    await vi.waitFor(() => expect(b.events).toEqual([claimOf(1)]), WITHIN);
    controller.abort();
    await vi.waitFor(() => expect(b.events).toHaveLength(2), WITHIN);
    await Promise.all([a.mdns.stop(), a.mdns.stop()]);
    const never = start(4, { signal: AbortSignal.abort() });
    await never.mdns.stop();
    expect(never.mdns.problems()).toEqual([]);
  });
});
