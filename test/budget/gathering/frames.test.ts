import { describe, expect, it } from 'vitest';
import { type CallFrame, decodeCall, encodeCall } from '../../../src/budget/gathering/frames.ts';
import { accountOf, type PurseKey } from '../../../src/budget/names.ts';
import { concatBytes, decode, encode } from '../../../src/kernel/codec.ts';
import { failWith, ok } from '../../../src/kernel/errors.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import { amountOf, nodeIdOf } from '../support.ts';

const purse = 'team/5/all' as PurseKey;
const one = accountOf(nodeIdOf(1), 7);
const other = accountOf(nodeIdOf(2), 9);
const [zero, five, much] = [amountOf(0), amountOf(5), amountOf(2 ** 53 - 1)];

const FRAMES: readonly CallFrame[] = [
  {
    kind: 'ask',
    id: 1,
    purse,
    account: one,
    of: other,
    above: zero,
    least: five,
    most: much,
    need: five,
    askedAt: 1_700_000_000_000,
    gather: true,
  },
  {
    kind: 'answer',
    id: 1,
    purse,
    account: other,
    total: five,
    row: {
      sequence: 3,
      granted: much,
      received: new Map(),
      sent: new Map([[one, five]]),
      returned: zero,
      spent: five,
      held: five,
      overrun: five,
      covered: zero,
    },
    waiting: { account: one, askedAt: 5, need: five },
  },
  { kind: 'answer', id: 1, purse, account: other, total: zero, row: undefined, waiting: undefined },
  { kind: 'settle', id: 2, reservation: 'r-1', amount: five },
  {
    kind: 'settled',
    id: 2,
    reservation: 'r-1',
    result: ok({ id: 'r-1', amount: five, ending: 'settled', overrun: zero, reserved: much }),
  },
  {
    kind: 'settled',
    id: 2,
    reservation: 'r-1',
    result: failWith('INTERNAL', 'm', 'h', { retryAfterMs: 5, details: { outcome: 'unknown' } }),
  },
  { kind: 'order', id: 3, fence: 17, purse, of: one, to: other, amount: five, above: zero },
  { kind: 'order', id: 3, fence: 17, purse, of: one, to: undefined, amount: five, above: zero },
  { kind: 'ordered', id: 3, moved: zero },
];

function changed(frame: CallFrame, at: number, value: unknown): Uint8Array {
  const bytes = encodeCall(frame);
  const body = decode(bytes.subarray(2).slice()) as unknown[];
  return concatBytes([bytes.subarray(0, 2), encode(body.with(at, value))]);
}

describe('frames of calls', () => {
  it.each(FRAMES.map((frame) => [frame.kind, frame] as const))('%s comes back as it was', (_, frame) => {
    expect(decodeCall(encodeCall(frame))).toEqual(frame);
  });

  it('another version, another kind, a field more or less, and trailing bytes are refused', () => {
    for (const frame of FRAMES) {
      const bytes = encodeCall(frame);
      const body = decode(bytes.subarray(2).slice()) as unknown[];
      expect(decodeCall(bytes.with(0, 2))).toBeUndefined();
      expect(decodeCall(bytes.with(1, 99))).toBeUndefined();
      expect(decodeCall(concatBytes([bytes, Uint8Array.of(0)]))).toBeUndefined();
      for (const fields of [[...body, 0], body.slice(1), {}, 7])
        expect(decodeCall(concatBytes([bytes.subarray(0, 2), encode(fields)]))).toBeUndefined();
    }
    expect(decodeCall(new Uint8Array(0))).toBeUndefined();
    expect(decodeCall(Uint8Array.of(1))).toBeUndefined();
    expect(decodeCall(new Uint8Array(limits.budgetCallBytes + 1).fill(1))).toBeUndefined();
  });

  it.each([-1, 1.5, Number.NaN, 2 ** 53, '5', '1e9', null, true, [], {}, Number.POSITIVE_INFINITY])(
    'B25: the hostile amount %s is refused in every field that is one',
    (value) => {
      const fields = {
        ask: [0, 4, 5, 6, 7, 8],
        answer: [0, 3],
        settle: [0, 2],
        order: [0, 1, 5, 6],
        ordered: [0, 1],
      };
      for (const frame of FRAMES)
        for (const at of fields[frame.kind as keyof typeof fields] ?? [])
          expect([frame.kind, at, decodeCall(changed(frame, at, value))]).toEqual([
            frame.kind,
            at,
            undefined,
          ]);
    },
  );

  it('any single byte changed is refused or still a frame within bounds, and never throws', () => {
    const rng = seededRng(3);
    for (const frame of FRAMES) {
      const bytes = encodeCall(frame);
      for (let at = 0; at < bytes.length; at++) decodeCall(bytes.with(at, rng.below(256)));
      for (let length = 0; length < bytes.length; length++)
        expect(decodeCall(bytes.subarray(0, length))).toBeUndefined();
    }
  });
});
