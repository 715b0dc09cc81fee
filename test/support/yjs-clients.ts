/** Unmodified y-websocket clients, and the entries of a board as they see them. */
import WebSocket from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { ByteReader } from '../../src/blackboard/bytes.ts';
import { KIND, readEntryBody, readEntryHead } from '../../src/blackboard/entry.ts';

/** `room` is a board, or a board and a document: `main/notes`. */
export function provide(
  httpUrl: string,
  room: string,
  params: Record<string, string> = {},
): WebsocketProvider {
  return new WebsocketProvider(`${httpUrl.replace('http', 'ws')}/yjs`, room, new Y.Doc(), {
    params,
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
  });
}

/** Of every key the newest item in the lanes of the entries document; deleted keys are left out. */
export function entriesIn(doc: Y.Doc): Record<string, { value: unknown; author: string }> {
  const newest = new Map<string, { rank: number[]; kind: number; author: string; text: string }>();
  for (const name of doc.share.keys()) {
    if (!name.startsWith('lane:')) continue;
    for (const bytes of doc.getArray<Uint8Array>(name)) {
      const head = readEntryHead(new ByteReader(bytes));
      if (head === undefined) throw new Error('an item that cannot be read');
      const rank = [head.revision, head.origin || Number(name.slice('lane:'.length)), head.kind];
      if (isGreater(newest.get(head.key)?.rank ?? [], rank)) continue;
      const { author, value } = readEntryBody(new ByteReader(bytes));
      const text = Buffer.from(value).toString();
      newest.set(head.key, { rank, kind: head.kind, author, text });
    }
  }
  const shown = [...newest].filter(([, { kind }]) => kind !== KIND.delete);
  return Object.fromEntries(
    shown.map(([key, { text, author }]) => [key, { value: JSON.parse(text) as unknown, author }]),
  );
}

/** In the order of places; what lacks a place is less. */
function isGreater(left: readonly number[], right: readonly number[]): boolean {
  const place = right.findIndex((each, at) => each !== left[at]);
  return place >= 0 && (left[place] ?? -1) > (right[place] as number);
}
