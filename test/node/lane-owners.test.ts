import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { parseNodeId } from '../../src/kernel/ids.ts';
import type { Cryptography } from '../../src/kernel/ports.ts';
import { incarnationOf, LaneOwners } from '../../src/node/lane-owners.ts';

const cryptography: Cryptography = {
  hash: (bytes) => createHash('sha256').update(bytes).digest(),
  verify: () => false,
  verifyNode: () => false,
};
const alice = parseNodeId(`12D3KooW${'A'.repeat(44)}`)!;
const bob = parseNodeId(`12D3KooW${'B'.repeat(44)}`)!;
const nonce = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);

describe('lane owners', () => {
  it('derives an incarnation below 2^53 that differs by node and by nonce', () => {
    const seen = new Set<number>();
    for (let count = 0; count < 500; count++) {
      seen.add(
        incarnationOf(cryptography, alice, new Uint8Array(8).fill(count & 255, 0, 4).fill(count >> 8, 4)),
      );
      seen.add(
        incarnationOf(cryptography, bob, new Uint8Array(8).fill(count & 255, 0, 4).fill(count >> 8, 4)),
      );
    }
    expect(seen.size).toBe(1000);
    expect([...seen].every((id) => Number.isSafeInteger(id) && id > 0)).toBe(true);
    expect(Math.max(...seen)).toBeGreaterThan(2 ** 52);
  });

  it('knows the owner of what a record lists, and forgets what it lists no more', () => {
    const owners = new LaneOwners(cryptography);
    const id = incarnationOf(cryptography, alice, nonce);
    const record = owners.bodyToPublish(alice, { incarnations: [id], folded: {} }, { id, nonce });
    expect(owners.learn(alice, record)).toBe(true);
    expect(owners.ownerOf(id)).toBe(alice);
    expect(owners.learn(alice, { incarnations: [], folded: {} })).toBe(true);
    expect(owners.ownerOf(id)).toBeUndefined();
  });

  it("refuses a claim to another node's incarnation (S73)", () => {
    const owners = new LaneOwners(cryptography);
    const id = incarnationOf(cryptography, alice, nonce);
    const record = owners.bodyToPublish(alice, { incarnations: [id], folded: {} }, { id, nonce });
    owners.learn(alice, record);
    expect(owners.learn(bob, record)).toBe(false);
    expect(owners.ownerOf(id)).toBe(alice);
  });

  it.each([
    undefined,
    null,
    7,
    {},
    { incarnations: [7], folded: {} },
    { incarnations: [{ id: 7, nonce: 'zz' }], folded: {} },
    { incarnations: [], folded: { main: -1.5 } },
  ])('refuses the malformed body %j', (body) => {
    expect(new LaneOwners(cryptography).learn(alice, body)).toBe(false);
  });
});
