/** What the commands of the quorum store say where the answer is no, and how a store is given up. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ControlServer, send } from './control-server.ts';
import { skein } from './terminal.ts';

let node: ControlServer;
beforeEach(async () => {
  node = await ControlServer.start();
});
afterEach(() => node[Symbol.asyncDispose]());

const at = (...argv: string[]) => [...argv, '--data', node.data];

it('a lease that another holds is exit code 1, with its holder', async () => {
  node.answers({
    name: 'l',
    held: false,
    fencing_token: null,
    holder: 'bob',
    machine_id: 'm',
    expiresAt: 't',
  });
  const { code, out, error } = await skein(at('lease', 'acquire', 'l'));
  expect([code, out]).toEqual([1, '']);
  expect(error).toMatch(/Held by bob on m, until t at the latest/);
});

it('who comes too late with a compare-and-set is shown what is there now', async () => {
  const entry = { key: 'k', value: { owner: 'me' }, author: 'bob', revision: 7 };
  const error = {
    code: 'CONFLICT',
    message: 'bob wrote revision 7.',
    hint: 'Decide anew.',
    retryable: false,
  };
  const argv = at('board', 'cas', 'tasks', 'k', '1', '--if-revision', '0');
  node.answers({ error: { ...error, details: { entry } } }, 409);
  const shown = await skein(argv);
  expect([shown.code, shown.out]).toEqual([1, '']);
  expect(shown.error).toBe('bob wrote revision 7.\nDecide anew.\nIt is now: {"owner":"me"}\n');
  expect((await skein([...argv, '--json'])).json).toEqual({ error: { ...error, details: { entry } } });
  node.answers({ error: { ...error, details: { entry: null } } }, 409);
  expect((await skein(argv)).error).toBe('bob wrote revision 7.\nDecide anew.\n');
});

it.each([
  [['lease', 'acquire', 'l']],
  [['board', 'get', 'tasks', 'k']],
  [['board', 'cas', 'tasks', 'k', '1', '--if-revision', '0']],
  [['voters', 'add', 'x']],
])('%j without a quorum is exit code 4, and names who is missing', async (argv) => {
  const error = {
    code: 'QUORUM_UNAVAILABLE',
    message: '2 of 3 voters cannot be reached.',
    hint: 'Wait.',
    retryable: true,
    details: { missing: ['b', 'c'], outcome: 'not-done' },
  };
  node.answers({ error }, 503);
  const { code, json } = await skein(at(...argv, '--json'));
  expect(code).toBe(4);
  expect(json).toEqual({ error });
});

it('the list of voters shows whose version is too old for the store (K45)', async () => {
  const voter = { nodeId: 'x', serverId: 'x/1', role: 'voter', state: 'alive' };
  const voters = [
    { ...voter, name: 'old', isTooOld: true },
    { ...voter, name: 'new' },
  ];
  node.answers({ voters, storeId: 'abc', leader: 'x' });
  const { out } = await skein(at('voters', 'list'));
  expect(out).toMatch(/old +voter +alive, version too old/);
  expect(out).toMatch(/new +voter +alive +x/);
});

it('the list of voters pages: what flags ask for is passed on, and the next page is named', async () => {
  const voter = { nodeId: 'x', name: 'one', serverId: 'x/1', role: 'voter', state: 'alive' };
  node.answers({ voters: [voter], storeId: 'abc', leader: 'x', cursor: 'next' });
  const { error } = await skein(at('voters', 'list', '--limit', '1', '--cursor', 'from'));
  expect(node.last.url).toBe('/v1/voters?limit=1&cursor=from');
  expect(error).toMatch(/There are more: --cursor next/);
});

it('a merge exports the quorum boards with entries before it gives the store up', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-merge-'));
  const entry = {
    key: 'k',
    value: 1,
    author: 'a',
    node: 'n',
    writtenAt: '2026-11-21T10:00:00.000Z',
    revision: 7,
  };
  node.reply = ({ url }, response) => {
    if (url === '/v1/voters') send(response, 200, { voters: [], storeId: 'old', leader: 'x' });
    else if (url.startsWith('/v1/boards?'))
      send(response, 200, {
        boards: [
          { name: 'main', mode: 'crdt', keys: 5, bytes: 5 },
          { name: 'empty', mode: 'quorum', keys: 0, bytes: 0 },
          { name: 'tasks', mode: 'quorum', keys: 1, bytes: 5 },
        ],
      });
    else if (url.startsWith('/v1/budgets'))
      send(response, 200, {
        budgets: [
          { task_id: 'z', unit: 'tokens', limit: 500, spent: 30, overrun: 0 },
          { task_id: 'unused', unit: 'tokens', limit: 5, spent: 0, overrun: 0 },
        ],
      });
    else if (url.startsWith('/v1/boards/tasks/entries'))
      send(response, 200, { entries: [entry], session: 's' });
    else send(response, 200, { voters: [], storeId: 'new', leader: 'y' });
  };
  const { code, json } = await skein(at('voters', 'merge', '--keep', 'new', '--export', folder, '--json'));
  expect(code).toBe(0);
  expect(json).toMatchObject({ budgets: [{ task_id: 'z', limit: 500, spent: 30 }] });
  const file = join(folder, 'tasks-old.json');
  expect(json).toMatchObject({ storeId: 'new', exported: [{ board: 'tasks', file, entries: 1 }] });
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ board: 'tasks', entries: [entry] });
  expect(node.asked.map(({ method, url }) => `${method} ${url.split('?')[0]}`)).toEqual([
    'GET /v1/voters',
    'GET /v1/boards',
    'GET /v1/boards/tasks/entries',
    'GET /v1/budgets',
    'POST /v1/voters/merge',
  ]);
  expect(node.asked[2]?.url).toContain('level=eventual');
  expect(node.last.body).toEqual({ keep: 'new' });
  const { error } = await skein(at('voters', 'merge', '--keep', 'new', '--export', folder));
  expect(error).toMatch(/z: 30 of 500 tokens spent/);
  expect(error).toMatch(/no longer counts/);
  expect(error).not.toMatch(/unused/);
  rmSync(folder, { recursive: true });
});

it('a store is not given up where its boards cannot be exported', async () => {
  node.reply = ({ url }, response) => {
    if (url.startsWith('/v1/boards?'))
      send(response, 200, { boards: [{ name: 'tasks', mode: 'quorum', keys: 1, bytes: 5 }] });
    else send(response, 200, { voters: [], storeId: 'old', leader: 'x', entries: [], session: 's' });
  };
  const { code } = await skein(at('voters', 'merge', '--keep', 'new', '--export', '/nonexistent/place'));
  expect(code).toBe(2);
  expect(node.asked.map(({ method }) => method)).not.toContain('POST');
});
