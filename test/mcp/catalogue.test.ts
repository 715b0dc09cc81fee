/** Tools, resources and prompts without any protocol around them. */
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/server/validators/ajv';
import { describe, expect, it } from 'vitest';
import type { AgentId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { Catalogue } from '../../src/mcp/catalogue.ts';
import { localPrincipal, type Principal } from '../../src/mcp/principal.ts';
import { parseResourceUri } from '../../src/mcp/resources.ts';
import { memoryNode } from '../support/memory-node.ts';

function open() {
  const node = memoryNode();
  const faults: unknown[] = [];
  const catalogue = new Catalogue(node, (error) => faults.push(error));
  const call = { principal: localPrincipal() };
  return {
    node,
    faults,
    catalogue,
    call,
    run: (tool: string, args: unknown = {}) => catalogue.call(tool, args, call),
  };
}

function errorOf(answer: { ok: boolean; error?: unknown }) {
  expect(answer.ok).toBe(false);
  return answer.error as { code: string; message: string; hint: string; details?: Record<string, unknown> };
}

describe('catalogue: arguments', () => {
  it.each([
    ['board_read', { kee: 'a' }, 'key'],
    ['board_write', { key: 'a', value: 1, ttlSeconds: 5 }, 'ttl_seconds'],
    ['board_wait', { key: 'a', timeout: 5 }, 'timeout_seconds'],
    ['agent_register', { capabilities: ['x'], agentId: 'a' }, 'agent_id'],
    ['agent_discover', { minTrust: 1 }, 'min_trust'],
    ['budget_reserve', { taskId: 't', tokens: 1 }, 'task_id'],
    ['budget_reserve', { task_id: 't', token: 1 }, 'tokens'],
    ['board_list', { perfix: 'a' }, 'prefix'],
  ])('%s with a mistyped argument names the right one (%j -> %s)', async (tool, args, nearest) => {
    const error = errorOf(await open().run(tool, args));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.details?.nearest).toBe(nearest);
    expect(error.hint).toContain(`"${nearest}"`);
  });

  it('says of an edit in a wrong form what it must have, rather than what it must not', async () => {
    const edits = [{ append: 'more' }];
    const error = errorOf(await open().run('document_edit', { document: 'd', edits }));
    expect(error.message).toBe('The argument "edits.0.kind" must be one of replace, insert_after, append.');
  });

  it('lists the arguments where none is near', async () => {
    const error = errorOf(await open().run('board_read', { key: 'a', zzzzzzzzzz: 1 }));
    expect(error.hint).toBe('Its arguments are: board, key, level, session.');
  });

  it.each([
    ['board_read', { key: 1 }],
    ['board_read', { key: 'a', level: 'best' }],
    ['board_read', { key: '' }],
    ['board_read', { key: 'a\u0000b' }],
    ['board_read', { key: 'a\ud800' }],
    ['board_read', { key: 'a', board: 'Not A Board' }],
    ['board_read', []],
    ['board_read', 'x'],
    ['board_read', null],
    ['board_write', { key: 'a' }],
    ['board_write', { key: 'a', value: 1, ttl_seconds: 0 }],
    ['board_write', { key: 'a', value: 1, ttl_seconds: 1.5 }],
    ['board_write', { key: 'a', value: 1, agent_id: 'two words' }],
    ['board_append', { key: 'a', items: [] }],
    ['board_append', { key: 'a', items: 'x' }],
    ['board_list', { limit: limits.listPage + 1 }],
    ['board_wait', {}],
    ['board_wait', { key: 'a', prefix: 'b' }],
    ['board_wait', { key: 'a', timeout_seconds: limits.waitMs / 1000 + 1 }],
    ['board_compare_and_set', { key: 'a', value: 1 }],
    ['board_compare_and_set', { key: 'a', expected_revision: 0 }],
    ['board_compare_and_set', { key: 'a', expected_revision: -1, value: 1 }],
    ['lease_acquire', { ttl_seconds: 5 }],
    ['lease_acquire', { name: '' }],
    ['lease_acquire', { name: 'x'.repeat(300) }],
    ['lease_acquire', { name: 'a', ttl_seconds: 0 }],
    ['lease_renew', { name: 'a', fencing_token: 0 }],
    ['document_edit', { document: 'd', edits: [] }],
    ['document_edit', { document: 'd', edits: [{ kind: 'replace', text: 'x' }] }],
    ['document_edit', { document: 'd', edits: [{ kind: 'append', find: 'y', text: 'x' }] }],
    ['document_edit', { document: 'd', edits: [{ kind: 'append', text: '\udc00' }] }],
    ['agent_register', { capabilities: [] }],
    ['agent_register', { capabilities: ['x'.repeat(65)] }],
    ['agent_register', { capabilities: ['x'], trust_level: 2 }],
    ['agent_heartbeat', { agent_id: '' }],
    ['mesh_status', { limit: 0 }],
    ['mesh_status', { cursor: '***' }],
  ])('%s refuses %j and reaches nothing', async (tool, args) => {
    const { run, faults, node } = open();
    const error = errorOf(await run(tool, args));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.hint.length).toBeGreaterThan(10);
    expect(faults).toEqual([]);
    expect(node.blackboard.boards()).toEqual([]);
  });

  it('refuses a value that is too deep or too wide', async () => {
    let deep: unknown = 1;
    for (let level = 0; level <= limits.jsonDepth; level++) deep = [deep];
    expect(errorOf(await open().run('board_write', { key: 'a', value: deep })).code).toBe('INVALID_ARGUMENT');
    const wide = Array.from({ length: limits.jsonElements + 1 }, () => 0);
    expect(errorOf(await open().run('board_write', { key: 'a', value: wide })).code).toBe('TOO_LARGE');
  });

  it('writes null, which is a value', async () => {
    const { run } = open();
    await run('board_write', { key: 'a', value: null });
    expect(await run('board_read', { key: 'a' })).toMatchObject({
      ok: true,
      value: { found: true, value: null },
    });
  });
});

describe('catalogue: results', () => {
  it('match the output schemas of their tools, failures included', async () => {
    const { catalogue, call } = open();
    const validators = new AjvJsonSchemaValidator();
    const calls: [string, unknown][] = [
      ['board_write', { key: 'a', value: { x: 1 } }],
      ['board_read', { key: 'a' }],
      ['board_read', { key: 'none' }],
      ['board_append', { key: 'log', items: [1] }],
      ['board_compare_and_set', { key: 'task', expected_revision: 0, value: 1 }],
      ['board_compare_and_set', { board: 'tasks', key: 'task', expected_revision: 0, value: 2 }],
      ['lease_acquire', { name: 'deploy', ttl_seconds: 5 }],
      ['lease_acquire', { name: 'deploy', ttl_seconds: 5, agent_id: 'other' }],
      ['lease_renew', { name: 'deploy' }],
      ['lease_release', { name: 'deploy' }],
      ['lease_renew', { name: 'deploy' }],
      ['board_list', {}],
      ['board_list', { limit: 1 }],
      ['board_wait', { prefix: '', after_revision: 0 }],
      ['board_wait', { prefix: '', timeout_seconds: 0 }],
      ['board_delete', { key: 'a' }],
      ['document_edit', { document: 'd', edits: [{ kind: 'append', text: 'x' }] }],
      ['document_read', { document: 'd' }],
      ['document_delete', { document: 'd' }],
      ['agent_register', { capabilities: ['x'] }],
      ['agent_heartbeat', {}],
      ['agent_heartbeat', { agent_id: 'nobody' }],
      ['agent_discover', {}],
      ['budget_create', { task_id: 't', limit: 100 }],
      ['budget_create', { task_id: 't', limit: 100 }],
      ['budget_request', { task_id: 't', tokens: 10 }],
      ['budget_reserve', { task_id: 't', tokens: 10, reservation_id: 'r' }],
      ['budget_reserve', { task_id: 't', tokens: 1_000 }],
      ['budget_settle', { reservation_id: 'r', tokens: 5 }],
      ['budget_report', { task_id: 't', tokens: 5 }],
      ['budget_status', { task_id: 't' }],
      ['budget_status', {}],
      ['budget_status', { task_id: 'none' }],
      ['mesh_status', {}],
      ['mesh_status', { nonsense: 1 }],
    ];
    expect(new Set(calls.map(([tool]) => tool))).toEqual(new Set(catalogue.tools.map(({ name }) => name)));
    for (const [tool, args] of calls) {
      const { outputSchema } = catalogue.tools.find(({ name }) => name === tool)!;
      const result = await catalogue.callTool(tool, args, call);
      const verdict = validators.getValidator(outputSchema as never)(result.structuredContent);
      expect(verdict.valid, `${tool}: ${verdict.errorMessage}`).toBe(true);
    }
  });

  it('of an absent entry have every field', async () => {
    const answer = await open().run('board_read', { key: 'none' });
    expect(answer).toMatchObject({
      ok: true,
      value: {
        found: false,
        value: null,
        author: null,
        writtenAt: null,
        revision: 0,
        session: expect.any(String) as string,
      },
    });
  });

  it('of board_list stay below their bound, and the pages still join', async () => {
    const { run } = open();
    const value = 'x'.repeat(200_000);
    for (let at = 10; at < 40; at++) await run('board_write', { key: `k${at}`, value });
    const keys: string[] = [];
    let cursor: string | undefined;
    do {
      const answer = await run('board_list', cursor === undefined ? {} : { cursor });
      if (!answer.ok) throw new Error(answer.error.message);
      expect(JSON.stringify(answer.value).length).toBeLessThan(limits.listAnswerBytes + 1_000);
      keys.push(...(answer.value.entries as { key: string }[]).map(({ key }) => key));
      cursor = answer.value.cursor as string | undefined;
    } while (cursor !== undefined);
    expect(keys).toEqual(Array.from({ length: 30 }, (_, at) => `k${at + 10}`));
  });

  it('hide what went wrong inside the node, which its log gets', async () => {
    const { catalogue, call, faults, node } = open();
    node.blackboard.call = () => Promise.reject(new Error('secret path /root'));
    const error = errorOf(await catalogue.call('board_read', { key: 'a' }, call));
    expect(error.code).toBe('INTERNAL');
    expect(JSON.stringify(error)).not.toContain('secret');
    expect(faults).toHaveLength(1);
  });
});

describe('catalogue: principals', () => {
  const guest: Principal = {
    name: 'guest' as AgentId,
    agent: 'guest' as AgentId,
    zone: 'external',
    actsForAnyone: false,
  };

  it('let a caller of the zone external read and change nothing', async () => {
    const { catalogue, node } = open();
    const args: Record<string, unknown> = {
      board_write: { key: 'a', value: 1 },
      board_compare_and_set: { key: 'a', expected_revision: 0, value: 1 },
      lease_acquire: { name: 'a' },
      lease_release: { name: 'a' },
      lease_renew: { name: 'a' },
      budget_create: { task_id: 't', limit: 1 },
      budget_request: { task_id: 't', tokens: 1 },
      budget_reserve: { task_id: 't', tokens: 1 },
      budget_settle: { reservation_id: 'r', tokens: 1 },
      budget_report: { task_id: 't', tokens: 1 },
      board_delete: { key: 'a' },
      board_append: { key: 'a', items: [1] },
      document_edit: { document: 'd', edits: [{ kind: 'append', text: 'x' }] },
      document_delete: { document: 'd' },
      agent_register: { capabilities: ['x'] },
      agent_heartbeat: {},
    };
    for (const { name, annotations } of catalogue.tools) {
      if (annotations.readOnlyHint) continue;
      expect(errorOf(await catalogue.call(name, args[name], { principal: guest })).code, name).toBe('DENIED');
    }
    expect(node.blackboard.boards()).toEqual([]);
    expect((await catalogue.call('board_read', { key: 'a' }, { principal: guest })).ok).toBe(true);
  });

  it('register under their own name unless they may act for anyone', async () => {
    const { catalogue, run } = open();
    const trusted: Principal = { ...guest, zone: 'trusted' };
    const register = (agent_id: string) =>
      catalogue.call('agent_register', { agent_id, capabilities: ['x'] }, { principal: trusted });
    expect(await register('guest/1')).toMatchObject({ ok: true, value: { trust_level: 0.7 } });
    expect(errorOf(await register('other')).code).toBe('DENIED');
    expect(await run('agent_register', { agent_id: 'other', capabilities: ['x'] })).toMatchObject({
      ok: true,
      value: { trust_level: 0.9 },
    });
  });
});

describe('catalogue: resources', () => {
  it.each([
    ['mesh://nodes', { kind: 'nodes' }],
    ['mesh://agents', { kind: 'agents' }],
    ['board://main', { kind: 'board', board: 'main' }],
    ['board://main/', { kind: 'board', board: 'main' }],
    ['board://main/a', { kind: 'entry', board: 'main', key: 'a' }],
    ['board://main/a/b', { kind: 'entry', board: 'main', key: 'a/b' }],
    ['board://main/a%2Fb%20c', { kind: 'entry', board: 'main', key: 'a/b c' }],
    ['budget://team:a.b_c-1', { kind: 'budget', budget: 'team:a.b_c-1' }],
    ['board://main/..%2f..%2fetc', { kind: 'entry', board: 'main', key: '../../etc' }],
  ])('%s names %j', (uri, target) => {
    expect(parseResourceUri(uri)).toEqual(target);
  });

  it.each([
    'mesh://',
    'mesh://nodes/x',
    'board://',
    'board://Main',
    'board://../x',
    'board://main?x',
    'budget://',
    'budget://a/b',
    'budget://../x',
    'budget://a%20b',
    'board://main/%',
    'file:///etc/passwd',
    `board://main/${'x'.repeat(5_000)}`,
    '',
  ])('%s names nothing (S09)', async (uri) => {
    expect(parseResourceUri(uri)).toBeUndefined();
    const { catalogue, call } = open();
    expect(['NOT_FOUND', 'TOO_LARGE']).toContain(errorOf(await catalogue.readResource(uri, call)).code);
  });

  it('complete boards and keys', async () => {
    const { catalogue, run, call } = open();
    await run('board_write', { board: 'alpha', key: 'k/1', value: 1 });
    await run('board_write', { board: 'beta', key: 'x', value: 1 });
    const ask = (name: string, value: string, board?: string) =>
      catalogue.complete(
        {
          ref: { type: 'ref/resource', uri: 'board://{board}/{key}' },
          argument: { name, value },
          ...(board === undefined ? {} : { context: { arguments: { board } } }),
        },
        call.principal,
      );
    expect(await ask('board', 'al')).toEqual({ values: ['alpha'], hasMore: false });
    expect(await ask('key', 'k', 'alpha')).toEqual({ values: ['k/1'], hasMore: false });
    expect(await catalogue.complete({}, call.principal)).toEqual({ values: [], hasMore: false });
  });
});
