/** Nodes and servers of the quorum store by number, for tests. */
import { type NodeId, parseNodeId } from '../../src/kernel/ids.ts';
import type { ServerId } from '../../src/quorum/raft/types.ts';
import { type StorageId, type StoreId, serverIdOf } from '../../src/quorum/server.ts';

/** In the order of their numbers, 0 to 999. */
export function nodeNumber(number: number): NodeId {
  const ordered = [...String(number).padStart(3, '0')].map((digit) => 'abcdefghij'[Number(digit)]).join('');
  const node = parseNodeId(`12D3KooW${ordered}${'A'.repeat(41)}`);
  if (node === undefined) throw new Error(`no node id for ${number}`);
  return node;
}

export function serverNumber(number: number, storage = number + 1): ServerId {
  return serverIdOf(nodeNumber(number), storage as StorageId);
}

export function storeNumber(number: number): StoreId {
  return number as StoreId;
}
