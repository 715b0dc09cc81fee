import type { NodeId } from '../kernel/ids.ts';

export type MemberState = 'alive' | 'suspect' | 'dead';

export interface PeerInfo {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly roles: readonly string[];
  readonly zone: string;
  readonly state: MemberState;
  readonly addresses: readonly string[];
  /** Round trip of the last heartbeat; absent for oneself and for members without a link. */
  readonly rttMs?: number;
  readonly self: boolean;
}

/** The mesh as its users see it; sorted by name, then id; the node itself included. */
export interface MeshView {
  peers(): readonly PeerInfo[];
  status(): MeshStatus;
  /** Calls back when `peers` may say something else, more than a round-trip time; the returned function ends it. */
  watch(listener: () => void): () => void;
}

export interface MeshStatus {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly swarm: string;
  readonly roles: readonly string[];
  readonly version: string;
  readonly startedAt: string;
  readonly meshAddresses: readonly string[];
  readonly links: number;
  /** Absent where the node has no quorum store. */
  readonly quorum?: QuorumView;
  /** What a person should know: each says what is wrong and how to mend it. */
  readonly problems: readonly Problem[];
}

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Who keeps the quorum store, as this node sees it. */
export interface QuorumView {
  readonly engine: 'embedded' | 'etcd';
  /** Absent before the node has founded or joined one. */
  readonly storeId?: string;
  readonly leader?: NodeId;
  /** Sorted by name; empty where etcd keeps the store. */
  readonly voters: readonly {
    readonly nodeId: NodeId;
    readonly name: string;
    readonly role: 'leader' | 'voter' | 'learner';
    readonly state: MemberState | 'unknown';
  }[];
  /** Voters that cannot be reached from here. */
  readonly missing: readonly NodeId[];
}
