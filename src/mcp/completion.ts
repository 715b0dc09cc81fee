/** Completion of the arguments of resource templates: names of boards and budgets, and keys of a board. */

import { parseBoardName } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { NodeFaces } from './faces.ts';
import type { Principal } from './principal.ts';

/** MCP allows at most this many values. */
const MOST = 100;

export interface Completion {
  readonly values: readonly string[];
  readonly hasMore: boolean;
}

const NOTHING: Completion = { values: [], hasMore: false };

/** Completes what it knows; anything else has no completions, which is not an error. */
export async function complete(
  { blackboard, budgets }: NodeFaces,
  principal: Principal,
  params: Readonly<Record<string, unknown>>,
): Promise<Completion> {
  const reference = record(params.ref);
  const argument = record(params.argument);
  const typed = argument.value;
  if (reference.type !== 'ref/resource' || typeof typed !== 'string' || typed.length > limits.keyBytes) {
    return NOTHING;
  }
  if (argument.name === 'board')
    return namesWith(
      typed,
      blackboard.boards().map(({ name }) => name),
    );
  if (argument.name === 'task_id') return namesWith(typed, budgets?.list().map(({ budget }) => budget) ?? []);
  const board = parseBoardName(record(record(params.context).arguments).board ?? 'main');
  if (argument.name !== 'key' || board === undefined) return NOTHING;
  const answer = await blackboard.call(
    { op: 'list', board, prefix: typed, limit: MOST },
    { agent: principal.agent },
  );
  if (!answer.ok) return NOTHING;
  return {
    values: answer.value.entries.map(({ key }) => key),
    hasMore: answer.value.cursor !== undefined,
  };
}

function namesWith(typed: string, all: readonly string[]): Completion {
  const names = all.filter((name) => name.startsWith(typed));
  return { values: names.slice(0, MOST), hasMore: names.length > MOST };
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
