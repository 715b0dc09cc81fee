/** A board's changes as server-sent events. */
import type { Blackboard, WaitCall } from '../../blackboard/api.ts';
import { errorBody, type Result } from '../../kernel/errors.ts';
import { checkKey } from '../../kernel/key.ts';
import { boardOf, changeResult } from '../../mcp/board-arguments.ts';
import { EventStream } from '../mcp-sdk/event-stream.ts';
import { sendError } from './respond.ts';
import type { RestRequest } from './rest.ts';

/** Each round of waiting; the stream itself lasts until the reader goes away. */
const ROUND_MS = 60_000;

/**
 * Streams `change` events; the last of each batch has a cursor as its id. A reader that comes back with
 * `Last-Event-ID` (or `?cursor=`) misses nothing. Changes wait in the board, not here, while a reader is slow.
 */
export async function watchBoard(
  blackboard: Blackboard,
  boardName: string,
  call: RestRequest,
): Promise<void> {
  const { request, response, principal, query, signal } = call;
  const target = watchTarget(boardName, query);
  if (!target.ok) {
    sendError(response, target.error);
    return;
  }
  const lastId = request.headers['last-event-id'];
  let cursor = typeof lastId === 'string' ? lastId : (query.get('cursor') ?? undefined);
  const next = (timeoutMs: number) => {
    const wait: WaitCall = { ...target.value, timeoutMs, ...(cursor === undefined ? {} : { cursor }) };
    return blackboard.call(wait, { agent: principal.agent }, signal);
  };
  // The first look takes no time: it checks the arguments and says where the stream begins.
  let answer = await next(0);
  if (!answer.ok) {
    sendError(response, answer.error);
    return;
  }
  const events = new EventStream(response);
  events.comment('watching');
  while (answer.ok && !signal.aborted) {
    cursor = answer.value.cursor;
    const { changes } = answer.value;
    for (const [at, change] of changes.entries()) {
      // Only the last one carries the cursor: a reader that got less must get them all again.
      const id = at === changes.length - 1 ? cursor : undefined;
      if (!events.send('change', changeResult(change), id)) return;
    }
    await events.drained();
    if (signal.aborted) break;
    answer = await next(ROUND_MS);
  }
  if (!answer.ok && !signal.aborted) events.send('error', { error: answer.error });
  events.end();
}

function watchTarget(
  boardName: string,
  query: URLSearchParams,
): Result<Omit<WaitCall, 'timeoutMs' | 'cursor'>> {
  const board = boardOf(boardName);
  if (!board.ok) return board;
  const key = query.get('key');
  const prefix = query.get('prefix');
  if (key !== null && prefix !== null) {
    const body = errorBody(
      'INVALID_ARGUMENT',
      'Give key or prefix, not both.',
      'Without either, all is watched.',
    );
    return { ok: false, error: body };
  }
  const checked = checkKey(key ?? prefix ?? '', key === null ? 'prefix' : 'key');
  if (!checked.ok) return checked;
  const after = query.get('after_revision');
  const afterRevision = after === null ? undefined : Number(after);
  if (afterRevision !== undefined && !Number.isSafeInteger(afterRevision)) {
    const body = errorBody('INVALID_ARGUMENT', 'after_revision must be a whole number.', 'Leave it out.');
    return { ok: false, error: body };
  }
  return {
    ok: true,
    value: {
      op: 'wait',
      board: board.value,
      ...(key === null ? { prefix: prefix ?? '' } : { key }),
      ...(afterRevision === undefined ? {} : { afterRevision }),
    },
  };
}
