import { describe, expect, it } from 'vitest';
import { Budgets } from '../../src/budget/budgets.ts';
import { type AccountId, accountOf, rowKey } from '../../src/budget/names.ts';
import { accountKey, definitionKey, entryKey, reserveKey } from '../../src/budget/reserve-register.ts';
import { encode } from '../../src/kernel/codec.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import type { KeyValue } from '../../src/quorum/port.ts';
import { definitionOf, freshNumber, nodeIdOf, purseOf } from './support.ts';

const TEAM = definitionOf({ limit: 100 });
const PURSE = purseOf(TEAM);
const NOW = { monoMs: 0, wallMs: 1_000 };
const [SELF, LEFT, RIGHT] = [nodeIdOf(0), nodeIdOf(1), nodeIdOf(2)];
const LEFTS = accountOf(LEFT, 11);
const RIGHTS = accountOf(RIGHT, 12);

function entry(key: string, value: object): KeyValue {
  return { key, value: encode(value).slice(), createRevision: 2, modRevision: 2, version: 1, lease: 0 };
}

interface Told {
  readonly reserve: number;
  readonly entries: readonly { account: AccountId; granted: number; returned: number }[];
  readonly rows: readonly {
    account: AccountId;
    granted?: number;
    returned?: number;
    received?: readonly (readonly [AccountId, number])[];
    sent?: readonly (readonly [AccountId, number])[];
  }[];
}

function remaining({ reserve, entries, rows }: Told): number {
  const budgets = new Budgets({ self: SELF, fresh: freshNumber, place: 'here', rng: seededRng(1), now: NOW });
  budgets.load([], NOW);
  for (const member of [LEFT, RIGHT]) budgets.handle({ kind: 'memberChanged', member, state: 'alive' }, NOW);
  const told = [
    entry(definitionKey(TEAM.name), { ...TEAM, parent: null }),
    entry(reserveKey(PURSE), { limit: 100, reserve, owed: 0 }),
    ...[LEFTS, RIGHTS].map((account) => entry(accountKey(account), { nonce: 5, fenced: false })),
    ...entries.map(({ account, ...rest }) => entry(entryKey(PURSE, account), { ...rest, writtenOff: 0 })),
  ];
  budgets.handle({ kind: 'storeRead', revision: 2, entries: told }, NOW);
  const zero = { granted: 0, returned: 0, received: [], sent: [], spent: 0, held: 0, overrun: 0, covered: 0 };
  for (const { account, ...given } of rows) {
    const owner = account === LEFTS ? LEFT : RIGHT;
    const body = { ...zero, sequence: 1, ...given };
    budgets.handle({ kind: 'rowHeard', owner, key: rowKey(PURSE, account), version: 1, body }, NOW);
  }
  const status = budgets.status('team', NOW);
  return status.ok ? status.value.remaining : Number.NaN;
}

describe('budget status: what remains is never told twice (I7)', () => {
  const granted = { account: LEFTS, granted: 20, returned: 0 };

  it('of one moment it is all there is', () => {
    const rows = [{ account: LEFTS, granted: 20 }];
    expect(remaining({ reserve: 80, entries: [granted], rows })).toBe(100);
  });

  it('what came back to the reserve and is still in a row that was heard before', () => {
    const rows = [{ account: LEFTS, granted: 20 }];
    expect(remaining({ reserve: 100, entries: [{ ...granted, returned: 20 }], rows })).toBe(100);
  });

  it('what a row has been granted and the reserve is not known to have given', () => {
    const rows = [{ account: LEFTS, granted: 20 }];
    expect(remaining({ reserve: 100, entries: [], rows })).toBe(100);
  });

  it('what one has taken in that the other is not known to have sent', () => {
    const rows = [
      { account: LEFTS, granted: 20 },
      { account: RIGHTS, received: [[LEFTS, 20]] as const },
    ];
    expect(remaining({ reserve: 80, entries: [granted], rows })).toBe(100);
  });
});

describe('budget status: a part of a budget that is not known here', () => {
  it('has nothing to promise, and says what is lacking', () => {
    const budgets = new Budgets({
      self: SELF,
      fresh: freshNumber,
      place: 'here',
      rng: seededRng(1),
      now: NOW,
    });
    budgets.load([], NOW);
    const part = entry(definitionKey(TEAM.name), { ...TEAM, parent: 'org' });
    budgets.handle({ kind: 'storeRead', revision: 2, entries: [part] }, NOW);
    expect(budgets.status(TEAM.name, NOW)).toMatchObject({
      value: { reserve: 100, remaining: 0, limitedBy: 'org', projectedEnd: undefined },
    });
  });
});

describe('budget status: how old the news are', () => {
  it.each([
    {
      kept: true,
      version: 600_000,
      asOf: 599_000,
      what: 'kept from before a restart are of when they were written',
    },
    { kept: false, version: 600_000, asOf: 599_000, what: 'that come in late are of when they were written' },
    { kept: false, version: 1_400_000, asOf: 1_000_000, what: 'whose writer has a fast clock are of now' },
  ])('of a machine that cannot be reached: rows $what', ({ kept, version, asOf }) => {
    const now = { monoMs: 0, wallMs: 1_000_000 };
    const budgets = new Budgets({ self: SELF, fresh: freshNumber, place: 'here', rng: seededRng(1), now });
    budgets.load([], now);
    const told = [
      entry(definitionKey(TEAM.name), { ...TEAM, parent: null }),
      entry(accountKey(LEFTS), { nonce: 5, fenced: false }),
    ];
    const zero = {
      granted: 0,
      returned: 0,
      received: [],
      sent: [],
      held: 0,
      overrun: 0,
      covered: 0,
      spent: 0,
    };
    const heard = { kind: 'rowHeard', owner: LEFT, key: rowKey(PURSE, LEFTS), version } as const;
    budgets.handle({ ...heard, body: { ...zero, sequence: 1 }, isKept: kept }, now);
    budgets.handle({ kind: 'storeRead', revision: 2, entries: told }, now);
    budgets.handle({ kind: 'memberChanged', member: LEFT, state: 'dead' }, now);
    expect(budgets.status(TEAM.name, now)).toMatchObject({ value: { asOf } });
  });
});
