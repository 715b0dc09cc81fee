import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/kernel/codec.ts';
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

  it('knows the owner by a proof, until it is withdrawn', () => {
    const owners = new LaneOwners(cryptography);
    const id = incarnationOf(cryptography, alice, nonce);
    for (const { key, body } of owners.recordsFor(alice, { incarnations: [id], folded: {} }, { id, nonce })) {
      expect(owners.learn(alice, key, body)).toBe(true);
    }
    expect(owners.ownerOf(id)).toBe(alice);
    expect(owners.of(alice)).toEqual({ incarnations: [id], folded: {} });
    expect(owners.learn(alice, String(id), undefined)).toBe(true);
    expect(owners.ownerOf(id)).toBeUndefined();
  });

  it('keeps the owner of earlier runs when a node that lost its disk lists only its new one', () => {
    const owners = new LaneOwners(cryptography);
    const earlier = incarnationOf(cryptography, alice, nonce);
    owners.learn(alice, String(earlier), { nonce: toHex(nonce) });
    owners.learn(alice, '', { incarnations: [earlier], folded: {} });
    const id = incarnationOf(cryptography, alice, new Uint8Array(8).fill(9));
    owners.learn(alice, '', { incarnations: [id], folded: {} });
    expect(owners.ownerOf(earlier)).toBe(alice);
  });

  it('withdraws the proof of a run only once its list names it no more', () => {
    const owners = new LaneOwners(cryptography);
    const id = incarnationOf(cryptography, alice, nonce);
    const older = incarnationOf(cryptography, alice, new Uint8Array(8).fill(9));
    const withdrawn = (folded: Record<string, number>) =>
      owners
        .recordsFor(alice, { incarnations: [id], folded }, { id, nonce })
        .filter(({ body }) => body === undefined)
        .map(({ key }) => key);
    owners.learn(alice, '', { incarnations: [older, id], folded: {} });
    expect(withdrawn({ [`@${older}`]: 0, [`main@${id}`]: 7 })).toEqual([]);
    expect(withdrawn({})).toEqual([String(older)]);
  });

  it("refuses a claim to another node's incarnation (S73)", () => {
    const owners = new LaneOwners(cryptography);
    const id = incarnationOf(cryptography, alice, nonce);
    expect(owners.learn(alice, String(id), { nonce: toHex(nonce) })).toBe(true);
    expect(owners.learn(bob, String(id), { nonce: toHex(nonce) })).toBe(false);
    expect(owners.learn(bob, String(id), undefined)).toBe(true);
    expect(owners.ownerOf(id)).toBe(alice);
  });

  it.each([
    ['', undefined],
    ['', null],
    ['', 7],
    ['', {}],
    ['', { incarnations: [-7], folded: {} }],
    ['', { incarnations: [7], folded: { main: -1.5 } }],
    ['x', { nonce: '0102030405060708' }],
    ['7', { nonce: 'zz' }],
    ['7', { nonce: '0102030405060708' }],
    ['7', null],
  ])('refuses the malformed record %j %j', (key, body) => {
    expect(new LaneOwners(cryptography).learn(alice, key, body)).toBe(false);
  });
});
