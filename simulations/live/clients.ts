/** What an agent of a live run talks to its node through: REST on the control socket, or MCP as a client's SDK speaks it. */
import type { ControlClient } from '../../src/cli/client.ts';
import { NodeUnreachable } from '../../src/cli/exit.ts';
import { type ErrorBody, SkeinError } from '../../src/kernel/errors.ts';
import { limits } from '../../src/kernel/limits.ts';
import { connectClient, type TestClient, type Where } from '../../test/support/mcp-clients.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** What its caller knows of a call. */
export type Told =
  | { readonly kind: 'done'; readonly value: Fields }
  /** Certainly nothing happened. */
  | { readonly kind: 'refused'; readonly error: ErrorBody }
  | { readonly kind: 'unknown'; readonly error: ErrorBody | undefined };

export interface Client {
  readonly how: 'rest' | 'mcp';
  call(tool: Tool, args: Fields): Promise<Told>;
  close(): Promise<void>;
}

/** Only MCP waits; REST has a stream of events for that. */
export type Tool = keyof typeof ROUTES | 'board_wait';

/** Longer than a node takes to say that there is no majority. */
const PATIENCE_MS = 5_000;

export class RestClient implements Client {
  readonly how = 'rest';
  readonly #control: ControlClient;

  constructor(control: ControlClient) {
    this.#control = control;
  }

  async call(tool: Tool, args: Fields): Promise<Told> {
    if (tool === 'board_wait') throw new Error('REST has no board_wait');
    const { method, path, inPath, inQuery } = ROUTES[tool];
    const rest = Object.entries(args).filter(([name]) => !(inPath as readonly string[]).includes(name));
    const queried = rest.filter(
      ([name]) => method === 'GET' || (inQuery as readonly string[]).includes(name),
    );
    const body = Object.fromEntries(rest.filter((each) => !queried.includes(each)));
    try {
      const value = await this.#control.call<Fields>(method, path(args as Record<string, string>), {
        query: Object.fromEntries(queried) as Record<string, string | number>,
        ...(method === 'GET' || Object.keys(body).length === 0 ? {} : { body }),
        signal: AbortSignal.timeout(PATIENCE_MS + waitOf(tool, args)),
      });
      return { kind: 'done', value };
    } catch (error) {
      // A kind of SkeinError, but not an answer.
      if (error instanceof NodeUnreachable)
        return { kind: neverLeft(error) ? 'refused' : 'unknown', error: error.body };
      if (error instanceof SkeinError) return toldOf(error.body);
      return { kind: 'unknown', error: undefined };
    }
  }

  async close(): Promise<void> {}
}

/** Connects when it must, and again after every failure. */
export class McpClient implements Client {
  readonly how = 'mcp';
  readonly #where: () => Where;
  #client: TestClient | undefined;

  constructor(where: () => Where) {
    this.#where = where;
  }

  async call(tool: Tool, args: Fields): Promise<Told> {
    let client = this.#client;
    try {
      client ??= await within(PATIENCE_MS, connectClient('v1 (2025-11-25)', this.#where()));
      this.#client = client;
    } catch (cause) {
      const error = { code: 'UNREACHABLE', message: String(cause), hint: '', retryable: true } as const;
      return { kind: 'refused', error };
    }
    try {
      const patience = PATIENCE_MS + waitOf(tool, args);
      const { structured, isError } = await within(patience, client.call(tool, args));
      return isError ? toldOf(structured.error as ErrorBody) : { kind: 'done', value: structured };
    } catch {
      await this.close();
      return { kind: 'unknown', error: undefined };
    }
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await within(1_000, client?.close() ?? Promise.resolve()).catch(() => {});
  }
}

interface RouteOf {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: (args: Record<string, string>) => string;
  readonly inPath: readonly string[];
  readonly inQuery: readonly string[];
}

const entry = ({ board = '', key = '' }: Record<string, string>) =>
  `/v1/boards/${board}/entries/${encodeURIComponent(key)}`;
const lease = ({ name = '' }: Record<string, string>) => `/v1/leases/${encodeURIComponent(name)}`;
const ofEntry = { path: entry, inPath: ['board', 'key'], inQuery: ['expected_revision', 'agent_id'] };
const budget = (below: string) => ({
  path: ({ task_id: name = '' }: Record<string, string>) => `/v1/budgets/${name}${below}`,
  inPath: ['task_id'],
  inQuery: [],
});
const ofLease = { path: lease, inPath: ['name'], inQuery: [] };

const ROUTES = {
  board_read: { method: 'GET', ...ofEntry },
  board_write: { method: 'PUT', ...ofEntry },
  board_compare_and_set: { method: 'PUT', ...ofEntry },
  board_delete: { method: 'DELETE', ...ofEntry },
  board_list: {
    method: 'GET',
    path: ({ board = '' }: Record<string, string>) => `/v1/boards/${board}/entries`,
    inPath: ['board'],
    inQuery: [],
  },
  lease_acquire: { method: 'PUT', ...ofLease },
  lease_renew: { method: 'PATCH', ...ofLease },
  lease_release: { method: 'DELETE', ...ofLease, inQuery: ['fencing_token', 'agent_id'] },
  budget_reserve: { method: 'POST', ...budget('/reservations') },
  budget_report: { method: 'POST', ...budget('/reports') },
  budget_settle: {
    method: 'POST',
    path: ({ reservation_id: id = '' }: Record<string, string>) =>
      `/v1/reservations/${encodeURIComponent(id)}/settle`,
    inPath: ['reservation_id'],
    inQuery: [],
  },
} as const satisfies Record<string, RouteOf>;

/** As docs/CONSISTENCY.md says under "When a call fails"; a fault of the node itself is trusted in nothing. */
function toldOf(error: ErrorBody): Told {
  const outcome = error.details?.outcome;
  if (outcome === 'not-done') return { kind: 'refused', error };
  const isOpen = outcome === 'unknown' || ['INTERNAL', 'TIMEOUT', 'QUORUM_UNAVAILABLE'].includes(error.code);
  return { kind: isOpen ? 'unknown' : 'refused', error };
}

/** There was nobody to take it. */
function neverLeft({ message }: NodeUnreachable): boolean {
  return message.startsWith('No node runs');
}

/** How long the node itself may wait. */
function waitOf(tool: Tool, { timeout_seconds: seconds = 0 }: Fields): number {
  return tool.startsWith('budget_') ? limits.budgetWaitMs : Number(seconds) * 1_000;
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
