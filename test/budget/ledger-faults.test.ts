/** What the simulator found once in the ledger, each as a short story. */
import { describe, expect, it } from 'vitest';
import { definitionOf, Host, nodeIdOf, purseOf, reserveCall, Store } from './support.ts';

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
    host.deliver({ kind: 'fenced', account: host.ledger.account, reason: 'another start' });
    host.open(store);
    expect(host.row(PURSE)?.overrun ?? 0).toBe(0);
  });
});
