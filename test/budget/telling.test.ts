import { describe, expect, it } from 'vitest';
import type { PurseKey } from '../../src/budget/names.ts';
import { Telling, TOLD_WITHIN_MS } from '../../src/budget/telling.ts';

const PURSE = 'team/1/all' as PurseKey;

/** Of a row that said 100 rights at 10,000 ms. */
function toldAtTen(): Telling {
  const telling = new Telling();
  telling.changed(PURSE, 100);
  telling.told(PURSE, 100);
  telling.due(undefined, new Set([PURSE]), new Map([[PURSE, { rights: 100 }]]), 10_000);
  return telling;
}

describe('rows that only tell what was spent', () => {
  it.each([
    { rights: 99, atMs: 12_500, what: 'are told two and a half seconds after the last at the soonest' },
    { rights: 50, atMs: 12_500, what: 'that say half of what was told wait as long' },
    { rights: 49, atMs: 11_500, what: 'that say less than half are told within a second' },
    { rights: 400, atMs: 12_500, what: 'that say more wait as long' },
  ])('$what', ({ rights, atMs }) => {
    const telling = toldAtTen();
    telling.changed(PURSE, rights);
    expect(telling.deadline(10_500, undefined).atMs).toBe(atMs);
  });

  it('are told within a second where none was told for long', () => {
    const telling = toldAtTen();
    telling.changed(PURSE, 99);
    expect(telling.deadline(60_000, undefined).atMs).toBe(61_000);
  });

  it('that wait are told sooner once little is left, and never later', () => {
    const telling = toldAtTen();
    telling.changed(PURSE, 90);
    const set = telling.deadline(10_500, undefined);
    telling.changed(PURSE, 80);
    expect(telling.deadline(11_000, set)).toBe(set);
    telling.changed(PURSE, 10);
    expect(telling.deadline(12_000, set).atMs).toBe(12_500);
    expect(telling.deadline(14_500, set)).toBe(set);
  });

  it('never wait for longer than a status says that its news are old', () => {
    const telling = toldAtTen();
    telling.changed(PURSE, 99);
    for (let monoMs = 10_000; monoMs < 30_000; monoMs += 100)
      expect(telling.deadline(monoMs, undefined).atMs - monoMs).toBeLessThanOrEqual(TOLD_WITHIN_MS);
  });

  it.each([
    { rights: 90, atMs: 12_500, what: 'wait after all where more came in' },
    { rights: 10, atMs: 11_500, what: 'are told where none did' },
  ])('that seemed to press $what', ({ rights, atMs }) => {
    const telling = toldAtTen();
    telling.changed(PURSE, 10);
    const set = telling.deadline(10_500, undefined);
    expect(telling.due(set, new Set([PURSE]), new Map([[PURSE, { rights }]]), 11_500).atMs).toBe(atMs);
  });

  it('of an account that begins are told within a second', () => {
    const telling = toldAtTen();
    telling.clear();
    telling.changed(PURSE, 0);
    expect(telling.deadline(10_500, undefined).atMs).toBe(11_500);
  });
});
