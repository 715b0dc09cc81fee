/** Arguments that the blackboard's tools share, and how they are checked. */
import { z } from 'zod';
import type { BoardCall, Change, Entry, Level } from '../blackboard/api.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type BoardName, parseBoardName } from '../kernel/ids.ts';
import type { JsonSchema } from './tool.ts';

export const board = z.string().optional().describe('Default "main".');
export const quorumBoard = z.string().optional().describe('Of mode quorum; default "tasks".');
export const key = z.string().describe('Such as "plan/step-1".');
/** What the levels mean is said once in the list of tools, which agents read whole. */
export const level = z.enum(['eventual', 'session', 'strong']).optional();
export const levelExplained = level.describe(
  'eventual: this node, at once. session: at least what the session token saw. strong: the newest, by a majority; the default on quorum boards, which alone offer it.',
);
export const session = z
  .string()
  .optional()
  .describe('Token of an earlier answer: see at least what it saw.');
export const agentId = z.string().optional().describe('Default: you.');

export const anything: JsonSchema = {};
export const text: JsonSchema = { type: 'string' };
export const textOrNull: JsonSchema = { type: ['string', 'null'] };
export const integer: JsonSchema = { type: 'integer' };
export const flag: JsonSchema = { type: 'boolean' };
export const list: JsonSchema = { type: 'array', items: { type: 'object' } };

export function boardOf(name: string | undefined, fallback = 'main'): Result<BoardName> {
  const parsed = parseBoardName(name ?? fallback);
  if (parsed !== undefined) return ok(parsed);
  return failWith(
    'INVALID_ARGUMENT',
    `${JSON.stringify((name ?? '').slice(0, 64))} is not the name of a board.`,
    'A board has 1 to 64 of a-z 0-9 . _ - and starts with a letter or digit.',
  );
}

/** What every call to a board carries. */
export function common(
  boardName: BoardName,
  given: { level?: Level | undefined; session?: string | undefined },
): Pick<BoardCall, 'board' | 'level' | 'session'> {
  return {
    board: boardName,
    ...(given.level === undefined ? {} : { level: given.level }),
    ...(given.session === undefined ? {} : { session: given.session }),
  };
}

/** An entry as results show it. */
export function entryResult(entry: Entry): Record<string, unknown> {
  return {
    key: entry.key,
    value: entry.value,
    author: entry.author,
    node: entry.node,
    writtenAt: entry.writtenAt,
    revision: entry.revision,
    ...(entry.expiresAt === undefined ? {} : { expiresAt: entry.expiresAt }),
  };
}

export function changeResult(change: Change): Record<string, unknown> {
  return change.entry === undefined
    ? { key: change.key, revision: change.revision, deleted: change.deleted }
    : { ...entryResult(change.entry), revision: change.revision, deleted: change.deleted };
}
