import type { Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { KeyRange, QuorumStore, RangeAnswer, ReadLevel } from '../quorum/port.ts';

/** What one answer of the store should hold: below what a message takes, values being up to 512 KiB. */
const PIECE_BYTES = 1024 * 1024;
const FIRST_KEYS = 8;

/**
 * A range of the store in its order, in answers of a bounded size: values may be large or small, so each piece asks
 * for as many keys as would have fitted at the size of those before, `most` in all. Ends after the first error.
 */
export async function* piecesOf(
  store: QuorumStore,
  range: KeyRange,
  level: ReadLevel,
  most = Number.POSITIVE_INFINITY,
  signal?: AbortSignal,
): AsyncGenerator<Result<RangeAnswer>> {
  let { from } = range;
  let left = most;
  let keys = Math.min(FIRST_KEYS, left);
  for (;;) {
    const answer = await store.range({ from, to: range.to }, keys, level, signal);
    yield answer;
    if (!answer.ok) return;
    const { found, more } = answer.value;
    const last = found.at(-1);
    left -= found.length;
    if (!more || last === undefined || left <= 0) return;
    from = `${last.key}\0`;
    const each =
      found.reduce((sum, { value, key }) => sum + value.length + key.length + 64, 0) / found.length;
    keys = Math.max(1, Math.min(limits.listPage, Math.floor(PIECE_BYTES / each), keys * 8, left));
  }
}
