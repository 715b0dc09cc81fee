/**
 * The word of a list that a mistyped one most likely meant, by edit distance (Levenshtein, with swapped
 * neighbours as one edit); `undefined` where none is near enough to be worth suggesting.
 */
export function nearestWord(typed: string, words: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(typed.length / 3)) + 1;
  for (const word of words) {
    const distance = distanceBetween(fold(typed), fold(word), bestDistance);
    if (distance < bestDistance) {
      best = word;
      bestDistance = distance;
    }
  }
  return best;
}

/** `ttlSeconds`, `ttl-seconds` and `ttl_seconds` are the same word in another dress. */
function fold(word: string): string {
  return word
    .slice(0, 64)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '');
}

/** A word cut short or drawn out (`ttl`, `agent`) is as near as one with a single typing error. */
function distanceBetween(typed: string, word: string, giveUpAt: number): number {
  const [short, long] = typed.length < word.length ? [typed, word] : [word, typed];
  if (short.length >= 3 && short.length < long.length && long.startsWith(short)) return 1;
  return editDistance(typed, word, giveUpAt);
}

function editDistance(left: string, right: string, giveUpAt: number): number {
  if (Math.abs(left.length - right.length) >= giveUpAt) return giveUpAt;
  let beforeLast: number[] = [];
  let last = Array.from({ length: right.length + 1 }, (_, at) => at);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1];
      let cost = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (same ? 0 : 1),
      );
      const swapped =
        row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (swapped) cost = Math.min(cost, at(beforeLast, column - 2) + 1);
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return at(last, right.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
