/** What agents and programs call by name: a change here breaks them. */
import { describe, expect, it } from 'vitest';
import { STATUS_OF } from '../../src/adapters/http/respond.ts';
import { Catalogue } from '../../src/mcp/catalogue.ts';
import { localPrincipal } from '../../src/mcp/principal.ts';
import { memoryNode } from '../support/memory-node.ts';

const catalogue = new Catalogue(memoryNode(), () => {});
const call = { principal: localPrincipal() };

const ARGUMENTS = {
  agent_discover: ['capability', 'min_trust', 'limit', 'cursor'],
  agent_heartbeat: ['agent_id'],
  agent_register: ['agent_id', 'capabilities', 'trust_level', 'endpoint', 'description', 'ttl_seconds'],
  board_append: ['board', 'key', 'items', 'level', 'session', 'agent_id'],
  board_compare_and_set: ['board', 'key', 'expected_revision', 'value', 'session', 'ttl_seconds', 'agent_id'],
  board_delete: ['board', 'key', 'level', 'session', 'agent_id'],
  board_list: ['board', 'prefix', 'limit', 'cursor', 'level', 'session'],
  board_read: ['board', 'key', 'level', 'session'],
  board_wait: ['board', 'key', 'prefix', 'after_revision', 'cursor', 'timeout_seconds', 'level', 'session'],
  board_write: ['board', 'key', 'value', 'level', 'session', 'ttl_seconds', 'agent_id'],
  budget_create: ['task_id', 'limit', 'unit', 'parent', 'window', 'expiry', 'thresholds'],
  budget_report: ['task_id', 'tokens', 'usage', 'report_id', 'agent_id'],
  budget_request: ['task_id', 'tokens'],
  budget_reserve: ['task_id', 'tokens', 'usage', 'ttl_seconds', 'reservation_id', 'agent_id'],
  budget_settle: ['reservation_id', 'tokens', 'usage'],
  budget_status: ['task_id', 'limit', 'cursor'],
  document_delete: ['board', 'document', 'level', 'session', 'agent_id'],
  document_edit: ['board', 'document', 'edits', 'level', 'session', 'agent_id'],
  document_read: ['board', 'document', 'level', 'session'],
  lease_acquire: ['name', 'ttl_seconds', 'agent_id'],
  lease_release: ['name', 'fencing_token', 'agent_id'],
  lease_renew: ['name', 'ttl_seconds', 'fencing_token', 'agent_id'],
  mesh_status: ['limit', 'cursor'],
};

const REQUIRED: Record<string, string[]> = {
  agent_register: ['capabilities'],
  board_append: ['key', 'items'],
  board_compare_and_set: ['key', 'expected_revision', 'value'],
  board_delete: ['key'],
  board_read: ['key'],
  board_write: ['key', 'value'],
  budget_create: ['task_id', 'limit'],
  budget_report: ['task_id'],
  budget_request: ['task_id', 'tokens'],
  budget_reserve: ['task_id'],
  budget_settle: ['reservation_id'],
  document_delete: ['document'],
  document_edit: ['document', 'edits'],
  document_read: ['document'],
  lease_acquire: ['name'],
  lease_release: ['name'],
  lease_renew: ['name'],
};

const RESULTS = {
  agent_discover: ['agents', 'cursor'],
  agent_heartbeat: AGENT(),
  agent_register: AGENT(),
  board_append: ['revision', 'session'],
  board_compare_and_set: ['revision', 'session'],
  board_delete: ['deleted', 'revision', 'session'],
  board_list: ['entries', 'cursor', 'session', 'level'],
  board_read: ['found', 'value', 'author', 'writtenAt', 'revision', 'session', 'level'],
  board_wait: ['changes', 'cursor', 'session'],
  board_write: ['revision', 'session'],
  budget_create: ['task_id', 'limit'],
  budget_report: ['report_id', 'tokens', 'overrun'],
  budget_request: ['granted', 'rights'],
  budget_reserve: ['reservation_id', 'tokens', 'expiresAt'],
  budget_settle: ['reservation_id', 'tokens', 'freed', 'overrun', 'ending'],
  budget_status: [
    'task_id',
    'limit',
    'reserve',
    'allocated',
    'held',
    'spent',
    'remaining',
    'machines',
    'budgets',
    'cursor',
  ],
  document_delete: ['deleted', 'revision', 'session'],
  document_edit: ['text', 'revision', 'session'],
  document_read: ['text', 'revision', 'session'],
  lease_acquire: LEASE(),
  lease_release: LEASE(),
  lease_renew: LEASE(),
  mesh_status: [
    'self',
    'nodes',
    'links',
    'voters',
    'leader',
    'storeId',
    'orchestrator',
    'versions',
    'problems',
    'cursor',
  ],
};

function LEASE() {
  return ['held', 'fencing_token', 'holder', 'machine_id', 'expiresAt', 'name', 'already'];
}

function AGENT() {
  return ['agent_id', 'machine_id', 'machine_name', 'capabilities', 'trust_level', 'last_seen', 'endpoint'];
}

describe('mcp pins', () => {
  it('names the tools and their arguments', () => {
    const found = catalogue.tools.map(({ name, inputSchema }) => [
      name,
      Object.keys(inputSchema.properties as object),
    ]);
    expect(Object.fromEntries(found)).toEqual(ARGUMENTS);
  });

  it('says which arguments are needed, and that there are no others', () => {
    for (const { name, inputSchema } of catalogue.tools) {
      expect(inputSchema.required ?? [], name).toEqual(REQUIRED[name] ?? []);
      expect(inputSchema.additionalProperties, name).toBe(false);
    }
  });

  it('names the fields of the results', () => {
    const found = catalogue.tools.map(({ name, outputSchema }) => [
      name,
      Object.keys(outputSchema.properties as object).filter((field) => field !== 'error'),
    ]);
    expect(Object.fromEntries(found)).toEqual(RESULTS);
  });

  it('says of each tool whether it reads, replaces or adds', () => {
    const reading = [
      'agent_discover',
      'board_list',
      'board_read',
      'board_wait',
      'budget_status',
      'document_read',
      'mesh_status',
    ];
    const replacing = [
      'board_compare_and_set',
      'board_delete',
      'board_write',
      'document_delete',
      'document_edit',
    ];
    const unrepeatable = [
      'board_append',
      'board_compare_and_set',
      'budget_create',
      'budget_report',
      'budget_request',
      'budget_reserve',
      'document_edit',
    ];
    for (const { name, annotations } of catalogue.tools) {
      const changing = {
        destructiveHint: replacing.includes(name),
        idempotentHint: !unrepeatable.includes(name),
      };
      const readOnlyHint = reading.includes(name);
      expect(annotations, name).toEqual({
        readOnlyHint,
        ...(readOnlyHint ? {} : changing),
        openWorldHint: false,
      });
    }
  });

  it('names resources, templates and prompts', () => {
    const resources = catalogue.listResources(undefined);
    expect(resources.ok && resources.value.resources.map(({ uri }) => uri)).toEqual([
      'mesh://agents',
      'mesh://nodes',
    ]);
    expect(catalogue.resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual([
      'board://{board}',
      'board://{board}/{key}',
      'budget://{task_id}',
    ]);
    expect(
      catalogue.prompts.map(({ name, arguments: given }) => [name, given.map((one) => one.name)]),
    ).toEqual([
      ['hand_over', ['task', 'to']],
      ['join_swarm', ['role']],
      ['plan_with_budget', ['task', 'task_id']],
    ]);
  });

  it('gives errors one shape, with a text mirror', async () => {
    const result = await catalogue.callTool('board_read', {}, call);
    expect(result).toEqual({
      isError: true,
      structuredContent: {
        error: {
          code: 'INVALID_ARGUMENT',
          message: expect.any(String) as string,
          hint: expect.any(String) as string,
          retryable: false,
          details: { argument: 'key', problem: 'is missing' },
        },
      },
      content: [{ type: 'text', text: JSON.stringify(result.structuredContent) }],
    });
  });

  it('gives each error code its HTTP status', () => {
    expect(STATUS_OF).toEqual({
      INVALID_ARGUMENT: 400,
      UNAUTHENTICATED: 401,
      BUDGET_EXHAUSTED: 402,
      DENIED: 403,
      NOT_FOUND: 404,
      CONFLICT: 409,
      TOO_LARGE: 413,
      LEVEL_NOT_OFFERED: 422,
      RATE_LIMITED: 429,
      INTERNAL: 500,
      UNSUPPORTED: 501,
      UNREACHABLE: 502,
      SESSION_NOT_SATISFIED: 503,
      QUORUM_UNAVAILABLE: 503,
      TIMEOUT: 504,
      QUOTA_EXCEEDED: 507,
    });
  });

  it('keeps tools/list under 24 KiB, and every description short', () => {
    expect(Buffer.byteLength(JSON.stringify({ tools: catalogue.tools }))).toBeLessThan(24 * 1024);
    for (const { name, title, description } of catalogue.tools) {
      expect(title.length, name).toBeLessThan(40);
      expect(description.length, name).toBeLessThan(320);
      expect(name).toMatch(/^[a-z_]{1,64}$/);
    }
  });
});
