/** What an agent says of itself: checked when it registers, and again when it arrives from another node. */

import { utf8 } from '../kernel/codec.ts';
import { type ErrorBody, errorBody, fail, ok, type Result } from '../kernel/errors.ts';
import { type AgentId, parseAgentId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';

/** No agent of a node is trusted further than this: what the local zone allows. */
const MOST_TRUST = 0.9;
const CAPABILITIES = 64;
const CAPABILITY = /^[^\p{C}]{1,64}$/u;
const ENDPOINT_CHARACTERS = 2_048;
const DESCRIPTION_CHARACTERS = 1_024;
const TTL = { least: 5, most: 3_600, usual: 60 } as const;

/** A checked registration, and the body of an `agent` record but for `lastSeen`. */
export interface Profile {
  /** Sorted, without doubles. */
  readonly capabilities: readonly string[];
  readonly trustLevel: number;
  readonly ttlSeconds: number;
  readonly endpoint?: string;
  readonly description?: string;
}

/** Body of an `agent` record; its key is the agent's id. */
export interface AgentBody extends Profile {
  /** Milliseconds since 1970 on the clock of the agent's node. */
  readonly lastSeen: number;
}

/** `INVALID_ARGUMENT` says which field is wrong and what it may be. */
export function checkRegistration(input: unknown): Result<{ agentId: AgentId; profile: Profile }> {
  const fields = asObject(input);
  if (fields === undefined) return invalid('A registration is an object.', 'Send agent_id and capabilities.');
  const agentId = parseAgentId(fields.agentId);
  if (agentId === undefined || utf8(agentId).length > limits.recordKeyBytes) {
    return invalid(
      'The agent id is missing or not usable.',
      `Use 1 to 128 printable characters without white space, at most ${limits.recordKeyBytes} bytes.`,
    );
  }
  const profile = checkProfile(fields);
  return profile.ok ? ok({ agentId, profile: profile.value }) : profile;
}

/** The body of another node's record, or `undefined` where it is not one. */
export function parseAgentBody(body: unknown): AgentBody | undefined {
  const fields = asObject(body);
  const lastSeen = fields?.lastSeen;
  if (fields === undefined || typeof lastSeen !== 'number') return undefined;
  // The bound is that of a date.
  if (!Number.isSafeInteger(lastSeen) || lastSeen < 0 || lastSeen > 8.64e15) return undefined;
  const profile = checkProfile(fields);
  return profile.ok ? { ...profile.value, lastSeen } : undefined;
}

export function sameProfile(left: Profile, right: Profile): boolean {
  return (
    left.trustLevel === right.trustLevel &&
    left.ttlSeconds === right.ttlSeconds &&
    left.endpoint === right.endpoint &&
    left.description === right.description &&
    left.capabilities.join('\n') === right.capabilities.join('\n')
  );
}

function checkProfile(fields: Readonly<Record<string, unknown>>): Result<Profile> {
  const { capabilities, trustLevel = MOST_TRUST, ttlSeconds = TTL.usual, endpoint, description } = fields;
  if (!Array.isArray(capabilities) || capabilities.length === 0 || capabilities.length > CAPABILITIES) {
    return invalid('An agent has 1 to 64 capabilities.', 'List what the agent can do, such as ["review"].');
  }
  if (!capabilities.every((item): item is string => typeof item === 'string' && CAPABILITY.test(item))) {
    return invalid('A capability is not usable.', 'Each is a text of 1 to 64 printable characters.');
  }
  if (typeof trustLevel !== 'number' || !(trustLevel >= 0 && trustLevel <= 1)) {
    return invalid('The trust level is out of range.', 'Give a number from 0 to 1, or none.');
  }
  if (!isTtl(ttlSeconds)) {
    return invalid('The time to live is out of range.', 'Give whole seconds from 5 to 3600, or none for 60.');
  }
  if (endpoint !== undefined && !isEndpoint(endpoint)) {
    return invalid('The endpoint is not a URL.', 'Give a full URL of at most 2048 characters, or none.');
  }
  if (description !== undefined && !isDescription(description)) {
    return invalid('The description is not usable.', 'Give a text of at most 1024 characters, or none.');
  }
  return ok({
    capabilities: [...new Set(capabilities)].sort(),
    trustLevel: Math.min(trustLevel, MOST_TRUST),
    ttlSeconds,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(description === undefined ? {} : { description }),
  });
}

function isTtl(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= TTL.least && (value as number) <= TTL.most;
}

function isEndpoint(value: unknown): value is string {
  return typeof value === 'string' && value.length <= ENDPOINT_CHARACTERS && URL.canParse(value);
}

function isDescription(value: unknown): value is string {
  return typeof value === 'string' && value.length <= DESCRIPTION_CHARACTERS;
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}

function invalid(message: string, hint: string): { readonly ok: false; readonly error: ErrorBody } {
  return fail(errorBody('INVALID_ARGUMENT', message, hint));
}
