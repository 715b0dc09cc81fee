import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline, Readable } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Registry, startRegistry } from '../../src/adapters/http/registry.ts';
import type { Logger } from '../../src/kernel/ports.ts';
import type { Claimed, Withdrawn } from '../../src/mesh/discovery/discovery.ts';
import { nodeId } from '../mesh/membership/cluster.ts';

const A = { nodeId: nodeId(1), addresses: ['/ip4/10.0.0.1/tcp/7331'] };
const B = { addresses: ['/dns4/b.example.org/tcp/7331'] };
const quiet: Logger = { log: () => {} };
const stops: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A registry server whose answer the test can change, and a poller of it. */
async function rig(handler: Handler, options: { timeoutMs?: number } = {}) {
  const state = { handler, requests: 0 };
  const server = createServer((request, response) => {
    state.requests++;
    state.handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const events: (Claimed | Withdrawn)[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/nodes?token=hidden`;
  const registry: Registry = startRegistry({
    url,
    on: (event) => events.push(event),
    logger: quiet,
    intervalMs: 40,
    retryMs: 10,
    ...options,
  });
  stops.push(() => registry.stop());
  return { state, events, registry };
}

const serve =
  (nodes: unknown): Handler =>
  (_, response) =>
    response.end(JSON.stringify({ nodes, more: 'later' }));

describe('registry', () => {
  it('claims what the list says, and withdraws what it no longer says', async () => {
    const { state, events } = await rig(serve([A, B]));
    await vi.waitFor(() =>
      expect(events).toContainEqual({ kind: 'claimed', source: 'registry', claims: [A, B] }),
    );
    state.handler = serve([]);
    await vi.waitFor(() => {
      expect(events).toContainEqual({ kind: 'withdrawn', source: 'registry', nodeId: A.nodeId });
      expect(events).toContainEqual({ kind: 'withdrawn', source: 'registry', addresses: B.addresses });
    });
  });

  it('asks with the tag of the last answer, and takes 304 for no news', async () => {
    const tags: (string | undefined)[] = [];
    const { events, registry } = await rig((request, response) => {
      tags.push(request.headers['if-none-match']);
      if (request.headers['if-none-match'] === '"v1"') response.writeHead(304).end();
      else response.writeHead(200, { etag: '"v1"' }).end(JSON.stringify({ nodes: [A] }));
    });
    await vi.waitFor(() => expect(tags.length).toBeGreaterThan(3));
    expect(tags.slice(0, 3)).toEqual([undefined, '"v1"', '"v1"']);
    expect(events).toHaveLength(1);
    expect(registry.problems()).toEqual([]);
  });

  it.each<[string, Handler, RegExp]>([
    ['a refusal', (_, response) => response.writeHead(403).end(), /status 403/],
    ['no JSON', (_, response) => response.end('<html>'), /not JSON/],
    ['no list', (_, response) => response.end('{"nodes":{}}'), /no list "nodes"/],
    ['a broken connection', (request) => request.socket.destroy(), /cannot be read/],
    ['silence', () => {}, /in time/],
    ['an answer without end', (_, response) => flood(response), /larger than/],
  ])('reports %s with a hint, keeps what it knew and recovers', async (_, failing, message) => {
    const { state, events, registry } = await rig(serve([A]), { timeoutMs: 1_000 });
    await vi.waitFor(() => expect(events).toHaveLength(1));
    state.handler = failing;
    await vi.waitFor(() => expect(registry.problems()).toHaveLength(1), { timeout: 5_000 });
    const [problem] = registry.problems();
    expect(problem).toMatchObject({ code: 'REGISTRY_UNREADABLE', message: expect.stringMatching(message) });
    expect(problem!.hint.length).toBeGreaterThan(20);
    expect(problem!.message).not.toContain('hidden');
    expect(events.some((event) => event.kind === 'withdrawn')).toBe(false);
    state.handler = serve([A, B]);
    await vi.waitFor(() => expect(registry.problems()).toEqual([]), { timeout: 5_000 });
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ claims: [B] }));
  });

  it('uses what is well-formed of a list that is not, within bounds', async () => {
    const hostile = [
      A,
      null,
      7,
      { addresses: 'x' },
      { nodeId: 'nobody', addresses: ['/ip4/1.2.3.4/tcp/1'] },
      { addresses: [1, {}, 'y'.repeat(10_000)] },
      {
        nodeId: nodeId(3),
        addresses: Array.from({ length: 100 }, (_, port) => `/ip4/1.2.3.4/tcp/${port + 1}`),
      },
    ];
    const { events, registry } = await rig(serve(hostile));
    await vi.waitFor(() => expect(events).toHaveLength(1));
    const [event] = events;
    expect(event).toMatchObject({ claims: [A, { nodeId: nodeId(3) }] });
    expect((event as Claimed).claims[1]!.addresses).toHaveLength(8);
    expect(registry.problems()).toMatchObject([
      { code: 'REGISTRY_ENTRIES_INVALID', message: expect.stringContaining('5 entries') },
    ]);
  });

  it('backs off while it fails', async () => {
    const times: number[] = [];
    const { registry } = await rig((_, response) => {
      times.push(performance.now());
      response.writeHead(500).end();
    });
    await vi.waitFor(() => expect(times.length).toBeGreaterThan(5), { timeout: 5_000 });
    // 10, 20, 40, 80 and 160 ms, each less a fifth at most.
    const gaps = times.slice(1, 6).map((time, index) => time - times[index]!);
    gaps.forEach((gap, index) => {
      expect(gap).toBeGreaterThan(10 * 2 ** index * 0.8 - 2);
    });
    expect(registry.problems()).toHaveLength(1);
  });

  it('stops in the midst of a reading, and by signal', async () => {
    const { registry, events } = await rig(() => {});
    await registry.stop();
    expect(events).toEqual([]);
    const stopped = startRegistry({
      url: 'http://127.0.0.1:9/',
      on: () => {},
      logger: quiet,
      signal: AbortSignal.abort(),
    });
    await stopped.stop();
    expect(stopped.problems()).toEqual([]);
  });
});

function flood(response: ServerResponse): void {
  const endless = new Readable({
    read() {
      this.push(Buffer.alloc(65_536, 32));
    },
  });
  pipeline(endless, response, () => {});
}
