import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { skein } from '../cli/terminal.ts';
import { LOCAL, Machine, type Ready, ROOT, SECRET, tcpOf } from '../support/node-process.ts';

interface Peer {
  readonly nodeId: string;
  readonly name: string;
  readonly state: string;
  readonly self: boolean;
}

describe('skein up', () => {
  let machine: Machine;
  beforeEach(() => {
    machine = new Machine();
  });
  afterEach(() => machine[Symbol.asyncDispose]());

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'prints one line once ready, and ends cleanly on %s',
    async (signal) => {
      const { launched, ready, data } = await machine.up('a');
      expect(ready).toEqual({
        ready: true,
        nodeId: expect.stringMatching(/^12D3KooW/),
        name: 'a',
        swarm: expect.stringMatching(/^[0-9a-f]{16}$/),
        httpUrl: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
        mcpUrl: `${ready.httpUrl}/mcp`,
        meshAddresses: expect.arrayContaining([expect.stringMatching(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+/)]),
      });
      expect((await fetch(`${ready.httpUrl}/healthz`)).status).toBe(200);
      const { code, out, error } = await launched.kill(signal);
      expect([code, out.split('\n').length]).toEqual([0, 2]);
      // A start that takes long on a busy machine says what it is at; nothing else is there to say.
      expect(
        error.split('\n').filter((text) => !/^(Starting|Reading|Joining|Opening).*…$/.test(text)),
      ).toEqual(['']);
      expect(readdirSync(data).filter((name) => name.endsWith('.sock'))).toEqual([]);
    },
  );

  it('a second signal ends it at once', async () => {
    const { launched } = await machine.up('a');
    launched.process.kill('SIGTERM');
    launched.process.kill('SIGINT');
    const { code } = await launched.ended;
    expect([0, 130, 143]).toContain(code);
  });

  it('one Ctrl-C that comes twice, from the terminal and from npm, is one', async () => {
    const { launched, data } = await machine.up('a');
    launched.process.kill('SIGINT');
    launched.process.kill('SIGINT');
    expect((await launched.ended).code).toBe(0);
    expect(readdirSync(data).filter((name) => name.endsWith('.sock'))).toEqual([]);
  });

  it('tells a person the MCP snippet and how to join, and no secret', async () => {
    const data = machine.data('a');
    const launched = machine.launch(['up', '--data', data, ...LOCAL]);
    const out = await launched.outputs((text) => (text.includes('Ctrl-C') ? text : undefined));
    const snippet = JSON.parse(out.slice(out.indexOf('\n{\n'), out.indexOf('\n}\n') + 2));
    const { command, args } = snippet.mcpServers.skein;
    expect(command).toBe(process.execPath);
    expect(args.slice(1)).toEqual(['mcp', '--data', data]);
    expect(existsSync(args[0])).toBe(true);
    expect(out).toMatch(/SKEIN_SWARM_SECRET=.* npm start --/);
    expect(out).toContain(`npm run -s skein -- peers --data ${data}`);
    const secret = readFileSync(join(data, 'swarm.secret'), 'utf8').trim();
    expect(secret.length).toBeGreaterThan(15);
    const { error } = await launched.kill('SIGTERM');
    expect(out + error).not.toContain(secret);
  });

  it.each([
    ['--http-port', 'http'],
    ['--mesh-port', 'mesh'],
  ])('a taken %s is an error that says what to do, and nothing is left running', async (flag) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const { code, out, error } = await machine.launch([
      'up',
      '--data',
      machine.data('a'),
      ...LOCAL.filter((_, index) => LOCAL[index] !== flag && LOCAL[index - 1] !== flag),
      flag,
      String(port),
    ]).ended;
    server.close();
    expect(error).toContain(String(port));
    expect(error).toMatch(new RegExp(`${flag}|${flag.slice(2).replace('-', '\\.')}`));
    expect(error).not.toMatch(/\n {4}at /);
    expect([code, out]).toEqual([1, '']);
    expect((await skein(['status', '--data', machine.data('a')])).code).toBe(3);
  });

  it('a second node on the same data directory is refused, and the first goes on', async () => {
    const { data, launched } = await machine.up('a');
    const second = await machine.launch(['up', '--data', data, ...LOCAL]).ended;
    expect(second.error).toMatch(/--data/);
    expect([second.code, second.out]).toEqual([1, '']);
    const json = await machine.launch(['up', '--json', '--data', data, ...LOCAL]).ended;
    expect(JSON.parse(json.out).error.code).toBe('CONFLICT');
    expect((await skein(['board', 'set', 'main', 'k', '1', '--data', data])).code).toBe(0);
    expect(launched.process.exitCode).toBe(null);
  });

  it('a file in place of the data directory is an error that says so', async () => {
    writeFileSync(machine.data('file'), 'precious');
    const { code, error } = await machine.launch(['up', '--data', machine.data('file'), ...LOCAL]).ended;
    expect(code).not.toBe(0);
    expect(error).toMatch(/--data/);
    expect(error).not.toMatch(/\n {4}at /);
    expect(readFileSync(machine.data('file'), 'utf8')).toBe('precious');
  });

  it.skipIf(process.getuid?.() !== 0)(
    'a data directory of another user is an error that says so (needs root, to be someone else)',
    async () => {
      const data = machine.data('private');
      mkdirSync(data, { mode: 0o700 });
      chmodSync(machine.folder, 0o755);
      const { code, error } = await machine.launch(['up', '--data', data, ...LOCAL], { uid: 65_534 }).ended;
      expect(error).toContain(data);
      expect(error).not.toMatch(/\n {4}at /);
      expect(code).toBe(5);
      const status = await machine.launch(['status', '--data', data], { uid: 65_534 }).ended;
      expect(status.error).toMatch(/may not talk/);
      expect(status.code).toBe(3);
    },
  );

  it('with API keys, HTTP wants one: exit code 5 without, 0 with', async () => {
    const config = machine.data('config.yaml');
    const key = 'k'.repeat(32);
    writeFileSync(config, `guard:\n  keys:\n    - { principal: far, secret: ${key} }\n`);
    const { ready, data } = await machine.up('a', ['--config', config]);
    const url = ['--url', ready.httpUrl];
    expect((await skein(['status', ...url])).code).toBe(5);
    expect((await skein(['status', ...url, '--key', 'x'.repeat(32)])).code).toBe(5);
    const environment = { SKEIN_KEY: key };
    expect((await skein(['board', 'set', 'main', 'k', '1', ...url], { environment })).code).toBe(0);
    const { json } = await skein(['board', 'get', 'main', 'k', '--json', '--data', data]);
    expect(json).toMatchObject({ found: true, value: 1, author: 'far' });
    expect(
      (await skein(['board', 'set', 'main', 'k', '1', '--agent', 'other', ...url], { environment })).code,
    ).toBe(5);
  });

  it('what was acknowledged survives kill -9', async () => {
    const first = await machine.up('a');
    for (let index = 0; index < 20; index++)
      expect(
        (await skein(['board', 'set', 'main', `k${index}`, String(index), '--data', first.data])).code,
      ).toBe(0);
    const { json: before } = await skein(['board', 'hash', 'main', '--json', '--data', first.data]);
    await first.launched.kill('SIGKILL');
    expect((await skein(['status', '--data', first.data])).code).toBe(3);
    const second = await machine.up('a');
    expect(second.ready.nodeId).toBe(first.ready.nodeId);
    expect((await skein(['board', 'hash', 'main', '--json', '--data', second.data])).json).toEqual(before);
    expect(before).toMatchObject({ entries: 20 });
  });
});

describe('two nodes', () => {
  const machine = new Machine();
  let a: { ready: Ready; data: string };
  let b: { ready: Ready; data: string };
  beforeAll(async () => {
    const config = machine.data('boards.yaml');
    writeFileSync(config, 'boards:\n  source: {}\n  target: {}\n  keys: {}\n');
    a = await machine.up('a', ['--config', config]);
    b = await machine.up('b', ['--config', config, '--peer', tcpOf(a.ready), '--role', 'observer']);
  });
  afterAll(() => machine[Symbol.asyncDispose]());

  const onA = (...argv: string[]) => skein([...argv, '--data', a.data]);
  const onB = (...argv: string[]) => skein([...argv, '--data', b.data]);
  const valueOnB = async (key: string) =>
    ((await onB('board', 'get', 'main', key, '--json')).json as { value: unknown }).value;

  it('see each other within 5 s, oneself marked', async () => {
    const states = async () => {
      const { peers } = (await onA('peers', '--json')).json as { peers: Peer[] };
      return peers.map(({ name, state, self, nodeId }) => ({ name, state, self, nodeId }));
    };
    await expect.poll(states, { timeout: 5_000 }).toEqual([
      { name: 'a', state: 'alive', self: true, nodeId: a.ready.nodeId },
      { name: 'b', state: 'alive', self: false, nodeId: b.ready.nodeId },
    ]);
    expect((await onB('peers')).out).toMatch(/b \(this node\) +alive +observer/);
  });

  it('status and doctor answer on both', async () => {
    for (const { ready, data } of [a, b]) {
      const { json } = await skein(['status', '--json', '--data', data]);
      expect(json).toMatchObject({ nodeId: ready.nodeId, name: ready.name, swarm: ready.swarm });
      const doctor = await skein(['doctor', '--json', '--data', data]);
      expect(doctor.code).toBe(0);
      expect(doctor.json).toEqual({ problems: expect.any(Array) });
      expect((await skein(['status', '--data', data])).out).not.toMatch(/undefined/);
    }
  });

  it('read what the other wrote, deleted and appended', async () => {
    await onA('board', 'set', 'main', 'plan/1', '{"step":"one"}', '--agent', 'planner');
    await expect.poll(() => valueOnB('plan/1')).toEqual({ step: 'one' });
    await onB('board', 'append', 'main', 'log', '1', 'two');
    await onA('board', 'append', 'main', 'log', '{"three":3}');
    await expect.poll(async () => ((await valueOnB('log')) as unknown[]).length).toBe(3);
    const { json } = await onB('board', 'list', 'main', '--prefix', 'plan/', '--json');
    expect(json).toMatchObject({ entries: [{ key: 'plan/1', author: 'planner', node: a.ready.nodeId }] });
    expect((await onB('board', 'list')).out).toMatch(/^main +crdt/m);
    await onA('board', 'delete', 'main', 'plan/1');
    await expect.poll(() => valueOnB('plan/1')).toBe(null);
  });

  it('a value comes through a pipe, and an answer goes through one', async () => {
    const set = machine.launch(['board', 'set', 'main', 'piped', '-', '--json', '--data', a.data]);
    set.process.stdin.end(JSON.stringify({ text: 'ü'.repeat(50_000) }));
    const written = await set.ended;
    expect(JSON.parse(written.out)).toEqual({ revision: expect.any(Number), session: expect.any(String) });
    expect(written.error).toBe('');
    const got = await machine.launch(['board', 'get', 'main', 'piped', '--data', a.data]).ended;
    expect(JSON.parse(got.out)).toEqual({ text: 'ü'.repeat(50_000) });
  });

  it('a session token moves from one to the other', async () => {
    for (let index = 0; index < 10; index++) {
      const { json } = await onA('board', 'set', 'main', 'moving', String(index), '--json');
      const { session } = json as { session: string };
      const read = await onB('board', 'get', 'main', 'moving', '--session', session, '--json');
      expect(read.json).toMatchObject({ found: true, value: index });
    }
  });

  it('a watch on one shows changes made on the other, one document a line', async () => {
    const watch = machine.launch([
      'board',
      'watch',
      'main',
      '--prefix',
      'w/',
      '--after',
      '0',
      '--json',
      '--data',
      b.data,
    ]);
    await onA('board', 'set', 'main', 'w/1', '"x"');
    const first = await watch.outputs((out) => (out.includes('\n') ? out.split('\n')[0] : undefined));
    expect(JSON.parse(first)).toMatchObject({ key: 'w/1', value: 'x', deleted: false });
    await onA('board', 'delete', 'main', 'w/1');
    const second = await watch.outputs((out) =>
      out.split('\n').length > 2 ? out.split('\n')[1] : undefined,
    );
    expect(JSON.parse(second)).toMatchObject({ key: 'w/1', deleted: true });
    expect((await watch.kill('SIGINT')).code).toBe(0);
  });

  it('an export of one imports into the other, and both come to the same hash', async () => {
    for (let index = 0; index < 30; index++)
      await onA('board', 'set', 'source', `k${index}`, JSON.stringify({ index }));
    await onA('board', 'append', 'source', 'log', '1', '2');
    const file = machine.data('export.json');
    expect((await onA('board', 'export', 'source', '--out', file)).code).toBe(0);
    const { json } = await onB('board', 'import', 'target', file, '--json');
    expect(json).toEqual({ board: 'target', imported: 31 });
    const hashes = async (board: string) => [
      ((await onA('board', 'hash', board, '--json')).json as { hash: string }).hash,
      ((await onB('board', 'hash', board, '--json')).json as { hash: string }).hash,
    ];
    for (const board of ['source', 'target']) {
      await expect.poll(async () => new Set(await hashes(board)).size).toBe(1);
    }
    const values = async (board: string) =>
      (
        JSON.parse((await onA('board', 'export', board)).out) as {
          entries: { key: string; value: unknown }[];
        }
      ).entries.map(({ key, value }) => [key, value]);
    expect(await values('target')).toEqual(await values('source'));
  });

  it('an agent registered on one is discovered on the other', async () => {
    const { code, json } = await onA(
      'agent',
      'register',
      'painter',
      '--capability',
      'paint',
      '--endpoint',
      'http://x/',
      '--json',
    );
    expect(code).toBe(0);
    expect(json).toMatchObject({ agent_id: 'painter', machine_id: a.ready.nodeId });
    const found = async () =>
      ((await onB('agent', 'discover', '--capability', 'paint', '--json')).json as { agents: object[] })
        .agents;
    await expect
      .poll(found)
      .toMatchObject([{ agent_id: 'painter', machine_name: 'a', endpoint: 'http://x/' }]);
    expect((await onB('agent', 'list')).out).toMatch(/painter/);
    expect((await onB('agent', 'discover', '--capability', 'sing', '--json')).json).toEqual({ agents: [] });
  });

  it.each([
    ['__proto__ as a key of a value', '{"__proto__":{"polluted":true}}', 2],
    ['a JSON bomb', '['.repeat(200) + ']'.repeat(200), 2],
    ['a value that is too large', JSON.stringify('x'.repeat(300_000)), 1],
  ])('%s is refused with what to do, and nothing is written', async (_, value, code) => {
    const ended = await skein(['board', 'set', 'main', 'bad', '-', '--data', a.data], { input: value });
    expect(ended.code).toBe(code);
    expect(ended.error.split('\n').length).toBeGreaterThan(2);
    expect((await onA('board', 'get', 'main', 'bad', '--json')).json).toMatchObject({ found: false });
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it.each(['__proto__', 'constructor', '', 'k'.repeat(600), 'new\nline'])(
    '%j is refused as a key with what to do',
    async (key) => {
      const { code, json } = await onA('board', 'set', 'main', key, '1', '--json');
      const { error } = json as { error: { code: string; hint: string } };
      expect(error.code).toMatch(/INVALID_ARGUMENT|TOO_LARGE/);
      expect(code).toBe(error.code === 'INVALID_ARGUMENT' ? 2 : 1);
      expect(error.hint).toMatch(/\w/);
    },
  );

  it('a level that the board does not offer is refused, not lowered', async () => {
    const { code, json } = await onA('board', 'get', 'main', 'k', '--level', 'strong', '--json');
    expect(code).toBe(1);
    expect(json).toMatchObject({ error: { code: 'LEVEL_NOT_OFFERED' } });
  });

  it.each(['a b', 'ä/ö?#%', '100%', 'items', 'x/items', '..', 'a/../b', '%2e%2e', '//', '-'])(
    '%j is a key like any other',
    async (key) => {
      expect((await onA('board', 'set', 'keys', key, '1')).code).toBe(0);
      expect((await onA('board', 'append', 'keys', `log-${key}`, '1', '2')).code).toBe(0);
      expect((await onA('board', 'get', 'keys', key, '--json')).json).toMatchObject({
        found: true,
        key,
        value: 1,
      });
      expect((await onA('board', 'get', 'keys', `log-${key}`, '--json')).json).toMatchObject({
        value: [1, 2],
      });
      expect((await onA('board', 'delete', 'keys', key, '--json')).json).toMatchObject({ deleted: true });
    },
  );
});

describe('skein mcp', () => {
  const machine = new Machine();
  afterAll(async () => {
    const pidFile = join(machine.data('background'), 'node.pid');
    if (existsSync(pidFile)) process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGKILL');
    await machine[Symbol.asyncDispose]();
  });
  const environment = {
    SKEIN_SWARM_SECRET: SECRET,
    SKEIN_MESH_PORT: '0',
    SKEIN_HTTP_PORT: '0',
    SKEIN_MESH_LISTEN: '127.0.0.1',
    SKEIN_MESH_MDNS: 'false',
  };
  const initialize = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
  });

  it('starts one node in the background for clients that come at once, and the node outlives them', async () => {
    const data = machine.data('background');
    const clients = [1, 2].map(() => machine.launch(['mcp', '--data', data], { environment }));
    for (const client of clients) {
      client.process.stdin.write(`${initialize}\n`);
      const line = await client.outputs((out) =>
        out.includes('\n') ? out.slice(0, out.indexOf('\n')) : undefined,
      );
      expect(JSON.parse(line)).toMatchObject({ id: 1, result: { protocolVersion: '2025-06-18' } });
    }
    for (const client of clients) {
      client.process.stdin.end();
      expect((await client.ended).code).toBe(0);
    }
    expect((await skein(['status', '--data', data])).code).toBe(0);
  });

  it.each([
    { by: '--agent', argv: ['--agent', 'planner-1'], named: {} },
    { by: 'SKEIN_AGENT', argv: [], named: { SKEIN_AGENT: 'planner-1' } },
    { by: 'nothing, as "local"', argv: [], named: {}, author: 'local' },
  ])('what its client writes is by the agent named by $by', async ({ argv, named, author = 'planner-1' }) => {
    const data = machine.data('background');
    const client = machine.launch(['mcp', '--data', data, ...argv], {
      environment: { ...environment, ...named },
    });
    const write = { name: 'board_write', arguments: { board: 'main', key: 'plan', value: author } };
    const lines = [
      initialize,
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: write }),
    ];
    client.process.stdin.end(`${lines.join('\n')}\n`);
    const { code, out } = await client.ended;
    expect([code, out]).toEqual([0, expect.stringContaining('"id":2')]);
    const entry = await skein(['board', 'get', 'main', 'plan', '--json', '--data', data]);
    expect(entry.json).toMatchObject({ value: author, author });
  });

  it('says why where no node can be started, within bounds, and keeps standard output clean', async () => {
    const data = machine.data('broken');
    const launched = machine.launch(['mcp', '--data', data], {
      environment: { ...environment, SKEIN_HTTP_PORT: 'x' },
    });
    const { code, out, error } = await launched.ended;
    expect([code, out]).toEqual([3, '']);
    expect(error).toMatch(/SKEIN_HTTP_PORT: http\.port must be an integer/);
  });
});

describe('npm run swarm', () => {
  it('keeps three nodes up that see each other, and stops them all', async () => {
    await using machine = new Machine();
    const swarm = machine.launch(['--json', '--dir', machine.folder], {
      script: join(ROOT, 'simulations/live/swarm.ts'),
    });
    const line = await swarm.outputs((out) => (out.includes('\n') ? out : undefined));
    const { nodes } = JSON.parse(line) as { nodes: { data: string; swarm: string }[] };
    expect(new Set(nodes.map((node) => node.swarm)).size).toBe(1);
    for (const { data } of nodes) {
      const alive = async () => {
        const { peers } = (await skein(['peers', '--json', '--data', data])).json as { peers: Peer[] };
        return peers.filter((peer) => peer.state === 'alive').map((peer) => peer.name);
      };
      await expect.poll(alive, { timeout: 5_000 }).toEqual(['node-1', 'node-2', 'node-3']);
    }
    const { code, error } = await swarm.kill('SIGINT');
    expect(code, error).toBe(0);
    for (const { data } of nodes) expect((await skein(['status', '--data', data])).code).toBe(3);
  });
});
