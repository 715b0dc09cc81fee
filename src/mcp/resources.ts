/** Resources: boards, their entries, budgets and the mesh, addressed by URI. */
import { type BudgetName, parseBudgetName } from '../budget/names.ts';
import { errorBody, fail, failWith, type Result } from '../kernel/errors.ts';
import { type BoardName, parseBoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import { agentResult } from './agent-tools.ts';
import { entryResult } from './board-arguments.ts';
import { budgetResult } from './budget-results.ts';
import type { NodeFaces } from './faces.ts';
import { listWithinBytes } from './listing.ts';
import { sortedPeers } from './mesh-tools.ts';
import { pageOf } from './page.ts';
import type { ToolCall } from './tool.ts';

export interface ResourceListing {
  readonly uri: string;
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly mimeType: 'application/json';
}

export interface ResourceTemplateListing extends Omit<ResourceListing, 'uri'> {
  readonly uriTemplate: string;
}

export interface ResourceContent {
  readonly uri: string;
  readonly mimeType: 'application/json';
  readonly text: string;
}

/** What a URI names. */
export type ResourceTarget =
  | { readonly kind: 'nodes' }
  | { readonly kind: 'agents' }
  | { readonly kind: 'budget'; readonly budget: BudgetName }
  | { readonly kind: 'board'; readonly board: BoardName }
  | { readonly kind: 'entry'; readonly board: BoardName; readonly key: string };

export const RESOURCE_URIS =
  'Use mesh://nodes, mesh://agents, board://BOARD, board://BOARD/KEY or budget://TASK_ID.';

const MESH: readonly ResourceListing[] = [
  {
    uri: 'mesh://agents',
    name: 'mesh-agents',
    title: 'Agents',
    description: 'Agents registered anywhere in the swarm, with their capabilities.',
    mimeType: 'application/json',
  },
  {
    uri: 'mesh://nodes',
    name: 'mesh-nodes',
    title: 'Nodes',
    description: 'Nodes of the swarm as this node sees them.',
    mimeType: 'application/json',
  },
];

export const RESOURCE_TEMPLATES: readonly ResourceTemplateListing[] = [
  {
    uriTemplate: 'board://{board}',
    name: 'board',
    title: 'Board',
    description: 'The first entries of a board, in the order of their keys.',
    mimeType: 'application/json',
  },
  {
    uriTemplate: 'board://{board}/{key}',
    name: 'board-entry',
    title: 'Entry of a board',
    description: 'One entry with its author, time and revision. Percent-encode the key.',
    mimeType: 'application/json',
  },
  {
    uriTemplate: 'budget://{task_id}',
    name: 'budget',
    title: 'Budget',
    description: 'What of a budget is allocated, held and spent, by machine, and what remains.',
    mimeType: 'application/json',
  },
];

/** `undefined` for a URI that names nothing here. A key may hold slashes, encoded or not. */
export function parseResourceUri(uri: string): ResourceTarget | undefined {
  if (uri.length > 4 * limits.keyBytes) return undefined;
  if (uri === 'mesh://nodes') return { kind: 'nodes' };
  if (uri === 'mesh://agents') return { kind: 'agents' };
  if (uri.startsWith('budget://')) {
    const budget = parseBudgetName(uri.slice('budget://'.length));
    return budget === undefined ? undefined : { kind: 'budget', budget };
  }
  const match = /^board:\/\/([^/?#]+)(?:\/(.*))?$/su.exec(uri);
  const board = parseBoardName(match?.[1]);
  if (match === null || board === undefined) return undefined;
  if (match[2] === undefined || match[2] === '') return { kind: 'board', board };
  try {
    return { kind: 'entry', board, key: decodeURIComponent(match[2]) };
  } catch {
    return undefined;
  }
}

/** Sorted by URI. Without budgets as long as the quorum store was not read: there is no way to say so here. */
export function listResources(
  { blackboard, budgets }: NodeFaces,
  cursor: string | undefined,
): Result<{ readonly resources: readonly ResourceListing[]; readonly nextCursor?: string }> {
  const boards = blackboard.boards().map(
    ({ name }): ResourceListing => ({
      uri: `board://${name}`,
      name: `board-${name}`,
      title: `Board ${name}`,
      description: 'The first entries of this board, in the order of their keys.',
      mimeType: 'application/json',
    }),
  );
  const limited = (budgets?.list() ?? []).map(
    ({ budget }): ResourceListing => ({
      uri: `budget://${budget}`,
      name: `budget-${budget}`,
      title: `Budget ${budget}`,
      description: 'What of this budget is allocated, held and spent, by machine, and what remains.',
      mimeType: 'application/json',
    }),
  );
  const all = [...boards, ...limited, ...MESH].sort((left, right) => (left.uri < right.uri ? -1 : 1));
  const page = pageOf(all, ({ uri }) => uri, { cursor });
  if (!page.ok) return page;
  const { items, cursor: nextCursor } = page.value;
  return { ok: true, value: { resources: items, ...(nextCursor === undefined ? {} : { nextCursor }) } };
}

/** `NOT_FOUND` for a URI that names nothing, and for an entry that is not there. */
export async function readResource(
  faces: NodeFaces,
  uri: string,
  call: ToolCall,
): Promise<Result<ResourceContent>> {
  const target = parseResourceUri(uri);
  if (target === undefined) return noSuchResource(uri);
  const body = await bodyOf(faces, target, call);
  if (!body.ok) return body;
  if (body.value === undefined) return noSuchResource(uri);
  return { ok: true, value: { uri, mimeType: 'application/json', text: JSON.stringify(body.value) } };
}

async function bodyOf(faces: NodeFaces, target: ResourceTarget, call: ToolCall): Promise<Result<unknown>> {
  const writer = { agent: call.principal.agent };
  switch (target.kind) {
    case 'nodes':
      return { ok: true, value: { nodes: sortedPeers(faces.mesh.peers()) } };
    case 'agents':
      return { ok: true, value: { agents: faces.agents.discover({}).map(agentResult) } };
    case 'budget': {
      const status = faces.budgets?.status(target.budget);
      if (status?.ok === true) return { ok: true, value: budgetResult(status.value) };
      const isMissing = status === undefined || status.error.code === 'NOT_FOUND';
      return isMissing ? { ok: true, value: undefined } : status;
    }
    case 'board':
      return listWithinBytes(
        faces.blackboard,
        { op: 'list', board: target.board, limit: limits.listPage },
        writer,
        limits.listAnswerBytes,
        call.signal,
      );
    case 'entry': {
      const answer = await faces.blackboard.call(
        { op: 'read', board: target.board, key: target.key },
        writer,
        call.signal,
      );
      if (!answer.ok) return answer;
      return { ok: true, value: answer.value.found ? entryResult(answer.value) : undefined };
    }
  }
}

function noSuchResource(uri: string): Result<never> {
  if (uri.length > 4 * limits.keyBytes) {
    return failWith('TOO_LARGE', 'This resource URI is too long.', 'Keys have at most 512 bytes.');
  }
  return fail(
    errorBody('NOT_FOUND', `There is no resource ${JSON.stringify(uri)}.`, RESOURCE_URIS, {
      details: { uri },
    }),
  );
}
