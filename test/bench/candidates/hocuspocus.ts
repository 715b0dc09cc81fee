/** An unmodified Hocuspocus provider over `ws`, to `@hocuspocus/server` in `peers/hocuspocus-hub.ts`. */
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider';
import WebSocket from 'ws';
import * as Y from 'yjs';
import type { Candidate } from '../lib/candidate.ts';
import { mapFace } from './ymap.ts';

export const candidate: Candidate = {
  name: 'hocuspocus',
  async open({ hub = '' }) {
    const doc = new Y.Doc();
    const socket = new HocuspocusProviderWebsocket({
      url: hub,
      WebSocketPolyfill: WebSocket,
      autoConnect: false,
    });
    const provider = new HocuspocusProvider({
      websocketProvider: socket,
      name: 'main',
      document: doc,
      token: 'any',
    });
    return {
      ...mapFace(doc),
      address: '',
      connect: async () => {
        const synced = new Promise<void>((resolve) => {
          provider.on('synced', () => resolve());
        });
        provider.attach();
        void socket.connect();
        await synced;
      },
      close: async () => {
        provider.destroy();
        socket.destroy();
      },
    };
  },
};
