/** Pages of a list that is in memory: sorted by a text key, continued after the last key that was given. */
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly cursor?: string;
}

interface PageRequest {
  /** 1 to `limits.listPage`, default 100. */
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

/** `items` must be sorted by `keyOf` as code units compare. Items that come or go meanwhile do not shift the pages. */
export function pageOf<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  { limit = 100, cursor }: PageRequest,
): Result<Page<Item>> {
  if (!Number.isInteger(limit) || limit < 1 || limit > limits.listPage) {
    return failWith(
      'INVALID_ARGUMENT',
      `limit must be 1 to ${limits.listPage}.`,
      'Use the cursor for further pages.',
    );
  }
  const after = cursor === undefined ? undefined : decodeCursor(cursor);
  if (cursor !== undefined && after === undefined) {
    return failWith(
      'INVALID_ARGUMENT',
      'The cursor is not one that this call gave out.',
      'Start again without a cursor.',
    );
  }
  const from = after === undefined ? 0 : items.findIndex((item) => keyOf(item) > after);
  const page = from < 0 ? [] : items.slice(from, from + limit);
  const last = page.at(-1);
  const more = last !== undefined && from + limit < items.length;
  return ok(more ? { items: page, cursor: toBase64Url(utf8(keyOf(last))) } : { items: page });
}

function decodeCursor(cursor: string): string | undefined {
  const bytes = fromBase64Url(cursor);
  return bytes === undefined ? undefined : fromUtf8(bytes);
}
