/** What the faces (MCP, HTTP) need of a node. */
import type { AgentDirectory } from '../agents/api.ts';
import type { Blackboard } from '../blackboard/api.ts';
import type { Budgets } from '../budget/api.ts';
import type { Clock } from '../kernel/ports.ts';
import type { MeshView } from '../mesh/view.ts';
import type { NamedLeases } from '../quorum/leases.ts';
import type { Voters } from '../quorum/voters/voters-api.ts';

export interface NodeFaces {
  readonly blackboard: Blackboard;
  readonly agents: AgentDirectory;
  readonly mesh: MeshView;
  /** For progress of long calls and for coalescing updates. */
  readonly clock: Clock;
  /** Absent, like `leases` and `voters`, where a node has no quorum store. */
  readonly budgets?: Budgets;
  readonly leases?: NamedLeases;
  readonly voters?: Voters;
}
