import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import { type AgentBody, parseAgentBody, sameProfile } from './registration.ts';

/** How long a refresh may take to get here. */
const TRANSIT_MS = 5_000;

interface RemoteAgent {
  readonly owner: NodeId;
  readonly agentId: string;
  readonly body: AgentBody;
  /** On this node's monotonic clock: when the body was first here. */
  readonly heardMs: number;
  /** Its record was replaced while this node watched: so its node was alive then, whatever the clocks say. */
  readonly watched: boolean;
  /** Kept all the same: when its next record comes, it is known to have been watched. */
  isExpired: boolean;
}

/**
 * Agents of other nodes, as their records say.
 *
 * Their node withdraws them in time; what is here is for the case that it cannot. A body expires once no newer
 * one has come for its time to live. Where it was never seen to change it may be old itself, so that its stamp is
 * looked at too, with an allowance for clocks that differ.
 */
export class RemoteAgents {
  readonly #agents = new Map<string, RemoteAgent>();
  /** No agent expires before. */
  #nextExpiryMs = Number.POSITIVE_INFINITY;

  get nextExpiryMs(): number {
    return this.#nextExpiryMs;
  }

  hasAny(owner: NodeId, now: Instant): boolean {
    for (const agent of this.living(now)) if (agent.owner === owner) return true;
    return false;
  }

  *living(now: Instant): Generator<RemoteAgent> {
    for (const agent of this.#agents.values()) {
      if (!agent.isExpired && expiryMs(agent, now) > now.monoMs) yield agent;
    }
  }

  /** The record is new here; true where more than its `lastSeen` has changed. A body of no use counts as withdrawn. */
  changed(owner: NodeId, agentId: string, body: unknown, now: Instant, watched: boolean): boolean {
    const name = `${owner} ${agentId}`;
    const known = this.#agents.get(name);
    const parsed = parseAgentBody(body);
    if (parsed === undefined) return this.#agents.delete(name) && known?.isExpired === false;
    const agent: RemoteAgent = {
      owner,
      agentId,
      body: parsed,
      heardMs: now.monoMs,
      watched: watched && known !== undefined,
      isExpired: false,
    };
    agent.isExpired = expiryMs(agent, now) <= now.monoMs;
    this.#agents.set(name, agent);
    if (!agent.isExpired) this.#nextExpiryMs = Math.min(this.#nextExpiryMs, expiryMs(agent, now));
    const wasListed = known !== undefined && !known.isExpired;
    return wasListed === agent.isExpired || (wasListed && !sameProfile(known.body, parsed));
  }

  /** Leaves out what has expired; true where there was any. */
  expire(now: Instant): boolean {
    let expired = false;
    this.#nextExpiryMs = Number.POSITIVE_INFINITY;
    for (const agent of this.#agents.values()) {
      if (agent.isExpired) continue;
      const atMs = expiryMs(agent, now);
      agent.isExpired = atMs <= now.monoMs;
      expired ||= agent.isExpired;
      if (!agent.isExpired) this.#nextExpiryMs = Math.min(this.#nextExpiryMs, atMs);
    }
    return expired;
  }
}

/** On the monotonic clock. */
function expiryMs({ body, heardMs, watched }: RemoteAgent, now: Instant): number {
  const ttlMs = body.ttlSeconds * 1_000 + TRANSIT_MS;
  const byHearing = heardMs + ttlMs;
  if (watched) return byHearing;
  const byStamp = now.monoMs + (body.lastSeen + ttlMs + limits.clockSkewMs - now.wallMs);
  return Math.min(byHearing, byStamp);
}
