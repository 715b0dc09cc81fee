import { describe, expect, it } from 'vitest';
import { accountKey } from '../../src/budget/reserve-register.ts';
import { rowBody } from '../../src/budget/row.ts';
import type { LedgerCall } from '../../src/budget/spending.ts';
import { encode } from '../../src/kernel/codec.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Operation } from '../../src/quorum/port.ts';
import {
  amountOf,
  definitionOf,
  Host,
  hostWith,
  nodeIdOf,
  problemsOf,
  purseOf,
  reserveCall,
  rowsOf,
  Store,
} from './support.ts';

const BUDGET = definitionOf();
const PURSE = purseOf(BUDGET);
const code = (result: { ok: boolean; error?: { code: string } }) => (result.ok ? 'ok' : result.error?.code);
const setup = (rights = 100, budget = BUDGET) => {
  const store = new Store([budget]);
  return { store, host: hostWith(store, 0, rights) };
};

describe('ledger: reservations', () => {
  it('reserve, settle and report book every unit once, and what was not used is free again (I1, I9)', () => {
    const { store, host } = setup();
    expect(host.reserve('a', 30)).toMatchObject({ ok: true, value: { id: 'a', amount: 30 } });
    expect(host.row(PURSE)).toMatchObject({ held: 30, spent: 0 });
    expect(host.settle('a', 12)).toMatchObject({ ok: true, value: { amount: 12, overrun: 0 } });
    expect(host.report('b', 5)).toMatchObject({ ok: true });
    expect(host.row(PURSE)).toMatchObject({ held: 0, spent: 17, granted: 100 });
    expect(host.rights(PURSE)).toBe(83);
    expect(problemsOf(store, BUDGET, rowsOf([host], PURSE))).toEqual([]);
  });

  it('a request told twice counts once, and its id serves for nothing else (B21)', () => {
    const { host } = setup();
    const first = host.reserve('a', 30);
    expect(host.reserve('a', 30)).toEqual(first);
    expect(host.row(PURSE)?.held).toBe(30);
    expect(code(host.reserve('a', 31))).toBe('CONFLICT');
    expect(host.settle('a', 10)).toEqual(host.settle('a', 10));
    expect(code(host.settle('a', 11))).toBe('CONFLICT');
    expect(code(host.reserve('a', 30))).toBe('CONFLICT');
    expect(host.report('r', 7)).toEqual(host.report('r', 7));
    expect(code(host.report('r', 8))).toBe('CONFLICT');
    expect(code(host.report('a', 10))).toBe('CONFLICT');
    expect(host.row(PURSE)).toMatchObject({ held: 0, spent: 17 });
  });

  it('100 callers at once get what there is and not one unit more (B22, I3)', () => {
    const { host } = setup(100);
    const ids = Array.from({ length: 100 }, (_, index) => host.request(reserveCall(`r${index}`, 3)));
    host.sync();
    const answers = ids.map((id) => code(host.answers.get(id) as never));
    expect(answers.filter((each) => each === 'ok')).toHaveLength(33);
    expect(answers.filter((each) => each === 'BUDGET_EXHAUSTED')).toHaveLength(67);
    expect(host.rights(PURSE)).toBe(1);
  });

  it.each([
    -1,
    0,
    Number.NaN,
    1.5,
    2 ** 53,
    2 ** 53 + 2,
    '1e9',
    -0,
    null,
    undefined,
    10n,
    Number.POSITIVE_INFINITY,
  ])('the amount %s is refused by every call (B25)', (amount) => {
    const { store, host } = setup();
    const other = hostWith(store, 1).ledger.account;
    expect(host.reserve('kept', 10).ok).toBe(true);
    const before = host.row(PURSE);
    for (const result of [
      host.reserve('a', amount),
      host.report('c', amount),
      host.transfer(PURSE, other, amount, 0),
      host.call({ op: 'return', purse: PURSE, amount, above: 0 }),
      host.reserve('d', 5, { ttlMs: amount }),
    ])
      expect(code(result as never)).toBe('INVALID_ARGUMENT');
    if (!Object.is(amount, 0)) expect(code(host.settle('kept', amount))).toBe('INVALID_ARGUMENT');
    expect(host.row(PURSE)).toEqual(before);
  });

  it.each([
    ['budget', 'no such thing'],
    ['budget', '__proto__'],
    ['agent', ''],
    ['agent', 7],
    ['id', ''],
    ['id', 'x'.repeat(limits.budgetIdBytes + 1)],
  ])('a call with %s %j is refused', (name, value) => {
    const { host } = setup();
    expect(code(host.call({ ...reserveCall('a', 1), [name]: value } as LedgerCall) as never)).toMatch(
      /INVALID_ARGUMENT|NOT_FOUND/,
    );
  });

  it('what exceeds a reservation is taken from the rights, and beyond those it is an overrun that stops the agent (B20)', () => {
    const { store, host } = setup(100);
    host.reserve('a', 30);
    expect(host.settle('a', 50)).toMatchObject({ ok: true, value: { overrun: 0 } });
    expect(host.rights(PURSE)).toBe(50);
    host.reserve('b', 40);
    expect(host.settle('b', 65)).toMatchObject({ ok: true, value: { amount: 65, overrun: 15 } });
    expect(host.row(PURSE)).toMatchObject({ spent: 100, overrun: 15, covered: 0 });
    host.take(store, PURSE, 10);
    expect(host.row(PURSE)).toMatchObject({ spent: 110, overrun: 15, covered: 10 });
    host.take(store, PURSE, 3);
    expect(code(host.reserve('c', 1))).toBe('DENIED');
    host.take(store, PURSE, 12);
    expect(host.row(PURSE)).toMatchObject({ spent: 115, overrun: 15, covered: 15 });
    expect(host.rights(PURSE)).toBe(10);
    expect(host.reserve('c', 10).ok).toBe(true);
    expect(problemsOf(store, BUDGET, rowsOf([host], PURSE))).toEqual([]);
  });

  it('the overrun of one agent denies no other, and sums beyond 2^53 are refused, not rounded (B20, B31)', () => {
    const { host } = setup(100);
    expect(host.report('a', Number.MAX_SAFE_INTEGER)).toMatchObject({ ok: true });
    expect(code(host.report('b', Number.MAX_SAFE_INTEGER))).toBe('TOO_LARGE');
    expect(host.row(PURSE)?.overrun).toBe(Number.MAX_SAFE_INTEGER - 100);
  });

  it.each([
    ['charge', 30, 0],
    ['free', 0, 30],
  ] as const)(
    'a reservation that nobody settles is subject to "%s": %i are spent (B19)',
    (expiry, spent, freed) => {
      const budget = definitionOf({ expiry });
      const { store, host } = setup(100, budget);
      host.reserve('a', 30);
      host.pass(59_999);
      expect(host.row(PURSE)?.held).toBe(30);
      host.pass(1);
      host.sync();
      expect(host.row(PURSE)).toMatchObject({ held: 0, spent });
      expect(host.rights(PURSE)).toBe(70 + freed);
      // What its holder tells afterwards is counted as far as it was not.
      expect(host.settle('a', 45)).toMatchObject({ ok: true });
      expect(host.settle('a', 45)).toMatchObject({ ok: true });
      expect(host.settle('a', 20)).toMatchObject({ ok: true });
      expect(host.row(PURSE)?.spent).toBe(45);
      expect(problemsOf(store, budget, rowsOf([host], PURSE))).toEqual([]);
    },
  );

  it('a clock that jumps ahead or back neither frees nor charges what is held (B13)', () => {
    const { host } = setup(100, definitionOf({ expiry: 'free' }));
    host.reserve('a', 30);
    host.pass(10, 3_600_000);
    expect(host.row(PURSE)?.held).toBe(30);
    host.pass(10, -7_200_000);
    expect(host.row(PURSE)?.held).toBe(30);
    host.pass(60_000);
    expect(host.row(PURSE)?.held).toBe(0);
  });

  it('a machine that slept for days, its clock of durations too, frees nothing by the time of day, and spends nothing of what was reclaimed meanwhile once it is told (B14)', () => {
    const { host } = setup(100, definitionOf({ expiry: 'free' }));
    const { account } = host.ledger;
    host.reserve('a', 30);
    host.pass(0, 3 * 86_400_000);
    expect(host.row(PURSE)).toMatchObject({ held: 30, spent: 0 });
    expect(host.rights(PURSE)).toBe(70);
    const lastSequence = host.row(PURSE)!.sequence;
    const end = { lastSequence, takenBack: amountOf(70) };
    host.deliver({ kind: 'registered', purse: PURSE, account, granted: amountOf(100), end });
    expect(host.ledger.account).not.toBe(account);
    expect(host.rights(PURSE)).toBe(0);
    expect(code(host.reserve('b', 1))).not.toBe('ok');
  });
});

describe('ledger: levels and periods', () => {
  const team = definitionOf({ parent: 'org', limit: 100 });
  const org = definitionOf({ name: 'org', epoch: 6, limit: 50 });

  it('what is spent counts in every ancestor, and is reserved from all levels or from none', () => {
    const store = new Store([team, org]);
    const host = hostWith(store, 0, 100);
    host.take(store, purseOf(org), 50);
    expect(code(host.reserve('a', 60))).toBe('BUDGET_EXHAUSTED');
    expect([host.row(purseOf(team))?.held, host.row(purseOf(org))?.held]).toEqual([0, 0]);
    host.reserve('b', 40);
    host.settle('b', 45);
    expect([host.row(purseOf(team))?.spent, host.row(purseOf(org))?.spent]).toEqual([45, 45]);
    host.report('c', 10);
    expect(host.row(purseOf(team))).toMatchObject({ spent: 55, overrun: 0 });
    expect(host.row(purseOf(org))).toMatchObject({ spent: 50, overrun: 5 });
    for (const budget of [team, org])
      expect(problemsOf(store, budget, rowsOf([host], purseOf(budget)))).toEqual([]);
  });

  it.each([
    ['is missing', [team]],
    ['is its own ancestor', [team, definitionOf({ name: 'org', parent: 'team' })]],
    ['counts in another unit', [team, definitionOf({ name: 'org', unit: 'microusd' })]],
  ])('nothing is spent where the parent %s', (_, budgets) => {
    const host = hostWith(new Store(budgets), 0, 100);
    expect(code(host.reserve('a', 1))).toMatch(/NOT_FOUND|CONFLICT/);
  });

  it('a reservation is settled in the period that it was made in, and periods never mix (B28)', () => {
    const budget = definitionOf({ window: 'hour', limit: 100 });
    const store = new Store([budget]);
    const host = hostWith(store, 0);
    const [first, second] = [purseOf(budget, 0), purseOf(budget, 3_600_000)];
    host.take(store, first, 100);
    host.reserve('a', 30);
    host.pass(3_600_000 - 1_000);
    expect(code(host.reserve('b', 10))).toBe('BUDGET_EXHAUSTED');
    host.take(store, second, 60);
    expect(host.reserve('b', 50).ok).toBe(true);
    // 30 were charged when their time was up; the last 10 are of the first hour too.
    host.settle('a', 40);
    expect([host.row(first)?.spent, host.row(second)?.spent]).toEqual([40, 0]);
    // A clock that steps back finds the first hour with what is left of it.
    host.pass(1, -3_600_000);
    expect(code(host.reserve('c', 61))).toBe('BUDGET_EXHAUSTED');
    expect(host.reserve('d', 60).ok).toBe(true);
    expect(problemsOf(store, budget, rowsOf([host], first))).toEqual([]);
  });

  it('a period long over is closed for good: a clock set back does not open it anew (B28, I3)', () => {
    const budget = definitionOf({ window: 'hour', limit: 100 });
    const store = new Store([budget]);
    const host = hostWith(store, 0);
    const purse = purseOf(budget, 0);
    host.take(store, purse, 100);
    host.report('a', 90);
    host.pass(3_600_000 + 120_000);
    host.pass(limits.budgetGraceMs);
    expect(host.row(purse)).toBeDefined();
    host.pass(limits.budgetSureOfTimeMs);
    host.sync();
    expect(host.row(purse)).toBeUndefined();
    expect(host.published.at(-1)).toMatchObject({ body: undefined });
    host.pass(1, -limits.budgetGraceMs - limits.budgetSureOfTimeMs - 3_600_000 - 120_000);
    for (let round = 0; round < 2; round++) {
      host.deliver({ kind: 'registered', purse, account: host.ledger.account, granted: amountOf(100) });
      expect(code(host.reserve('b', 1))).toBe('CONFLICT');
      host.checkpoint();
      host.crash();
      host.open(store);
    }
  });
});

describe('ledger: the disk', () => {
  it.each([0, 1, 2, 3, 4, 5])(
    'kill -9 after %i of five steps that were answered: all of them are remembered (B07, B19)',
    (steps) => {
      const { store, host } = setup();
      const other = hostWith(store, 1);
      const todo = [
        () => host.reserve('a', 30),
        () => host.settle('a', 10),
        () => host.transfer(PURSE, other.ledger.account, 20, 0),
        () => host.call({ op: 'return', purse: PURSE, amount: 5, above: 0 }),
        () => host.reserve('b', 7),
      ];
      for (const step of todo.slice(0, steps)) step();
      const before = host.row(PURSE);
      // Appended, not synced, not answered.
      host.request(reserveCall('lost', 11));
      host.crash();
      expect(host.row(PURSE)).toEqual(before);
      expect(problemsOf(store, BUDGET, rowsOf([host, other], PURSE))).toEqual([]);
    },
  );

  it('nothing is answered or published before it is on the disk (I3, B07)', () => {
    const { store, host } = setup();
    const other = hostWith(store, 1);
    host.pass(2_000);
    host.sync();
    const told = host.published.length;
    const ids = [
      host.request(reserveCall('a', 1)),
      host.request({ op: 'settle', id: 'a', amount: 1 }),
      host.request({ op: 'transfer', purse: PURSE, to: other.ledger.account, amount: 5, above: 0 }),
    ];
    host.pass(2_000);
    expect(ids.map((id) => host.answers.get(id))).toEqual([undefined, undefined, undefined]);
    expect(host.published).toHaveLength(told);
    host.crash();
    expect(host.row(PURSE)).toMatchObject({ spent: 0 });
    expect(host.row(PURSE)?.sent.size).toBe(0);
  });

  it('a disk that fails refuses to spend, and later success is not taken for that of what failed (B29)', () => {
    const { store, host } = setup();
    host.failing = true;
    const id = host.request(reserveCall('a', 30));
    host.sync();
    expect(host.answers.get(id)).toMatchObject({ ok: false, error: { details: { outcome: 'unknown' } } });
    const result = host.reserve('b', 1);
    expect(result).toMatchObject({
      ok: false,
      error: { code: 'INTERNAL', details: { outcome: 'not-done' } },
    });
    host.heal();
    // Unknown: so it counts, until its time is up.
    expect(host.row(PURSE)?.held).toBe(30);
    expect(host.reserve('a', 30).ok).toBe(true);
    const before = host.row(PURSE);
    host.crash();
    expect(host.ledger.former).toEqual([]);
    expect(host.row(PURSE)).toEqual(before);
    expect(problemsOf(store, BUDGET, rowsOf([host], PURSE))).toEqual([]);
  });

  it.each(['dropped', 'flipped', 'swapped', 'doubled'])(
    'a record that is %s in the middle of the journal ends the account: nothing is spent of it (B09)',
    (how) => {
      const { store, host } = setup();
      host.reserve('a', 30);
      host.settle('a', 30);
      host.reserve('b', 20);
      const { account } = host.ledger;
      const at = host.journal.length - 2;
      if (how === 'dropped') host.journal.splice(at, 1);
      if (how === 'flipped')
        host.journal[at] = host.journal[at]!.map((byte, index) => (index === 3 ? byte ^ 255 : byte));
      if (how === 'swapped') host.journal.splice(at, 2, host.journal[at + 1]!, host.journal[at]!);
      if (how === 'doubled') host.journal.splice(at, 0, host.journal[at]!);
      host.synced = host.journal.length;
      host.crash();
      host.open(store);
      if (how === 'doubled') {
        // Known by its number.
        expect(host.row(PURSE)).toMatchObject({ spent: 30, held: 20 });
        return;
      }
      expect(host.ledger.account).not.toBe(account);
      expect(host.ledger.former).toEqual([account]);
      expect(code(host.reserve('c', 1))).toBe('BUDGET_EXHAUSTED');
      // And the new account is whole again.
      host.take(store, PURSE, 10);
      host.crash();
      host.open(store);
      expect(host.rights(PURSE)).toBe(10);
    },
  );

  it('a last record cut off by the crash is as if it had never been (B09)', () => {
    const { store, host } = setup();
    host.reserve('a', 30);
    host.journal.pop();
    host.synced = host.journal.length;
    host.crash();
    host.open(store);
    expect(host.ledger.former).toEqual([]);
    expect(host.rights(PURSE)).toBe(100);
  });

  it.each([1, 3])('a checkpoint and %i records behind it, some from before, give the same state', (count) => {
    const { store, host } = setup();
    host.reserve('a', 30);
    const records = [...host.journal];
    const checkpoint = [...host.ledger.checkpoint()];
    for (let index = 0; index < count; index++) host.reserve(`b${index}`, 2);
    const before = host.row(PURSE);
    host.journal = [...checkpoint, ...records.slice(-2), ...host.journal.slice(records.length)];
    host.synced = host.journal.length;
    host.crash();
    host.open(store);
    expect(host.ledger.former).toEqual([]);
    expect(host.row(PURSE)).toEqual(before);
    for (let index = 0; index < count; index++) expect(host.settle(`b${index}`, 1).ok).toBe(true);
    expect(host.settle('a', 3).ok).toBe(true);
  });

  it('thousands of reservations survive checkpoint and restart', () => {
    const { store, host } = setup(1_000);
    for (let index = 0; index < 2_500; index++) {
      host.request(reserveCall(`r${index}`, 1));
      if (index >= 900) host.request({ op: 'settle', id: `r${index - 900}`, amount: 0 });
    }
    host.checkpoint();
    expect(host.journal.length).toBeGreaterThan(4);
    const before = host.row(PURSE);
    host.crash();
    host.open(store);
    expect(host.row(PURSE)).toEqual(before);
    expect(host.settle('r2400', 1)).toMatchObject({ ok: true });
    expect(host.settle('r10', 0)).toMatchObject({ ok: true });
  });
});

describe('ledger: who remembers too little spends nothing', () => {
  it('after a restart nothing is spent or published until the quorum store has confirmed the account (B10)', () => {
    const { store, host } = setup();
    host.reserve('a', 10);
    host.crash();
    host.sync();
    const told = host.published.length;
    expect(host.reserve('b', 1)).toMatchObject({ ok: false, error: { code: 'QUORUM_UNAVAILABLE' } });
    expect(code(host.transfer(PURSE, hostWith(store, 1).ledger.account, 1, 0))).toBe('QUORUM_UNAVAILABLE');
    expect(host.settle('a', 4).ok).toBe(true);
    host.pass(5_000);
    host.sync();
    expect(host.published).toHaveLength(told);
    host.open(store);
    expect(host.reserve('b', 1).ok).toBe(true);
  });

  it('an old image that was started before finds another start in the register, and ends (B10)', () => {
    const { store, host } = setup();
    const image = [...host.journal];
    host.crash();
    host.open(store);
    host.report('a', 90);
    const { account } = host.ledger;
    host.journal = image;
    host.synced = image.length;
    host.crash();
    host.open(store);
    expect(host.ledger.account).not.toBe(account);
    expect(host.rights(PURSE)).toBe(0);
  });

  it.each([
    [1, false],
    [1, true],
    [3, false],
    [3, true],
  ])(
    'a store that has forgotten its last starts (%i of them) is told anew, and refuses an older image then (journal written anew: %s; B10)',
    (starts, isCheckpointed) => {
      const { store, host } = setup();
      const image = [...host.journal];
      const key = accountKey(host.ledger.account);
      const before = store.view(PURSE, host.ledger.account).view.account.value;
      for (let start = 0; start < starts; start++) {
        host.crash();
        host.open(store);
      }
      host.report('a', 90);
      if (isCheckpointed) host.checkpoint();
      const { account } = host.ledger;
      const put: Operation = { op: 'put', key, value: encode(before).slice() };
      store.transact({ compares: [], then: [put], otherwise: [] });
      host.crash();
      host.open(store);
      expect(host.ledger.account).toBe(account);
      expect(host.rights(PURSE)).toBe(10);
      host.journal = image;
      host.synced = image.length;
      host.crash();
      host.open(store);
      expect(host.ledger.account).not.toBe(account);
      expect(host.rights(PURSE)).toBe(0);
    },
  );

  /** A host on an older image of its disk, after others heard what it has forgotten: those `rows`. */
  function putBack() {
    const { store, host } = setup();
    const witness = hostWith(store, 1);
    const image = [...host.journal];
    host.report('a', 90);
    witness.hear(host);
    const rows = [...host.published];
    host.journal = image;
    host.synced = image.length;
    host.crash();
    return { store, host, rows };
  }

  it('an old image is found out by any later row of its own, before or after it was confirmed (B10)', () => {
    for (const isConfirmed of [false, true]) {
      const { store, host, rows } = putBack();
      if (isConfirmed) host.open(store);
      const { account } = host.ledger;
      for (const row of rows) host.deliver({ kind: 'rowHeard', ...row });
      host.open(store);
      expect(host.ledger.account).not.toBe(account);
      expect(host.ledger.former).toEqual([account]);
      expect(code(host.reserve('b', 1))).toBe('BUDGET_EXHAUSTED');
    }
  });

  it.each([
    ['less', 40, true],
    ['more', 95, false],
  ] as const)(
    'an old image that spent %s than others know of when it hears that is found out, unless it could have gone on from there (B10)',
    (_, again, isFoundOut) => {
      const { store, host, rows } = putBack();
      host.open(store);
      const { account } = host.ledger;
      host.report('b', again);
      for (const row of rows) host.deliver({ kind: 'rowHeard', ...row });
      expect(host.ledger.account !== account).toBe(isFoundOut);
    },
  );

  it('own rows that come back as they were change nothing', () => {
    const { store, host } = setup();
    host.report('a', 10);
    host.hear(host);
    host.report('b', 10);
    host.hear(host);
    expect(host.ledger.former).toEqual([]);
    host.crash();
    host.open(store);
    host.hear(host);
    expect(host.ledger.former).toEqual([]);
  });

  it('a copy of the data elsewhere is another account from its start, without a word from anybody (B11)', () => {
    const { store, host } = setup();
    const copy = new Host(host.self);
    copy.journal = [...host.journal];
    copy.synced = copy.journal.length;
    copy.place = 'elsewhere';
    copy.crash();
    expect(copy.ledger.account).not.toBe(host.ledger.account);
    expect(code(copy.reserve('a', 1))).toBe('NOT_FOUND');
    copy.open(store);
    expect(code(copy.reserve('a', 1))).toBe('BUDGET_EXHAUSTED');
    expect(host.reserve('a', 100).ok).toBe(true);
  });

  it('of two processes on one machine image the register lets one be granted more, and rows end the other (B11)', () => {
    const { store, host } = setup();
    const twin = new Host(host.self);
    twin.journal = [...host.journal];
    twin.synced = twin.journal.length;
    twin.crash();
    twin.open(store);
    const { account } = host.ledger;
    const refused = store.grant(PURSE, account, {
      amount: amountOf(10),
      atLeast: amountOf(1),
      above: amountOf(100),
      nonce: 1,
    });
    expect(code(refused)).toBe('CONFLICT');
    host.report('a', 1);
    twin.hear(host);
    expect(twin.ledger.account).not.toBe(account);
  });

  it('a disk that was lost leaves its account charged, and the node starts with no rights (B12)', () => {
    const { store, host } = setup();
    const { account } = host.ledger;
    const row = host.row(PURSE);
    host.journal = [];
    host.synced = 0;
    host.crash();
    host.open(store);
    expect(host.ledger.account).not.toBe(account);
    expect(host.rights(PURSE)).toBe(0);
    expect(store.reserve(BUDGET).reserve).toBe(900);
    expect(problemsOf(store, BUDGET, rowsOf([host], PURSE).set(account, row))).toEqual([]);
  });

  it('starts that never reached a majority are remembered: a later one is still the account', () => {
    const { store, host } = setup();
    for (let round = 0; round < 5; round++) {
      host.crash();
      host.sync();
    }
    // The answer to the third was lost, and the register has it.
    host.open(store);
    expect(host.ledger.former).toEqual([]);
    expect(host.reserve('a', 100).ok).toBe(true);
  });
});

describe('ledger: transfers', () => {
  it('what is sent is debited once and credited once, however often it is asked for and heard (B01, B04, I4)', () => {
    const { store, host } = setup();
    const other = hostWith(store, 1);
    other.deliver({ kind: 'registered', purse: PURSE, account: host.ledger.account, granted: amountOf(100) });
    for (let round = 0; round < 3; round++) {
      expect(host.transfer(PURSE, other.ledger.account, 40, 0)).toMatchObject({
        ok: true,
        value: { total: 40 },
      });
      other.hear(host);
    }
    expect([host.rights(PURSE), other.rights(PURSE)]).toEqual([60, 40]);
    expect(host.transfer(PURSE, other.ledger.account, 5, 40)).toMatchObject({
      value: { total: 45, moved: 5 },
    });
    expect(problemsOf(store, BUDGET, rowsOf([host, other], PURSE))).toEqual([]);
    other.hear(host);
    // The first row again, long after.
    other.deliver({ kind: 'rowHeard', ...host.published[0]! });
    expect([host.rights(PURSE), other.rights(PURSE)]).toEqual([55, 45]);
    expect(problemsOf(store, BUDGET, rowsOf([host, other], PURSE))).toEqual([]);
  });

  it('a transfer that is lost with its receiver in the dark stays on the way, and arrives with any later row (B02, B03, B06)', () => {
    const { store, host } = setup();
    const other = hostWith(store, 1);
    other.deliver({ kind: 'registered', purse: PURSE, account: host.ledger.account, granted: amountOf(100) });
    host.transfer(PURSE, other.ledger.account, 10, 0);
    host.published.length = 0;
    host.transfer(PURSE, other.ledger.account, 20, 10);
    host.crash();
    host.open(store);
    host.report('a', 1);
    other.hear(host);
    expect(other.rights(PURSE)).toBe(30);
    expect(problemsOf(store, BUDGET, rowsOf([host, other], PURSE))).toEqual([]);
  });

  it('rows that come in the wrong order, and once more after their receiver wrote its journal anew and started again, count once (B02)', () => {
    const { store, host } = setup();
    const other = hostWith(store, 1);
    const granted = () =>
      other.deliver({
        kind: 'registered',
        purse: PURSE,
        account: host.ledger.account,
        granted: amountOf(100),
      });
    granted();
    for (const above of [0, 10, 20]) {
      host.transfer(PURSE, other.ledger.account, 10, above);
      host.pass(3_000);
      host.sync();
    }
    const rows = [...host.published].filter(({ body }) => body !== undefined).reverse();
    expect(rows.length).toBeGreaterThanOrEqual(3);
    for (const row of rows) other.deliver({ kind: 'rowHeard', ...row });
    expect(other.rights(PURSE)).toBe(30);
    other.checkpoint();
    other.crash();
    other.open(store);
    granted();
    for (const row of [...rows, ...rows.toReversed()]) other.deliver({ kind: 'rowHeard', ...row });
    expect([host.rights(PURSE), other.rights(PURSE)]).toEqual([70, 30]);
    expect(problemsOf(store, BUDGET, rowsOf([host, other], PURSE))).toEqual([]);
  });

  it('both sides of a partition stop at their own rights (B05)', () => {
    const store = new Store([BUDGET]);
    const hosts = [hostWith(store, 0, 300), hostWith(store, 1, 700)];
    for (const host of hosts)
      for (let index = 0; index < 300; index++) {
        if (host.reserve(`r${index}`, 7).ok) host.settle(`r${index}`, 7);
      }
    expect(hosts.map((host) => host.row(PURSE)?.spent)).toEqual([294, 700]);
    expect(problemsOf(store, BUDGET, rowsOf(hosts, PURSE))).toEqual([]);
  });

  it.each(['itself', 'nobody', 'more than there is', 'of a purse that is none'])(
    'rights do not go to or beyond: %s (B26)',
    (what) => {
      const { store, host } = setup();
      const other = hostWith(store, 1).ledger.account;
      const result =
        what === 'itself'
          ? host.transfer(PURSE, host.ledger.account, 1, 0)
          : what === 'nobody'
            ? host.transfer(PURSE, 'nobody' as never, 1, 0)
            : what === 'more than there is'
              ? host.transfer(PURSE, other, 101, 0)
              : host.transfer('team/5/yesterday' as never, other, 1, 0);
      expect(code(result)).toMatch(/INVALID_ARGUMENT|BUDGET_EXHAUSTED/);
      expect(host.rights(PURSE)).toBe(100);
    },
  );

  it('what was given back is in the reserve once (I1)', () => {
    const { store, host } = setup();
    const call = { op: 'return', purse: PURSE, amount: 30, above: 0 } as const;
    expect(host.call(call)).toMatchObject({ ok: true, value: { total: 30, moved: 30 } });
    expect(host.call(call)).toMatchObject({ ok: true, value: { total: 30, moved: 0 } });
    for (let round = 0; round < 3; round++) host.credit(store, PURSE);
    expect(store.reserve(BUDGET).reserve).toBe(930);
    expect(problemsOf(store, BUDGET, rowsOf([host], PURSE))).toEqual([]);
  });
});

describe('ledger: rows of others that lie', () => {
  const liar = nodeIdOf(3);
  const account = `${liar}/9` as never;
  const key = `${PURSE}/9`;
  const lie = (host: Host, fields: Record<string, unknown>, version = 1) => {
    const row = {
      sequence: version,
      granted: 0,
      received: [],
      sent: [],
      returned: 0,
      spent: 0,
      held: 0,
      overrun: 0,
      covered: 0,
      ...fields,
    };
    host.deliver({ kind: 'rowHeard', owner: liar, key, version, body: row });
    host.sync();
  };

  it.each([
    ['sends what it was never granted', (me: string) => ({ granted: 50, sent: [[me, 50]] })],
    ['sends more than it says it has', (me: string) => ({ granted: 10, sent: [[me, 50]] })],
    ['sends to itself', () => ({ granted: 10, sent: [[`${liar}/9`, 5]] })],
    [
      'got it from one who never sent it',
      (me: string) => ({ received: [[`${nodeIdOf(4)}/8`, 50]], sent: [[me, 50]] }),
    ],
    [
      'got it from the victim, which never sent it',
      (me: string) => ({ received: [[me, 50]], sent: [[me, 50]] }),
    ],
    ['sends fractions', (me: string) => ({ granted: 10, sent: [[me, 1.5]] })],
    ['sends a text', (me: string) => ({ granted: 10, sent: [[me, '5']] })],
    ['sends less than nothing', (me: string) => ({ granted: 10, sent: [[me, -5]] })],
    [
      'sends twice to one',
      (me: string) => ({
        granted: 10,
        sent: [
          [me, 5],
          [me, 5],
        ],
      }),
    ],
    ['has spent less than nothing', (me: string) => ({ granted: 10, spent: -50, sent: [[me, 50]] })],
    ['counts from nothing', (me: string) => ({ granted: 10, sequence: 0, sent: [[me, 5]] })],
    ['covers what it did not overrun', (me: string) => ({ granted: 10, covered: 5, sent: [[me, 5]] })],
  ])('a row of one that %s brings nothing (B25, B26, B27)', (_, fields) => {
    const { host } = setup();
    host.deliver({ kind: 'registered', purse: PURSE, account, granted: amountOf(20) });
    lie(host, fields(host.ledger.account));
    expect(host.rights(PURSE)).toBe(100);
    expect(host.row(PURSE)?.received.size).toBe(0);
  });

  it.each([null, 7, [], {}, encode({}), 'x', undefined])('a body %j is no row', (body) => {
    const { host } = setup();
    host.deliver({ kind: 'rowHeard', owner: liar, key, version: 1, body });
    for (const odd of [
      '',
      '/',
      'team',
      'team/5/all',
      'team/5/all/',
      'team/5/all/0',
      `${PURSE}/9/9`,
      '__proto__/5/all/9',
    ])
      host.deliver({ kind: 'rowHeard', owner: liar, key: odd, version: 1, body });
    expect(host.rights(PURSE)).toBe(100);
  });

  it('of another epoch or budget nothing gets in (B26)', () => {
    const { host } = setup();
    const other = 'team/6/all' as never;
    host.deliver({ kind: 'registered', purse: other, account, granted: amountOf(20) });
    const body = {
      sequence: 1,
      granted: 20,
      received: [],
      sent: [[host.ledger.account, 20]],
      returned: 0,
      spent: 0,
      held: 0,
      overrun: 0,
      covered: 0,
    };
    host.deliver({ kind: 'rowHeard', owner: liar, key: `${other}/9`, version: 1, body });
    expect(host.rights(PURSE)).toBe(100);
    expect(host.reserve('a', 101).ok).toBe(false);
  });

  it('two that back each other bring in no more than was granted to them (B26)', () => {
    const { host } = setup();
    const me = host.ledger.account;
    const mate = `${nodeIdOf(4)}/8`;
    const body = (fields: Record<string, unknown>) => ({
      sequence: 1,
      granted: 0,
      received: [],
      sent: [],
      returned: 0,
      spent: 0,
      held: 0,
      overrun: 0,
      covered: 0,
      ...fields,
    });
    const tell = (sentToMe: number, sequence: number) => {
      host.deliver({
        kind: 'rowHeard',
        owner: nodeIdOf(4),
        key: `${PURSE}/8`,
        version: sequence,
        body: body({ sequence, received: [[account, 90]], sent: [[account, 90]] }),
      });
      host.deliver({
        kind: 'rowHeard',
        owner: liar,
        key,
        version: sequence,
        body: body({
          sequence,
          granted: sentToMe,
          received: [[mate, 90]],
          sent: [
            [mate, 90],
            [me, sentToMe],
          ],
        }),
      });
    };
    tell(50, 1);
    expect(host.rights(PURSE)).toBe(100);
    // As soon as the register says that it was granted so much, it is true.
    host.deliver({ kind: 'registered', purse: PURSE, account, granted: amountOf(50) });
    expect(host.rights(PURSE)).toBe(150);
    tell(60, 2);
    expect(host.rights(PURSE)).toBe(150);
  });

  it('one that sends the same rights to two is believed by each once, found out where they meet, and heard no more (B26)', () => {
    const store = new Store([BUDGET]);
    const [first, second] = [hostWith(store, 0), hostWith(store, 1)];
    const rowTo = (to: Host) => ({ granted: 20, sequence: 5, sent: [[to.ledger.account, 20]] });
    for (const host of [first, second]) {
      host.deliver({ kind: 'registered', purse: PURSE, account, granted: amountOf(20) });
      lie(host, rowTo(host), 5);
      expect(host.rights(PURSE)).toBe(20);
    }
    lie(first, rowTo(second), 6);
    expect(first.marks).toContain('budget.quarantined');
    expect(first.ledger.rows.proofs).toHaveLength(1);
    first.deliver({ kind: 'registered', purse: PURSE, account, granted: amountOf(200) });
    lie(
      first,
      {
        granted: 200,
        sequence: 9,
        sent: [
          [first.ledger.account, 150],
          [second.ledger.account, 20],
        ],
      },
      9,
    );
    expect(first.rights(PURSE)).toBe(20);
    expect(code(first.transfer(PURSE, account, 1, 0))).toBe('INVALID_ARGUMENT');
    first.crash();
    first.open(store);
    lie(first, { granted: 200, sequence: 9, sent: [[first.ledger.account, 150]] }, 9);
    expect(first.rights(PURSE)).toBe(20);
  });

  it.each([
    ['lowers what it spent', { sequence: 6, granted: 20, spent: 3 }],
    ['takes a transfer back', { sequence: 6, granted: 20, spent: 5, sent: [] }],
    ['signs an older row anew', { sequence: 4, granted: 20, spent: 2 }],
  ])('a row that %s puts its writer in quarantine (B10, B26, B27)', (_, fields) => {
    const { host } = setup();
    host.deliver({ kind: 'registered', purse: PURSE, account, granted: amountOf(20) });
    lie(host, { sequence: 5, granted: 20, spent: 5, sent: [[host.ledger.account, 1]] }, 5);
    expect(host.rights(PURSE)).toBe(101);
    lie(host, { sent: [[host.ledger.account, 1]], ...fields }, 6);
    expect(host.marks).toContain('budget.quarantined');
  });

  it('a row is the same over the wire and back', () => {
    const { host } = setup();
    host.report('a', 3);
    const row = host.row(PURSE)!;
    host.hear(host);
    expect(host.published.at(-1)?.body).toEqual(rowBody(row));
  });
});
