/** Each way of finding the others by itself, all others off. Gossip is in `mesh.test.ts`, multicast in `lan.test.ts`. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { logLines, peersOf, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const nodes = new WholeNodes('discovery');
const servers: Server[] = [];
afterAll(async () => {
  await nodes.end();
  for (const server of servers) server.close();
});

const alive = async (on: NodeProcess) =>
  (await peersOf(on)).filter(({ state }) => state === 'alive').map(({ name }) => name);
const sees = (on: NodeProcess, ...names: string[]) =>
  eventually(
    `${on.ready.name} sees ${names.join(' and ')}`,
    async () => (await alive(on)).join() === names.join() || undefined,
  );

/** An HTTP list of nodes that counts its readings. */
async function registry() {
  const list: { nodeId?: string; addresses: readonly string[] }[] = [];
  let status = 200;
  let readings = 0;
  const server = createServer((_request, response) => {
    readings++;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ nodes: list }));
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/nodes?token=a-token-of-the-registry`,
    list,
    answerWith: (next: number) => {
      status = next;
    },
    readings: () => readings,
  };
}

describe('nodes find each other', { timeout: 60_000 }, () => {
  it('by a static address alone, in either direction, over TCP and over WebSocket', async () => {
    const a = await nodes.start('a');
    const webSocket = a.ready.meshAddresses.find((address) => address.includes('/ws'));
    expect(webSocket).toBeDefined();
    const b = await nodes.start('b', { flags: ['--peer', webSocket as string] });
    for (const node of [a, b]) await sees(node, 'a', 'b');
    // The address of one that is not there yet is tried until it is.
    await a.end();
    await sees(b, 'b');
    const port = /\/tcp\/(\d+)\/ws/.exec(webSocket as string)?.[1] as string;
    const back = nodes.own(await a.again({ args: [...(a.setting.args ?? []), '--mesh-ws-port', port] }));
    for (const node of [back, b]) await sees(node, 'a', 'b');
    for (const node of [a, b, back]) expect(logLines(node)).toEqual([]);
    await Promise.all([back.end(), b.end()]);
  });

  it('by an HTTP registry alone, and its outage takes nobody off the mesh', async () => {
    const { url, list, answerWith, readings } = await registry();
    const a = await nodes.start('a2');
    list.push({ nodeId: a.ready.nodeId, addresses: a.ready.meshAddresses });
    list.push({ addresses: ['/ip4/127.0.0.1/tcp/9'] });
    const b = await nodes.start('b2', { flags: ['--mesh-registry', url] });
    for (const node of [a, b]) await sees(node, 'a2', 'b2');
    expect(readings()).toBe(1);

    answerWith(500);
    const c = await nodes.start('c2', { flags: ['--mesh-registry', url] });
    const problem = await eventually('the doctor says what is wrong', async () =>
      (await problemsOf(c)).find(({ code }) => code === 'REGISTRY_UNREADABLE'),
    );
    expect(problem.message).toMatch(/status 500/);
    expect(problem.hint).toMatch(/mesh\.registry/);
    expect(problem.message + c.log).not.toContain('a-token-of-the-registry');
    expect(await alive(c)).toEqual(['c2']);
    expect(await alive(b)).toEqual(['a2', 'b2']);

    // It comes back by itself, and gossip makes the rest of the way.
    answerWith(200);
    for (const node of [a, b, c]) await sees(node, 'a2', 'b2', 'c2');
    expect((await problemsOf(c)).map(({ code }) => code)).not.toContain('REGISTRY_UNREADABLE');
    await Promise.all([a.end(), b.end(), c.end()]);
  });
});
