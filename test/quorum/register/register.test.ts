import { describe, expect, it } from 'vitest';
import { limits } from '../../../src/kernel/limits.ts';
import { checkTransaction } from '../../../src/quorum/register/check.ts';
import { encodeCommand } from '../../../src/quorum/register/command.ts';
import { Register } from '../../../src/quorum/register/register.ts';
import { CLIENT, put, Told } from './support.ts';
import { text } from './twin.ts';

const ALL = { from: '', to: '\u{10ffff}' };

describe('register: transactions', () => {
  it('the first change makes revision 2, a transaction without effect none', () => {
    const told = new Told();
    expect(told.register.revision).toBe(1);
    expect(told.put('a').revision).toBe(2);
    expect(told.transact({ then: [{ op: 'get', key: 'a' }] }).revision).toBe(2);
    expect(told.transact({ then: [{ op: 'delete', key: 'none' }] })).toMatchObject({
      revision: 2,
      changes: [],
    });
    expect(told.transact({ then: [put('b'), put('c')] })).toMatchObject({ revision: 3 });
  });

  it('reads see earlier writes of the same transaction, and not later ones', () => {
    const told = new Told();
    told.put('k', 'old');
    const get = { op: 'get', key: 'k' } as const;
    const { result } = told.transact({ then: [get, put('k', 'new'), get] });
    const answers = result.kind === 'transacted' ? result.answer.answers : [];
    const values = answers.flatMap((answer) => (answer.op === 'get' ? [text(answer.found!.value)] : []));
    expect(values).toEqual(['old', 'new']);
  });

  it('a key that was deleted begins anew: version 1 and a create revision of its own', () => {
    const told = new Told();
    told.put('k');
    told.put('k');
    expect(told.register.get('k')).toMatchObject({ version: 2, createRevision: 2, modRevision: 3 });
    told.transact({ then: [{ op: 'delete', key: 'k' }] });
    told.put('k');
    expect(told.register.get('k')).toMatchObject({ version: 1, createRevision: 5, modRevision: 5 });
  });

  it.each([
    ['a key put twice', [put('k'), put('k')]],
    ['a key put and deleted', [put('k'), { op: 'delete', key: 'k' } as const]],
    ['a key put in a range that is deleted', [{ op: 'deleteRange', range: ALL } as const, put('k')]],
    ['an empty key', [put('')]],
  ])('%s is refused, and nothing of the transaction takes effect', (_, operations) => {
    const told = new Told();
    const applied = told.transact({ then: [put('before'), ...operations] });
    expect(applied).toMatchObject({ result: { kind: 'failed', code: 'INVALID_ARGUMENT' }, changes: [] });
    expect(told.register.usage.keys).toBe(0);
  });

  it('text that has no UTF-8 is refused before it becomes bytes', () => {
    for (const key of ['\ud800', 'a\udfff', '\udc00\ud800']) {
      const operations = [put(key), { op: 'range', range: { from: 'a', to: key }, limit: 1 } as const];
      for (const operation of operations) {
        const transaction = { compares: [], then: [], otherwise: [operation] };
        expect(checkTransaction(transaction)?.code).toBe('INVALID_ARGUMENT');
      }
    }
  });

  it('a range is cut at so many bytes and says that there is more', () => {
    const told = new Told({ quorumRangeBytes: 1000 });
    for (const key of ['a', 'b', 'c']) told.put(key, 'x'.repeat(600));
    expect(told.register.range(ALL, 10)).toMatchObject({ found: [{ key: 'a' }], more: true });
    expect(told.register.range({ from: 'c', to: 'd' }, 10)).toMatchObject({
      found: [{ key: 'c' }],
      more: false,
    });
  });
});

describe('register: quotas are refused alike everywhere and before anything changes', () => {
  it.each([
    ['keys', { quorumKeys: 2 }, put('c', '1')],
    ['bytes', { quorumBytes: 10 }, put('a', '123456789')],
  ])('%s', (_, bounds, operation) => {
    const told = new Told(bounds);
    told.put('a', '12');
    told.put('b', '12');
    expect(told.transact({ then: [{ op: 'get', key: 'a' }, operation] })).toMatchObject({
      result: { kind: 'failed', code: 'QUOTA_EXCEEDED' },
      changes: [],
    });
    expect(told.transact({ then: [{ op: 'delete', key: 'b' }, operation] }).result.kind).toBe('transacted');
    expect(told.put('a', '').result.kind).toBe('transacted');
  });

  it('what is counted is what is held', () => {
    const told = new Told();
    told.put('ß', '123');
    told.put('ß', '12345');
    expect(told.register.usage).toMatchObject({ keys: 1, bytes: 7 });
    told.transact({ then: [{ op: 'deleteRange', range: ALL }] });
    expect(told.register.usage).toMatchObject({ keys: 0, bytes: 0 });
  });

  it('leases', () => {
    const told = new Told({ quorumLeases: 1 });
    told.grant(1);
    expect(told.grant(2).result).toMatchObject({ kind: 'failed', code: 'QUOTA_EXCEEDED' });
    expect(told.grant(1).result).toMatchObject({ kind: 'failed', code: 'CONFLICT' });
    expect(told.grant(3, 999).result).toMatchObject({ kind: 'failed', code: 'INVALID_ARGUMENT' });
  });
});

describe('register: leases', () => {
  it('all that hangs on the leases that end goes in one revision, in the order of the keys', () => {
    const told = new Told();
    told.grant(1);
    told.grant(2);
    told.put('b', '', 1);
    told.put('c', '', 2);
    told.put('a', '', 1);
    told.put('free');
    const applied = told.tell({ kind: 'expireLeases', leases: [1, 2].map((id) => ({ id, renewals: 0 })) });
    expect(applied.changes.map(({ kind, entry }) => [kind, entry.key, entry.modRevision])).toEqual([
      ['deleted', 'a', 6],
      ['deleted', 'b', 6],
      ['deleted', 'c', 6],
    ]);
    expect(applied.leaseChanges).toEqual([
      { kind: 'ended', id: 1 },
      { kind: 'ended', id: 2 },
    ]);
    expect(told.register.usage).toMatchObject({ keys: 1, leases: 0 });
  });

  it('a renewal that got in first keeps the lease from running out', () => {
    const told = new Told();
    told.grant(1);
    expect(told.renew(1).result).toMatchObject({ kind: 'granted', lease: { id: 1 } });
    expect(told.register.lease(1)?.renewals).toBe(1);
    told.tell({ kind: 'expireLeases', leases: [{ id: 1, renewals: 0 }] });
    expect(told.register.lease(1)).toBeDefined();
    told.tell({ kind: 'expireLeases', leases: [{ id: 1, renewals: 1 }] });
    expect(told.register.lease(1)).toBeUndefined();
    expect(told.renew(1).result).toMatchObject({ kind: 'failed', code: 'NOT_FOUND' });
  });

  it('a key hangs on the lease of its last write, or on none', () => {
    const told = new Told();
    told.grant(1);
    told.grant(2);
    told.put('k', '', 1);
    told.put('k', '', 2);
    told.put('l', '', 1);
    told.put('l');
    told.tell({ kind: 'expireLeases', leases: [{ id: 1, renewals: 0 }] });
    expect(told.register.range(ALL, 10).found.map(({ key, lease }) => [key, lease])).toEqual([
      ['k', 2],
      ['l', 0],
    ]);
    expect(told.put('m', '', 1).result).toMatchObject({ kind: 'failed', code: 'NOT_FOUND' });
  });
});

describe('register: history', () => {
  it('what is older than is remembered is compacted; the rest is told in order, revision by revision', () => {
    const told = new Told({ quorumHistoryChanges: 3 });
    for (const key of ['a', 'b', 'c', 'd', 'e']) told.put(key);
    expect(told.register.compactRevision).toBe(4);
    expect(told.register.changesFrom(3, ALL)).toEqual({ kind: 'compacted', compactRevision: 4 });
    const answer = told.register.changesFrom(4, ALL);
    const revisions = answer.kind === 'changes' ? answer.revisions : [];
    expect(revisions.map(({ revision, changes }) => [revision, changes[0]?.entry.key])).toEqual([
      [4, 'c'],
      [5, 'd'],
      [6, 'e'],
    ]);
    expect(told.register.changesFrom(7, ALL)).toEqual({ kind: 'changes', revisions: [], next: 7 });
  });

  it('a watch that is far behind is told piece by piece', () => {
    const told = new Told();
    for (let at = 0; at < 10; at++) told.put(`k${at}`);
    const seen: number[] = [];
    for (let from = 2; from <= told.register.revision; ) {
      const answer = told.register.changesFrom(from, { from: 'k3', to: 'k8' }, 2);
      if (answer.kind === 'compacted') throw new Error('compacted');
      expect(answer.revisions.length).toBeLessThanOrEqual(2);
      seen.push(...answer.revisions.map(({ revision }) => revision));
      from = answer.next;
    }
    expect(seen).toEqual([5, 6, 7, 8, 9]);
  });

  it('a transaction with more changes than are remembered leaves an empty history', () => {
    const told = new Told({ quorumHistoryChanges: 2 });
    told.transact({ then: [put('a'), put('b'), put('c')] });
    expect(told.register.compactRevision).toBe(3);
    expect(told.put('d').revision).toBe(3);
    expect(told.register.changesFrom(3, ALL)).toMatchObject({ revisions: [{ revision: 3 }] });
  });
});

describe('register: commands that it does not know', () => {
  it('change nothing and are told apart from those that are damaged', () => {
    const register = new Register();
    expect(register.apply(1, Uint8Array.of(200, 1, 2)).result).toEqual({
      kind: 'refused',
      why: 'unknownKind',
    });
    expect(register.apply(2, new Uint8Array(0)).result).toEqual({ kind: 'refused', why: 'malformed' });
    const open = encodeCommand({ kind: 'openClient', client: CLIENT });
    expect(register.apply(3, Uint8Array.of(...open, 0)).result).toEqual({
      kind: 'refused',
      why: 'malformed',
    });
    expect(register.usage.clients).toBe(0);
  });

  it('values that were written do not hang on the frame that they came in', () => {
    const told = new Told();
    const bytes = encodeCommand({
      kind: 'transact',
      client: CLIENT,
      sequence: 1,
      lowestOutstanding: 1,
      transaction: { compares: [], then: [put('k', 'v')], otherwise: [] },
    });
    const frame = new Uint8Array(limits.frameBytes);
    frame.set(bytes, 100);
    told.register.apply(2, frame.subarray(100, 100 + bytes.length));
    expect(told.register.get('k')?.value.buffer.byteLength).toBeLessThan(1000);
  });
});
