/** What the simulator found once in the ledger, each as a short story. */
import { describe, expect, it } from 'vitest';
import { rowKey } from '../../src/budget/names.ts';
import { parseRow, rowBody } from '../../src/budget/row.ts';
import { amountOf, definitionOf, Host, nodeIdOf, purseOf, reserveCall, Store } from './support.ts';

const TEAM = definitionOf({ limit: 1_000 });
const PURSE = purseOf(TEAM);

describe('ledger: what was found once', () => {
  it('shows nobody a row that its failing disk does not have (I3, B29)', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    host.open(store);
    host.take(store, PURSE, 100);
    host.pass(2_000);
    host.sync();
    const before = host.published.length;
    host.failing = true;
    host.request({
      op: 'transfer',
      purse: PURSE,
      to: new Host(nodeIdOf(1)).ledger.account,
      amount: 40,
      above: 0,
    });
    host.request(reserveCall('r', 10));
    host.sync();
    // The failure is known, and the time to publish comes.
    host.pass(5_000);
    host.sync();
    expect(host.published.length).toBe(before);
    host.heal();
    host.pass(5_000);
    host.sync();
    expect(host.published.length).toBeGreaterThan(before);
  });

  it('a disk that loses what it said was synced gives nobody more rights than it had, once others told of them (B08)', () => {
    for (let kept = 0; ; kept++) {
      const store = new Store([TEAM]);
      const witness = new Host(nodeIdOf(1));
      const host = new Host(nodeIdOf(0));
      for (const each of [witness, host]) each.open(store);
      host.take(store, PURSE, 100);
      host.report('a', 60);
      host.call({ op: 'transfer', purse: PURSE, to: witness.ledger.account, amount: 30, above: 0 });
      witness.hear(host);
      if (kept > host.journal.length) break;
      const isWhole = kept === host.journal.length;
      host.journal.length = kept;
      host.synced = kept;
      const rows = [...host.published];
      host.crash();
      for (const row of rows) host.deliver({ kind: 'rowHeard', ...row });
      host.open(store);
      expect([kept, host.rights(PURSE)]).toEqual([kept, isWhole ? 10 : 0]);
      const refused = host.reserve('b', 11);
      expect(refused).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
    }
  });

  for (const restarts of [0, 1, 2]) {
    it(`counts on the next account what an older image was told before it was found out, restarted ${restarts} times meanwhile (I9, B10, B21)`, () => {
      const store = new Store([TEAM]);
      const host = new Host(nodeIdOf(0));
      host.open(store);
      host.take(store, PURSE, 100);
      host.reserve('held', 20);
      host.report('before', 7);
      const image = [...host.journal];
      // A later start, of which the image knows nothing.
      host.crash();
      host.open(store);
      host.reserve('later', 30);
      const { account } = host.ledger;
      host.journal = [...image];
      host.synced = image.length;
      host.crash();
      host.deliver({ kind: 'defined', budget: TEAM.name, definition: TEAM });
      expect(host.report('told', 40, 'bob')).toMatchObject({ ok: true });
      expect(host.settle('held', 25)).toMatchObject({ ok: true });
      for (let restart = 0; restart < restarts; restart++) {
        if (restart === 1) host.checkpoint();
        host.crash();
        host.deliver({ kind: 'defined', budget: TEAM.name, definition: TEAM });
        expect(host.report('told', 40, 'bob')).toMatchObject({ ok: true });
      }
      host.open(store);
      expect(host.ledger.account).not.toBe(account);
      expect(host.row(PURSE)).toMatchObject({ granted: 0, spent: 0, overrun: 45 });
      // Asked again, it is counted already; what is on the disk is the same.
      expect(host.report('told', 40, 'bob')).toMatchObject({ ok: true, value: { overrun: 40 } });
      host.crash();
      host.open(store);
      expect(host.row(PURSE)).toMatchObject({ overrun: 45 });
      host.take(store, PURSE, 50);
      expect(host.row(PURSE)).toMatchObject({ overrun: 45, covered: 45, spent: 45 });
      host.pass(2_000);
      host.sync();
      expect(host.published.at(-1)?.body).toMatchObject({ overrun: 45 });
    });
  }

  it('counts what was told before a start was confirmed once, where it is confirmed', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    host.open(store);
    host.take(store, PURSE, 100);
    host.crash();
    host.deliver({ kind: 'defined', budget: TEAM.name, definition: TEAM });
    host.report('told', 40);
    host.open(store);
    host.pass(5_000);
    host.deliver({ kind: 'fenced', account: host.ledger.account, reason: 'another start' });
    host.open(store);
    expect(host.row(PURSE)?.overrun ?? 0).toBe(0);
  });

  it('counts on the next account what an older image was told after its start was confirmed, once others are heard (I9, B10, B21)', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    host.open(store);
    host.take(store, PURSE, 100);
    host.report('early', 5);
    host.reserve('held', 20);
    const image = [...host.journal];
    host.report('unknown to the image', 60);
    host.pass(2_000);
    host.sync();
    const told = host.published.at(-1)!;
    const { account } = host.ledger;
    host.journal = [...image];
    host.synced = image.length;
    host.crash();
    host.open(store);
    expect(host.ledger).toMatchObject({ account, isConfirmed: true });
    expect(host.report('told', 30, 'bob')).toMatchObject({ ok: true, value: { overrun: 0 } });
    expect(host.settle('held', 24)).toMatchObject({ ok: true, value: { overrun: 0 } });
    host.pass(5_000);
    host.sync();
    host.deliver({ kind: 'rowHeard', ...told });
    host.open(store);
    expect(host.ledger.account).not.toBe(account);
    // What went beyond the reservation is 4; the reservation itself stays charged with the former account.
    expect(host.row(PURSE)).toMatchObject({ spent: 0, overrun: 34 });
    expect(host.report('told', 30, 'bob')).toMatchObject({ ok: true, value: { overrun: 30 } });
    expect(host.reserve('next', 1, { agent: 'bob' })).toMatchObject({ ok: false, error: { code: 'DENIED' } });
    expect(host.row(PURSE)).toMatchObject({ overrun: 34 });
    // All nodes show the same of the former account: what this data made of it was believed by nobody.
    const shown = host.ledger.rows.row(PURSE, account);
    expect(shown).toEqual(parseRow(told.body, account));
    expect(host.marks).not.toContain('budget.quarantined');
  });

  it('begins another account where something of the journal was set aside as corrupt, though no gap tells (B09)', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    host.open(store);
    host.take(store, PURSE, 100);
    host.reserve('kept', 30);
    const { account } = host.ledger;
    host.reserve('lost', 50);
    host.journal.pop();
    host.synced = host.journal.length;
    host.isSuspect = true;
    host.crash();
    host.open(store);
    expect(host.ledger.account).not.toBe(account);
    expect(host.rights(PURSE)).toBe(0);
    expect(host.reserve('more', 1)).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
  });

  it('counts on the next account what the former one was told and had not published when it was fenced off (I9, B11)', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    host.open(store);
    host.take(store, PURSE, 100);
    host.report('published', 10);
    host.pass(5_000);
    host.sync();
    host.report('untold', 20);
    host.deliver({ kind: 'fenced', account: host.ledger.account, reason: 'another start' });
    host.open(store);
    expect(host.row(PURSE)).toMatchObject({ overrun: 20 });
    host.deliver({ kind: 'fenced', account: host.ledger.account, reason: 'another start' });
    host.open(store);
    // Not published yet: it goes on from account to account.
    expect(host.row(PURSE)?.overrun ?? 0).toBe(20);
  });

  it('an account that ends is no liar to the one that takes its place, though it had told less than its disk has (B10, B11)', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    const other = new Host(nodeIdOf(1));
    for (const each of [host, other]) each.open(store);
    host.take(store, PURSE, 100);
    host.pass(2_000);
    host.sync();
    const told = host.published.at(-1);
    host.report('untold', 10);
    const former = host.ledger.account;
    host.place = 'elsewhere';
    host.crash();
    host.open(store);
    expect(host.ledger.account).not.toBe(former);
    host.deliver({ kind: 'rowHeard', ...told! });
    expect(host.marks).not.toContain('budget.quarantined');
    // What it had told last, after the disk's state, is heard; so who got something of it can pass that on.
    const row = { ...rowBody(host.ledger.rows.row(PURSE, former)!)!, sequence: 90, sent: [] as unknown[] };
    row.sent = [[other.ledger.account, 20]];
    other.deliver({ kind: 'registered', purse: PURSE, account: former, granted: amountOf(100) });
    for (const each of [host, other]) each.deliver({ kind: 'rowHeard', ...told!, version: 1e9, body: row });
    other.sync();
    expect(other.rights(PURSE)).toBe(20);
    other.transfer(PURSE, host.ledger.account, 20, 0);
    host.hear(other);
    expect(host.rights(PURSE)).toBe(20);
  });

  for (const [aheadMs, when] of [
    [1_800_000, 'was ahead when they were made'],
    [-1_800_000, 'is behind when the node starts again'],
  ] as const) {
    it(`reservations end in their time from a restart on, though the wall clock ${when} (B13, B19)`, () => {
      const store = new Store([TEAM]);
      const host = new Host(nodeIdOf(0));
      host.open(store);
      host.take(store, PURSE, 100);
      host.pass(0, 7_200_000 + Math.max(0, aheadMs));
      host.reserve('r', 40, { ttlMs: 5_000 });
      host.pass(0, -Math.abs(aheadMs));
      host.crash();
      host.open(store);
      host.pass(4_999);
      expect(host.row(PURSE)).toMatchObject({ held: 40, spent: 0 });
      host.pass(1);
      expect(host.row(PURSE)).toMatchObject({ held: 0, spent: 40 });
    });
  }

  it('a start that its disk did not take is told to the store once the disk works (I6, B29)', () => {
    const store = new Store([TEAM]);
    const host = new Host(nodeIdOf(0));
    host.failing = true;
    host.sync();
    expect(host.openings).toEqual([]);
    host.heal();
    expect(host.openings).toMatchObject([{ account: host.ledger.account }]);
    host.open(store);
    host.take(store, PURSE, 100);
    expect(host.reserve('a', 100).ok).toBe(true);
  });

  it.each([false, true])(
    'who contradicted itself stays in quarantine when the account that found out ends (restarted then: %s; B26)',
    (isRestarted) => {
      const store = new Store([TEAM]);
      const [host, liar] = [0, 1].map((index) => new Host(nodeIdOf(index))) as [Host, Host];
      for (const each of [host, liar]) each.open(store);
      liar.take(store, PURSE, 100);
      const { account } = liar.ledger;
      const granted = store.entry(PURSE, account)!.granted;
      const lie = (sequence: number, spent: number): void => {
        const zero = { returned: 0, held: 0, overrun: 0, covered: 0, received: [] };
        const body = { sequence, granted, spent, sent: [[host.ledger.account, 30]], ...zero };
        host.deliver({
          kind: 'rowHeard',
          owner: liar.self,
          key: rowKey(PURSE, account),
          version: sequence,
          body,
        });
      };
      lie(50, 5);
      lie(51, 4);
      expect(host.marks).toContain('budget.quarantined');
      const before = host.ledger.account;
      host.deliver({ kind: 'fenced', account: before, reason: 'for the test' });
      host.sync();
      if (isRestarted) host.crash();
      host.open(store);
      expect(host.ledger.account).not.toBe(before);
      host.deliver({ kind: 'registered', purse: PURSE, account, granted });
      lie(60, 5);
      expect(host.rights(PURSE)).toBe(0);
      host.take(store, PURSE, 10);
      expect(host.transfer(PURSE, account, 1, 0)).toMatchObject({
        ok: false,
        error: { code: 'INVALID_ARGUMENT' },
      });
    },
  );
});
