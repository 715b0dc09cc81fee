import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CLIENT, put, restored, Told, transactCommand } from './support.ts';

const ALL = { from: '', to: '\u{10ffff}' };

/** Some of everything, over several pieces. */
function filled(): Told {
  const told = new Told();
  told.grant(5);
  for (let at = 0; at < 1500; at++) told.put(`k${at}`, 'x'.repeat(200), at % 7 === 0 ? 5 : 0);
  told.put('large', 'y'.repeat(500_000));
  told.tell({ kind: 'openClient', client: 2 ** 53 - 1 });
  told.renew(5);
  for (let at = 0; at < 20; at++) {
    told.tell(
      transactCommand(++told.sequence, { then: [{ op: 'range', range: ALL, limit: 3 }, put('hot')] }, 1502),
    );
  }
  told.transact({
    then: [
      { op: 'delete', key: 'k9' },
      { op: 'get', key: 'k1' },
      { op: 'get', key: 'none' },
    ],
  });
  told.transact({ then: [put('m', '', 99)] });
  return told;
}

describe('register: snapshots', () => {
  const told = filled();
  const pieces = [...told.register.capture()];

  it('a register comes back with all its state, and goes on alike', () => {
    const again = restored(pieces);
    expect(again?.digest()).toBe(told.register.digest());
    expect(again?.usage).toEqual(told.register.usage);
    expect(again?.get('large')).toEqual(told.register.get('large'));
    const next = { kind: 'expireLeases', leases: [{ id: 5, renewals: 1 }] } as const;
    const other = new Told();
    if (again !== undefined) other.register = again;
    other.index = told.index;
    const fresh = filled();
    expect(other.tell(next)).toEqual(fresh.tell(next));
    expect(other.register.digest()).toBe(fresh.register.digest());
  });

  it('pieces are of 128 KiB, however large an entry is', () => {
    expect(pieces.length).toBeGreaterThan(5);
    for (const piece of pieces.slice(0, -1)) expect(piece.length).toBe(128 * 1024 + 4);
    expect(pieces.at(-1)?.length).toBeLessThanOrEqual(128 * 1024 + 4);
  });

  it('a watch goes on over the newest history, which is the same as before', () => {
    const again = restored(pieces);
    const from = again?.compactRevision ?? 0;
    expect(from).toBeLessThan(told.register.revision - 100);
    expect(again?.changesFrom(from, ALL, 1e6)).toEqual(told.register.changesFrom(from, ALL, 1e6));
    expect(again?.changesFrom(from - 1, ALL)).toEqual({ kind: 'compacted', compactRevision: from });
  });

  it('entries that still stand are shared with the history, not held twice', () => {
    const again = restored(pieces);
    const answer = again?.changesFrom(again.compactRevision, { from: 'k1499', to: 'k14990' });
    const change = answer?.kind === 'changes' ? answer.revisions[0]?.changes[0] : undefined;
    expect(change?.entry).toBe(again?.get('k1499'));
  });

  it('what is captured stays as it was, whatever is applied while its pieces are made', () => {
    const changing = filled();
    const digest = changing.register.digest();
    const iterator = changing.register.capture()[Symbol.iterator]();
    const taken: Uint8Array[] = [];
    for (let at = 0, step = iterator.next(); step.done !== true; step = iterator.next(), at++) {
      taken.push(step.value);
      changing.transact({
        then: [{ op: 'deleteRange', range: { from: `k${at}`, to: `k${at + 1}` } }, put(`a${at}`)],
      });
      changing.put('hot', String(at));
      changing.grant(100 + at);
    }
    expect(changing.register.digest()).not.toBe(digest);
    expect(restored(taken)?.digest()).toBe(digest);
  });

  it('a piece that is missing, changed, doubled or out of order leaves nothing', () => {
    expect(restored(pieces.slice(0, -1))).toBeUndefined();
    expect(restored(pieces.slice(1))).toBeUndefined();
    expect(restored([...pieces, pieces[0]!])).toBeUndefined();
    expect(restored([pieces[1]!, pieces[0]!, ...pieces.slice(2)])).toBeUndefined();
    expect(restored([])).toBeUndefined();
    const small = new Told();
    small.put('k', 'v');
    const [only] = [...small.register.capture()];
    for (let at = 0; at < only!.length; at++) {
      const changed = only!.slice();
      changed[at] = changed[at]! ^ 1;
      expect(restored([changed]), `byte ${at}`).toBeUndefined();
    }
  });

  it('any bytes at all are refused without a throw', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (pieces) => {
        expect(restored(pieces)).toBeUndefined();
      }),
    );
  });

  it('an empty register has a snapshot too', () => {
    const empty = new Told();
    empty.tell({ kind: 'closeClient', client: CLIENT });
    const again = restored(empty.register.capture());
    expect([again?.revision, again?.compactRevision, again?.usage.keys]).toEqual([1, 2, 0]);
  });
});
