/** Who a person wants as voter, or not: entries of the store itself, so that every leader knows and honours them. */
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';
import type { KeyRange, QuorumKey } from '../port.ts';
import type { Register } from '../register/register.ts';

const PREFIX = 'skein/voters/';
const RANGE: KeyRange = { from: PREFIX, to: 'skein/voters0' };
const MOST = 1_000;

export type Wish = 'always' | 'never';
const BYTES = { always: 1, never: 0 } as const;

export function wishKey(node: NodeId): QuorumKey {
  return PREFIX + node;
}

export function wishValue(wish: Wish): Uint8Array {
  return Uint8Array.of(BYTES[wish]);
}

export function wishesOf(register: Register): ReadonlyMap<NodeId, Wish> {
  const wishes = new Map<NodeId, Wish>();
  for (const { key, value } of register.range(RANGE, MOST).found) {
    const node = parseNodeId(key.slice(PREFIX.length));
    if (node !== undefined) wishes.set(node, value[0] === BYTES.always ? 'always' : 'never');
  }
  return wishes;
}
