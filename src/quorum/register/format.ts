/**
 * What all copies of a store must agree on beyond the log itself: which kinds of commands take effect, which bounds
 * they are held to, and how a snapshot is laid out. All of it together is the store's format, a number in its state.
 *
 * A program understands all formats up to its newest. A store begins with the first; its leader raises it by a command,
 * once every voter and every other copy that it can reach understands the higher one, so that all copies change over at
 * the same index. Whatever makes copies come out otherwise (a new kind of command, another bound) is a new format, and
 * is looked up in the register's format where it matters.
 */
export const FIRST_FORMAT = 1;
/** The newest that this program understands. */
export const NEWEST_FORMAT = 1;

/** What members say of formats in their greetings. */
export interface FormatFacts {
  /** The newest that the program understands. */
  readonly newest: number;
  /** Of the store that it carries; 0 where it carries none. */
  readonly store: number;
}

/** It cannot follow a store of this format. */
export function isTooOld({ newest, store }: FormatFacts, ofStore: number = store): boolean {
  return newest < Math.max(store, ofStore);
}
