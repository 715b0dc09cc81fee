/**
 * The path of a new user: two machines on one network, each started with the same secret and nothing else, and agents
 * with unmodified MCP clients on both. Machines are network namespaces here.
 */
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { McpSession } from '../support/mcp-session.ts';
import { canUseNamespaces, makeNamespaces, type Namespaces } from '../support/namespaces.ts';
import { eventually, NodeProcess, SECRET } from '../support/node-process.ts';
import { hashOf, logLines, peersOf, problemsOf, WholeNodes } from '../support/whole-nodes.ts';

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.js');
const SESSION = resolve(import.meta.dirname, '../support/mcp-session.ts');
const HTTP = { url: 'http://127.0.0.1:7330/mcp' };
const nodes = new WholeNodes('lan');
const possible = canUseNamespaces('two machines that find each other on a network');

/** Nothing but a data directory. */
const PLAIN = { args: [] as string[] };

describe.skipIf(!possible)('two machines on a LAN, each started with the same secret and no option', () => {
  let lan: Namespaces;
  let a: NodeProcess;
  let b: NodeProcess;

  async function up(place: number, changes: { env?: Record<string, string> } = {}): Promise<NodeProcess> {
    const namespace = lan.hosts[place]?.name as string;
    return nodes.own(
      await NodeProcess.start({ data: nodes.path(`m${place}`), namespace, ...PLAIN, ...changes }),
    );
  }

  /** A client of its own process on that machine; what its calls answered. */
  async function session(on: NodeProcess, what: Omit<McpSession, 'where'> & { over: 'stdio' | 'http' }) {
    const { over, ...rest } = what;
    const stdio = { command: process.execPath, args: [MAIN, 'mcp', '--data', on.setting.data] };
    const whole: McpSession = { ...rest, where: over === 'stdio' ? stdio : HTTP };
    const inside = [`--net=/run/netns/${on.setting.namespace}`, process.execPath, SESSION];
    const { stdout } = await promisify(execFile)('nsenter', [...inside, JSON.stringify(whole)]);
    return JSON.parse(stdout) as Record<string, unknown>[];
  }

  const namesSeen = async (on: NodeProcess) =>
    (await peersOf(on)).filter(({ state }) => state === 'alive').map(({ nodeId }) => nodeId);

  beforeAll(async () => {
    lan = makeNamespaces(3);
    a = await up(0);
  });
  afterAll(async () => {
    await nodes.end();
    lan?.remove();
  });

  it('`skein peers` shows both on both within 5 s of the second one being ready', async () => {
    b = await up(1);
    const readyMs = performance.now();
    const both = [a.ready.nodeId, b.ready.nodeId].toSorted();
    for (const node of [a, b]) {
      await eventually(
        'both are seen',
        async () => ((await namesSeen(node)).toSorted().join() === both.join() ? true : undefined),
        5_000 - (performance.now() - readyMs),
      );
    }
    // The same, as a person types it.
    const { stdout } = await promisify(execFile)(process.execPath, [
      MAIN,
      'peers',
      '--json',
      '--data',
      b.setting.data,
    ]);
    const { peers } = JSON.parse(stdout) as { peers: { nodeId: string; self: boolean }[] };
    expect(peers.find(({ self }) => self)?.nodeId).toBe(b.ready.nodeId);
    expect(peers.map(({ nodeId }) => nodeId).toSorted()).toEqual(both);
    expect(a.ready.meshAddresses).toContain(`/ip4/10.77.0.1/tcp/7331/p2p/${a.ready.nodeId}`);
    expect([a.ready.httpUrl, b.ready.httpUrl]).toEqual(Array(2).fill('http://127.0.0.1:7330'));
  });

  it.each([
    ['v1', 'stdio', 'v2', 'http'],
    ['v2', 'stdio', 'v1', 'http'],
    ['v1', 'http', 'v2', 'stdio'],
    ['v2', 'http', 'v1', 'stdio'],
  ] as const)(
    'a %s client over %s writes on one, a %s client over %s reads on the other',
    async (...kinds) => {
      const [writing, out, reading, back] = kinds;
      const key = `from-${writing}-${out}`;
      const value = { said: `by ${writing} over ${out}`, ünï: ['✓', null, 1.5] };
      const [written] = await session(a, {
        sdk: writing,
        over: out,
        calls: [{ tool: 'board_write', arguments: { key, value, agent_id: 'alice' } }],
      });
      const [read, status] = await session(b, {
        sdk: reading,
        over: back,
        calls: [
          { tool: 'board_read', arguments: { key, session: written?.session } },
          { tool: 'mesh_status', arguments: {} },
        ],
      });
      expect(read).toMatchObject({ found: true, value, author: 'alice', revision: written?.revision });
      expect(status).toMatchObject({ links: 1 });
    },
  );

  it('a machine with another secret is refused, and `skein doctor` says why on both sides', async () => {
    const stranger = await up(2, { env: { SKEIN_SWARM_SECRET: 'quite another secret' } });
    expect(stranger.ready.swarm).not.toBe(a.ready.swarm);
    // It passes over nodes of other swarms without dialling them: that is all that it can tell by itself.
    const alone = await eventually('the doctor says that it is alone among strangers', async () =>
      (await problemsOf(stranger)).find(({ code }) => code === 'MDNS_OTHER_SWARM'),
    );
    expect(alone.hint).toMatch(/SKEIN_SWARM_SECRET/);
    const dialling = await stranger.end().then(() =>
      NodeProcess.start({
        data: nodes.path('m2'),
        namespace: lan.hosts[2]?.name as string,
        args: ['--peer', '/ip4/10.77.0.1/tcp/7331'],
        env: { SKEIN_SWARM_SECRET: 'quite another secret' },
      }),
    );
    nodes.own(dialling);
    for (const node of [dialling, a]) {
      const problem = await eventually('the doctor says why', async () =>
        (await problemsOf(node)).find(({ code }) => code === 'link.wrong-swarm'),
      );
      expect(problem.message).toMatch(/different swarm secrets/);
      expect(problem.hint).toMatch(/SKEIN_SWARM_SECRET/);
    }
    expect(await namesSeen(dialling)).toEqual([dialling.ready.nodeId]);
    expect(await namesSeen(a)).not.toContain(dialling.ready.nodeId);
    await dialling.end();
  });

  it('kill -9 of one and its return lose nothing that was acknowledged on either (K07)', async () => {
    const calls = Array.from({ length: 40 }, (_, at) => ({
      tool: 'board_write',
      arguments: { key: `kept/${at}`, value: at },
    }));
    const written = await session(b, { sdk: 'v1', over: 'stdio', calls });
    expect(written.filter(({ revision }) => typeof revision === 'number')).toHaveLength(40);
    await b.end('SIGKILL');
    await session(a, {
      sdk: 'v2',
      over: 'http',
      calls: [{ tool: 'board_write', arguments: { key: 'kept/meanwhile', value: 'from a' } }],
    });
    b = nodes.own(await b.again());
    const [list = {}] = await session(b, {
      sdk: 'v2',
      over: 'stdio',
      calls: [{ tool: 'board_list', arguments: { prefix: 'kept/', limit: 100 } }],
    });
    const values = (list.entries as { value: unknown }[]).map(({ value }) => value);
    expect(values.filter((value) => typeof value === 'number').toSorted((x, y) => x - y)).toEqual(
      Array.from({ length: 40 }, (_, at) => at),
    );
    await eventually(
      'both are equal again',
      async () => (await hashOf(a)) === (await hashOf(b)) || undefined,
    );
    await eventually(
      'both see each other again',
      async () => (await namesSeen(a)).length === 2 || undefined,
      5_000,
    );
  });

  it('a machine that leaves says goodbye: the other no longer counts it as alive within a second', async () => {
    expect(await b.end('SIGTERM')).toBe(0);
    const leftMs = performance.now();
    await eventually(
      'it is gone',
      async () => (await namesSeen(a)).join() === a.ready.nodeId || undefined,
      1_000 - (performance.now() - leftMs),
    );
  });

  it('in all of this the log of the first machine has one line at most, about the stranger, and no secret', () => {
    const lines = logLines(a);
    expect(lines.filter((line) => !line.includes('link.refused'))).toEqual([]);
    expect(lines.length).toBeLessThanOrEqual(1);
    expect(a.log + b.log).not.toContain(SECRET);
  });
});
