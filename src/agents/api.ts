import type { Result } from '../kernel/errors.ts';
import type { AgentId, NodeId } from '../kernel/ids.ts';

export interface AgentRegistration {
  readonly agentId: AgentId;
  /** 1 to 64 of 1 to 64 characters each. */
  readonly capabilities: readonly string[];
  /** 0 to 1; capped by what the agent's zone allows (local 0.9). */
  readonly trustLevel?: number;
  /** Where the agent itself can be called, if it can. */
  readonly endpoint?: string;
  readonly description?: string;
  /** 5 to 3600, default 60: without a heartbeat for this long the agent is no longer listed. */
  readonly ttlSeconds?: number;
}

export interface AgentInfo {
  readonly agentId: string;
  readonly machineId: NodeId;
  readonly machineName: string;
  readonly capabilities: readonly string[];
  readonly trustLevel: number;
  /** ISO 8601 in UTC. */
  readonly lastSeen: string;
  readonly endpoint?: string;
  readonly description?: string;
}

export interface DiscoverQuery {
  readonly capability?: string;
  readonly minTrust?: number;
}

/** Agents anywhere in the mesh: registered on this node, discoverable on every node. */
export interface AgentDirectory {
  register(registration: AgentRegistration): Promise<Result<AgentInfo>>;
  /** `NOT_FOUND` where the agent is not registered on this node. */
  heartbeat(agentId: AgentId): Promise<Result<AgentInfo>>;
  /** Sorted by agent id, then machine. */
  discover(query: DiscoverQuery): readonly AgentInfo[];
  /** Calls back when `discover` may say something else, more than `lastSeen`; the returned function ends it. */
  watch(listener: () => void): () => void;
}

/** What a local caller can ask of the registry; `discover` is read at once, without a call. */
export type AgentCall =
  | { readonly op: 'register'; readonly registration: AgentRegistration }
  | { readonly op: 'heartbeat'; readonly agentId: AgentId };
