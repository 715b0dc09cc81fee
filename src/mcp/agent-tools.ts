/** Tools of the agent directory. */
import { z } from 'zod';
import type { AgentInfo, AgentRegistration } from '../agents/api.ts';
import type { Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import { agentId, list, text, textOrNull } from './board-arguments.ts';
import type { NodeFaces } from './faces.ts';
import { pageOf } from './page.ts';
import { actingAgent, ZONE_TRUST } from './principal.ts';
import { defineTool, type Structured, type Tool } from './tool.ts';

const agentOutput = {
  agent_id: text,
  machine_id: text,
  machine_name: text,
  capabilities: { type: 'array', items: { type: 'string' } },
  trust_level: { type: 'number' },
  last_seen: text,
  endpoint: textOrNull,
};

export function agentTools(faces: NodeFaces): Tool[] {
  return [agentRegister(faces), agentHeartbeat(faces), agentDiscover(faces)];
}

/** An agent as results show it. */
export function agentResult(agent: AgentInfo): Structured {
  return {
    agent_id: agent.agentId,
    machine_id: agent.machineId,
    machine_name: agent.machineName,
    capabilities: agent.capabilities,
    trust_level: agent.trustLevel,
    last_seen: agent.lastSeen,
    endpoint: agent.endpoint ?? null,
    ...(agent.description === undefined ? {} : { description: agent.description }),
  };
}

/** Where an agent stands in lists: by id, then by machine. */
function agentSortKey(agent: AgentInfo): string {
  return `${agent.agentId}\u0000${agent.machineId}`;
}

function agentRegister(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'agent_register',
      title: 'Register an agent',
      description:
        'Announce an agent and what it can do to the whole swarm, or change what was announced. Send agent_heartbeat before ttl_seconds pass, or it vanishes.',
      effect: 'add',
      idempotent: true,
      input: {
        agent_id: agentId,
        capabilities: z
          .array(z.string().min(1).max(64))
          .min(1)
          .max(64)
          .describe('Such as "review" or "gpu".'),
        trust_level: z.number().min(0).max(1).optional().describe('Capped by your zone.'),
        endpoint: z.string().min(1).max(2048).optional().describe('URL where the agent can be called.'),
        description: z.string().max(1024).optional(),
        ttl_seconds: z.int().min(5).max(3600).optional().describe('Default 60.'),
      },
      output: agentOutput,
      async run(input, call, { agents }) {
        const agent = actingAgent(call.principal, input.agent_id);
        if (!agent.ok) return agent;
        const cap = ZONE_TRUST[call.principal.zone];
        const registration: AgentRegistration = {
          agentId: agent.value,
          capabilities: [...new Set(input.capabilities)],
          trustLevel: Math.min(input.trust_level ?? cap, cap),
          ...(input.endpoint === undefined ? {} : { endpoint: input.endpoint }),
          ...(input.description === undefined ? {} : { description: input.description }),
          ...(input.ttl_seconds === undefined ? {} : { ttlSeconds: input.ttl_seconds }),
        };
        return shown(await agents.register(registration));
      },
    },
    faces,
  );
}

function agentHeartbeat(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'agent_heartbeat',
      title: 'Keep an agent listed',
      description: 'Say that an agent which was registered on this node is still there.',
      effect: 'add',
      idempotent: true,
      input: { agent_id: agentId },
      output: agentOutput,
      async run(input, call, { agents }) {
        const agent = actingAgent(call.principal, input.agent_id);
        return agent.ok ? shown(await agents.heartbeat(agent.value)) : agent;
      },
    },
    faces,
  );
}

function agentDiscover(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'agent_discover',
      title: 'Find agents',
      description: 'Find agents anywhere in the swarm, by what they can do and how far they are trusted.',
      effect: 'read',
      idempotent: true,
      input: {
        capability: z.string().min(1).max(64).optional(),
        min_trust: z.number().min(0).max(1).optional(),
        limit: z.int().min(1).max(limits.listPage).optional().describe('Default 100.'),
        cursor: z.string().optional(),
      },
      output: { agents: list, cursor: text },
      always: ['agents'],
      run(input, _call, { agents }) {
        const found = agents.discover({
          ...(input.capability === undefined ? {} : { capability: input.capability }),
          ...(input.min_trust === undefined ? {} : { minTrust: input.min_trust }),
        });
        const sorted = found.toSorted((left, right) => (agentSortKey(left) < agentSortKey(right) ? -1 : 1));
        const page = pageOf(sorted, agentSortKey, input);
        if (!page.ok) return page;
        const { items, cursor } = page.value;
        return {
          ok: true,
          value: { agents: items.map(agentResult), ...(cursor === undefined ? {} : { cursor }) },
        };
      },
    },
    faces,
  );
}

function shown(answer: Result<AgentInfo>): Result<Structured> {
  return answer.ok ? { ok: true, value: agentResult(answer.value) } : answer;
}
