import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';
import { BoardView } from '../../src/blackboard/board-view.ts';

const doc = new Y.Doc();
const provider = new WebsocketProvider(process.argv[2] ?? 'ws://127.0.0.1:7330/yjs', 'main', doc);
const board = new BoardView(doc, Date.now);
board.observe((changes) => {
  for (const { key, entry } of changes) if (entry?.author) console.log(key, entry.value);
});

await board.set('plan', { step: 2 }); // shown at once, resolved once the node has it on its disk
provider.destroy();
doc.destroy();
