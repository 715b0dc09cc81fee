/**
 * Swarms made from a shared secret: whoever holds the secret can derive the root key, and so issues its own
 * certificate. Simple, and as strong as the secret: a member that leaves takes the root key with it, so a swarm that
 * must be able to shut somebody out for good is founded with invitations instead.
 */
import { utf8 } from '../../kernel/codec.ts';
import { failWith, ok, type Result } from '../../kernel/errors.ts';
import type { NodeId, SwarmId } from '../../kernel/ids.ts';
import type { Cryptography, Signer } from '../../kernel/ports.ts';
import type { Instant } from '../../kernel/time.ts';
import { CERTIFICATE_SKEW_MS, CERTIFICATE_VALIDITY_MS, issueCertificate, swarmIdOf } from './certificate.ts';

export interface Swarm {
  readonly id: SwarmId;
  readonly rootPublicKey: Uint8Array;
  /** Signs certificates; only an issuer has it. */
  readonly root: Signer;
}

/** What deriving a swarm needs of the host's cryptography. */
interface SwarmTools extends Pick<Cryptography, 'hash'> {
  /** HKDF with SHA-256 and an empty salt (RFC 5869). */
  hkdf(secret: Uint8Array, info: string, length: number): Uint8Array;
  /** The Ed25519 key of a 32-byte seed. */
  signerFromSeed(seed: Uint8Array): Signer;
}

const SECRET_CHARACTERS = { least: 16, most: 1_024 };
const ROOT_INFO = 'skein/swarm/root/1';

/**
 * The swarm of a secret; white space around it does not count, since files end in a newline and people paste spaces.
 * `INVALID_ARGUMENT` for a secret shorter than 16 characters or longer than 1,024.
 */
export function swarmFromSecret(secret: string, tools: SwarmTools): Result<Swarm> {
  const trimmed = secret.trim().normalize('NFC');
  if (trimmed.length < SECRET_CHARACTERS.least || trimmed.length > SECRET_CHARACTERS.most) {
    return failWith(
      'INVALID_ARGUMENT',
      `The swarm secret has ${trimmed.length} characters; it must have ${SECRET_CHARACTERS.least} to ${SECRET_CHARACTERS.most}.`,
      'Take a long random secret, the same on every machine (SKEIN_SWARM_SECRET or the file swarm.secret in the data directory): openssl rand -base64 24',
    );
  }
  const root = tools.signerFromSeed(tools.hkdf(utf8(trimmed), ROOT_INFO, 32));
  return ok({ id: swarmIdOf(tools, root.publicKey), rootPublicKey: root.publicKey, root });
}

/** A certificate of a holder of the root key for a node, from now (less the allowed skew) for 30 days. */
export function certifyMember(
  swarm: Swarm,
  member: {
    readonly nodeId: NodeId;
    readonly name: string;
    readonly roles: readonly string[];
    readonly zone: string;
    readonly serial: number;
  },
  now: Instant,
): Uint8Array {
  return issueCertificate(swarm.root, {
    swarm: swarm.id,
    nodeId: member.nodeId,
    name: member.name,
    roles: member.roles,
    zone: member.zone,
    notBeforeMs: Math.max(0, Math.floor(now.wallMs) - CERTIFICATE_SKEW_MS),
    notAfterMs: Math.floor(now.wallMs) + CERTIFICATE_VALIDITY_MS,
    serial: member.serial,
  });
}
