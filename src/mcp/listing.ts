import type { Blackboard, ListAnswer, ListCall, Writer } from '../blackboard/api.ts';
import { failWith, type Result } from '../kernel/errors.ts';
import { entryResult } from './board-arguments.ts';
import type { Structured } from './tool.ts';

/**
 * A page of entries that stays below `maxBytes` (as JSON, roughly). A page of the wanted count may be hundreds
 * of megabytes where values are large; then fewer entries are asked for, so that the cursor still fits the page.
 */
export async function listWithinBytes(
  blackboard: Blackboard,
  call: ListCall & { readonly limit: number },
  writer: Writer,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Result<Structured>> {
  for (let limit = call.limit; limit >= 1; limit = Math.floor(limit / 4)) {
    const answer = await blackboard.call({ ...call, limit }, writer, signal);
    if (!answer.ok) return answer;
    if (limit === 1 || roughBytes(answer.value, maxBytes) <= maxBytes) {
      const { entries, cursor, session, level } = answer.value;
      return {
        ok: true,
        value: {
          entries: entries.map(entryResult),
          ...(cursor === undefined ? {} : { cursor }),
          session,
          ...(level === undefined ? {} : { level }),
        },
      };
    }
  }
  return failWith('INVALID_ARGUMENT', 'limit must be at least 1.', 'Leave limit out.');
}

/** Counts until it is clear that the page is too large. */
function roughBytes({ entries }: ListAnswer, enough: number): number {
  let bytes = 0;
  for (const entry of entries) {
    bytes += (JSON.stringify(entry.value)?.length ?? 0) + entry.key.length + 200;
    if (bytes > enough) break;
  }
  return bytes;
}
