/** Five machines with a network between them that is cut: one winner all the same, and a minority that refuses in time. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apart, Network } from '../../simulations/live/network.ts';
import { connectClient, type TestClient } from '../support/mcp-clients.ts';
import { canUseNamespaces, makeNamespaces, type Namespaces } from '../support/namespaces.ts';
import { eventually, NodeProcess, scratch } from '../support/node-process.ts';
import { command, problemsOf } from '../support/whole-nodes.ts';

const COUNT = 5;
const PORT = 7331;
const MINORITY = [0, 1];

describe.runIf(canUseNamespaces('partitions of a quorum'))('five machines', { timeout: 120_000 }, () => {
  const files = scratch('partition');
  let network: Network;
  let namespaces: Namespaces | undefined;
  const nodes: NodeProcess[] = [];
  const clients: TestClient[] = [];

  beforeAll(async () => {
    namespaces = makeNamespaces(COUNT);
    network = new Network(namespaces);
    await start(0, []);
    await Promise.all([1, 2, 3, 4].map((place) => start(place, [0])));
    for (const place of nodes.keys())
      clients.push(
        await connectClient('v1 (2025-11-25)', { socketPath: files.path(`m${place}`, 'mcp.sock') }),
      );
    await eventually('five voters', () => votersSeen(5), 60_000);
  }, 120_000);
  afterAll(async () => {
    await Promise.allSettled(clients.map((client) => client.close()));
    await Promise.allSettled(nodes.map((node) => node.end('SIGKILL')));
    namespaces?.remove();
    files.remove();
  });

  async function start(place: number, peers: readonly number[], port = PORT): Promise<void> {
    const host = namespaces?.hosts[place];
    const dial = peers.flatMap((peer) => ['--peer', `/ip4/${namespaces?.hosts[peer]?.address}/tcp/${PORT}`]);
    nodes[place] = await NodeProcess.start({
      data: files.path(`m${place}`),
      name: `m${place}`,
      namespace: host?.name ?? '',
      args: [
        ...[
          '--mesh-listen',
          host?.address ?? '',
          '--mesh-port',
          String(port),
          '--http-port',
          '0',
          '--no-mdns',
        ],
        ...dial,
      ],
      env: { SKEIN_QUORUM_VOTERS_TARGET: String(COUNT) },
      readyMs: 60_000,
    });
  }

  async function votersSeen(count: number): Promise<true | undefined> {
    for (const node of nodes) {
      const { json } = await command(node, 'voters', 'list', '--json');
      const { voters, leader } = json as {
        voters: { role: string; state: string }[];
        leader: string | null;
      };
      const voting = voters.filter(({ role, state }) => role !== 'learner' && state === 'alive');
      if (voting.length !== count || leader === null) return undefined;
    }
    return true;
  }

  const claim = (client: TestClient, key: string, owner: number) =>
    client.call('board_compare_and_set', { board: 'tasks', key, expected_revision: 0, value: { owner } });
  const codeOf = ({ structured }: { structured: Record<string, unknown> }) =>
    (structured.error as { code: string } | undefined)?.code ?? 'done';

  it('of agents on five machines that claim one task exactly one wins, also while the network is cut (K21)', async () => {
    for (const isCut of [false, true, false]) {
      network.cut(isCut ? apart(COUNT, MINORITY) : []);
      await eventually(
        'a side with a majority decides',
        async () => {
          const written = await clients[4]?.call('board_write', {
            board: 'tasks',
            key: 'probe',
            value: isCut,
          });
          return written?.isError === false || undefined;
        },
        30_000,
      );
      const key = `task-${isCut}-${Math.floor(performance.now())}`;
      const claims = await Promise.all(clients.map((client, place) => claim(client, key, place)));
      const winners = claims.flatMap(({ isError }, place) => (isError ? [] : [place]));
      expect(winners).toHaveLength(1);
      for (const [place, answer] of claims.entries()) {
        if (place === winners[0]) continue;
        const expected = isCut && MINORITY.includes(place) ? ['QUORUM_UNAVAILABLE'] : ['CONFLICT'];
        // A side that has just been joined again may still look for its leader.
        expect(isCut ? expected : [...expected, 'QUORUM_UNAVAILABLE']).toContain(codeOf(answer));
      }
      if (isCut) expect(MINORITY).not.toContain(winners[0]);
    }
  });

  it('a minority refuses in 2 s and names who is missing; what it has can be read, marked as such; then it heals (K21, K39, K43)', async () => {
    const [cutOff, , majority] = nodes as [NodeProcess, NodeProcess, NodeProcess];
    const write = (on: NodeProcess, value: string) =>
      command(on, 'board', 'set', 'tasks', 'shared', value, '--json');
    await eventually(
      'it is written',
      async () => (await write(majority, '"old"')).code === 0 || undefined,
      30_000,
    );
    const copyOf = async (on: NodeProcess) =>
      (await command(on, 'board', 'get', 'tasks', 'shared', '--level', 'eventual', '--json')).json;
    await eventually(
      'the copy has it',
      async () => ((await copyOf(cutOff)) as { value: unknown }).value === 'old' || undefined,
    );
    network.cut(apart(COUNT, MINORITY));
    await eventually(
      'the majority goes on',
      async () => (await write(majority, '"new"')).code === 0 || undefined,
      30_000,
    );
    await eventually(
      'the minority notices',
      async () => (await problemsOf(cutOff)).some(({ code }) => code === 'QUORUM_LOST') || undefined,
      30_000,
    );
    for (const argv of [
      ['set', 'tasks', 'shared', '"lost"'],
      ['get', 'tasks', 'shared'],
      ['cas', 'tasks', 'mine', '1', '--if-revision', '0'],
    ]) {
      const startedMs = performance.now();
      const { code, json } = await command(cutOff, 'board', ...argv, '--json');
      expect([argv[0], code, json]).toMatchObject([
        argv[0],
        4,
        { error: { code: 'QUORUM_UNAVAILABLE', retryable: true, details: { missing: expect.any(Array) } } },
      ]);
      const { missing } = (json as { error: { details: { missing: unknown[] } } }).error.details;
      expect(missing).toHaveLength(COUNT - MINORITY.length);
      // The promise is 2 s; the rest is for a machine that does much else.
      expect(performance.now() - startedMs).toBeLessThan(4_000);
    }
    expect(await copyOf(cutOff)).toMatchObject({ value: 'old', level: 'eventual' });
    network.cut([]);
    await eventually(
      'a strong read on the former minority',
      async () => {
        const { code, json } = await command(cutOff, 'board', 'get', 'tasks', 'shared', '--json');
        return (code === 0 && (json as { value: unknown }).value === 'new') || undefined;
      },
      30_000,
    );
  });

  it('the next write comes soon after its leader was killed (K24); a voter that moves to another port votes on (K44)', async () => {
    const { json } = await command(nodes[0] as NodeProcess, 'voters', 'list', '--json');
    const { leader } = json as { leader: string };
    const place = nodes.findIndex(({ ready }) => ready.nodeId === leader);
    const other = nodes[(place + 1) % COUNT] as NodeProcess;
    await nodes[place]?.end('SIGKILL');
    await eventually(
      'a write succeeds',
      async () =>
        (await command(other, 'board', 'set', 'tasks', 'after', '"the leader"', '--json')).code === 0 ||
        undefined,
      20_000,
    );
    await start(place, [(place + 1) % COUNT], PORT + 1);
    await eventually('all five vote', () => votersSeen(COUNT), 60_000);
    const moved = nodes[place] as NodeProcess;
    const read = await command(moved, 'board', 'get', 'tasks', 'after', '--json');
    expect([read.code, read.json]).toMatchObject([0, { value: 'the leader', level: 'strong' }]);
  });
});
