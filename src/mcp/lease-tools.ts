/** Tools of named leases. */
import { z } from 'zod';
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from '../kernel/codec.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { limits } from '../kernel/limits.ts';
import type { LeaseHolder, LeaseState, NamedLeases } from '../quorum/leases.ts';
import { agentId, flag, text, textOrNull } from './board-arguments.ts';
import type { NodeFaces } from './faces.ts';
import { actingAgent } from './principal.ts';
import { defineTool, type JsonSchema, type Structured, type Tool, type ToolCall } from './tool.ts';

const name = z.string().describe('What it is about, such as "deploy/production".');
const seconds = z.int().min(1).max(limits.ttlSeconds).optional();
const fencingToken = z.int().min(1).optional().describe('Of lease_acquire: only that acquisition.');
const integerOrNull: JsonSchema = { type: ['integer', 'null'] };

const output = {
  held: flag,
  fencing_token: integerOrNull,
  holder: textOrNull,
  machine_id: textOrNull,
  expiresAt: textOrNull,
  name: text,
  already: flag,
};
const always = ['held', 'fencing_token', 'holder', 'machine_id', 'expiresAt', 'name'];

const DEFAULT_TTL_SECONDS = 30;

export function leaseTools(faces: NodeFaces): Tool[] {
  return [leaseAcquire(faces), leaseRenew(faces), leaseRelease(faces)];
}

function leaseAcquire(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'lease_acquire',
      title: 'Acquire a lease',
      description:
        'Become the one holder of a named lease in the whole swarm, until you release it or ttl_seconds pass without lease_renew. held: whether you have it. Pass fencing_token to what the lease protects: it only grows. Give an agent_id where several agents share a machine.',
      effect: 'add',
      idempotent: true,
      input: { name, ttl_seconds: seconds.describe('Default 30.'), agent_id: agentId },
      output,
      always,
      run: (input, call) =>
        onLeases(faces, input, call, (leases, holder) =>
          leases.acquire(
            { name: input.name, holder, ttlMs: (input.ttl_seconds ?? DEFAULT_TTL_SECONDS) * 1000 },
            call.signal,
          ),
        ),
    },
    faces,
  );
}

function leaseRenew(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'lease_renew',
      title: 'Keep a lease',
      description:
        'Keep a lease that you hold for another ttl_seconds. Where held is false you have lost it: stop what it protects.',
      effect: 'add',
      idempotent: true,
      input: {
        name,
        ttl_seconds: seconds.describe('Default: as acquired.'),
        fencing_token: fencingToken,
        agent_id: agentId,
      },
      output,
      always,
      run: (input, call) =>
        onLeases(faces, input, call, (leases, holder) =>
          leases.renew(
            {
              name: input.name,
              holder,
              ttlMs: input.ttl_seconds === undefined ? undefined : input.ttl_seconds * 1000,
              fencingToken: input.fencing_token,
            },
            call.signal,
          ),
        ),
    },
    faces,
  );
}

function leaseRelease(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'lease_release',
      title: 'Release a lease',
      description:
        'Give a lease up, so that the next agent need not wait. Harmless where you do not hold it.',
      effect: 'add',
      idempotent: true,
      input: { name, fencing_token: fencingToken, agent_id: agentId },
      output,
      always,
      run: (input, call) =>
        onLeases(faces, input, call, (leases, holder) =>
          leases.release({ name: input.name, holder, fencingToken: input.fencing_token }, call.signal),
        ),
    },
    faces,
  );
}

async function onLeases(
  { leases, mesh }: NodeFaces,
  input: { readonly agent_id?: string | undefined },
  { principal }: ToolCall,
  run: (leases: NamedLeases, holder: LeaseHolder) => Promise<Result<LeaseState>>,
): Promise<Result<Structured>> {
  if (leases === undefined) return noQuorumStore();
  const agent = actingAgent(principal, input.agent_id);
  if (!agent.ok) return agent;
  const answer = await run(leases, { agent: agent.value, node: mesh.status().nodeId });
  return answer.ok ? ok(leaseResult(answer.value)) : answer;
}

/** A lease as results show it. */
function leaseResult({ name, held, fencingToken, holder, expiresMs, already }: LeaseState): Structured {
  return {
    name,
    held,
    fencing_token: fencingToken ?? null,
    holder: holder?.agent ?? null,
    machine_id: holder?.node ?? null,
    expiresAt: expiresMs === undefined ? null : new Date(Math.round(expiresMs)).toISOString(),
    ...(already === undefined ? {} : { already }),
  };
}

/** Who holds which lease, in the order of names. */
export async function leaseListing(
  leases: NamedLeases,
  { limit = 100, cursor }: { readonly limit?: number; readonly cursor?: string },
  signal?: AbortSignal,
): Promise<Result<Structured>> {
  if (!Number.isInteger(limit) || limit < 1 || limit > limits.listPage)
    return failWith('INVALID_ARGUMENT', `limit must be 1 to ${limits.listPage}.`, 'Use the cursor for more.');
  const bytes = cursor === undefined ? undefined : fromBase64Url(cursor);
  const after = bytes === undefined ? undefined : fromUtf8(bytes);
  if (cursor !== undefined && after === undefined)
    return failWith('INVALID_ARGUMENT', 'The cursor is not one that this call gave out.', 'Leave it out.');
  const page = await leases.list({ limit, after }, signal);
  if (!page.ok) return page;
  const last = page.value.leases.at(-1);
  return ok({
    leases: page.value.leases.map(({ name, holder, fencingToken, ttlMs, acquiredMs }) => ({
      name,
      holder: holder.agent,
      machine_id: holder.node,
      fencing_token: fencingToken,
      ttl_seconds: ttlMs / 1000,
      acquiredAt: new Date(acquiredMs).toISOString(),
    })),
    ...(page.value.more && last !== undefined ? { cursor: toBase64Url(utf8(last.name)) } : {}),
  });
}

export function noQuorumStore(): Result<never> {
  return failWith(
    'UNSUPPORTED',
    'This node has no quorum store.',
    'Start it with quorum.engine embedded or etcd.',
  );
}
