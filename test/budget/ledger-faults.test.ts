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
});
