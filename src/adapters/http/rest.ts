/**
 * REST over the same tools that agents call, so that every rule and limit holds here too. The command line
 * talks to its node through this.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { errorBody, failWith, type Result } from '../../kernel/errors.ts';
import { budgetOperations } from '../../mcp/budget-operator.ts';
import { allProblems } from '../../mcp/budget-problems.ts';
import type { Catalogue } from '../../mcp/catalogue.ts';
import { peerSortKey, sortedPeers } from '../../mcp/mesh-tools.ts';
import { pageOf } from '../../mcp/page.ts';
import type { Principal } from '../../mcp/principal.ts';
import type { Structured, Tool } from '../../mcp/tool.ts';
import { readJson } from './body.ts';
import { budgetRoutes } from './budget-routes.ts';
import { changeVoters, listLeases, listVoters } from './quorum-routes.ts';
import { sendError, sendJson } from './respond.ts';
import { watchBoard } from './watch.ts';

export interface RestRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly principal: Principal;
  /** Segments of the path behind `/v1`, still percent-encoded. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  readonly signal: AbortSignal;
}

type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

interface Route {
  readonly methods: readonly Method[];
  run(call: RestRequest, method: Method): Promise<void>;
}

export class Rest {
  readonly #catalogue: Catalogue;
  readonly #budgetOperations: ReadonlyMap<string, Tool>;

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue;
    this.#budgetOperations = budgetOperations(catalogue.faces);
  }

  async handle(call: RestRequest): Promise<void> {
    const route = this.#route(call.path);
    if (route === undefined) {
      sendError(call.response, noSuchPath());
      return;
    }
    const method = call.request.method as Method;
    if (!route.methods.includes(method)) {
      call.response.setHeader('allow', route.methods.join(', '));
      sendError(call.response, methodNotAllowed(route.methods), 405);
      return;
    }
    await route.run(call, method);
  }

  #route(path: readonly string[]): Route | undefined {
    const [first, second, third, fourth, ...rest] = path;
    if (first === 'status' && path.length === 1) return this.#get((call) => this.#status(call));
    if (first === 'peers' && path.length === 1) return this.#get((call) => this.#peers(call));
    if (first === 'doctor' && path.length === 1) return this.#get((call) => this.#doctor(call));
    if (first === 'agents') return this.#agentsRoute(path);
    if (first === 'leases') return this.#leasesRoute(path);
    if (first === 'voters') return this.#votersRoute(path);
    if (first === 'budgets' || first === 'reservations') return this.#budgetsRoute(path);
    if (first !== 'boards') return undefined;
    if (path.length === 1) return this.#get((call) => this.#boards(call));
    const board = decode(second ?? '');
    if (board === undefined) return undefined;
    if (third === 'watch' && path.length === 3) {
      return this.#get((call) => watchBoard(this.#catalogue.faces.blackboard, board, call));
    }
    if (third === 'entries' && path.length === 3) return this.#tool(['GET'], 'board_list', { board });
    if (third === 'documents' && path.length === 3) return this.#get((call) => this.#documents(call, board));
    if (fourth === undefined) return undefined;
    if (third === 'entries') return this.#entryRoute(board, [fourth, ...rest]);
    const document = decode([fourth, ...rest].join('/'));
    if (third !== 'documents' || document === undefined) return undefined;
    const tools: Partial<Record<Method, string>> = {
      GET: 'document_read',
      PATCH: 'document_edit',
      DELETE: 'document_delete',
    };
    return {
      methods: Object.keys(tools) as Method[],
      run: (call, method) => this.#runTool(call, tools[method] ?? '', { board, document }),
    };
  }

  #entryRoute(board: string, encodedKey: readonly string[]): Route | undefined {
    const key = decode(encodedKey.join('/'));
    if (key === undefined) return undefined;
    const logKey = encodedKey.at(-1) === 'items' ? decode(encodedKey.slice(0, -1).join('/')) : undefined;
    const appends = logKey !== undefined && logKey !== '';
    return {
      methods: appends ? ['GET', 'PUT', 'DELETE', 'POST'] : ['GET', 'PUT', 'DELETE'],
      run: async (call, method) => {
        switch (method) {
          case 'GET':
            return this.#runTool(call, 'board_read', { board, key }, found);
          case 'PUT': {
            const tool = call.query.has('expected_revision') ? 'board_compare_and_set' : 'board_write';
            return this.#runTool(call, tool, { board, key });
          }
          case 'DELETE':
            return this.#runTool(call, 'board_delete', { board, key });
          default:
            return this.#runTool(call, 'board_append', { board, key: logKey ?? '' });
        }
      },
    };
  }

  #agentsRoute(path: readonly string[]): Route | undefined {
    if (path.length === 1) {
      return {
        methods: ['GET', 'POST'],
        run: (call, method) =>
          this.#runTool(call, method === 'GET' ? 'agent_discover' : 'agent_register', {}),
      };
    }
    const agent = decode(path[1] ?? '');
    if (path.length !== 3 || path[2] !== 'heartbeat' || agent === undefined) return undefined;
    return this.#tool(['POST'], 'agent_heartbeat', { agent_id: agent });
  }

  /** A lease's name may hold slashes. */
  #leasesRoute(path: readonly string[]): Route | undefined {
    if (path.length === 1)
      return this.#get(async ({ response, query, signal }) => {
        sendResult(response, await listLeases(this.#catalogue.faces, pageRequest(query), signal));
      });
    const name = decode(path.slice(1).join('/'));
    if (name === undefined) return undefined;
    const tools = { PUT: 'lease_acquire', PATCH: 'lease_renew', DELETE: 'lease_release' } as const;
    return {
      methods: ['PUT', 'PATCH', 'DELETE'],
      run: (call, method) => this.#runTool(call, tools[method as keyof typeof tools], { name }),
    };
  }

  #votersRoute(path: readonly string[]): Route | undefined {
    const { faces } = this.#catalogue;
    if (path.length === 1)
      return this.#get(({ response, query }) => sendResult(response, listVoters(faces, pageRequest(query))));
    const node = decode(path[1] ?? '');
    if (path.length !== 2 || node === undefined) return undefined;
    if (node === 'found')
      return {
        methods: ['POST'],
        run: async ({ response, principal, signal }) =>
          sendResult(response, await changeVoters(faces, { kind: node }, principal, signal)),
      };
    if (node === 'recover' || node === 'merge')
      return {
        methods: ['POST'],
        run: async ({ request, response, principal, signal }) => {
          const body = await readJson(request, false);
          if (!body.ok) return sendError(response, body.error, body.status);
          const given = body.value as { readonly confirm?: unknown; readonly keep?: unknown } | null;
          const change = { kind: node, id: node === 'recover' ? given?.confirm : given?.keep } as const;
          sendResult(response, await changeVoters(faces, change, principal, signal));
        },
      };
    return {
      methods: ['PUT', 'DELETE'],
      run: async ({ response, principal, signal }, method) => {
        const change = { kind: method === 'PUT' ? 'add' : 'remove', node } as const;
        sendResult(response, await changeVoters(faces, change, principal, signal));
      },
    };
  }

  /** Amounts come in bodies: text of a query would first have to be made a number, and `1e9` is none here. */
  #budgetsRoute(path: readonly string[]): Route | undefined {
    const decoded = path.map(decode);
    if (decoded.includes(undefined)) return undefined;
    const routes = budgetRoutes(decoded as readonly string[]);
    if (routes.size === 0) return undefined;
    return {
      methods: [...routes.keys()] as Method[],
      run: async (call, method) => {
        const route = routes.get(method);
        if (route === undefined) return;
        if (method !== 'GET' && call.query.size > 0) return sendError(call.response, queryGiven());
        if (route.kind === 'tool') return this.#runTool(call, route.name, route.fixed);
        const operation = this.#budgetOperations.get(route.name);
        if (operation === undefined) return;
        const { principal, signal } = call;
        const run = (given: Structured) => operation.call(given, { principal, signal });
        await this.#runOn(call, route.fixed, { run, bodyOptional: route.name === 'budget_rebalance' });
      },
    };
  }

  #get(run: (call: RestRequest) => Promise<void> | void): Route {
    return {
      methods: ['GET'],
      run: async (call) => {
        await run(call);
      },
    };
  }

  #tool(methods: readonly Method[], name: string, fixed: Structured): Route {
    return { methods, run: (call) => this.#runTool(call, name, fixed) };
  }

  #runTool(
    call: RestRequest,
    tool: string,
    fixed: Structured,
    shown?: (value: Structured) => Result<Structured>,
  ): Promise<void> {
    const { request, principal, signal } = call;
    return this.#runOn(call, fixed, {
      run: async (given) => {
        const answer = await this.#catalogue.call(tool, given, { principal, signal });
        return answer.ok && shown !== undefined ? shown(answer.value) : answer;
      },
      bodyOptional: request.method === 'DELETE' || tool === 'agent_heartbeat',
    });
  }

  /** Arguments come from the path, then the query, then the body; the same one twice is an error. */
  async #runOn(
    call: RestRequest,
    fixed: Structured,
    to: {
      readonly run: (given: Structured) => Promise<Result<Structured>>;
      readonly bodyOptional: boolean;
    },
  ): Promise<void> {
    const { request, response } = call;
    const body =
      request.method === 'GET'
        ? { ok: true as const, value: undefined }
        : await readJson(request, to.bodyOptional);
    if (!body.ok) {
      sendError(response, body.error, body.status);
      return;
    }
    const given = mergedArguments(fixed, call.query, body.value);
    if (!given.ok) {
      sendError(response, given.error);
      return;
    }
    sendResult(response, await to.run(given.value));
  }

  #status({ response }: RestRequest): void {
    const { blackboard, agents, mesh, budgets } = this.#catalogue.faces;
    const peers = mesh.peers();
    const count = (state: string) => peers.filter((peer) => peer.state === state).length;
    const orchestrator = budgets?.orchestrator;
    sendJson(response, 200, {
      ...mesh.status(),
      problems: allProblems(this.#catalogue.faces),
      members: { alive: count('alive'), suspect: count('suspect'), dead: count('dead') },
      boards: blackboard.boards().length,
      agents: agents.discover({}).length,
      // As long as the quorum store was not read nobody knows.
      budgets: budgets?.notRead === undefined ? (budgets?.list().length ?? 0) : null,
      orchestrator: orchestrator ?? null,
      orchestratorName: peers.find(({ nodeId }) => nodeId === orchestrator)?.name ?? null,
    });
  }

  #peers({ response, query }: RestRequest): void {
    const peers = sortedPeers(this.#catalogue.faces.mesh.peers());
    sendPage(response, 'peers', pageOf(peers, peerSortKey, pageRequest(query)));
  }

  #boards({ response, query }: RestRequest): void {
    const boards = this.#catalogue.faces.blackboard.boards();
    sendPage(
      response,
      'boards',
      pageOf(boards, ({ name }) => name, pageRequest(query)),
    );
  }

  /** Of a board that is not there: none, as of its entries. */
  #documents({ response, query }: RestRequest, board: string): void {
    const found = this.#catalogue.faces.blackboard.boards().find(({ name }) => name === board);
    const names = found?.allDocuments?.() ?? [];
    sendPage(
      response,
      'documents',
      pageOf(names, (name) => name, pageRequest(query)),
    );
  }

  #doctor({ response }: RestRequest): void {
    sendJson(response, 200, { problems: allProblems(this.#catalogue.faces) });
  }
}

function sendResult(response: ServerResponse, result: Result<Structured>): void {
  if (result.ok) sendJson(response, 200, result.value);
  else sendError(response, result.error);
}

function sendPage(
  response: ServerResponse,
  plural: string,
  page: Result<{ readonly items: readonly unknown[]; readonly cursor?: string }>,
): void {
  if (!page.ok) {
    sendError(response, page.error);
    return;
  }
  const { items, cursor } = page.value;
  sendJson(response, 200, { [plural]: items, ...(cursor === undefined ? {} : { cursor }) });
}

function pageRequest(query: URLSearchParams): { limit?: number; cursor?: string } {
  const limit = query.get('limit');
  const cursor = query.get('cursor');
  return {
    ...(limit === null ? {} : { limit: limit === '' ? Number.NaN : Number(limit) }),
    ...(cursor === null ? {} : { cursor }),
  };
}

/** An entry that is not there is a missing resource here, with what a caller needs to go on. */
function found(value: Structured): Result<Structured> {
  if (value.found === true) return { ok: true, value };
  return failWith(
    'NOT_FOUND',
    `There is no entry ${JSON.stringify(value.key)}.`,
    'List the board to see its keys.',
    { details: { revision: value.revision, session: value.session } },
  );
}

const NUMERIC: ReadonlySet<string> = new Set([
  'limit',
  'ttl_seconds',
  'min_trust',
  'expected_revision',
  'fencing_token',
]);

function mergedArguments(fixed: Structured, query: URLSearchParams, body: unknown): Result<Structured> {
  if (body !== undefined && (typeof body !== 'object' || body === null || Array.isArray(body))) {
    return failWith('INVALID_ARGUMENT', 'The body must be a JSON object.', 'Wrap the value: {"value": …}.');
  }
  const merged = new Map<string, unknown>(Object.entries(fixed));
  const fromQuery = [...query].map(([name, text]): [string, unknown] => [
    name,
    NUMERIC.has(name) && text.trim() !== '' ? Number(text) : text,
  ]);
  for (const [name, value] of [...fromQuery, ...Object.entries(body ?? {})]) {
    if (merged.has(name)) {
      return failWith(
        'INVALID_ARGUMENT',
        `"${name.slice(0, 64)}" is given twice.`,
        'Give it once: in the path, the query or the body.',
      );
    }
    merged.set(name, value);
  }
  return { ok: true, value: Object.fromEntries(merged) };
}

function queryGiven() {
  return errorBody(
    'INVALID_ARGUMENT',
    'Arguments of budgets are not taken from the query.',
    'Send them as a JSON object in the body.',
  );
}

/** `undefined` where the text is not valid percent-encoding. */
export function decode(encoded: string): string | undefined {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

export function noSuchPath() {
  return errorBody('NOT_FOUND', 'There is nothing under this path.', 'See docs/PROTOCOL.md for the paths.');
}

export function methodNotAllowed(methods: readonly string[]) {
  return errorBody('UNSUPPORTED', 'This method is not allowed here.', `Use ${methods.join(', ')}.`);
}
