/** Who keeps the quorum store, as people see and change it. */
import type { Result } from '../../kernel/errors.ts';
import type { NodeId } from '../../kernel/ids.ts';

export interface VoterInfo {
  readonly nodeId: NodeId;
  /** Of the machine. */
  readonly name: string;
  /** The node together with the storage that its votes are written on. */
  readonly serverId: string;
  /** A learner has a copy and no vote. */
  readonly role: 'leader' | 'voter' | 'learner';
  readonly state: 'alive' | 'suspect' | 'dead' | 'unknown';
  /** Its version of the program does not understand the format of the store: it neither votes nor follows. */
  readonly isTooOld?: true;
}

export interface VotersView {
  /** Identity of the store that this node carries; absent before it has founded or joined one. */
  readonly storeId: string | undefined;
  readonly leader: NodeId | undefined;
  /** Sorted by name, then node id. */
  readonly voters: readonly VoterInfo[];
}

/**
 * To add and to remove say what is wanted of a member; the leader then changes the voters one at a time, as it is safe.
 *
 * Errors: QUORUM_UNAVAILABLE, NOT_FOUND (no such member), CONFLICT, UNSUPPORTED where the store is kept by something
 * else (etcd).
 */
export interface Voters {
  list(): VotersView;
  /** A vote for good, beyond the wanted number if need be. By node id, or by a name that one member alone has. CONFLICT for an observer. */
  add(node: string, signal?: AbortSignal): Promise<Result<VotersView>>;
  /** No vote, ever; its place goes to another. CONFLICT where nobody can take it and an even number of voters would be left. */
  remove(node: string, signal?: AbortSignal): Promise<Result<VotersView>>;
  /** A person knows that there is none to join: begins a store here, with this node as its only voter. CONFLICT where this node or a member in reach carries one, and for an observer. */
  found(signal?: AbortSignal): Promise<Result<VotersView>>;
  /** A majority is lost for good: this node goes on alone with what it has. `confirm` is the id of its store. */
  recover(request: { readonly confirm: string }, signal?: AbortSignal): Promise<Result<VotersView>>;
  /** Two stores met and both hold data: the one that this node carries is given up, data and all, for the one with the id `keep`. Export its entries first. */
  merge(request: { readonly keep: string }, signal?: AbortSignal): Promise<Result<VotersView>>;
}
