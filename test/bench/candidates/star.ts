/** An unmodified `y-websocket` client over `ws`, to the hub in `peers/star-hub.ts`. */
import WebSocket from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import type { Candidate } from '../lib/candidate.ts';
import { mapFace } from './ymap.ts';

export const candidate: Candidate = {
  name: 'star',
  async open({ hub = '' }) {
    const doc = new Y.Doc();
    const provider = new WebsocketProvider(hub, 'main', doc, {
      WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
      disableBc: true,
      connect: false,
    });
    return {
      ...mapFace(doc),
      address: '',
      connect: () =>
        new Promise((resolve) => {
          provider.once('sync', () => resolve());
          provider.connect();
        }),
      close: async () => provider.destroy(),
    };
  },
};
