/**
 * The registry of agents: registered on the node that they work at, discoverable on every node.
 *
 * Intuition: an agent is a signed record of its node, so nobody can register agents in another node's name, and
 * the record travels like any other. What is special is that it must vanish by itself.
 *
 * Method: heartbeats stay on the node, which publishes `lastSeen` at most once in a third of the time to live, and
 * withdraws the record once the heartbeats stop. Readers leave out the agents of nodes that are not alive, and
 * those whose record has not been renewed for the time to live (the node is cut off, but not yet declared dead).
 *
 * Limits: an agent is believed about its capabilities and its endpoint. `lastSeen` is on the clock of its node, and
 * elsewhere up to a third of the time to live behind.
 */
import type { Answer } from '../kernel/effects.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import type { AgentId, NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Machine } from '../kernel/machine.ts';
import { type Deadline, earliest, type Instant } from '../kernel/time.ts';
import type { MemberState } from '../mesh/view.ts';
import type { RecordView } from '../replication/record.ts';
import type { RecordChanged, Records, RecordsEffect } from '../replication/records.ts';
import type { AgentCall, AgentInfo, DiscoverQuery } from './api.ts';
import {
  type AgentBody,
  checkRegistration,
  type Profile,
  parseAgentBody,
  sameProfile,
} from './registration.ts';
import { RemoteAgents } from './remote-agents.ts';

export type AgentsEvent =
  | { readonly kind: 'requested'; readonly id: number; readonly call: AgentCall }
  /** A record of any kind and owner; those of other kinds are passed over. */
  | RecordChanged
  | { readonly kind: 'memberChanged'; readonly member: NodeId; readonly state: MemberState };

/** The list that `discover` gives has changed in more than `lastSeen`. */
interface AgentsChanged {
  readonly kind: 'agentsChanged';
}

/** The records' effects come from publishing; the host routes them as if the records had given them. */
export type AgentsEffect = Answer | AgentsChanged | RecordsEffect;

interface AgentsOptions {
  readonly self: NodeId;
  readonly records: RecordView & Pick<Records, 'publish'>;
  /** True also for a node that is merely suspected. Not asked about this node itself. */
  readonly isAlive: (node: NodeId) => boolean;
  readonly nameOf: (node: NodeId) => string;
}

interface LocalAgent {
  readonly agentId: AgentId;
  readonly profile: Profile;
  lastSeen: Instant;
  /** When it was last published, on the monotonic clock; what was seen since then is known here only. */
  publishedMs: number;
}

const STREAM = 'agents';
const CHANGED: AgentsChanged = { kind: 'agentsChanged' };

export class Agents implements Machine<AgentsEvent, AgentsEffect> {
  readonly #self: NodeId;
  readonly #records: RecordView & Pick<Records, 'publish'>;
  readonly #isAlive: (node: NodeId) => boolean;
  readonly #nameOf: (node: NodeId) => string;
  readonly #local = new Map<string, LocalAgent>();
  readonly #remote = new RemoteAgents();
  #deadline: Deadline | undefined;
  #isDeadlineKnown = false;

  constructor(options: AgentsOptions) {
    this.#self = options.self;
    this.#records = options.records;
    this.#isAlive = options.isAlive;
    this.#nameOf = options.nameOf;
  }

  /** Call once the records are loaded: this node's agents of before the restart keep what is left of their time. */
  load(now: Instant): void {
    for (const { owner, key, body } of this.#records.ofKind('agent')) {
      if (owner === this.#self) this.#returned(key, body, now);
      else this.#remote.changed(owner, key, body, now, false);
    }
  }

  handle(event: AgentsEvent, now: Instant): readonly AgentsEffect[] {
    switch (event.kind) {
      case 'requested':
        return this.#requested(event.id, event.call, now);
      case 'recordChanged':
        return this.#recordChanged(event, now);
      case 'memberChanged':
        return this.#remote.hasAny(event.member, now) ? [CHANGED] : [];
    }
  }

  expire(now: Instant): readonly AgentsEffect[] {
    const effects: AgentsEffect[] = [];
    this.#isDeadlineKnown = false;
    let changed = this.#remote.nextExpiryMs <= now.monoMs && this.#remote.expire(now);
    for (const agent of this.#local.values()) {
      if (expiryMs(agent) <= now.monoMs) {
        this.#local.delete(agent.agentId);
        effects.push(...this.#records.publish('agent', agent.agentId, undefined, now));
        changed = true;
      } else if ((refreshMs(agent) ?? Number.POSITIVE_INFINITY) <= now.monoMs) {
        effects.push(...this.#publish(agent, now));
      }
    }
    if (changed) effects.push(CHANGED);
    return effects;
  }

  deadline(): Deadline | undefined {
    const remoteMs = this.#remote.nextExpiryMs;
    return earliest([
      this.#localDeadline(),
      remoteMs === Number.POSITIVE_INFINITY ? undefined : { atMs: remoteMs, reason: 'agents.remoteExpiry' },
    ]);
  }

  /** Sorted by agent id, then machine. */
  discover(query: DiscoverQuery, now: Instant): readonly AgentInfo[] {
    const { capability, minTrust = 0 } = query;
    const found: AgentInfo[] = [];
    const consider = (owner: NodeId, agentId: string, body: AgentBody): void => {
      if (capability !== undefined && !body.capabilities.includes(capability)) return;
      if (body.trustLevel >= minTrust) found.push(this.#info(owner, agentId, body));
    };
    for (const agent of this.#local.values()) {
      if (expiryMs(agent) > now.monoMs) consider(this.#self, agent.agentId, bodyOf(agent));
    }
    const alive = new Map<NodeId, boolean>();
    for (const { owner, agentId, body } of this.#remote.living(now)) {
      let isAlive = alive.get(owner);
      if (isAlive === undefined) {
        isAlive = this.#isAlive(owner);
        alive.set(owner, isAlive);
      }
      if (isAlive) consider(owner, agentId, body);
    }
    return found.sort(
      (left, right) => compare(left.agentId, right.agentId) || compare(left.machineId, right.machineId),
    );
  }

  /** Hosts ask after every event, a node has up to 1,000 agents, and most events are about none of them. */
  #localDeadline(): Deadline | undefined {
    if (!this.#isDeadlineKnown) {
      const deadlines: Deadline[] = [];
      for (const agent of this.#local.values()) {
        deadlines.push({ atMs: expiryMs(agent), reason: 'agents.expiry' });
        const refreshAtMs = refreshMs(agent);
        if (refreshAtMs !== undefined) deadlines.push({ atMs: refreshAtMs, reason: 'agents.refresh' });
      }
      this.#deadline = earliest(deadlines);
      this.#isDeadlineKnown = true;
    }
    return this.#deadline;
  }

  #requested(id: number, call: AgentCall, now: Instant): readonly AgentsEffect[] {
    const effects: AgentsEffect[] = [];
    this.#isDeadlineKnown = false;
    const result =
      call.op === 'register'
        ? this.#register(call.registration, now, effects)
        : this.#heartbeat(call.agentId, now, effects);
    effects.push({ kind: 'answer', stream: STREAM, id, result });
    return effects;
  }

  #register(registration: unknown, now: Instant, effects: AgentsEffect[]): Result<AgentInfo> {
    const checked = checkRegistration(registration);
    if (!checked.ok) return checked;
    const { agentId, profile } = checked.value;
    if (!this.#local.has(agentId) && this.#local.size >= limits.agentsPerNode) {
      return failWith(
        'QUOTA_EXCEEDED',
        `This node has ${limits.agentsPerNode} agents already.`,
        'Let agents that are done miss their heartbeats, or register on another node.',
        { retryable: true },
      );
    }
    const known = this.#local.get(agentId);
    if (known !== undefined && sameProfile(known.profile, profile)) {
      return this.#heartbeat(agentId, now, effects);
    }
    const agent: LocalAgent = { agentId, profile, lastSeen: now, publishedMs: now.monoMs };
    this.#local.set(agentId, agent);
    effects.push(...this.#publish(agent, now), CHANGED);
    return ok(this.#info(this.#self, agentId, bodyOf(agent)));
  }

  #heartbeat(agentId: unknown, now: Instant, effects: AgentsEffect[]): Result<AgentInfo> {
    if (typeof agentId !== 'string')
      return failWith(
        'INVALID_ARGUMENT',
        'The agent id is not a text.',
        'Pass the one it was registered with.',
      );
    const agent = this.#local.get(agentId);
    if (agent === undefined) {
      return failWith(
        'NOT_FOUND',
        `No agent ${JSON.stringify(agentId.slice(0, 128))} is registered on this node.`,
        'Register it with agent_register; an agent that misses its heartbeats is forgotten.',
      );
    }
    agent.lastSeen = now;
    if ((refreshMs(agent) ?? Number.POSITIVE_INFINITY) <= now.monoMs) {
      effects.push(...this.#publish(agent, now));
    }
    return ok(this.#info(this.#self, agent.agentId, bodyOf(agent)));
  }

  #recordChanged({ record }: RecordChanged, now: Instant): readonly AgentsEffect[] {
    const { owner, kind, key } = record;
    if (kind !== 'agent') return [];
    const body = this.#records.body(owner, kind, key);
    if (owner !== this.#self) {
      return this.#remote.changed(owner, key, body, now, true) && this.#isAlive(owner) ? [CHANGED] : [];
    }
    // From a life of this node whose disk was lost: it has what is left of its time.
    return !this.#local.has(key) && this.#returned(key, body, now) ? [CHANGED] : [];
  }

  #returned(key: string, body: unknown, now: Instant): boolean {
    const parsed = parseAgentBody(body);
    if (parsed === undefined) return false;
    const { lastSeen: wallMs, ...profile } = parsed;
    // A stamp of the future, from a clock that was wrong, must not make it immortal.
    const ageMs = Math.max(0, now.wallMs - wallMs);
    const lastSeen = { wallMs: Math.min(wallMs, now.wallMs), monoMs: now.monoMs - ageMs };
    this.#isDeadlineKnown = false;
    this.#local.set(key, { agentId: key as AgentId, profile, lastSeen, publishedMs: lastSeen.monoMs });
    return true;
  }

  #publish(agent: LocalAgent, now: Instant): readonly RecordsEffect[] {
    agent.publishedMs = now.monoMs;
    return this.#records.publish('agent', agent.agentId, bodyOf(agent), now);
  }

  #info(owner: NodeId, agentId: string, body: AgentBody): AgentInfo {
    return {
      agentId,
      machineId: owner,
      machineName: this.#nameOf(owner),
      capabilities: body.capabilities,
      trustLevel: body.trustLevel,
      lastSeen: new Date(body.lastSeen).toISOString(),
      ...(body.endpoint === undefined ? {} : { endpoint: body.endpoint }),
      ...(body.description === undefined ? {} : { description: body.description }),
    };
  }
}

function bodyOf({ profile, lastSeen }: LocalAgent): AgentBody {
  return { ...profile, lastSeen: Math.floor(lastSeen.wallMs) };
}

/** When an agent that stays silent is forgotten, on the monotonic clock. */
function expiryMs({ profile, lastSeen }: LocalAgent): number {
  return lastSeen.monoMs + profile.ttlSeconds * 1_000;
}

/** When a heartbeat that others do not know of is due to be published; `undefined` where there is none. */
function refreshMs({ profile, lastSeen, publishedMs }: LocalAgent): number | undefined {
  if (lastSeen.monoMs <= publishedMs) return undefined;
  return publishedMs + (profile.ttlSeconds * 1_000) / 3;
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
