/** What is kept of a document that nobody has open any more. */
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { YjsFace } from '../../../src/adapters/http/yjs.ts';
import type { BoardName } from '../../../src/kernel/ids.ts';
import { memoryNode, QUIET } from '../../support/memory-node.ts';

class FakeSocket extends EventEmitter {
  readonly OPEN = 1;
  readonly readyState = 1;
  readonly bufferedAmount = 0;
  send(): void {}
}

describe('yjs rooms', () => {
  it('go with their last client, over 1,000 documents, and no earlier', () => {
    const face = new YjsFace(memoryNode(), QUIET);
    const principal = { name: 'ci', agent: 'ci', zone: 'local' } as never;
    const open = (document: string) => {
      const socket = new FakeSocket();
      face.serve(socket as unknown as WebSocket, { board: 'main' as BoardName, document }, principal);
      return socket;
    };
    for (let at = 0; at < 1_000; at++) open(`d${at}`).emit('close');
    expect(face.roomCount).toBe(0);
    const first = open('shared');
    const second = open('shared');
    first.emit('close');
    expect(face.roomCount).toBe(1);
    second.emit('close');
    expect(face.roomCount).toBe(0);
  });
});
