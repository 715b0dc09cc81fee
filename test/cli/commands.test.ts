import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ControlServer, send } from './control-server.ts';
import { skein } from './terminal.ts';

let node: ControlServer;
beforeEach(async () => {
  node = await ControlServer.start();
});
afterEach(() => node[Symbol.asyncDispose]());

const at = (...argv: string[]) => [...argv, '--data', node.data];
const entry = (key: string, value: unknown) => ({
  key,
  value,
  author: 'planner',
  node: '12D3KooWx',
  writtenAt: '2026-11-21T10:00:00.000Z',
  revision: 7,
});

/** A command, the request that it makes, and what the node answers. */
const CALLS: [argv: string[], request: [method: string, url: string, body?: unknown], answer: object][] = [
  [
    ['status'],
    ['GET', '/v1/status'],
    {
      nodeId: '12D3KooWx',
      name: 'a',
      swarm: '0123456789abcdef',
      roles: ['worker'],
      version: '0.1.0',
      startedAt: '2026-11-21T10:00:00.000Z',
      meshAddresses: ['/ip4/10.0.0.1/tcp/7331', '/ip4/10.0.0.1/tcp/7332/ws'],
      links: 1,
      members: { alive: 2, suspect: 0, dead: 0 },
      boards: 1,
      agents: 0,
      problems: [{ code: 'CLOCK', message: 'The clock is off.', hint: 'Set it.' }],
    },
  ],
  [['peers'], ['GET', '/v1/peers?limit=1000'], { peers: [] }],
  [['doctor'], ['GET', '/v1/doctor'], { problems: [] }],
  [['board', 'list'], ['GET', '/v1/boards'], { boards: [] }],
  [
    ['board', 'list', 'main', '--prefix', 'a/', '--limit', '5', '--session', 't'],
    ['GET', '/v1/boards/main/entries?limit=5&prefix=a%2F&session=t'],
    { entries: [entry('a/b', 1)], session: 's' },
  ],
  [
    ['board', 'get', 'main', 'plan/step 1?', '--level', 'eventual'],
    ['GET', '/v1/boards/main/entries/plan%2Fstep%201%3F?level=eventual'],
    { found: true, ...entry('plan/step 1?', { a: 1 }), session: 's' },
  ],
  [
    ['board', 'set', 'main', 'k', '{"a":[1,null]}', '--ttl', '60', '--agent', 'me'],
    ['PUT', '/v1/boards/main/entries/k', { value: { a: [1, null] }, ttl_seconds: 60, agent_id: 'me' }],
    { revision: 1, session: 's' },
  ],
  [
    ['board', 'set', 'main', 'k', 'plain text'],
    ['PUT', '/v1/boards/main/entries/k', { value: 'plain text' }],
    { revision: 1 },
  ],
  [
    ['board', 'set', 'main', 'k', '17', '--text'],
    ['PUT', '/v1/boards/main/entries/k', { value: '17' }],
    { revision: 1 },
  ],
  [['board', 'set', 'main', 'k', '-5'], ['PUT', '/v1/boards/main/entries/k', { value: -5 }], { revision: 1 }],
  [
    ['board', 'delete', 'main', 'k'],
    ['DELETE', '/v1/boards/main/entries/k'],
    { deleted: true, revision: 2, session: 's' },
  ],
  [
    ['board', 'delete', 'main', '--document', 'notes/1'],
    ['DELETE', '/v1/boards/main/documents/notes%2F1'],
    { deleted: true, revision: 2, session: 's' },
  ],
  [
    ['board', 'append', 'main', 'log', '1', 'two', '{"three":3}'],
    ['POST', '/v1/boards/main/entries/log/items', { items: [1, 'two', { three: 3 }] }],
    { revision: 3, session: 's' },
  ],
  [
    ['board', 'cas', 'tasks', 'k', '{"owner":"me"}', '--if-revision', '0', '--agent', 'me'],
    ['PUT', '/v1/boards/tasks/entries/k?expected_revision=0', { value: { owner: 'me' }, agent_id: 'me' }],
    { revision: 4, session: 's' },
  ],
  [
    ['lease', 'acquire', 'deploy/production', '--ttl', '10'],
    ['PUT', '/v1/leases/deploy%2Fproduction', { ttl_seconds: 10 }],
    {
      name: 'deploy/production',
      held: true,
      fencing_token: 9,
      holder: 'operator',
      machine_id: 'x',
      expiresAt: 't',
    },
  ],
  [
    ['lease', 'renew', 'deploy', '--token', '9'],
    ['PATCH', '/v1/leases/deploy', { fencing_token: 9 }],
    { name: 'deploy', held: true, fencing_token: 9, holder: 'operator', machine_id: 'x', expiresAt: 't' },
  ],
  [
    ['lease', 'release', 'deploy', '--agent', 'me'],
    ['DELETE', '/v1/leases/deploy?agent_id=me'],
    { name: 'deploy', held: false, fencing_token: null, holder: null, machine_id: null, expiresAt: null },
  ],
  [['lease', 'list', '--limit', '5'], ['GET', '/v1/leases?limit=5'], { leases: [] }],
  [
    ['voters', 'list'],
    ['GET', '/v1/voters'],
    {
      voters: [{ nodeId: '12D3KooWx', name: 'a', serverId: '12D3KooWx/1', role: 'leader', state: 'alive' }],
      storeId: 'abc',
      leader: '12D3KooWx',
    },
  ],
  [['voters', 'add', 'b'], ['PUT', '/v1/voters/b'], { voters: [], storeId: 'abc', leader: null }],
  [['voters', 'remove', 'b'], ['DELETE', '/v1/voters/b'], { voters: [], storeId: 'abc', leader: null }],
  [['voters', 'found'], ['POST', '/v1/voters/found'], { voters: [], storeId: 'abc', leader: null }],
  [
    ['voters', 'recover', '--confirm', 'abc'],
    ['POST', '/v1/voters/recover', { confirm: 'abc' }],
    { voters: [], storeId: 'abc', leader: null },
  ],
  [['agent', 'list'], ['GET', '/v1/agents'], { agents: [] }],
  [
    ['agent', 'discover', '--capability', 'gpu', '--min-trust', '0.5'],
    ['GET', '/v1/agents?capability=gpu&min_trust=0.5'],
    { agents: [] },
  ],
  [
    ['agent', 'register', 'a', '--capability', 'x', '--capability', 'y', '--trust', '0.5'],
    ['POST', '/v1/agents', { agent_id: 'a', capabilities: ['x', 'y'], trust_level: 0.5, ttl_seconds: 60 }],
    {
      agent_id: 'a',
      machine_name: 'm',
      capabilities: ['x'],
      trust_level: 0.5,
      last_seen: '',
      endpoint: null,
    },
  ],
];

describe('a command', () => {
  it.each(CALLS)(
    '%j makes the one call, and with --json prints the answer and nothing else',
    async (argv, request, answer) => {
      node.answers(answer);
      const { code, json, error } = await skein(at(...argv, '--json'));
      expect([code, error]).toEqual([0, '']);
      expect(json).toEqual(answer);
      expect(node.asked).toHaveLength(1);
      expect([node.last.method, node.last.url]).toEqual(request.slice(0, 2));
      expect(node.last.body).toEqual(request[2]);
    },
  );

  it.each(CALLS)('%j is readable without --json', async (argv, _, answer) => {
    node.answers(answer);
    const { code, out, error } = await skein(at(...argv));
    expect(code).toBe(0);
    expect(`${out}${error}`).toMatch(/\w/);
    expect(out).not.toMatch(/undefined|NaN|\[object/);
  });

  it.each([
    ['INVALID_ARGUMENT', 400, 2],
    ['TOO_LARGE', 413, 1],
    ['NOT_FOUND', 404, 1],
    ['CONFLICT', 409, 1],
    ['UNREACHABLE', 502, 1],
    ['QUORUM_UNAVAILABLE', 503, 4],
    ['DENIED', 403, 5],
    ['UNAUTHENTICATED', 401, 5],
  ])(
    'that the node refuses with %s ends with exit code %3$i and says what to do',
    async (code, status, exit) => {
      const body = { code, message: 'It cannot be.', hint: 'Do otherwise.', retryable: false };
      node.answers({ error: body }, status);
      const plain = await skein(at('board', 'set', 'main', 'k', '1'));
      expect(plain).toMatchObject({ code: exit, out: '', error: 'It cannot be.\nDo otherwise.\n' });
      const { code: exitJson, json } = await skein(at('board', 'set', 'main', 'k', '1', '--json'));
      expect(exitJson).toBe(exit);
      expect(json).toEqual({ error: body });
    },
  );

  it.each([
    [['budget', 'create', 'a b', '--limit', '1'], 'task_id', 'NAME'],
    [['board', 'set', 'main', 'k', '1', '--ttl', '5'], 'ttl_seconds', '--ttl'],
    [['budget', 'create', 'a', '--limit', '1', '--threshold', '5'], 'thresholds.0', '--threshold'],
  ])('%j whose argument %s the node refuses is wrong usage, told of %s', async (argv, argument, name) => {
    const details = { argument, problem: 'must be another' };
    const message = `The argument "${argument}" must be another.`;
    node.answers({ error: { code: 'INVALID_ARGUMENT', message, hint: 'x', retryable: false, details } }, 400);
    const [command, sub] = argv;
    expect(await skein(at(...argv))).toMatchObject({
      code: 2,
      out: '',
      error: `${name} must be another.\nSee: skein ${command} ${sub} --help\n`,
    });
  });

  it.each([
    ['<html>', 200],
    ['', 502],
    ['{"error":{"code":"MADE_UP"}}', 500],
  ])('that gets %j from something else than a node says so', async (text, status) => {
    node.answers(text, status);
    const { code, error } = await skein(at('status'));
    expect(code).toBe(1);
    expect(error).toMatch(/does not answer as a Skein node/);
  });

  it('sends the key to a --url, by flag or environment, and none where none was given', async () => {
    await using elsewhere = await ControlServer.start('tcp');
    const { url } = elsewhere;
    elsewhere.answers({ problems: [] });
    const doctor = ['doctor', '--url', url];
    expect((await skein([...doctor, '--key', 'k'])).code).toBe(0);
    expect((await skein(['doctor'], { environment: { SKEIN_URL: url, SKEIN_KEY: 'e' } })).code).toBe(0);
    expect((await skein(doctor)).code).toBe(0);
    expect(elsewhere.asked.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer k',
      'Bearer e',
      undefined,
    ]);
  });

  it('names a --url that it could not reach', async () => {
    const { code, error } = await skein(['status', '--url', 'http://127.0.0.1:1', '--key', 'k']);
    expect(code).toBe(3);
    expect(error).toMatch(/No answer from http:\/\/127\.0\.0\.1:1/);
    expect(error).not.toMatch(/undefined/);
  });

  it('finds the node by SKEIN_NODE_DATA, and --data beats it', async () => {
    node.answers({ problems: [] });
    expect((await skein(['doctor'], { environment: { SKEIN_NODE_DATA: node.data } })).code).toBe(0);
    expect((await skein(at('doctor'), { environment: { SKEIN_NODE_DATA: '/nonexistent' } })).code).toBe(0);
  });

  it('that was sent before the node went away may have been carried out', async () => {
    node.reply = (_, response) => response.destroy();
    const { code, out } = await skein(at('board', 'set', 'main', 'k', '1', '--json'));
    expect(code).toBe(3);
    expect(JSON.parse(out)).toMatchObject({
      error: { code: 'UNREACHABLE', details: { outcome: 'unknown' } },
    });
  });

  it('is interrupted while the node is silent', async () => {
    const interrupt = new AbortController();
    node.reply = () => interrupt.abort('SIGINT');
    expect(await skein(at('status'), { signal: interrupt.signal })).toMatchObject({ code: 130, out: '' });
  });
});

describe('without a node', () => {
  it.each([
    ['a data directory that does not exist', () => join(node.data, 'none'), /No node runs/],
    ['a data directory whose node was killed', () => node.data, /No node runs/],
    ['a file in its place', () => join(node.data, 'file'), /No node runs|is not a directory/],
  ])('%s ends with exit code 3 and the command that starts one', async (_, data, says) => {
    writeFileSync(join(node.data, 'file'), '');
    const directory = data();
    await node[Symbol.asyncDispose]().then(() => {});
    const { code, error, out } = await skein(['status', '--data', directory]);
    expect(error).toMatch(says);
    expect(error).toContain(`skein up --data ${directory}`);
    expect([code, out]).toEqual([3, '']);
    const { out: json } = await skein(['status', '--data', directory, '--json']);
    expect(JSON.parse(json)).toMatchObject({ error: { details: { outcome: 'not-done' } } });
  });

  it('doctor --crash-points lists them without a node', async () => {
    const { code, out } = await skein(['doctor', '--crash-points', '--json', '--data', '/nonexistent']);
    const { crashPoints } = JSON.parse(out) as { crashPoints: { name: string; about: string }[] };
    expect(code).toBe(0);
    expect(crashPoints.length).toBeGreaterThanOrEqual(25);
    expect(crashPoints.map(({ name }) => name)).toContain('journal.after-sync');
  });

  it('doctor looks at the directory itself', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-doctor-'));
    const file = join(folder, 'file');
    writeFileSync(file, '');
    try {
      const { code, error } = await skein(['doctor', '--data', file]);
      expect(code).toBe(3);
      expect(error).toMatch(/is not a directory/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.skipIf(process.getuid?.() === 0)(
    'a socket of another user ends with exit code 3 (needs a user that is not root)',
    async () => {
      chmodSync(join(node.data, 'control.sock'), 0);
      const { code, error } = await skein(at('status'));
      expect(code).toBe(3);
      expect(error).toMatch(/may not talk/);
    },
  );
});

describe('board get', () => {
  it('prints text as it is and other values as JSON, and the rest on standard error', async () => {
    node.answers({ found: true, ...entry('k', 'line 1\nline 2'), session: 's' });
    expect(await skein(at('board', 'get', 'main', 'k'))).toMatchObject({
      out: 'line 1\nline 2\n',
      error: expect.stringContaining('by planner'),
    });
    node.answers({ found: true, ...entry('k', { a: 1 }), session: 's' });
    expect(JSON.parse((await skein(at('board', 'get', 'main', 'k'))).out)).toEqual({ a: 1 });
  });

  it('a key that is not there is an answer with a session, and exit code 1', async () => {
    const details = { revision: 4, session: 's' };
    node.answers({ error: { code: 'NOT_FOUND', message: 'No.', hint: '', retryable: false, details } }, 404);
    const { code, json } = await skein(at('board', 'get', 'main', 'k', '--json'));
    expect(code).toBe(1);
    expect(json).toEqual({ found: false, key: 'k', value: null, revision: 4, session: 's' });
    expect(await skein(at('board', 'get', 'main', 'k'))).toMatchObject({
      code: 1,
      out: '',
      error: 'Board main has no key k.\n',
    });
  });

  it.each([
    ['\u001b[2J', '\\u{1b}[2J'],
    ['\u202ereversed', '\\u{202e}reversed'],
    ['tag\u{e0041}', 'tag\\u{e0041}'],
    ['\u009b31m', '\\u{9b}31m'],
  ])('shows %j without the power to steer the terminal (S24)', async (value, shown) => {
    node.answers({ found: true, ...entry('k', value), author: value, session: 's' });
    const { out, error } = await skein(at('board', 'get', 'main', 'k'));
    expect(out).toBe(`${shown}\n`);
    expect(error).toContain(shown);
    node.answers({ entries: [entry(value, value)], session: 's' });
    expect((await skein(at('board', 'list', 'main'))).out).not.toContain(value);
  });
});

describe('board list --documents', () => {
  it('is a page of names, one a line, and says how to go on', async () => {
    const page = { documents: ['notes', 'a\u001bb'], cursor: 'c2' };
    node.answers(page);
    const shown = await skein(at('board', 'list', 'a b', '--documents', '--limit', '2', '--cursor', 'c1'));
    expect([shown.code, shown.out.split('\n').length]).toEqual([0, 3]);
    expect(shown.out).toMatch(/^notes\n/);
    expect(shown.out).not.toContain('\u001b');
    expect(shown.error).toBe('There are more: --cursor c2\n');
    expect(node.last.url).toBe('/v1/boards/a%20b/documents?limit=2&cursor=c1');
    const { json } = await skein(at('board', 'list', 'main', '--documents', '--json'));
    expect(json).toEqual({ board: 'main', ...page });
    node.answers({ documents: [] });
    expect(await skein(at('board', 'list', 'main', '--documents'))).toMatchObject({
      out: '',
      error: 'No documents.\n',
    });
  });
});

describe('status', () => {
  it('tells who shares out the budgets by name, and by id where no name is known', async () => {
    const status = {
      ...(CALLS.find(([[command]]) => command === 'status')?.[2] as object),
      budgets: 1,
      orchestrator: '12D3KooWy',
    };
    node.answers({ ...status, orchestratorName: 'b' });
    expect((await skein(at('status'))).out).toMatch(/budgets 1, shared out by b\n/);
    node.answers({ ...status, orchestratorName: null });
    expect((await skein(at('status'))).out).toMatch(/budgets 1, shared out by 12D3KooWy\n/);
    node.answers({ ...status, budgets: null });
    expect((await skein(at('status'))).out).toMatch(/budgets not known yet/);
  });
});

describe('board set', () => {
  it('reads "-" from standard input', async () => {
    node.answers({ revision: 1, session: 's' });
    await skein(at('board', 'set', 'main', 'k', '-'), { input: '[1, 2]' });
    expect(node.last.body).toEqual({ value: [1, 2] });
  });

  it('refuses what is not UTF-8, rather than write something else', async () => {
    const { code, error } = await skein(at('board', 'set', 'main', 'k', '-'), {
      input: Uint8Array.of(0x22, 0xff, 0x22),
    });
    expect(code).toBe(2);
    expect(error).toMatch(/Standard input is not UTF-8 text/);
    expect(node.asked).toEqual([]);
  });

  it('refuses what no node takes before it is sent', async () => {
    const { code, error } = await skein(at('board', 'set', 'main', 'k', '-'), {
      input: 'x'.repeat(100_000_000),
    });
    expect(code).toBe(1);
    expect(error).toMatch(/Nothing was sent/);
    expect(node.asked).toEqual([]);
  });
});

describe('board watch', () => {
  const stream = (...events: object[]) => {
    node.reply = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': watching\n\n');
      for (const event of events) response.write(`event: change\nid: 1\ndata: ${JSON.stringify(event)}\n\n`);
    };
  };

  it('with --json prints one document a line until it has its count', async () => {
    const changes = [
      { key: 'a', value: 1, revision: 1, deleted: false },
      { key: 'b', revision: 2, deleted: true },
    ];
    stream(...changes, { key: 'c', revision: 3, deleted: true });
    const { code, out } = await skein(at('board', 'watch', 'main', '--json', '--count', '2', '--after', '0'));
    expect(code).toBe(0);
    expect(
      out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(changes);
    expect(node.last.url).toBe('/v1/boards/main/watch?prefix=&after_revision=0');
  });

  it('ends well at its time-out and when interrupted', async () => {
    stream({ key: 'a', revision: 1, deleted: true });
    expect((await skein(at('board', 'watch', 'main', 'a', '--timeout', '1'))).code).toBe(0);
    const interrupt = new AbortController();
    const watching = skein(at('board', 'watch', 'main', 'a'), { signal: interrupt.signal });
    await expect.poll(() => node.asked.length).toBe(2);
    interrupt.abort('SIGINT');
    expect((await watching).code).toBe(0);
  });

  it('says when the node goes away, and when it refuses midway', async () => {
    node.reply = (_, response) =>
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(': watching\n\n');
    expect(await skein(at('board', 'watch', 'main'))).toMatchObject({
      code: 3,
      error: expect.stringMatching(/ended the watch/),
    });
    const error = { code: 'RATE_LIMITED', message: 'Too slow.', hint: 'Read faster.', retryable: true };
    stream({ error });
    expect(await skein(at('board', 'watch', 'main', '--json'))).toMatchObject({ code: 1, json: { error } });
    node.reply = (_, response) => send(response, 403, { error: { ...error, code: 'DENIED' } });
    expect((await skein(at('board', 'watch', 'main'))).code).toBe(5);
  });
});

describe('board export, import and hash', () => {
  const entries = Array.from({ length: 25 }, (_, index) =>
    entry(`k${String(index).padStart(2, '0')}`, { index }),
  );
  const servePages = () => {
    node.reply = ({ method, url }, response) => {
      if (method !== 'GET') return send(response, 200, { revision: 1, session: 's' });
      const start = Number(new URL(url, 'http://x').searchParams.get('cursor') ?? 0);
      const cursor = start + 10 < entries.length ? { cursor: String(start + 10) } : {};
      send(response, 200, { entries: entries.slice(start, start + 10), session: 's', ...cursor });
    };
  };

  it('export writes every page as one document, to a file only whole', async () => {
    servePages();
    const { out } = await skein(at('board', 'export', 'main'));
    expect(JSON.parse(out)).toEqual({ format: 'skein-board/1', board: 'main', entries });
    const file = join(node.data, 'out.json');
    const { json } = await skein(at('board', 'export', 'main', '--out', file, '--json'));
    expect(json).toEqual({ board: 'main', file, entries: 25 });
    expect(readFileSync(file, 'utf8')).toBe(out);
    node.answers({ error: { code: 'INTERNAL', message: 'x', hint: 'y', retryable: false } }, 500);
    expect((await skein(at('board', 'export', 'main', '--out', file))).code).toBe(1);
    expect(readFileSync(file, 'utf8')).toBe(out);
  });

  it('export that cannot write its file says so and leaves nothing behind', async () => {
    servePages();
    const file = join(node.data, 'no', 'such', 'folder.json');
    const { code, error } = await skein(at('board', 'export', 'main', '--out', file));
    expect(code).toBe(2);
    expect(error).toMatch(/cannot be written/);
    expect(readdirSync(node.data)).toEqual(['control.sock']);
  });

  it('import writes what export wrote, expired entries aside', async () => {
    servePages();
    const file = join(node.data, 'in.json');
    const expiring = [
      { ...entry('gone', 1), expiresAt: '2020-01-01T00:00:00.000Z' },
      { ...entry('going', 1), expiresAt: new Date(Date.now() + 100_000).toISOString() },
    ];
    writeFileSync(
      file,
      JSON.stringify({ format: 'skein-board/1', board: 'main', entries: [...entries, ...expiring] }),
    );
    const { json } = await skein(at('board', 'import', 'copy', file, '--json'));
    expect(json).toEqual({ board: 'copy', imported: 26 });
    const written = node.asked.map(({ url, body }) => [url, body]);
    expect(written).toContainEqual(['/v1/boards/copy/entries/k07', { value: { index: 7 } }]);
    expect(written).toContainEqual(['/v1/boards/copy/entries/going', { value: 1, ttl_seconds: 100 }]);
    expect(written).toHaveLength(26);
  });

  it('import says how far it came when the node goes away, exit code 3', async () => {
    const many = Array.from({ length: 200 }, (_, index) => entry(`k${index}`, index));
    const file = join(node.data, 'many.json');
    writeFileSync(file, JSON.stringify({ format: 'skein-board/1', board: 'main', entries: many }));
    node.reply = (_, response) => {
      if (node.asked.length < 100) send(response, 200, { revision: 1, session: 's' });
      else response.destroy();
    };
    const { code, error } = await skein(at('board', 'import', 'main', file));
    expect(code).toBe(3);
    expect(error).toMatch(/\d+ of 200 entries were written; importing again is harmless/);
  });

  it('import brings a log larger than a value back item by item', async () => {
    servePages();
    const items = Array.from({ length: 2_500 }, (_, index) => ({ index, text: 'x'.repeat(200) }));
    const text = JSON.stringify({ format: 'skein-board/1', board: 'main', entries: [entry('log', items)] });
    expect((await skein(at('board', 'import', 'main', '-'), { input: text })).code).toBe(0);
    expect(node.asked[0]?.method).toBe('DELETE');
    const appended = node.asked.slice(1).flatMap(({ body }) => (body as { items: unknown[] }).items);
    expect(appended).toEqual(items);
    expect(node.asked.length).toBeGreaterThan(2);
  });

  it.each([
    ['not UTF-8', Uint8Array.of(0x7b, 0xff)],
    ['not JSON', '{'],
    ['another format', '{"format":"other","entries":[]}'],
    ['null', 'null'],
    [
      'an entry without a value',
      '{"format":"skein-board/1","board":"b","entries":[{"key":"a","value":1},{"key":"b"}]}',
    ],
  ])('import refuses %s before the first write', async (_, input) => {
    const { code, error } = await skein(at('board', 'import', 'main', '-'), { input });
    expect([1, 2]).toContain(code);
    expect(error).toMatch(/Nothing was written|not UTF-8/);
    expect(node.asked).toEqual([]);
  });

  it('hash is the same for the same entries however their values were built', async () => {
    servePages();
    const { json } = await skein(at('board', 'hash', 'main', '--json'));
    expect(json).toEqual({ board: 'main', hash: expect.stringMatching(/^[0-9a-f]{64}$/), entries: 25 });
    const one = { entries: [entry('k', { a: 1, b: { c: 2, d: 3 } })], session: 's' };
    const other = { entries: [entry('k', { b: { d: 3, c: 2 }, a: 1 })], session: 't' };
    const hashes = [];
    for (const page of [one, other, { ...one, entries: [entry('k', 0)] }]) {
      node.answers(page);
      hashes.push(((await skein(at('board', 'hash', 'main', '--json'))).json as { hash: string }).hash);
    }
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });
});
