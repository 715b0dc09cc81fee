/** What the tools of budgets take, refuse and say, over budgets in memory. */

import { describe, expect, it } from 'vitest';
import { notReadError } from '../../src/budget/refusals.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { Catalogue } from '../../src/mcp/catalogue.ts';
import { localPrincipal, type Principal } from '../../src/mcp/principal.ts';
import { MEMORY_NODE_ID, memoryNode } from '../support/memory-node.ts';

function open() {
  const node = memoryNode();
  const catalogue = new Catalogue(node, (error) => {
    throw error;
  });
  const run = async (tool: string, args: unknown, principal: Principal = localPrincipal()) => {
    const answer = await catalogue.call(tool, args, { principal });
    return (answer.ok ? answer.value : answer.error) as Record<string, unknown>;
  };
  return { node, catalogue, run };
}

/** As JSON carries them: what no sum of money is (B25). */
const HOSTILE: readonly (readonly [string, unknown])[] = [
  ['negative', -1],
  ['NaN', Number.NaN],
  ['infinite', Number.POSITIVE_INFINITY],
  ['a fraction', 1.5],
  ['2^53', JSON.parse('9007199254740993')],
  ['text', '1e9'],
  ['digits', '5'],
  ['negative zero', JSON.parse('-0')],
  ['null', null],
  ['a list', [1]],
  ['true', true],
];

const PLACES: readonly (readonly [string, (amount: unknown) => unknown])[] = [
  ['budget_create', (limit) => ({ task_id: 't', limit })],
  ['budget_request', (tokens) => ({ task_id: 't', tokens })],
  ['budget_reserve', (tokens) => ({ task_id: 't', tokens })],
  ['budget_settle', (tokens) => ({ reservation_id: 'r', tokens })],
  ['budget_report', (tokens) => ({ task_id: 't', tokens })],
  ['budget_reserve', (input) => ({ task_id: 't', usage: { model: 'm', input } })],
  ['budget_settle', (output) => ({ reservation_id: 'r', usage: { model: 'm', output } })],
  ['budget_report', (cached) => ({ task_id: 't', usage: { model: 'm', cached } })],
];

describe('budget tools: arguments', () => {
  it.each(
    PLACES.flatMap(([tool, args]) =>
      HOSTILE.map(([what, amount]) => [tool, JSON.stringify(args('*')), what, args(amount)] as const),
    ),
  )('%s %s refuses an amount that is %s (B25)', async (tool, _, __, args) => {
    const { node, run } = open();
    expect(await run(tool, args)).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(node.budgets.asked).toEqual([]);
  });

  it.each([
    ['budget_create', { task_id: 't', limit: 0 }],
    ['budget_request', { task_id: 't', tokens: 0 }],
    ['budget_reserve', { task_id: 't', tokens: 0 }],
    ['budget_report', { task_id: 't', tokens: 0 }],
    ['budget_report', { task_id: 't', usage: { model: 'm', input: 0 } }],
    ['budget_reserve', { task_id: 't', usage: { model: 'm' } }],
    ['budget_reserve', { task_id: 't', usage: { model: '', input: 1 } }],
    ['budget_reserve', { task_id: 't', usage: { model: 'x'.repeat(129), input: 1 } }],
    ['budget_reserve', { task_id: 't', usage: { model: 'm', input: 1, tokens: 1 } }],
    ['budget_reserve', { task_id: 't', usage: { input: 1 } }],
    ['budget_reserve', { task_id: 't' }],
    ['budget_reserve', { task_id: 't', tokens: 1, usage: { model: 'm', input: 1 } }],
    ['budget_settle', { reservation_id: 'r' }],
    ['budget_settle', { tokens: 1 }],
    ['budget_settle', { reservation_id: '', tokens: 1 }],
    ['budget_settle', { reservation_id: 'a\u0000', tokens: 1 }],
    ['budget_settle', { reservation_id: 'ü'.repeat(limits.budgetIdBytes / 2 + 1), tokens: 1 }],
    ['budget_reserve', { task_id: '../x', tokens: 1 }],
    ['budget_reserve', { task_id: 'a'.repeat(65), tokens: 1 }],
    ['budget_reserve', { task_id: '', tokens: 1 }],
    ['budget_reserve', { task_id: 1, tokens: 1 }],
    ['budget_reserve', { task_id: 't', tokens: 1, ttl_seconds: 0 }],
    ['budget_reserve', { task_id: 't', tokens: 1, ttl_seconds: limits.budgetTtlMs / 1_000 + 1 }],
    ['budget_reserve', { task_id: 't', tokens: 1, agent_id: 'two words' }],
    ['budget_create', { task_id: 't', limit: 1, unit: 'euro' }],
    ['budget_create', { task_id: 't', limit: 1, window: 'week' }],
    ['budget_create', { task_id: 't', limit: 1, expiry: 'never' }],
    ['budget_create', { task_id: 't', limit: 1, thresholds: ['80'] }],
    ['budget_create', { task_id: 't', limit: 1, parent: '' }],
    ['budget_status', { task_id: 'a/b' }],
    ['budget_status', { limit: 0 }],
    ['budget_status', { cursor: '***' }],
  ])('%s refuses %j and asks nothing of the budgets', async (tool, args) => {
    const { node, run } = open();
    const error = await run(tool, args);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', retryable: false });
    expect((error.hint as string).length).toBeGreaterThan(10);
    expect(node.budgets.asked).toEqual([]);
  });

  it('pass every argument on, and what was left out not at all', async () => {
    const { node, run } = open();
    const terms = { unit: 'microusd', parent: 'org', window: 'day', expiry: 'free', thresholds: [50, 90] };
    await run('budget_create', { task_id: 'org', limit: 9 });
    await run('budget_create', { task_id: 't', limit: 5, ...terms });
    const usage = { model: 'm', input: 3, cached: 0 };
    await run('budget_reserve', { task_id: 't', usage, ttl_seconds: 60, reservation_id: 'r', agent_id: 'a' });
    await run('budget_reserve', { task_id: 't', tokens: 1 });
    await run('budget_settle', { reservation_id: 'r', tokens: 0 });
    await run('budget_report', { task_id: 't', tokens: 1, report_id: 'p' });
    await run('budget_request', { task_id: 't', tokens: Number.MAX_SAFE_INTEGER });
    expect(node.budgets.asked).toEqual([
      { op: 'create', budget: 'org', limit: 9 },
      { op: 'create', budget: 't', limit: 5, ...terms },
      { op: 'reserve', budget: 't', agent: 'a', use: usage, id: 'r', ttlMs: 60_000 },
      { op: 'reserve', budget: 't', agent: 'local', amount: 1 },
      { op: 'settle', id: 'r', amount: 0 },
      { op: 'report', budget: 't', agent: 'local', amount: 1, id: 'p' },
      { op: 'request', budget: 't', amount: Number.MAX_SAFE_INTEGER },
    ]);
  });
});

describe('budget tools: answers', () => {
  it('a reservation is made once under its id, settled once, and its rest is free again (B21)', async () => {
    const { run } = open();
    await run('budget_create', { task_id: 't', limit: 100 });
    const reserve = { task_id: 't', tokens: 60, reservation_id: 'r' };
    const first = await run('budget_reserve', reserve);
    expect(first).toEqual({ reservation_id: 'r', tokens: 60, expiresAt: '2027-01-15T08:00:00.000Z' });
    expect(await run('budget_reserve', reserve)).toEqual(first);
    const settle = { reservation_id: 'r', tokens: 40 };
    const settled = { reservation_id: 'r', tokens: 40, freed: 20, overrun: 0, ending: 'settled' };
    expect(await run('budget_settle', settle)).toEqual(settled);
    expect(await run('budget_settle', settle)).toEqual(settled);
    expect(await run('budget_status', { task_id: 't' })).toMatchObject({ spent: 40, held: 0, remaining: 60 });
  });

  it('a refusal for lack of money says how much is left, where, and when to try again', async () => {
    const { catalogue, run } = open();
    await run('budget_create', { task_id: 't', limit: 5 });
    const { structuredContent, isError, content } = await catalogue.callTool(
      'budget_reserve',
      { task_id: 't', tokens: 6 },
      { principal: localPrincipal() },
    );
    expect(isError).toBe(true);
    expect(structuredContent).toMatchObject({
      error: {
        code: 'BUDGET_EXHAUSTED',
        retryAfterMs: 1_500,
        details: { remaining: 5, machines: [{ machine_id: MEMORY_NODE_ID, rights: 5 }] },
      },
    });
    expect(JSON.parse(content[0].text)).toEqual(structuredContent);
  });

  it('the status of one budget is the budget, of all a list with pages, by name', async () => {
    const { run } = open();
    for (const task_id of ['c', 'a', 'b'])
      await run('budget_create', { task_id, limit: 10, thresholds: [50, 90] });
    await run('budget_report', { task_id: 'b', tokens: 5 });
    expect(await run('budget_status', { task_id: 'b' })).toMatchObject({
      task_id: 'b',
      limit: 10,
      spent: 5,
      parent: null,
      projectedEnd: null,
      periodEnd: null,
      asOf: '2026-09-21T14:13:20.000Z',
      thresholds: [50, 90],
      thresholdsPassed: [50],
      machines: [{ machine_id: MEMORY_NODE_ID, name: 'memory', state: 'alive', spent: 5, rights: 5 }],
      debts: [],
      problems: [],
    });
    const first = await run('budget_status', { limit: 2 });
    expect((first.budgets as { task_id: string }[]).map(({ task_id }) => task_id)).toEqual(['a', 'b']);
    const second = await run('budget_status', { limit: 2, cursor: first.cursor });
    expect(second).toMatchObject({ budgets: [{ task_id: 'c' }] });
    expect(second.cursor).toBeUndefined();
  });

  it('a page of budgets on many machines is cut short, and the pages still join', async () => {
    const { node, run } = open();
    const names = Array.from({ length: 40 }, (_, at) => `t${at + 10}`);
    for (const task_id of names) await run('budget_create', { task_id, limit: 10 });
    const list = node.budgets.list.bind(node.budgets);
    node.budgets.list = () =>
      list().map((status) => ({
        ...status,
        machines: Array.from({ length: 1_000 }, () => status.machines[0]!),
      }));
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await run('budget_status', cursor === undefined ? {} : { cursor });
      expect(JSON.stringify(page).length).toBeLessThan(1.2 * limits.listAnswerBytes);
      seen.push(...(page.budgets as { task_id: string }[]).map(({ task_id }) => task_id));
      cursor = page.cursor as string | undefined;
    } while (cursor !== undefined);
    expect(seen).toEqual(names);
  });

  it('a key acts as its own agent; the zone external reads and spends nothing', async () => {
    const { node, run } = open();
    await run('budget_create', { task_id: 't', limit: 100 });
    const keyed = (zone: Principal['zone']): Principal => ({
      name: 'robot' as AgentId,
      agent: 'robot' as AgentId,
      zone,
      actsForAnyone: false,
    });
    await run('budget_reserve', { task_id: 't', tokens: 1 }, keyed('trusted'));
    expect(node.budgets.asked.at(-1)).toMatchObject({ agent: 'robot' });
    const asOther = { task_id: 't', tokens: 1, agent_id: 'other' };
    for (const tool of ['budget_reserve', 'budget_report'])
      expect(await run(tool, asOther, keyed('trusted'))).toMatchObject({ code: 'DENIED' });
    expect(await run('budget_reserve', { task_id: 't', tokens: 1 }, keyed('external'))).toMatchObject({
      code: 'DENIED',
    });
    expect(await run('budget_status', { task_id: 't' }, keyed('external'))).toMatchObject({ limit: 100 });
  });

  it('a node without budgets says so', async () => {
    const { budgets: _, ...bare } = memoryNode();
    const catalogue = new Catalogue(bare, () => {});
    for (const [tool, args] of [
      ['budget_status', {}],
      ['budget_reserve', { task_id: 't', tokens: 1 }],
    ] as const) {
      expect(await catalogue.call(tool, args, { principal: localPrincipal() })).toMatchObject({
        error: { code: 'UNSUPPORTED' },
      });
    }
    const call = { principal: localPrincipal() };
    expect((await catalogue.readResource('budget://t', call)).ok).toBe(false);
    expect(catalogue.listResources(undefined).ok).toBe(true);
  });
});

it('before the quorum store was read a budget is to be tried again, not missing, as a resource too', async () => {
  const node = memoryNode();
  node.budgets.notRead = notReadError();
  const catalogue = new Catalogue(node, () => {});
  const call = { principal: localPrincipal() };
  const unread = { ok: false, error: { code: 'QUORUM_UNAVAILABLE', retryable: true } };
  expect(await catalogue.readResource('budget://t', call)).toMatchObject(unread);
  expect(await catalogue.call('budget_status', {}, call)).toMatchObject(unread);
  node.budgets.notRead = undefined;
  expect(await catalogue.readResource('budget://t', call)).toMatchObject({ error: { code: 'NOT_FOUND' } });
});

it.each([
  { orchestrator: undefined, advice: /role orchestrator/ },
  { orchestrator: MEMORY_NODE_ID, advice: /clocks of all nodes/ },
])(
  'the state of the mesh tells of periods that never leave the store (orchestrator: $orchestrator)',
  async ({ orchestrator, advice }) => {
    const { node, run } = open();
    const found = async () =>
      ((await run('mesh_status', {})).problems as { code: string }[]).filter(
        ({ code }) => code === 'BUDGET_PERIODS_KEPT',
      );
    expect(await found()).toEqual([]);
    Object.assign(node.budgets, { overdue: 3, orchestrator });
    expect(await found()).toMatchObject([
      {
        message: expect.stringContaining('3 periods of budgets that ended more than 16 days ago'),
        hint: expect.stringMatching(advice),
      },
    ]);
  },
);

it('the state of the mesh tells of passed thresholds and of what nobody can reach', async () => {
  const { node, run } = open();
  for (const task_id of ['a', 'b', 'c'])
    await run('budget_create', { task_id, limit: 10, thresholds: [50, 90] });
  await run('budget_report', { task_id: 'a', tokens: 9 });
  await run('budget_report', { task_id: 'b', tokens: 4 });
  node.budgets.strand('c', 7);
  const { problems } = await run('mesh_status', {});
  expect(problems).toMatchObject([
    { code: 'NO_PEERS' },
    { code: 'BUDGET_STRANDED', message: expect.stringMatching(/^7 tokens of the budget "c".*: memory\.$/) },
    { code: 'BUDGET_THRESHOLD', message: expect.stringMatching(/"a" has passed 90 %.*9 of 10 tokens/) },
  ]);
});

it.each([
  [['dead', 'alive'], 'come back with the machine.', 'a node-1'],
  [['alive'], 'come back only with the data that the machine had before.', 'a vm'],
  [['dead', 'dead'], 'come back with the machine.', 'a MACHINE'],
])(
  'what to do about what is stranded on machines that are %j names one by a name that no other has',
  async (states, when, advice) => {
    const { node, run } = open();
    await run('budget_create', { task_id: 'a', limit: 10 });
    const [status] = node.budgets.list();
    const machines = states.map((state, index) => ({
      ...{ nodeId: `node-${index + 1}`, name: 'vm', state, accounts: [] },
      ...{ allocated: 5, rights: 0, held: 0, spent: 0, overrun: 0, burnPerSecond: 0 },
      stranded: state === 'dead' || states.length === 1 ? 5 : 0,
    }));
    Object.assign(node.budgets, { list: () => [{ ...status, stranded: 5, machines }] });
    const { problems } = await run('mesh_status', {});
    const [found] = (problems as { code: string; hint: string }[]).filter(
      ({ code }) => code === 'BUDGET_STRANDED',
    );
    expect(found?.hint).toContain(when);
    expect(found?.hint).toContain(`skein budget write-off ${advice} `);
  },
);

describe('budget resources', () => {
  const call = { principal: localPrincipal() };

  it('are listed, read like the status, and completed', async () => {
    const { catalogue, run } = open();
    for (const task_id of ['alpha', 'beta']) await run('budget_create', { task_id, limit: 10 });
    const listed = catalogue.listResources(undefined);
    expect(listed.ok && listed.value.resources.map(({ uri }) => uri)).toEqual([
      'budget://alpha',
      'budget://beta',
      'mesh://agents',
      'mesh://nodes',
    ]);
    const content = await catalogue.readResource('budget://beta', call);
    expect(JSON.parse(content.ok ? content.value.text : '')).toEqual(
      await run('budget_status', { task_id: 'beta' }),
    );
    expect(await catalogue.readResource('budget://gamma', call)).toMatchObject({
      error: { code: 'NOT_FOUND' },
    });
    const completion = await catalogue.complete(
      {
        ref: { type: 'ref/resource', uri: 'budget://{task_id}' },
        argument: { name: 'task_id', value: 'al' },
      },
      call.principal,
    );
    expect(completion).toEqual({ values: ['alpha'], hasMore: false });
  });

  it('tell who is subscribed of spending and of thresholds, each of its own budget, and nobody afterwards', async () => {
    const { node, catalogue, run } = open();
    const told: string[] = [];
    const watch = (uri: string) => {
      const watched = catalogue.updates.watch(uri, (changed) => told.push(changed));
      if (!watched.ok) throw new Error(watched.error.message);
      return watched.value;
    };
    const ends = [watch('budget://a'), watch('budget://b')];
    await run('budget_create', { task_id: 'a', limit: 10 });
    expect(told).toEqual(['budget://a']);
    node.budgets.tell({ budget: 'b', percent: 80, spent: 8, limit: 10 });
    expect(told).toEqual(['budget://a', 'budget://b']);
    expect(node.budgets.listeners).toBe(2);
    for (const end of ends) end();
    expect(node.budgets.listeners).toBe(0);
    await run('budget_create', { task_id: 'b', limit: 10 });
    expect(told).toHaveLength(2);
    catalogue.close();
  });
});
