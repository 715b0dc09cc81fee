/** Unmodified y-websocket clients. */
import WebSocket from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';

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
