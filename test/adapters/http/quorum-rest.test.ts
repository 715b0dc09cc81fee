/** REST of what stands on the quorum store. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import { ok } from '../../../src/kernel/errors.ts';
import type { Voters, VotersView } from '../../../src/quorum/voters/voters-api.ts';
import { IDENTITY, MEMORY_NODE_ID, memoryNode, QUIET } from '../../support/memory-node.ts';
import { jsonRequest, rawRequest } from '../../support/raw-http.ts';

let face: HttpFace;
let keyed: HttpFace;
const asked: string[] = [];
const KEY = 'a-key-that-only-this-test-knows';

const VIEW: VotersView = {
  storeId: 'abc',
  leader: MEMORY_NODE_ID,
  voters: ['a', 'b', 'c'].map((name) => ({
    nodeId: MEMORY_NODE_ID,
    name,
    serverId: `${name}/1`,
    role: 'voter',
    state: 'alive',
  })),
};
const told = (what: string) => {
  asked.push(what);
  return Promise.resolve(ok(VIEW));
};
const voters: Voters = {
  list: () => VIEW,
  add: (node) => told(`add ${node}`),
  remove: (node) => told(`remove ${node}`),
  found: () => told('found'),
  recover: ({ confirm }) => told(`recover ${confirm}`),
  merge: ({ keep }) => told(`merge ${keep}`),
};

const setting = {
  logger: QUIET,
  identity: IDENTITY,
  host: '127.0.0.1',
  port: 0,
  allowedHosts: [],
  allowedOrigins: [],
};

beforeAll(async () => {
  face = await startHttp({ ...setting, keys: [], node: { ...memoryNode(), voters } });
  keyed = await startHttp({
    ...setting,
    keys: [{ principal: 'robot', zone: 'trusted', secret: KEY }],
    node: { ...memoryNode(), voters },
  });
});
afterAll(async () => {
  await face.close();
  await keyed.close();
});

const portOf = ({ url }: HttpFace) => ({ port: Number(new URL(url).port) });
const get = async (path: string) => {
  const { status, text } = await rawRequest(portOf(face), { path });
  return { status, body: JSON.parse(text) };
};
const send = async (method: string, path: string, body: unknown = {}) => {
  const answer = await jsonRequest(portOf(face), method as 'PUT', path, body);
  return { status: answer.status, body: JSON.parse(answer.text) };
};

it('an entry is written only at the revision that the query names', async () => {
  const path = '/v1/boards/tasks/entries/t?expected_revision=0';
  expect(await send('PUT', path, { value: 'mine' })).toMatchObject({ status: 200, body: { revision: 1 } });
  expect(await send('PUT', path, { value: 'mine too' })).toMatchObject({
    status: 409,
    body: { error: { code: 'CONFLICT', details: { entry: { value: 'mine' } } } },
  });
  expect((await send('PUT', '/v1/boards/tasks/entries/t?expected_revision=x', { value: 1 })).status).toBe(
    400,
  );
});

it('a lease is acquired, renewed, listed and released under its name, slashes included', async () => {
  const path = '/v1/leases/deploy/production';
  const acquired = await send('PUT', path, { ttl_seconds: 30, agent_id: 'one' });
  expect(acquired).toMatchObject({
    status: 200,
    body: { held: true, name: 'deploy/production', holder: 'one' },
  });
  expect(await send('PUT', path, { agent_id: 'two' })).toMatchObject({ status: 200, body: { held: false } });
  const { fencing_token } = acquired.body;
  expect(await send('PATCH', path, { agent_id: 'one', fencing_token })).toMatchObject({
    body: { held: true },
  });
  expect(await get('/v1/leases?limit=1')).toMatchObject({
    status: 200,
    body: { leases: [{ name: 'deploy/production', holder: 'one', fencing_token, ttl_seconds: 30 }] },
  });
  const released = await rawRequest(portOf(face), { method: 'DELETE', path: `${path}?agent_id=one` });
  expect(JSON.parse(released.text)).toMatchObject({ held: false, holder: null });
  expect(await get('/v1/leases')).toMatchObject({ body: { leases: [] } });
  expect((await get('/v1/leases?limit=0')).status).toBe(400);
  expect((await get('/v1/leases?cursor=*')).status).toBe(400);
});

it('voters are listed in pages, and changed by who is on the machine', async () => {
  const first = await get('/v1/voters?limit=2');
  expect(first.body).toMatchObject({
    voters: [{ name: 'a' }, { name: 'b' }],
    storeId: 'abc',
    leader: MEMORY_NODE_ID,
  });
  expect((await get(`/v1/voters?cursor=${first.body.cursor}`)).body.voters).toMatchObject([{ name: 'c' }]);
  await send('PUT', '/v1/voters/b');
  await send('DELETE', '/v1/voters/c');
  await send('POST', '/v1/voters/found', {});
  await send('POST', '/v1/voters/recover', { confirm: 'abc' });
  await send('POST', '/v1/voters/merge', { keep: 'def' });
  expect(asked).toEqual(['add b', 'remove c', 'found', 'recover abc', 'merge def']);
  expect((await send('POST', '/v1/voters/merge', {})).status).toBe(400);
  for (const order of ['found', 'recover']) expect((await get(`/v1/voters/${order}`)).status).toBe(405);
});

it('a caller from elsewhere may look at the voters and change nothing', async () => {
  const headers = { authorization: `Bearer ${KEY}` };
  const at = (method: string, path: string) => rawRequest(portOf(keyed), { method, path, headers });
  expect((await at('GET', '/v1/voters')).status).toBe(200);
  expect((await at('DELETE', '/v1/voters/a')).status).toBe(403);
  expect((await at('POST', '/v1/voters/found')).status).toBe(403);
  expect(asked).not.toContain('remove a');
});
