/** Bytes of the channel `call`, as docs/PROTOCOL.md shows them. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import type { Amount } from '../../src/budget/amount.ts';
import { type CallFrame, decodeCall, encodeCall } from '../../src/budget/gathering/frames.ts';
import { accountOf, type PurseKey } from '../../src/budget/names.ts';
import { fromHex, toHex } from '../../src/kernel/codec.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';

const [self, peer] = [1, 2].map((seed) =>
  nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(seed)).publicKey),
);
const account = accountOf(self!, 4_000);
const other = accountOf(peer!, 5_000);
const purse = 'team/5k/2026-01' as PurseKey;
const amount = (value: number): Amount => value as Amount;

const FRAMES: Readonly<Record<string, CallFrame>> = {
  'call-ask': {
    kind: 'ask',
    id: 7,
    purse,
    account,
    of: other,
    above: amount(300),
    least: amount(50),
    most: amount(2_000),
    need: amount(80),
    askedAt: 1_767_225_600_000,
    gather: false,
  },
  'call-answer': {
    kind: 'answer',
    id: 7,
    purse,
    account: other,
    total: amount(0),
    row: undefined,
    waiting: { account: other, askedAt: 1_767_225_599_000, need: amount(9) },
  },
  'call-settle': { kind: 'settle', id: 8, reservation: 'r1', amount: amount(40) },
  'call-settled': {
    kind: 'settled',
    id: 8,
    reservation: 'r1',
    result: {
      ok: true,
      value: {
        id: 'r1',
        amount: amount(40),
        ending: 'settled',
        overrun: amount(0),
        reserved: amount(60),
      },
    },
  },
  'call-order': {
    kind: 'order',
    id: 9,
    fence: 17,
    purse,
    of: other,
    to: undefined,
    amount: amount(500),
    above: amount(0),
  },
  'call-ordered': { kind: 'ordered', id: 9, moved: amount(500) },
  'call-rebalance': { kind: 'rebalance', id: 10, budget: 'team' as never },
  'call-rebalanced': { kind: 'rebalanced', id: 10, ordered: { moves: 2, amount: amount(700) } },
};

const page = readFileSync(resolve(import.meta.dirname, '../../docs/PROTOCOL.md'), 'utf8');

function shown(name: string): string {
  const block = new RegExp(`^\`{3}hex ${name}\\n([^\`]*)^\`{3}$`, 'm').exec(page)?.[1];
  if (block === undefined) throw new Error(`docs/PROTOCOL.md shows no bytes of ${name}`);
  return block.replace(/;.*$/gm, '').replace(/\s/g, '');
}

describe('protocol pins: call', () => {
  it.each(Object.entries(FRAMES))('%s is made as docs/PROTOCOL.md shows it, and read back', (name, frame) => {
    expect(toHex(encodeCall(frame))).toBe(shown(name));
    expect(decodeCall(fromHex(shown(name))!)).toEqual(frame);
  });
});
