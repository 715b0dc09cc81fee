/** Names of stores and of the servers that carry them. */
import { type Branded, type NodeId, parseNodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { ServerId } from './raft/types.ts';

/** One founding of a store: 53 random bits, never 0. Two stores that meet are told apart by it. */
export type StoreId = Branded<number, 'StoreId'>;
/** The storage of one server: 53 random bits, never 0. A node whose disk was lost comes back with another. */
export type StorageId = Branded<number, 'StorageId'>;

/** Every frame names servers, and they are few: the last name made for each node. */
const names = new Map<NodeId, { readonly storage: StorageId; readonly server: ServerId }>();

export function serverIdOf(node: NodeId, storage: StorageId): ServerId {
  const known = names.get(node);
  if (known?.storage === storage) return known.server;
  const server = `${node}/${storage.toString(36)}` as ServerId;
  if (names.size >= limits.members) names.clear();
  names.set(node, { storage, server });
  return server;
}

/** `undefined` for anything that `serverIdOf` would not give. */
export function parseServerId(
  text: unknown,
): { readonly node: NodeId; readonly storage: StorageId } | undefined {
  if (typeof text !== 'string') return undefined;
  const slash = text.indexOf('/');
  const node = parseNodeId(text.slice(0, slash));
  const storage = parseStorageId(Number.parseInt(text.slice(slash + 1), 36));
  if (slash < 0 || node === undefined || storage === undefined) return undefined;
  return serverIdOf(node, storage) === text ? { node, storage } : undefined;
}

export function parseStoreId(value: unknown): StoreId | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
    ? (value as StoreId)
    : undefined;
}

export function parseStorageId(value: unknown): StorageId | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
    ? (value as StorageId)
    : undefined;
}

/** The node of a server id that was checked when it came in. */
export function nodeOf(server: ServerId): NodeId {
  return server.slice(0, server.indexOf('/')) as NodeId;
}

/** As people and reports name a store. */
export function storeName(store: StoreId): string {
  return store.toString(36);
}
