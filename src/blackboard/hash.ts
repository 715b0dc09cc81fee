/** A hash over what readers see of a board: equal on nodes that show the same. */

import { ByteWriter } from '../kernel/bytes.ts';
import { toHex, utf8 } from '../kernel/codec.ts';
import type { Instant } from '../kernel/time.ts';
import type { Board } from './board.ts';
import type { FreeDocument } from './documents.ts';
import { KIND } from './entry.ts';
import type { Hash } from './lane.ts';
import { isExpired, itemsOf } from './read.ts';

const BLOCK_BYTES = 256 * 1024;

export function hashBoard(
  board: Board | undefined,
  documents: readonly FreeDocument[],
  hash: Hash,
  now: Instant,
): string {
  const writer = new ByteWriter(BLOCK_BYTES);
  let digest = new Uint8Array(32);
  const fold = () => {
    writer.raw(digest);
    digest = new Uint8Array(hash(writer.view()));
    writer.clear();
  };
  for (const key of board?.view.keysFrom('', '') ?? []) {
    if (board === undefined) break;
    for (const item of itemsOf(board.view, key)) {
      if (item.kind === KIND.delete || isExpired(item, now.wallMs)) continue;
      const { author, value } = item.body();
      writer.sized(utf8(key));
      writer.uint56(item.revision);
      writer.byte(item.kind);
      writer.text(author);
      writer.sized(value);
    }
    if (writer.length >= BLOCK_BYTES) fold();
  }
  for (const document of documents) {
    writer.sized(utf8(document.name));
    writer.raw(document.hash());
  }
  fold();
  return toHex(digest);
}
