import { describe, expect, it } from 'vitest';
import { Mirror } from '../../src/budget/mirror.ts';
import { accountOf } from '../../src/budget/names.ts';
import { accountKey, definitionKey, entryKey, reserveKey } from '../../src/budget/reserve-register.ts';
import { encode } from '../../src/kernel/codec.ts';
import type { KeyValue } from '../../src/quorum/port.ts';
import { definitionOf, nodeIdOf, purseOf } from './support.ts';

const TEAM = definitionOf();
const PURSE = purseOf(TEAM);
const ACCOUNT = accountOf(nodeIdOf(0), 7);

const stored = (key: string, value: unknown, modRevision: number): KeyValue => {
  const revisions = { modRevision, createRevision: modRevision, version: 1, lease: 0 };
  return { key, value: encode(value).slice(), ...revisions };
};
const reserve = (left: number, revision: number) =>
  stored(reserveKey(PURSE), { limit: 1_000, reserve: left, owed: 0 }, revision);
const entry = (granted: number, revision: number) =>
  stored(entryKey(PURSE, ACCOUNT), { granted, returned: 0, writtenOff: 0 }, revision);
const definition = (revision: number) =>
  stored(definitionKey(TEAM.name), { ...TEAM, parent: null }, revision);
const account = (revision: number) => stored(accountKey(ACCOUNT), { nonce: 5, fenced: false }, revision);
const put = (value: KeyValue) => ({ kind: 'put', entry: value }) as const;

describe('the mirror of the store', () => {
  it('a change that comes late, or twice, takes nothing back', () => {
    const mirror = new Mirror();
    mirror.replace([definition(1), reserve(400, 9)]);
    expect(mirror.change([put(reserve(1_000, 3))])).toEqual([]);
    expect(mirror.reserve(PURSE)).toMatchObject({ reserve: 400 });
    mirror.change([put(reserve(300, 10))]);
    mirror.change([put(reserve(400, 9)), put(reserve(300, 10))]);
    expect(mirror.reserve(PURSE)).toMatchObject({ reserve: 300 });
  });

  it('what the store does not have any more is gone when it is read anew, and told', () => {
    const mirror = new Mirror();
    mirror.replace([definition(1), reserve(400, 2), entry(600, 3), account(4)]);
    expect(mirror.accountsOf(nodeIdOf(0))).toEqual([ACCOUNT]);
    const facts = mirror.replace([]);
    expect(facts).toContainEqual({ kind: 'defined', budget: TEAM.name, definition: undefined });
    expect(facts).toContainEqual({ kind: 'account', account: ACCOUNT });
    expect(mirror.definitions.size).toBe(0);
    expect([...mirror.entries(PURSE)]).toEqual([]);
    expect(mirror.accountsOf(nodeIdOf(0))).toEqual([]);
    expect(mirror.view(TEAM.name, PURSE, ACCOUNT)).toMatchObject({
      reserve: { revision: 0, value: undefined },
    });
  });

  it('a store that was founded anew is believed, though its revisions are smaller', () => {
    const mirror = new Mirror();
    mirror.replace([definition(50), reserve(400, 60)]);
    mirror.replace([definition(1), reserve(1_000, 2)]);
    expect(mirror.reserve(PURSE)).toMatchObject({ reserve: 1_000 });
    mirror.change([put(reserve(900, 3))]);
    expect(mirror.reserve(PURSE)).toMatchObject({ reserve: 900 });
  });

  it('entries that make no sense are passed over, and those around them are not', () => {
    const mirror = new Mirror();
    const broken = [
      stored(reserveKey(PURSE), { limit: 1_000, reserve: -1, owed: 0 }, 2),
      stored(entryKey(PURSE, ACCOUNT), { granted: 1.5, returned: 0, writtenOff: 0 }, 3),
      stored('budget/other', { ...TEAM, parent: null }, 4),
      stored('budget/team/1/2/3/4', {}, 5),
    ];
    mirror.replace([...broken, definition(6)]);
    expect([...mirror.definitions.keys()]).toEqual(['team']);
    expect(mirror.reserve(PURSE)).toBeUndefined();
    expect(mirror.entries(PURSE).size).toBe(0);
  });
});
