import { decode } from '../kernel/codec.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Cryptography } from '../kernel/ports.ts';
import { type CertificateBody, openCertificate } from '../mesh/identity/certificate.ts';
import type { SignedRecord } from '../replication/record.ts';

/**
 * Whose records count: nodes for which the swarm's root vouches. Learnt from greetings, and from the certificate
 * that every `node` record carries, so that records of a member that this node never met are believed while those
 * of made-up identities are not (a swarm key is the price of an identity).
 *
 * Dates are not asked for here: what a member said while its certificate was valid stays said.
 */
export class MemberCertificates {
  readonly #cryptography: Cryptography;
  readonly #rootPublicKey: Uint8Array;
  readonly #known = new Map<NodeId, CertificateBody>();

  constructor(cryptography: Cryptography, rootPublicKey: Uint8Array) {
    this.#cryptography = cryptography;
    this.#rootPublicKey = rootPublicKey;
  }

  has(node: NodeId): boolean {
    return this.#known.has(node);
  }

  learn(node: NodeId, certificate: Uint8Array): boolean {
    const opened = openCertificate(this.#cryptography, this.#rootPublicKey, certificate, node);
    if (!opened.ok) return false;
    if (!this.#known.has(node) && this.#known.size >= limits.members) return false;
    this.#known.set(node, opened.value);
    return true;
  }

  /** Remembers a certificate that a verified greeting showed. */
  remember(certificate: CertificateBody): void {
    if (this.#known.size < limits.members) this.#known.set(certificate.nodeId, certificate);
  }

  admits(record: SignedRecord): boolean {
    if (this.#known.has(record.owner)) return true;
    if (record.kind !== 'node') return false;
    const body = decode(record.body);
    if (typeof body !== 'object' || body === null) return false;
    const { certificate } = body as { certificate?: unknown };
    return certificate instanceof Uint8Array && this.learn(record.owner, certificate);
  }
}
