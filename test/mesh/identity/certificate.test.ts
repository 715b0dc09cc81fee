import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hkdf, nodeCryptography, signerFromSeed } from '../../../src/adapters/node/cryptography.ts';
import { concatBytes, encode, utf8 } from '../../../src/kernel/codec.ts';
import { fail } from '../../../src/kernel/errors.ts';
import {
  CERTIFICATE_SKEW_MS,
  CERTIFICATE_VALIDITY_MS,
  type CertificateBody,
  issueCertificate,
  openCertificate,
  swarmIdOf,
  validityProblem,
} from '../../../src/mesh/identity/certificate.ts';
import { nodeIdFromPublicKey } from '../../../src/mesh/identity/peer-id.ts';
import { certifyMember, swarmFromSecret } from '../../../src/mesh/identity/swarm.ts';

const root = signerFromSeed(new Uint8Array(32).fill(1));
const otherRoot = signerFromSeed(new Uint8Array(32).fill(2));
const node = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(3)).publicKey);
const otherNode = nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(4)).publicKey);
const noon = Date.UTC(2026, 10, 21, 12);
const at = (wallMs: number) => ({ monoMs: 0, wallMs });

const body: CertificateBody = {
  swarm: swarmIdOf(nodeCryptography, root.publicKey),
  nodeId: node,
  name: 'workshop-3',
  roles: ['worker', 'gateway'],
  zone: 'trusted',
  notBeforeMs: noon,
  notAfterMs: noon + CERTIFICATE_VALIDITY_MS,
  serial: 7,
};

function verify(bytes: Uint8Array, wallMs = noon, rootKey = root.publicKey, expected = node) {
  const opened = openCertificate(nodeCryptography, rootKey, bytes, expected);
  const problem = opened.ok ? validityProblem(opened.value, at(wallMs)) : undefined;
  return problem === undefined ? opened : fail(problem);
}

describe('membership certificates', () => {
  const good = issueCertificate(root, body);

  it('a certificate verifies and says what was signed', () => {
    expect(verify(good)).toEqual({ ok: true, value: body });
  });

  it('with any single byte changed it is refused (every position, every bit, and random bytes)', () => {
    for (let position = 0; position < good.length; position++) {
      for (let bit = 0; bit < 8; bit++) {
        const bad = good.slice();
        bad[position]! ^= 1 << bit;
        expect(verify(bad).ok, `byte ${position}, bit ${bit}`).toBe(false);
      }
    }
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (position, change) => {
        const bad = good.slice();
        bad[position]! ^= change;
        expect(verify(bad).ok).toBe(false);
      }),
      { numRuns: 500, seed: 2 },
    );
  });

  it('cut short, padded or made up it is refused, and nothing throws', () => {
    for (let length = 0; length < good.length; length++)
      expect(verify(good.subarray(0, length)).ok).toBe(false);
    expect(verify(concatBytes([good, Uint8Array.of(0)])).ok).toBe(false);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(verify(bytes).ok).toBe(false);
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it.each([
    ['the swarm is another', good, noon, otherRoot.publicKey, node, 'wrong-swarm'],
    ['it is another node that shows it (S55)', good, noon, root.publicKey, otherNode, 'other-node'],
    ['it is too early', good, noon - CERTIFICATE_SKEW_MS - 1, root.publicKey, node, 'not-yet-valid'],
    ['it is too late', good, body.notAfterMs + CERTIFICATE_SKEW_MS + 1, root.publicKey, node, 'expired'],
    [
      'another key signed it for our swarm',
      issueCertificate(otherRoot, body),
      noon,
      root.publicKey,
      node,
      'bad-signature',
    ],
    ['it is no certificate', utf8('x'.repeat(200)), noon, root.publicKey, node, 'malformed'],
  ] as const)('the reason is told where %s', (_what, bytes, wallMs, key, expected, reason) => {
    expect(verify(bytes, wallMs, key, expected)).toEqual({ ok: false, error: reason });
  });

  it('clocks may disagree by five minutes at either end', () => {
    expect(verify(good, noon - CERTIFICATE_SKEW_MS).ok).toBe(true);
    expect(verify(good, body.notAfterMs + CERTIFICATE_SKEW_MS).ok).toBe(true);
  });

  it('a signature made for something else does not make a certificate (its prefix is its own)', () => {
    const bytes = good.subarray(64);
    expect(verify(concatBytes([root.sign(bytes), bytes]))).toEqual({ ok: false, error: 'bad-signature' });
  });

  it.each([
    ['an empty name', { name: '' }],
    ['a name of 64 characters', { name: 'x'.repeat(64) }],
    ['a name with an escape sequence (S24)', { name: 'a\u001b[31mb' }],
    ['a name with hidden text (S20)', { name: 'a\u{e0041}b' }],
    ['a name of two words', { name: 'two words' }],
    ['too many roles', { roles: Array.from({ length: 17 }, (_, index) => `r${index}`) }],
    ['a role that is no word', { roles: ['Work er'] }],
    ['dates in the wrong order', { notAfterMs: noon - 1 }],
    ['a date that is none', { notBeforeMs: Number.NaN }],
    ['serial 0', { serial: 0 }],
  ])('%s can neither be issued nor verified', (_what, change) => {
    const bad = { ...body, ...change };
    expect(() => issueCertificate(root, bad)).toThrow(RangeError);
    const { swarm, nodeId, name, roles, zone, notBeforeMs, notAfterMs, serial } = bad;
    const bytes = encode([swarm, nodeId, name, roles, zone, notBeforeMs, notAfterMs, serial]);
    const signed = concatBytes([root.sign(concatBytes([utf8('skein/certificate/1\0'), bytes])), bytes]);
    expect(verify(signed)).toEqual({ ok: false, error: 'malformed' });
  });
});

describe('swarms from a shared secret', () => {
  const tools = { hash: nodeCryptography.hash, hkdf, signerFromSeed };
  const secret = 'correct horse battery';

  it('holders of one secret make the same swarm, whatever white space is around it', () => {
    const one = swarmFromSecret(secret, tools);
    const other = swarmFromSecret(`  ${secret}\n`, tools);
    if (!one.ok || !other.ok) throw new Error('refused');
    expect(one.value.id).toMatch(/^[0-9a-f]{16}$/);
    expect(other.value.id).toBe(one.value.id);
    const certificate = certifyMember(
      one.value,
      { nodeId: node, name: 'a', roles: ['worker'], zone: 'local', serial: 1 },
      at(noon),
    );
    expect(verify(certificate, noon, other.value.rootPublicKey)).toMatchObject({
      ok: true,
      value: { notBeforeMs: noon - CERTIFICATE_SKEW_MS, notAfterMs: noon + CERTIFICATE_VALIDITY_MS },
    });
  });

  it('another secret is another swarm, and its members are strangers', () => {
    const one = swarmFromSecret(secret, tools);
    const other = swarmFromSecret(`${secret}!`, tools);
    if (!one.ok || !other.ok) throw new Error('refused');
    expect(other.value.id).not.toBe(one.value.id);
  });

  it.each(['', 'short', 'x'.repeat(15), `${' '.repeat(20)}x`, 'x'.repeat(1_025)])(
    'a secret that is too short or too long is refused: %j',
    (bad) => {
      const result = swarmFromSecret(bad, tools);
      expect(result).toMatchObject({ ok: false, error: { code: 'INVALID_ARGUMENT' } });
      if (!result.ok && bad.trim().length > 4) expect(result.error.message).not.toContain(bad.trim());
    },
  );
});
