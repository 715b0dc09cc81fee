/** Who calls, as the faces established it, and as which agent it may act. */
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type AgentId, parseAgentId } from '../kernel/ids.ts';

export const ZONES = ['local', 'trusted', 'external'] as const;
export type Zone = (typeof ZONES)[number];

/** The highest trust level that an agent of a zone can claim. */
export const ZONE_TRUST: Readonly<Record<Zone, number>> = { local: 0.9, trusted: 0.7, external: 0.5 };

export interface Principal {
  /** The name that the caller proved; sessions and caps are bound to it. */
  readonly name: AgentId;
  readonly zone: Zone;
  /** Acts as this agent where a call names no other. */
  readonly agent: AgentId;
  /**
   * Whether the caller may act as any agent: processes of this machine may. A caller with a key may act as itself
   * and as agents named under it (`name/…`), so that one key can serve several agents.
   */
  readonly actsForAnyone: boolean;
}

/** A process of this machine, by loopback or by the node's sockets. */
export function localPrincipal(agent?: AgentId): Principal {
  const name = 'local' as AgentId;
  return { name, zone: 'local', agent: agent ?? name, actsForAnyone: true };
}

/** The agent as which a call acts. */
export function actingAgent(principal: Principal, named: string | undefined): Result<AgentId> {
  if (named === undefined) return ok(principal.agent);
  const agent = parseAgentId(named);
  if (agent === undefined) {
    return failWith(
      'INVALID_ARGUMENT',
      'agent_id must be 1 to 128 printable characters without white space.',
      'Give the agent a short name, such as "planner-1".',
    );
  }
  const allowed =
    principal.actsForAnyone || agent === principal.name || agent.startsWith(`${principal.name}/`);
  if (allowed) return ok(agent);
  return failWith(
    'DENIED',
    `"${principal.name}" may not act as "${agent}".`,
    `Leave agent_id out, or name the agent "${principal.name}/…".`,
  );
}
