/**
 * Where boards of mode quorum live in the store: `b/BOARD/KEY`. A board's name holds no slash and starts with a letter
 * or digit, so prefixes tell boards apart, and `b/!store` is no board.
 *
 * The store orders keys by the bytes of their UTF-8. JavaScript orders text by UTF-16 code units, which differs where
 * characters beyond U+FFFF meet those from U+E000 on; `orderable` bridges the two.
 */
import { type BoardName, parseBoardName } from '../kernel/ids.ts';
import type { KeyRange, QuorumKey } from '../quorum/port.ts';

/** Everything of all boards. */
export const ALL_BOARDS: KeyRange = { from: 'b/', to: 'b0' };
/** Random text that tells one store from another; written before the first entry. */
export const STORE_ID_KEY: QuorumKey = 'b/!store';
export const STORE_ID_BYTES = 8;

export function storeKey(board: BoardName, key: string): QuorumKey {
  return `b/${board}/${key}`;
}

/** `undefined` for a key that is no board's entry. */
export function parseStoreKey(
  key: QuorumKey,
): { readonly board: BoardName; readonly key: string } | undefined {
  const slash = key.indexOf('/', 2);
  if (slash < 0 || !key.startsWith('b/')) return undefined;
  const board = parseBoardName(key.slice(2, slash));
  return board === undefined ? undefined : { board, key: key.slice(slash + 1) };
}

/** Keys of the board that start with `prefix` and, with `after`, come strictly behind it. */
export function rangeOf(board: BoardName, prefix: string, after?: string): KeyRange {
  const first = storeKey(board, prefix);
  const next = after === undefined ? first : `${storeKey(board, after)}\0`;
  return { from: orderable(next) > orderable(first) ? next : first, to: behind(first) };
}

/** The one key. */
export function rangeOfKey(board: BoardName, key: string): KeyRange {
  const from = storeKey(board, key);
  return { from, to: `${from}\0` };
}

/** The least text that is above every text with this prefix, in the order of UTF-8. */
function behind(prefix: string): string {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last === 0x10ffff) continue;
    // Surrogates are no characters.
    points.push(last === 0xd7ff ? 0xe000 : last + 1);
    return String.fromCodePoint(...points);
  }
  return '';
}

const FROM_SURROGATES = /[\ud800-\uffff]/;
const EACH_FROM_SURROGATES = /[\ud800-\uffff]/g;
const SURROGATES = 0x800;
const ABOVE = 0x2000;

/** A text whose order by code units is the order of the given text by UTF-8; keeps prefixes. */
export function orderable(text: string): string {
  if (!FROM_SURROGATES.test(text)) return text;
  return text.replace(EACH_FROM_SURROGATES, (unit) => {
    const code = unit.charCodeAt(0);
    return String.fromCharCode(code < 0xe000 ? code + ABOVE : code - SURROGATES);
  });
}

/** Undoes `orderable`. */
export function fromOrderable(text: string): string {
  if (!FROM_SURROGATES.test(text)) return text;
  return text.replace(EACH_FROM_SURROGATES, (unit) => {
    const code = unit.charCodeAt(0);
    return String.fromCharCode(code < 0xf800 ? code + SURROGATES : code - ABOVE);
  });
}
