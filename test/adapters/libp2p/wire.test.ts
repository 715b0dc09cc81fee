import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { libp2pWire } from '../../../src/adapters/libp2p/wire.ts';
import { SkeinError } from '../../../src/kernel/errors.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import type { Wire, WireEvent } from '../../../src/kernel/ports.ts';
import { DIAL_SELF, DIAL_TWIN } from '../../../src/mesh/links/links.ts';
import { end, seedOf, until } from './support.ts';

interface Node {
  readonly wire: Wire;
  readonly nodeId: NodeId;
  readonly events: WireEvent[];
  readonly address: string;
}

const open: Wire[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((wire) => wire.close()));
});

/** Admits everybody, as a node would after the greeting. */
async function node(number: number): Promise<Node> {
  const { wire, nodeId } = end(number);
  const events: WireEvent[] = [];
  open.push(wire);
  await wire.listen((event) => {
    events.push(event);
    if (event.kind === 'connected') wire.admit(event.peer);
  });
  return { wire, nodeId, events, address: wire.addresses()[0] ?? '' };
}

const of = (who: Node, kind: WireEvent['kind']) => who.events.filter((event) => event.kind === kind);
const sockets = () => process.getActiveResourcesInfo().filter((name) => /^TCP/.test(name)).length;

async function errorOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (cause) => cause,
  );
}

describe('libp2p wire', () => {
  it('three nodes: each pair talks, and one that stops takes nobody along', async () => {
    const nodes = await Promise.all([node(1), node(2), node(3)]);
    const [one, two, three] = nodes as [Node, Node, Node];
    two.wire.dial(one.address);
    three.wire.dial(one.address);
    three.wire.dial(two.address);
    await until(() => nodes.every((each) => of(each, 'connected').length === 2), 'all connected');
    for (const from of nodes) {
      for (const to of nodes)
        if (to !== from) from.wire.send(to.nodeId, 'mesh', Buffer.from(`to ${to.nodeId}`));
    }
    await until(() => nodes.every((each) => of(each, 'frame').length === 2), 'all frames');
    for (const each of nodes) {
      for (const event of of(each, 'frame')) expect(event).toMatchObject({ channel: 'mesh' });
      const texts = each.events.flatMap((event) =>
        event.kind === 'frame' ? [Buffer.from(event.bytes).toString()] : [],
      );
      expect(texts).toEqual([`to ${each.nodeId}`, `to ${each.nodeId}`]);
    }
    await three.wire.close();
    await until(() => of(one, 'disconnected').length + of(two, 'disconnected').length === 2, 'both are told');
    one.wire.send(two.nodeId, 'board', Buffer.from('still here'));
    await until(() => of(two, 'frame').length === 3, 'the others go on');
  });

  it('a process killed with -9 is reported at once', async () => {
    const child = fork(join(import.meta.dirname, 'echo-child.ts'), ['2'], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    try {
      const [address] = (await once(child, 'message')) as [string];
      const here = await node(1);
      here.wire.dial(address);
      await until(() => of(here, 'connected').length === 1, 'connected');
      const [connected] = here.events;
      if (connected?.kind !== 'connected') throw new Error('not connected');
      here.wire.send(connected.peer, 'mesh', Buffer.from('echo'));
      await until(() => of(here, 'frame').length === 1, 'the echo');
      child.kill('SIGKILL');
      const killedMs = performance.now();
      await until(() => of(here, 'disconnected').length === 1, 'the end is reported', 2_000);
      console.log(`kill -9 reported within ${(performance.now() - killedMs).toFixed(0)} ms`);
      expect(of(here, 'disconnected')).toMatchObject([{ peer: connected.peer }]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('twenty nodes of one address may connect at the same moment', async () => {
    const hub = await node(1);
    const others = await Promise.all(Array.from({ length: 20 }, (_, at) => node(at + 2)));
    for (const each of others) each.wire.dial(hub.address);
    await until(() => of(hub, 'connected').length === 20, 'all twenty');
    expect(others.flatMap((each) => of(each, 'dialFailed'))).toEqual([]);
  });

  it('of two connections to one peer one is given up, and nobody notices', async () => {
    await until(() => sockets() === 0, 'earlier sockets are gone');
    const [one, two] = (await Promise.all([node(1), node(2)])) as [Node, Node];
    one.wire.dial(two.address);
    await until(() => of(one, 'connected').length === 1 && of(two, 'connected').length === 1, 'connected');
    // Without the id in it nobody can tell that the address is a connected peer's.
    two.wire.dial(one.address.split('/p2p/')[0] ?? '');
    await until(() => of(one, 'connected').length === 2 && of(two, 'connected').length === 2, 'twice');
    // Two listening sockets, and two ends of each connection.
    expect(sockets()).toBe(6);
    await until(() => sockets() === 4, 'one connection is left');
    one.wire.send(two.nodeId, 'mesh', Buffer.from('a'));
    two.wire.send(one.nodeId, 'mesh', Buffer.from('b'));
    await until(() => of(one, 'frame').length === 1 && of(two, 'frame').length === 1, 'frames pass');
    expect([...of(one, 'disconnected'), ...of(two, 'disconnected')]).toEqual([]);
  });

  it('frames sent before the other side has admitted this one wait for it, and none is lost', async () => {
    const [one, two] = [end(1), end(2)];
    const events: WireEvent[] = [];
    const heard: WireEvent[] = [];
    open.push(one.wire, two.wire);
    await one.wire.listen((event) => events.push(event));
    await two.wire.listen((event) => heard.push(event));
    one.wire.dial(two.wire.addresses()[0] ?? '');
    await until(() => events.length > 0 && heard.length > 0, 'connected');
    one.wire.admit(two.nodeId);
    for (let count = 0; count < 10; count++) one.wire.send(two.nodeId, 'board', Uint8Array.of(count));
    one.wire.send(two.nodeId, 'hello', Uint8Array.of(99));
    await until(() => heard.length === 2, 'the greeting');
    two.wire.admit(one.nodeId);
    await until(() => heard.length === 12, 'all of them');
    expect(heard.slice(2).map((event) => (event.kind === 'frame' ? event.bytes[0] : event.kind))).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ]);
    expect(events.map((event) => event.kind)).toEqual(['connected']);
  });

  it('closing leaves no socket and no timer behind', async () => {
    const before = process.getActiveResourcesInfo().sort();
    const [one, two] = (await Promise.all([node(1), node(2)])) as [Node, Node];
    one.wire.dial(two.address);
    await until(() => of(two, 'connected').length === 1, 'connected');
    one.wire.send(two.nodeId, 'records', new Uint8Array(100));
    one.wire.dial('/ip4/127.0.0.1/tcp/9');
    await Promise.all([one.wire.close(), two.wire.close()]);
    const counted = () =>
      process
        .getActiveResourcesInfo()
        .sort()
        .filter((name) => !/^(Immediate|Timeout|TTYWrap)$/.test(name));
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const timersBefore = before.filter((name) => name === 'Timeout').length;
    // The waiting itself runs on one timer.
    await until(
      () => counted().length <= before.length && timers() <= timersBefore + 1,
      'all handles are gone',
    );
  });

  it('a taken port is an error that names the port and the way out', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const wire = libp2pWire({ listen: [`/ip4/127.0.0.1/tcp/${port}`], seed: seedOf(1) });
    const error = await errorOf(wire.listen(() => undefined));
    await new Promise((resolve) => server.close(resolve));
    expect(error).toBeInstanceOf(SkeinError);
    expect(error).toMatchObject({ body: { code: 'CONFLICT', message: expect.stringContaining(`${port}`) } });
    expect((error as SkeinError).body.hint).toMatch(/--mesh-port/);
  });

  it.each([
    ['/ip4/192.0.2.1/tcp/0', 'INVALID_ARGUMENT', /192\.0\.2\.1/],
    ['/ip4/127.0.0.1/udp/0', 'INVALID_ARGUMENT', /udp/],
    ['nonsense', 'INVALID_ARGUMENT', /nonsense/],
  ])('an address that cannot be listened on is an error: %s', async (listen, code, text) => {
    const error = await errorOf(libp2pWire({ listen: [listen], seed: seedOf(1) }).listen(() => undefined));
    expect(error).toMatchObject({ body: { code } });
    expect((error as SkeinError).message).toMatch(text);
  });

  it('tells its own address from another machine that has its key (S55)', async () => {
    const [one, twin] = (await Promise.all([node(1), node(1)])) as [Node, Node];
    const [own] = one.address.split('/p2p/');
    const [other] = twin.address.split('/p2p/');
    for (const [at, address] of [own, other, one.address].entries()) {
      one.wire.dial(address ?? '');
      await until(() => of(one, 'dialFailed').length > at, 'the dial fails');
    }
    const reasons = new Map(
      one.events.flatMap((event) => (event.kind === 'dialFailed' ? [[event.address, event.reason]] : [])),
    );
    expect(reasons.get(own ?? '')).toBe(DIAL_SELF);
    expect(reasons.get(one.address)).toBe(DIAL_SELF);
    expect(reasons.get(other ?? '')).toBe(DIAL_TWIN);
  });

  it('finds itself behind a wildcard, listing no loopback first where there is better', async () => {
    const wire = libp2pWire({ listen: ['/ip4/0.0.0.0/tcp/0', '/ip4/0.0.0.0/tcp/0/ws'], seed: seedOf(4) });
    open.push(wire);
    await wire.listen(() => undefined);
    const addresses = wire.addresses();
    expect(addresses.some((address) => address.includes('/ws/'))).toBe(true);
    expect(addresses.every((address) => !address.includes('0.0.0.0'))).toBe(true);
    const firstLoopback = addresses.findIndex((address) => address.startsWith('/ip4/127.'));
    expect(addresses.slice(firstLoopback).every((address) => address.startsWith('/ip4/127.'))).toBe(true);
  });
});
