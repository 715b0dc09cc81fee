/** REST of budgets, over budgets in memory. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type HttpFace, startHttp } from '../../../src/adapters/http/server.ts';
import { notReadError } from '../../../src/budget/refusals.ts';
import { IDENTITY, MEMORY_NODE_ID, memoryNode, QUIET } from '../../support/memory-node.ts';
import { jsonRequest, rawRequest } from '../../support/raw-http.ts';

const KEY = 'a-key-that-only-this-test-knows';
const node = memoryNode();
let face: HttpFace;
let keyed: HttpFace;

const setting = {
  logger: QUIET,
  identity: IDENTITY,
  host: '127.0.0.1',
  port: 0,
  allowedHosts: [],
  allowedOrigins: [],
};

beforeAll(async () => {
  face = await startHttp({ ...setting, keys: [], node });
  keyed = await startHttp({
    ...setting,
    keys: [{ principal: 'robot', zone: 'trusted', secret: KEY }],
    node,
  });
});
afterAll(async () => {
  await face.close();
  await keyed.close();
});

let budget = '';
let budgets = 0;
beforeEach(async () => {
  budget = `task-${++budgets}`;
  await send('POST', '/v1/budgets', { task_id: budget, limit: 100 });
});

const portOf = ({ url }: HttpFace) => ({ port: Number(new URL(url).port) });
const get = async (path: string) => {
  const { status, text } = await rawRequest(portOf(face), { path });
  return { status, body: JSON.parse(text) };
};
const send = async (method: string, path: string, body: unknown = {}) => {
  const answer = await jsonRequest(portOf(face), method as 'PUT', path, body);
  return { status: answer.status, headers: answer.headers, body: JSON.parse(answer.text) };
};
/** The body as it is: JSON.stringify would send no negative zero. */
const sendText = async (path: string, body: string) => {
  const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
  const { status, text } = await rawRequest(portOf(face), { method: 'POST', path, headers, body });
  return { status, body: JSON.parse(text) };
};

describe('REST of budgets', () => {
  it('a reservation is made, settled and shown', async () => {
    const reserved = await send('POST', `/v1/budgets/${budget}/reservations`, {
      tokens: 60,
      reservation_id: `a/b ${budget}`,
      agent_id: 'planner',
    });
    expect(reserved).toMatchObject({ status: 200, body: { tokens: 60 } });
    const path = `/v1/reservations/${encodeURIComponent(reserved.body.reservation_id)}/settle`;
    expect(await send('POST', path, { tokens: 40 })).toMatchObject({ status: 200, body: { freed: 20 } });
    expect(await send('POST', `/v1/budgets/${budget}/reports`, { tokens: 5 })).toMatchObject({ status: 200 });
    expect(await send('POST', `/v1/budgets/${budget}/requests`, { tokens: 5 })).toMatchObject({
      status: 200,
      body: { granted: 5 },
    });
    expect(await get(`/v1/budgets/${budget}`)).toMatchObject({
      status: 200,
      body: { task_id: budget, spent: 45, held: 0 },
    });
    await send('POST', '/v1/budgets', { task_id: 'zz', limit: 1 });
    const page = (await get('/v1/budgets?limit=1')).body;
    expect(page).toMatchObject({ budgets: [{ task_id: budget }] });
    expect((await get(`/v1/budgets?cursor=${page.cursor}`)).body).toMatchObject({
      budgets: [{ task_id: 'zz' }],
    });
    expect((await get('/v1/status')).body).toMatchObject({
      budgets: budgets + 1,
      orchestrator: null,
      orchestratorName: null,
    });
  });

  it('the state of a node that has not read the quorum store does not say that there are no budgets', async () => {
    node.budgets.notRead = notReadError();
    expect((await get('/v1/status')).body.budgets).toBeNull();
    expect((await get('/v1/budgets')).status).toBe(503);
    node.budgets.notRead = undefined;
    expect((await get('/v1/status')).body.budgets).toBeGreaterThan(0);
  });

  it('a refusal for lack of money is 402 with a time to come back', async () => {
    const refused = await send('POST', `/v1/budgets/${budget}/reservations`, { tokens: 101 });
    expect(refused).toMatchObject({
      status: 402,
      headers: { 'retry-after': '2' },
      body: { error: { code: 'BUDGET_EXHAUSTED', details: { remaining: 100 } } },
    });
  });

  it.each(['-1', '1.5', '9007199254740993', '"1e9"', '"5"', '-0', 'null', '[1]', 'true', '1e999'])(
    'an amount of %s is refused wherever one is taken (B25)',
    async (amount) => {
      const { asked } = node.budgets;
      const before = asked.length;
      const places: readonly (readonly [string, string])[] = [
        ['/v1/budgets', `{"task_id":"x","limit":${amount}}`],
        [`/v1/budgets/${budget}/reservations`, `{"tokens":${amount}}`],
        [`/v1/budgets/${budget}/reservations`, `{"usage":{"model":"m","input":${amount}}}`],
        [`/v1/budgets/${budget}/requests`, `{"tokens":${amount}}`],
        [`/v1/budgets/${budget}/reports`, `{"tokens":${amount}}`],
        [`/v1/budgets/${budget}/transfers`, `{"tokens":${amount},"to":"memory"}`],
        ['/v1/reservations/r/settle', `{"tokens":${amount}}`],
      ];
      for (const [path, body] of places) expect((await sendText(path, body)).status, path).toBe(400);
      expect((await send('PATCH', `/v1/budgets/${budget}`, { limit: -1 })).status).toBe(400);
      expect(asked.length).toBe(before);
    },
  );

  it('NaN is no JSON, and amounts in the query are refused, numbers or not (B25)', async () => {
    expect((await sendText(`/v1/budgets/${budget}/reports`, '{"tokens":NaN}')).status).toBe(400);
    for (const query of ['tokens=1', 'tokens=1e9', 'limit=1e9'])
      expect((await sendText(`/v1/budgets/${budget}/reports?${query}`, '{}')).status, query).toBe(400);
    expect((await sendText('/v1/budgets?limit=1e9', '{"task_id":"y"}')).status).toBe(400);
  });

  it('an operator changes the limit, passes rights on, writes off and rebalances, by id or name', async () => {
    const { asked } = node.budgets;
    expect(await send('PATCH', `/v1/budgets/${budget}`, { limit: 200 })).toMatchObject({
      body: { limit: 200 },
    });
    const path = `/v1/budgets/${budget}`;
    expect((await send('POST', `${path}/transfers`, { to: 'memory', tokens: 7 })).body).toMatchObject({
      moved: 7,
      machine_id: MEMORY_NODE_ID,
    });
    expect((await send('POST', `${path}/write-offs`, { account: 'memory' })).body).toEqual({
      account: MEMORY_NODE_ID,
      writtenOff: 3,
      lost: 4,
      alsoStranded: [],
    });
    expect((await rawRequest(portOf(face), { method: 'POST', path: `${path}/rebalance` })).status).toBe(200);
    expect(asked.slice(-4)).toMatchObject([
      { op: 'setLimit', limit: 200 },
      { op: 'transfer', to: MEMORY_NODE_ID, amount: 7 },
      { op: 'writeOff', account: MEMORY_NODE_ID },
      { op: 'rebalance', budget },
    ]);
    expect((await send('POST', `${path}/transfers`, { to: 'nobody', tokens: 7 })).status).toBe(404);
    expect((await send('POST', `${path}/write-offs`, { account: 'nobody' })).status).toBe(404);
    expect((await send('POST', `${path}/write-offs`, {})).status).toBe(400);
  });

  it('a caller from elsewhere spends, and operates nothing', async () => {
    const at = (method: string, path: string, body: unknown) => {
      const text = JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${KEY}`,
        'content-type': 'application/json',
        'content-length': String(text.length),
      };
      return rawRequest(portOf(keyed), { method, path, headers, body: text });
    };
    const path = `/v1/budgets/${budget}`;
    expect((await at('POST', `${path}/reservations`, { tokens: 1 })).status).toBe(200);
    for (const [method, where, body] of [
      ['PATCH', path, { limit: 1 }],
      ['POST', `${path}/transfers`, { to: 'memory', tokens: 1 }],
      ['POST', `${path}/write-offs`, { account: 'memory' }],
      ['POST', `${path}/rebalance`, {}],
    ] as const)
      expect((await at(method, where, body)).status, where).toBe(403);
  });

  it('what is no path of budgets is 404, and another method 405', async () => {
    for (const path of [
      '/v1/budgets/a/b',
      '/v1/budgets/a/transfers/c',
      '/v1/reservations',
      '/v1/budgets/%zz',
    ])
      expect((await get(path)).status, path).toBe(404);
    expect((await get(`/v1/budgets/${budget}/transfers`)).status).toBe(405);
    expect((await send('PUT', `/v1/budgets/${budget}`)).status).toBe(405);
    expect((await get('/v1/budgets/none')).status).toBe(404);
  });
});

describe('an argument of a budget over REST', () => {
  it.each([
    ['limit=0', 'limit', 'must be at least 1'],
    ['limit=1001', 'limit', 'must be at most 1000'],
    ['limit=1.5', 'limit', 'must be a whole number'],
    ['task_id=a%20b', 'task_id', 'must be 1 to 64 of A-Z a-z 0-9 . _ : -, starting with a letter or digit'],
  ])('a list with %s says what %s must be, in words of its own', async (query, argument, problem) => {
    const { status, body } = await get(`/v1/budgets?${query}`);
    expect([status, body.error]).toMatchObject([
      400,
      {
        code: 'INVALID_ARGUMENT',
        message: `The argument "${argument}" ${problem}.`,
        details: { argument, problem },
      },
    ]);
    expect(JSON.stringify(body)).not.toMatch(/budget_|[Ii]nvalid input|schema|Too/);
  });
});
