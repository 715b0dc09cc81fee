/** Bytes of a row, as docs/PROTOCOL.md shows them. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { signerFromSeed } from '../../src/adapters/node/cryptography.ts';
import type { Amount } from '../../src/budget/amount.ts';
import { accountOf } from '../../src/budget/names.ts';
import { parseRow, type Row, rowBody } from '../../src/budget/row.ts';
import { decode, encode, fromHex, toHex } from '../../src/kernel/codec.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../docs/PROTOCOL.md'), 'utf8');
const [self, peer] = [1, 2].map((seed) =>
  nodeIdFromPublicKey(signerFromSeed(new Uint8Array(32).fill(seed)).publicKey),
);
const amount = (value: number): Amount => value as Amount;

const ROW: Row = {
  sequence: 12,
  granted: amount(1_000),
  received: new Map(),
  sent: new Map([[accountOf(peer!, 5_000), amount(300)]]),
  returned: amount(0),
  spent: amount(450),
  held: amount(100),
  overrun: amount(0),
  covered: amount(0),
};

describe('protocol pins: rows of budgets', () => {
  it('a row is written as docs/PROTOCOL.md shows it, and read back', () => {
    const block = /^`{3}hex budget-row\n([^`]*)^`{3}$/m.exec(page)?.[1] ?? '';
    const shown = block.replace(/;.*$/gm, '').replace(/\s/g, '');
    expect(toHex(encode(rowBody(ROW)))).toBe(shown);
    expect(parseRow(decode(fromHex(shown)!), accountOf(self!, 4_000))).toEqual(ROW);
  });
});
