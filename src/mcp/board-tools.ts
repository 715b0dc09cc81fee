/** Tools of the blackboard's entries. */
import { z } from 'zod';
import { failWith, type Result } from '../kernel/errors.ts';
import { checkJson, type Json } from '../kernel/json.ts';
import { checkKey } from '../kernel/key.ts';
import { limits } from '../kernel/limits.ts';
import {
  agentId,
  anything,
  board,
  boardOf,
  changeResult,
  common,
  entryResult,
  flag,
  integer,
  key,
  level,
  levelExplained,
  list,
  quorumBoard,
  session,
  text,
  textOrNull,
} from './board-arguments.ts';
import type { NodeFaces } from './faces.ts';
import { listWithinBytes } from './listing.ts';
import { actingAgent } from './principal.ts';
import { defineTool, type Structured, type Tool } from './tool.ts';
import { waitForChanges } from './wait.ts';

const ttlSeconds = z
  .int()
  .min(1)
  .max(limits.ttlSeconds)
  .optional()
  .describe('The entry vanishes after this time.');

export function boardTools(faces: NodeFaces): Tool[] {
  return [
    boardRead(faces),
    boardWrite(faces),
    boardCompareAndSet(faces),
    boardDelete(faces),
    boardList(faces),
    boardAppend(faces),
    boardWait(faces),
  ];
}

function boardRead(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_read',
      title: 'Read an entry',
      description:
        'Read one entry of the blackboard that all agents of the swarm share, with its author and time. For a log key the value is the list of its items.',
      effect: 'read',
      idempotent: true,
      input: { board, key, level: levelExplained, session },
      output: {
        found: flag,
        value: anything,
        author: textOrNull,
        writtenAt: textOrNull,
        revision: integer,
        session: text,
        level: text,
      },
      always: ['found', 'value', 'author', 'writtenAt', 'revision', 'session'],
      async run(input, call, { blackboard }) {
        const boardName = boardOf(input.board);
        if (!boardName.ok) return boardName;
        const checked = checkKey(input.key, 'key');
        if (!checked.ok) return checked;
        const answer = await blackboard.call(
          { op: 'read', key: input.key, ...common(boardName.value, input) },
          { agent: call.principal.agent },
          call.signal,
        );
        if (!answer.ok) return answer;
        const read = answer.value;
        const served = read.level === undefined ? {} : { level: read.level };
        const value: Structured = read.found
          ? { found: true, ...entryResult(read), session: read.session, ...served }
          : {
              found: false,
              key: input.key,
              value: null,
              author: null,
              writtenAt: null,
              revision: read.revision,
              session: read.session,
              ...served,
            };
        return { ok: true, value };
      },
    },
    faces,
  );
}

function boardWrite(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_write',
      title: 'Write an entry',
      description:
        'Write a JSON value under a key of the shared blackboard; every node sees it within milliseconds. Replaces what was there: use board_append where several agents add, board_compare_and_set where one must win, and keys of your own otherwise.',
      effect: 'write',
      idempotent: true,
      input: {
        board,
        key,
        value: z.unknown().describe('Any JSON, up to 256 KiB.'),
        level,
        session,
        ttl_seconds: ttlSeconds,
        agent_id: agentId,
      },
      output: { revision: integer, session: text },
      async run(input, call, { blackboard }) {
        const target = writeTarget(input, call.principal);
        if (!target.ok) return target;
        if (input.value === undefined) return missing('value');
        const value = checkJson(input.value, 'value');
        if (!value.ok) return value;
        return asResult(
          await blackboard.call(
            {
              op: 'write',
              key: input.key,
              value: value.value,
              ...(input.ttl_seconds === undefined ? {} : { ttlSeconds: input.ttl_seconds }),
              ...common(target.value.board, input),
            },
            { agent: target.value.agent },
            call.signal,
          ),
        );
      },
    },
    faces,
  );
}

function boardCompareAndSet(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_compare_and_set',
      title: 'Write an entry if it is unchanged',
      description:
        'Write an entry of a quorum board only if it still has the revision that you read; 0: only if it does not exist. Of several agents exactly one succeeds: use it to claim tasks. The others get CONFLICT with the present entry.',
      effect: 'write',
      idempotent: false,
      input: {
        board: quorumBoard,
        key,
        expected_revision: z.int().min(0),
        value: z.unknown().describe('Any JSON, up to 256 KiB.'),
        session,
        ttl_seconds: ttlSeconds,
        agent_id: agentId,
      },
      output: { revision: integer, session: text },
      async run(input, call, { blackboard }) {
        const target = writeTarget({ ...input, board: input.board ?? 'tasks' }, call.principal);
        if (!target.ok) return target;
        if (input.value === undefined) return missing('value');
        const value = checkJson(input.value, 'value');
        if (!value.ok) return value;
        return asResult(
          await blackboard.call(
            {
              op: 'compareAndSet',
              key: input.key,
              expectedRevision: input.expected_revision,
              value: value.value,
              ...(input.ttl_seconds === undefined ? {} : { ttlSeconds: input.ttl_seconds }),
              ...common(target.value.board, input),
            },
            { agent: target.value.agent },
            call.signal,
          ),
        );
      },
    },
    faces,
  );
}

function boardDelete(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_delete',
      title: 'Delete an entry',
      description: 'Delete one entry, or a whole log, from the shared blackboard.',
      effect: 'write',
      idempotent: true,
      input: { board, key, level, session, agent_id: agentId },
      output: { deleted: flag, revision: integer, session: text },
      async run(input, call, { blackboard }) {
        const target = writeTarget(input, call.principal);
        if (!target.ok) return target;
        return asResult(
          await blackboard.call(
            { op: 'delete', key: input.key, ...common(target.value.board, input) },
            { agent: target.value.agent },
            call.signal,
          ),
        );
      },
    },
    faces,
  );
}

function boardList(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_list',
      title: 'List entries',
      description:
        'List the entries of a board in the order of their keys, all or those under a prefix; page with cursor.',
      effect: 'read',
      idempotent: true,
      input: {
        board,
        prefix: z.string().optional(),
        limit: z.int().min(1).max(limits.listPage).optional().describe('Default 100.'),
        cursor: z.string().optional(),
        level,
        session,
      },
      output: { entries: list, cursor: text, session: text, level: text },
      always: ['entries', 'session'],
      async run(input, call, { blackboard }) {
        const boardName = boardOf(input.board);
        if (!boardName.ok) return boardName;
        const checked = checkKey(input.prefix ?? '', 'prefix');
        if (!checked.ok) return checked;
        return listWithinBytes(
          blackboard,
          {
            op: 'list',
            ...(input.prefix === undefined ? {} : { prefix: input.prefix }),
            ...(input.cursor === undefined ? {} : { cursor: input.cursor }),
            limit: input.limit ?? 100,
            ...common(boardName.value, input),
          },
          { agent: call.principal.agent },
          limits.listAnswerBytes,
          call.signal,
        );
      },
    },
    faces,
  );
}

function boardAppend(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_append',
      title: 'Append to a log',
      description:
        'Append items to a log key. Items of several agents are merged and none is lost: use it for findings, messages and progress. Read the log with board_read.',
      effect: 'add',
      idempotent: false,
      input: {
        board,
        key,
        items: z.array(z.unknown()).min(1).max(limits.appendItems).describe('JSON values, oldest first.'),
        level,
        session,
        agent_id: agentId,
      },
      output: { revision: integer, session: text },
      async run(input, call, { blackboard }) {
        const target = writeTarget(input, call.principal);
        if (!target.ok) return target;
        const items = checkJson(input.items, 'items');
        if (!items.ok) return items;
        return asResult(
          await blackboard.call(
            {
              op: 'append',
              key: input.key,
              items: items.value as readonly Json[],
              ...common(target.value.board, input),
            },
            { agent: target.value.agent },
            call.signal,
          ),
        );
      },
    },
    faces,
  );
}

function boardWait(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'board_wait',
      title: 'Wait for changes',
      description:
        'Wait until a key, or anything under a prefix, changes, and get the changes; none at the time-out. Pass the cursor of the last answer to miss nothing in between. Use it instead of reading again and again.',
      effect: 'read',
      idempotent: true,
      input: {
        board,
        key: z.string().optional().describe('Give either key or prefix.'),
        prefix: z.string().optional(),
        after_revision: z
          .int()
          .min(0)
          .optional()
          .describe('Only changes with a higher revision; 0: also what is there; default: from now on.'),
        cursor: z.string().optional(),
        timeout_seconds: z
          .number()
          .min(0)
          .max(limits.waitMs / 1000)
          .optional()
          .describe('Default 30.'),
        level,
        session,
      },
      output: { changes: list, cursor: text, session: text },
      async run(input, call) {
        const boardName = boardOf(input.board);
        if (!boardName.ok) return boardName;
        if ((input.key === undefined) === (input.prefix === undefined)) {
          return failWith(
            'INVALID_ARGUMENT',
            'board_wait needs either key or prefix.',
            'Give exactly one of them; prefix "" is the whole board.',
          );
        }
        const checked = checkKey(input.key ?? input.prefix ?? '', input.key === undefined ? 'prefix' : 'key');
        if (!checked.ok) return checked;
        const answer = await waitForChanges(
          faces,
          {
            op: 'wait',
            ...(input.key === undefined ? { prefix: input.prefix ?? '' } : { key: input.key }),
            ...(input.after_revision === undefined ? {} : { afterRevision: input.after_revision }),
            ...(input.cursor === undefined ? {} : { cursor: input.cursor }),
            timeoutMs: Math.round((input.timeout_seconds ?? 30) * 1000),
            ...common(boardName.value, input),
          },
          call,
        );
        if (!answer.ok) return answer;
        const { changes, cursor, session: token } = answer.value;
        return { ok: true, value: { changes: changes.map(changeResult), cursor, session: token } };
      },
    },
    faces,
  );
}

function writeTarget(
  input: { board?: string | undefined; key: string; agent_id?: string | undefined },
  principal: Parameters<typeof actingAgent>[0],
) {
  const boardName = boardOf(input.board);
  if (!boardName.ok) return boardName;
  const checked = checkKey(input.key, 'key');
  if (!checked.ok) return checked;
  const agent = actingAgent(principal, input.agent_id);
  if (!agent.ok) return agent;
  return { ok: true as const, value: { board: boardName.value, agent: agent.value } };
}

function missing(argument: string) {
  return failWith(
    'INVALID_ARGUMENT',
    `The argument "${argument}" is missing.`,
    'Give any JSON value; null is one.',
    { details: { argument } },
  );
}

/** Answers of the blackboard are plain objects already. */
function asResult<Answer extends object>(answer: Result<Answer>): Result<Structured> {
  return answer as Result<Structured>;
}
