/** API keys of the configuration, and who a request comes from. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { failWith, ok, type Result, SkeinError } from '../../kernel/errors.ts';
import { parseAgentId } from '../../kernel/ids.ts';
import { actingAgent, localPrincipal, type Principal, type Zone } from '../../mcp/principal.ts';

export interface ApiKey {
  readonly principal: string;
  readonly zone: Zone;
  /** SHA-256 of the secret in hexadecimal, with or without `sha256:` in front. */
  readonly hash?: string;
  /** The secret itself; prefer `hash`. */
  readonly secret?: string;
}

interface KnownKey {
  readonly digest: Buffer;
  readonly principal: Principal;
}

const LEAST_SECRET = 16;

export class KeyRing {
  readonly #keys: readonly KnownKey[];

  /** Throws a `SkeinError` for a key that cannot be used. */
  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.map(knownKey);
  }

  get isEmpty(): boolean {
    return this.#keys.length === 0;
  }

  /** Takes the same time whichever key matches, and whether one does. */
  principalOf(secret: string): Principal | undefined {
    const digest = sha256(secret);
    let found: Principal | undefined;
    for (const key of this.#keys) if (timingSafeEqual(key.digest, digest)) found = key.principal;
    return found;
  }
}

/** Who calls over TCP: the holder of a key, or, where no key is configured, a process of this machine. */
export function callerOverTcp(
  ring: KeyRing,
  request: IncomingMessage,
  queryKey?: string | null,
): Result<Principal> {
  if (ring.isEmpty) return ok(localPrincipal());
  const secret = presentedSecret(request) ?? queryKey ?? undefined;
  if (secret === undefined) {
    return failWith(
      'UNAUTHENTICATED',
      'This node wants an API key.',
      'Send it as "Authorization: Bearer KEY" or "X-Api-Key: KEY".',
    );
  }
  const principal = ring.principalOf(secret);
  if (principal !== undefined) return ok(principal);
  return failWith(
    'UNAUTHENTICATED',
    'This API key is not known.',
    'Check the key, or ask an operator for one.',
  );
}

/** The caller as the agent that it names in a header (or, for WebSockets, in the query). */
export function asAgent(principal: Principal, agent: string | null | undefined): Result<Principal> {
  if (agent === undefined || agent === null || agent === '') return ok(principal);
  const acting = actingAgent(principal, agent);
  return acting.ok ? ok({ ...principal, agent: acting.value }) : acting;
}

function presentedSecret(request: IncomingMessage): string | undefined {
  const bearer = /^bearer +([^\s]+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (bearer !== undefined) return bearer;
  const header = request.headers['x-api-key'];
  return typeof header === 'string' && header !== '' ? header : undefined;
}

function knownKey({ principal, zone, hash, secret }: ApiKey): KnownKey {
  const name = parseAgentId(principal);
  if (name === undefined) {
    throw SkeinError.of(
      'INVALID_ARGUMENT',
      `An API key has the principal ${JSON.stringify(principal)}, which is not a name.`,
      'Use 1 to 128 printable characters without white space.',
    );
  }
  const known = { name, zone, agent: name, actsForAnyone: false };
  const hex = hash?.replace(/^sha256:/, '');
  if (hex !== undefined && /^[0-9a-f]{64}$/i.test(hex)) {
    return { digest: Buffer.from(hex, 'hex'), principal: known };
  }
  if (hash === undefined && secret !== undefined && secret.length >= LEAST_SECRET) {
    return { digest: sha256(secret), principal: known };
  }
  throw SkeinError.of(
    'INVALID_ARGUMENT',
    `The API key of "${principal}" has neither a SHA-256 hash nor a secret of at least ${LEAST_SECRET} characters.`,
    'Give "hash" (sha256 of the secret, in hexadecimal) or "secret".',
  );
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text, 'utf8').digest();
}
