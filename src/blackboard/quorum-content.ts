/** Entries of all quorum boards as one node has them, by board and in the order of the store. */
import type { BoardName } from '../kernel/ids.ts';
import type { KeyChange, KeyValue } from '../quorum/port.ts';
import { fromOrderable, orderable, parseStoreKey, STORE_ID_KEY } from './quorum-keys.ts';
import { SortedKeys } from './sorted-keys.ts';

/** One change of one entry. Of a deleted one `stored` has no value. */
export interface EntryChange {
  readonly board: BoardName;
  readonly key: string;
  readonly stored: KeyValue;
  readonly deleted: boolean;
}

class BoardContent {
  readonly entries = new Map<string, KeyValue>();
  readonly sorted = new SortedKeys((key) => this.entries.has(fromOrderable(key)));
  bytes = 0;
}

export class QuorumContent {
  readonly #boards = new Map<BoardName, BoardContent>();
  /** Empty until the first entry was written. */
  storeId = '';

  get(board: BoardName, key: string): KeyValue | undefined {
    return this.#boards.get(board)?.entries.get(key);
  }

  /** Keys with the prefix, ascending by their UTF-8, strictly behind `after`. */
  *keysFrom(board: BoardName, prefix: string, after: string): Generator<string> {
    const content = this.#boards.get(board);
    if (content === undefined) return;
    for (const key of content.sorted.from(orderable(prefix), orderable(after))) yield fromOrderable(key);
  }

  /** Boards that hold anything. */
  boards(): readonly BoardName[] {
    return [...this.#boards].filter(([, { entries }]) => entries.size > 0).map(([name]) => name);
  }

  size(board: BoardName): { readonly keys: number; readonly bytes: number } {
    const content = this.#boards.get(board);
    return { keys: content?.entries.size ?? 0, bytes: content?.bytes ?? 0 };
  }

  /** What that changes here: nothing where this is older than what is there. */
  apply({ kind, entry }: KeyChange): EntryChange | undefined {
    if (entry.key === STORE_ID_KEY) {
      this.storeId = kind === 'put' ? storeIdFrom(entry.value) : '';
      return undefined;
    }
    const place = parseStoreKey(entry.key);
    if (place === undefined) return undefined;
    const { board, key } = place;
    let content = this.#boards.get(board);
    const before = content?.entries.get(key);
    if (before !== undefined && before.modRevision >= entry.modRevision) return undefined;
    if (kind === 'deleted') {
      if (content === undefined || before === undefined) return undefined;
      content.entries.delete(key);
      content.bytes -= bytesOf(before);
      return { board, key, stored: entry, deleted: true };
    }
    if (content === undefined) {
      content = new BoardContent();
      this.#boards.set(board, content);
    }
    content.bytes += bytesOf(entry) - (before === undefined ? 0 : bytesOf(before));
    content.entries.set(key, entry);
    if (before === undefined) content.sorted.add(orderable(key));
    return { board, key, stored: entry, deleted: false };
  }

  /** What one would be told to get from `older` to this, once each key; deletions get `revision`. */
  *changesSince(older: QuorumContent, revision: number): Generator<EntryChange> {
    for (const [board, { entries }] of this.#boards) {
      for (const [key, stored] of entries) {
        if (older.get(board, key)?.modRevision !== stored.modRevision)
          yield { board, key, stored, deleted: false };
      }
    }
    for (const [board, { entries }] of older.#boards) {
      for (const [key, stored] of entries) {
        if (this.get(board, key) === undefined)
          yield {
            board,
            key,
            stored: { ...stored, value: NO_BYTES, version: 0, modRevision: revision },
            deleted: true,
          };
      }
    }
  }
}

const NO_BYTES = new Uint8Array(0);

export function storeIdFrom(value: Uint8Array): string {
  return Array.from(value, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What counts against a board's quota. */
export function bytesOf({ key, value }: KeyValue): number {
  return key.length + value.length;
}
