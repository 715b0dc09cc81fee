/** The parts that all peers built on a plain Y.Map share. */
import type * as Y from 'yjs';
import type { Replica } from '../lib/candidate.ts';

type MapFace = Pick<Replica, 'set' | 'setAll' | 'observe' | 'entries'>;

export function mapFace(doc: Y.Doc): MapFace {
  const map = doc.getMap<string>('entries');
  return {
    set: (key, value) => {
      map.set(key, value);
    },
    setAll: (entries) => {
      doc.transact(() => {
        for (const [key, value] of entries) map.set(key, value);
      });
    },
    observe: (listener) => {
      map.observe((event, transaction) => {
        if (transaction.local) return;
        for (const key of event.keysChanged) listener(key as string, map.get(key as string) ?? '');
      });
    },
    entries: async () => map.entries(),
  };
}
