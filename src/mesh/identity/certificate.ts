/**
 * Membership certificates: the swarm's root key says who a node is.
 *
 * The bytes of a certificate are the root's signature, then the body as msgpack. The signature covers the very bytes
 * of the body (with a prefix that no other signed thing shares), so there is nothing to canonicalise and no two
 * spellings of one certificate that both verify.
 *
 * It says nothing about what a member may do, only that it is one; and it cannot be taken back by itself: revocation
 * is a record of its own.
 */
import { concatBytes, decode, encode, toHex, utf8 } from '../../kernel/codec.ts';
import { fail, ok, type Result } from '../../kernel/errors.ts';
import { type NodeId, parseNodeId, parseSwarmId, type SwarmId } from '../../kernel/ids.ts';
import type { Cryptography, Signer } from '../../kernel/ports.ts';
import type { Instant } from '../../kernel/time.ts';

export interface CertificateBody {
  readonly swarm: SwarmId;
  readonly nodeId: NodeId;
  /** The machine's name, for people: 1 to 63 printable characters without white space. */
  readonly name: string;
  /** At most 16 words. */
  readonly roles: readonly string[];
  /** Trust zone, one word. */
  readonly zone: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Tells certificates of one node apart; positive. */
  readonly serial: number;
}

/** Why a certificate is refused. */
type CertificateProblem =
  | 'malformed'
  | 'wrong-swarm'
  | 'bad-signature'
  | 'other-node'
  | 'not-yet-valid'
  | 'expired';

/** How far two clocks may disagree about a certificate's validity. */
export const CERTIFICATE_SKEW_MS = 5 * 60_000;
/** How long a certificate lasts by default. */
export const CERTIFICATE_VALIDITY_MS = 30 * 24 * 3_600_000;

const DOMAIN = utf8('skein/certificate/1\0');
const SIGNATURE_BYTES = 64;
const CERTIFICATE_BYTES = 4_096;
const NAME = /^[^\s\p{C}]{1,63}$/u;
const WORD = /^[a-z][a-z0-9-]{0,31}$/;
const ROLES = 16;

/** True for a machine name that a certificate can carry. */
function isMachineName(name: unknown): name is string {
  return typeof name === 'string' && NAME.test(name);
}

/** The swarm that a root key makes: the first 16 hexadecimal digits of the SHA-256 of its public key. */
export function swarmIdOf(cryptography: Pick<Cryptography, 'hash'>, rootPublicKey: Uint8Array): SwarmId {
  const id = parseSwarmId(toHex(cryptography.hash(rootPublicKey)).slice(0, 16));
  if (id === undefined) throw new RangeError('a hash has at least 8 bytes');
  return id;
}

/** Signs a body. Throws `RangeError` for a body that `openCertificate` would call malformed. */
export function issueCertificate(root: Signer, body: CertificateBody): Uint8Array {
  const bytes = encode([
    body.swarm,
    body.nodeId,
    body.name,
    body.roles,
    body.zone,
    body.notBeforeMs,
    body.notAfterMs,
    body.serial,
  ]);
  if (parseBody(bytes) === undefined) throw new RangeError('a field of the certificate is out of its bounds');
  return concatBytes([root.sign(concatBytes([DOMAIN, bytes])), bytes]);
}

/** The body, where the root of this swarm signed it for `expectedNodeId`. Its dates are for `validityProblem`. Never throws. */
export function openCertificate(
  cryptography: Cryptography,
  rootPublicKey: Uint8Array,
  bytes: Uint8Array,
  expectedNodeId: NodeId,
): Result<CertificateBody, CertificateProblem> {
  if (bytes.length <= SIGNATURE_BYTES || bytes.length > CERTIFICATE_BYTES) return fail('malformed');
  const signed = bytes.subarray(SIGNATURE_BYTES);
  const body = parseBody(signed);
  if (body === undefined) return fail('malformed');
  if (body.swarm !== swarmIdOf(cryptography, rootPublicKey)) return fail('wrong-swarm');
  const signature = bytes.subarray(0, SIGNATURE_BYTES);
  if (!cryptography.verify(rootPublicKey, concatBytes([DOMAIN, signed]), signature))
    return fail('bad-signature');
  return body.nodeId === expectedNodeId ? ok(body) : fail('other-node');
}

/** Whether the dates of a certificate hold now, give or take `CERTIFICATE_SKEW_MS`. */
export function validityProblem(
  body: CertificateBody,
  now: Instant,
): 'not-yet-valid' | 'expired' | undefined {
  if (now.wallMs < body.notBeforeMs - CERTIFICATE_SKEW_MS) return 'not-yet-valid';
  if (now.wallMs > body.notAfterMs + CERTIFICATE_SKEW_MS) return 'expired';
  return undefined;
}

function parseBody(bytes: Uint8Array): CertificateBody | undefined {
  const fields = decode(bytes);
  if (!Array.isArray(fields) || fields.length !== 8) return undefined;
  const [swarmText, nodeText, name, roles, zone, notBeforeMs, notAfterMs, serial] = fields as unknown[];
  const swarm = parseSwarmId(swarmText);
  const nodeId = parseNodeId(nodeText);
  if (swarm === undefined || nodeId === undefined || !isMachineName(name)) return undefined;
  if (!Array.isArray(roles) || roles.length > ROLES || !roles.every(isWord) || !isWord(zone))
    return undefined;
  if (!isCount(notBeforeMs) || !isCount(notAfterMs) || !isCount(serial) || serial === 0) return undefined;
  if (notAfterMs < notBeforeMs) return undefined;
  return { swarm, nodeId, name, roles, zone, notBeforeMs, notAfterMs, serial };
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && WORD.test(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
