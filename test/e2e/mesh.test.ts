/** Whole nodes as processes on loopback, driven by real MCP clients. */
import { afterAll, describe, expect, it } from 'vitest';
import { connectClient, type TestClient } from '../support/mcp-clients.ts';
import { eventually, NodeProcess, scratch } from '../support/node-process.ts';

const directory = scratch('mesh');
const nodes: NodeProcess[] = [];
const clients: TestClient[] = [];

async function node(name: string, peers: readonly NodeProcess[] = []): Promise<NodeProcess> {
  const args = ['--mesh-listen', '127.0.0.1', '--mesh-port', '0', '--http-port', '0', '--no-mdns'];
  for (const peer of peers) args.push('--peer', peer.ready.meshAddresses[0]!);
  const started = await NodeProcess.start({ data: directory.path(name), name, args });
  nodes.push(started);
  return started;
}

async function client(on: NodeProcess, kind: Parameters<typeof connectClient>[0] = 'v1 (2025-11-25)') {
  const connected = await connectClient(kind, { url: on.ready.mcpUrl });
  clients.push(connected);
  return connected;
}

async function peersOf(of: TestClient): Promise<{ name: string; state: string }[]> {
  return (await of.call('mesh_status')).structured.nodes as { name: string; state: string }[];
}

afterAll(async () => {
  await Promise.allSettled(clients.map((each) => each.close()));
  await Promise.allSettled(nodes.map((each) => each.end('SIGKILL')));
  directory.remove();
});

describe('a mesh of processes', { timeout: 60_000 }, () => {
  it('lets a v2 client read on one node what a v1 client wrote on another, and move its session there', async () => {
    const a = await node('a');
    const b = await node('b', [a]);
    const [writer, reader] = [await client(a), await client(b, 'v2 (2026-07-28)')];
    await eventually(
      'both nodes see each other',
      async () => (await peersOf(writer)).length === 2 || undefined,
    );
    const written = await writer.call('board_write', { key: 'plan', value: { step: 1 }, agent_id: 'alice' });
    expect(written.isError).toBe(false);
    const read = await reader.call('board_read', {
      key: 'plan',
      level: 'session',
      session: written.structured.session,
    });
    expect(read.structured).toMatchObject({ found: true, value: { step: 1 }, author: 'alice' });
    expect(read.structured.revision).toBe(written.structured.revision);
  });

  it('tells subscribers of the lists of nodes and agents what comes, goes and changes on another node', async () => {
    const a = await node('listed');
    const onA = await client(a);
    const told: string[] = [];
    for (const uri of ['mesh://nodes', 'mesh://agents']) await onA.subscribe(uri, (each) => told.push(each));
    const takeTold = async (uri: string) => {
      await eventually(`told of ${uri}`, () => told.includes(uri));
      told.length = 0;
    };
    const b = await node('comes', [a]);
    await takeTold('mesh://nodes');
    await eventually('its name is known', async () =>
      (await peersOf(onA)).some(({ name, state }) => name === 'comes' && state === 'alive'),
    );
    await (await client(b)).call('agent_register', { agent_id: 'far', capabilities: ['x'] });
    await takeTold('mesh://agents');
    await b.end('SIGKILL');
    await takeTold('mesh://agents');
    await eventually('it is dead', async () => (await peersOf(onA)).some(({ state }) => state === 'dead'));
  });

  it('loses nothing that was acknowledged when a node is killed and comes back (kill -9)', async () => {
    const a = await node('killed');
    const b = await node('witness', [a]);
    const [onA, onB] = [await client(a), await client(b)];
    for (let count = 0; count < 50; count++) {
      expect((await onA.call('board_write', { key: `k${count}`, value: count })).isError).toBe(false);
    }
    await a.end('SIGKILL');
    await onB.call('board_write', { key: 'meanwhile', value: 'written while it was away' });
    const args = ['--mesh-listen', '127.0.0.1', '--mesh-port', '0', '--http-port', '0', '--no-mdns'];
    const returned = await a.again({ args: [...args, '--peer', b.ready.meshAddresses[0]!] });
    nodes.push(returned);
    const again = await client(returned);
    const list = (await again.call('board_list', { prefix: 'k', limit: 100 })).structured.entries as {
      value: number;
    }[];
    expect(list.map(({ value }) => value).toSorted((x, y) => x - y)).toEqual(
      Array.from({ length: 50 }, (_, at) => at),
    );
    await eventually('what was written meanwhile arrives', async () => {
      const { structured } = await again.call('board_read', { key: 'meanwhile' });
      return structured.found === true || undefined;
    });
  });

  it('finds a third node through gossip alone: C knows only B, B knows A', async () => {
    const a = await node('first');
    const b = await node('second', [a]);
    const c = await node('third', [b]);
    const onC = await client(c);
    await eventually('C has links to both', async () => {
      const { links } = (await onC.call('mesh_status')).structured as { links: number };
      return links === 2 || undefined;
    });
    await b.end('SIGTERM');
    const onA = await client(a);
    await onA.call('board_write', { key: 'gossip', value: 'directly' });
    await eventually('a write on A is read on C', async () => {
      const { structured } = await onC.call('board_read', { key: 'gossip' });
      return structured.value === 'directly' || undefined;
    });
  });

  it('shows agents of every node on every node, and drops them when their node dies', async () => {
    const a = await node('agents-a');
    const b = await node('agents-b', [a]);
    const [onA, onB] = [await client(a), await client(b)];
    await onA.call('agent_register', { agent_id: 'coder', capabilities: ['typescript'], trust_level: 0.8 });
    const found = await eventually('the agent is discovered on the other node', async () => {
      const { agents } = (await onB.call('agent_discover', { capability: 'typescript' })).structured as {
        agents: { agent_id: string; machine_id: string; trust_level: number; last_seen: string }[];
      };
      return agents[0];
    });
    expect(found).toMatchObject({ agent_id: 'coder', machine_id: a.ready.nodeId, trust_level: 0.8 });
    await a.end('SIGKILL');
    await eventually('the agent is gone with its node', async () => {
      const { agents } = (await onB.call('agent_discover', { capability: 'typescript' })).structured as {
        agents: unknown[];
      };
      return agents.length === 0 || undefined;
    });
  });
});
