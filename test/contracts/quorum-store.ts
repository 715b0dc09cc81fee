/**
 * What every quorum store must do, sentence by sentence of `src/quorum/port.ts`. An engine is accepted by a file that
 * calls `describeQuorumStore` with a way to make it; `quorum-store-faults.ts` goes on where members can be killed.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { limits } from '../../src/kernel/limits.ts';
import type { Compare, Operation, OperationAnswer, QuorumStore } from '../../src/quorum/port.ts';
import {
  error,
  expectSound,
  increment,
  put,
  type Subject,
  Told,
  text,
  transaction,
  under,
  until,
  utf8,
  value,
  write,
} from './quorum-store-support.ts';

const TEST_MS = 30_000;

export function describeQuorumStore(name: string, make: () => Promise<Subject>): void {
  describe(`quorum store, ${name}`, { timeout: TEST_MS }, () => {
    let subject: Subject;
    let store: QuorumStore;
    beforeAll(async () => {
      subject = await make();
      store = subject.stores[0]!;
      await until(async () => (await store.get('ready', 'strong')).ok, 'the store answers', 20_000);
    }, 60_000);
    afterAll(async () => {
      await subject?.close();
    }, 30_000);

    const parts = { subject: () => subject, store: () => store };
    describe('revisions', () => describeRevisions(parts));
    describe('keys and ranges', () => describeKeys(parts));
    describe('transactions', () => describeTransactions(parts));
    describe('compares', () => describeCompares(parts));
    describe('hostile and oversized input', () => describeLimits(parts));
    describe('watches', () => describeWatches(parts));
    describe('leases', () => describeLeases(parts));
    describe('several clients', () => describeClients(parts));
    describe('cancellation', () => describeCancellation(parts));
  });
}

interface Parts {
  readonly subject: () => Subject;
  readonly store: () => QuorumStore;
}

function describeRevisions({ subject, store }: Parts): void {
  it('a transaction that changes something makes one revision, any other none', async () => {
    const before = value(await store().get('revision/a', 'strong')).revision;
    const first = await write(store(), put('revision/a', '1'), put('revision/b', '1'));
    const read = await write(
      store(),
      { op: 'get', key: 'revision/a' },
      { op: 'delete', key: 'revision/none' },
    );
    const second = await write(store(), { op: 'deleteRange', range: under('revision/') });
    expect([first.revision, read.revision, second.revision]).toEqual([before + 1, before + 1, before + 2]);
    expect(value(await store().get('revision/a', 'strong')).revision).toBe(before + 2);
  });

  it('the first change of a new store is revision 2', async ({ skip }) => {
    if (!subject().countsExactly) return skip('others write to this store too, or have done so');
    await write(store(), { op: 'get', key: 'x' });
    const history = new Told(store(), { from: '', to: '\u{10ffff}' }, 1);
    await history.live();
    history.end();
    expect(history.changed[0]?.revision).toBe(2);
    expectSound(history);
  });

  it('an entry says when its key was created, when it was written, and how often since', async () => {
    const key = 'fields/k';
    const created = await write(store(), put(key, 'a'));
    const changed = await write(store(), put(key, 'b'));
    const entry = {
      key,
      createRevision: created.revision,
      modRevision: changed.revision,
      version: 2,
      lease: 0,
    };
    expect(value(await store().get(key, 'strong')).found).toEqual([{ ...entry, value: utf8('b') }]);
    await write(store(), { op: 'delete', key });
    expect(value(await store().get(key, 'strong')).found).toEqual([]);
    const again = await write(store(), put(key, 'c'));
    expect(value(await store().get(key, 'strong')).found[0]).toMatchObject({
      createRevision: again.revision,
      modRevision: again.revision,
      version: 1,
    });
  });
}

function describeKeys({ subject, store }: Parts): void {
  it('keys are ordered by their bytes in UTF-8, not by code units', async () => {
    const names = ['\0', 'A', 'a', 'a\0', 'a/b', 'b', 'ß', '水', '\ue000', '\uffff', '😀', '\u{10fffe}'];
    for (const name of names) await write(store(), put(`order/${name}`, name));
    const { found } = value(await store().range(under('order/'), 100, 'strong'));
    const sorted = names
      .map((name) => `order/${name}`)
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(found.map(({ key }) => key)).toEqual(sorted);
    expect(found.map((entry) => `order/${text(entry.value)}`)).toEqual(sorted);
  });

  it('a range holds its first key and not its last; a reversed or empty one holds nothing', async () => {
    await write(store(), put('bounds/a'), put('bounds/b'), put('bounds/c'));
    const keys = async (from: string, to: string) =>
      value(await store().range({ from, to }, 10, 'strong')).found.map(({ key }) => key);
    expect(await keys('bounds/a', 'bounds/c')).toEqual(['bounds/a', 'bounds/b']);
    expect(await keys('bounds/a', 'bounds/a')).toEqual([]);
    expect(await keys('bounds/a', 'bounds/a\0')).toEqual(['bounds/a']);
    expect(await keys('bounds/c', 'bounds/a')).toEqual([]);
    expect(await keys('bounds/c', '')).toEqual([]);
    expect(await keys('', '')).toEqual([]);
    expect(await keys('', '\0')).toEqual([]);
    expect((await keys('', '\u{10ffff}')).length).toBeGreaterThan(2);
    expect(value(await store().range({ from: 'z', to: 'a' }, 1, 'strong')).revision).toBeGreaterThan(0);
  });

  it('pages of a range fit together: every key once, whatever the limit (n=150)', async () => {
    const names = Array.from({ length: 150 }, (_, at) => `pages/${String(at).padStart(3, '0')}`);
    for (let at = 0; at < names.length; at += 50) {
      await write(store(), ...names.slice(at, at + 50).map((name) => put(name, 'x'.repeat(50))));
    }
    for (const limit of [1, 7, 50, 149, 150, limits.listPage]) {
      const range = under('pages/');
      const seen: string[] = [];
      for (let from = range.from, more = true; more; from = `${seen.at(-1)}\0`) {
        const answer = value(await store().range({ from, to: range.to }, limit, 'strong'));
        expect(answer.found.length).toBeLessThanOrEqual(limit);
        seen.push(...answer.found.map(({ key }) => key));
        more = answer.more;
        if (limit === 1 && seen.length > 5) more = false;
      }
      expect(seen).toEqual(limit === 1 ? names.slice(0, 6) : names);
    }
  });

  it('a page of large values is cut short and says that there is more', async () => {
    const large = new Uint8Array(400 * 1024).fill(65);
    for (const at of [1, 2, 3, 4, 5]) await write(store(), put(`large/${at}`, large));
    const range = under('large/');
    const answer = value(await store().range(range, 100, 'strong'));
    expect(answer.more).toBe(true);
    expect(answer.found.length).toBeGreaterThan(0);
    expect(answer.found.reduce((sum, entry) => sum + entry.value.length, 0)).toBeLessThan(
      2 * limits.quorumRangeBytes,
    );
    const rest = value(
      await store().range({ from: `${answer.found.at(-1)?.key}\0`, to: range.to }, 100, 'strong'),
    );
    expect(answer.found.length + rest.found.length).toBeGreaterThanOrEqual(4);
    await write(store(), { op: 'deleteRange', range });
  });

  it('values are bytes, of any kind and none', async () => {
    const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    await write(store(), put('bytes/every', every), put('bytes/none', ''));
    const { found } = value(await store().range(under('bytes/'), 10, 'strong'));
    expect(found.map((entry) => entry.value)).toEqual([every, new Uint8Array(0)]);
  });

  it('a mirror comes to hold what was written, at a revision that it says', async () => {
    const { revision } = await write(store(), put('mirror/k', 'v'));
    for (const each of subject().stores) {
      await until(async () => {
        const answer = value(await each.get('mirror/k', 'mirror'));
        const isThere = text(answer.found[0]?.value) === 'v';
        expect(isThere).toBe(answer.revision >= revision);
        return isThere;
      }, 'the mirror has it');
      expect(value(await each.range(under('mirror/'), 5, 'mirror')).found).toHaveLength(1);
    }
  });
}

function describeTransactions({ store }: Parts): void {
  it('operations are carried out in order: a read sees the writes before it, not those behind it', async () => {
    await write(store(), put('txn/a', 'old'));
    const range: Operation = { op: 'range', range: under('txn/'), limit: 10 };
    const { answers, revision } = await write(
      store(),
      { op: 'get', key: 'txn/a' },
      range,
      put('txn/a', 'new'),
      put('txn/b', 'new'),
      { op: 'get', key: 'txn/a' },
      range,
      { op: 'delete', key: 'txn/c' },
    );
    const seen = answers.map(summary);
    expect(seen).toEqual(['old', 'txn/a=old', 'put', 'put', 'new', 'txn/a=new txn/b=new', 'deleted 0']);
    const last = answers[4];
    expect(last?.op === 'get' && last.found?.modRevision).toBe(revision);
  });

  it('deletions say how many keys went', async () => {
    await write(store(), ...['a', 'b', 'c', 'd'].map((name) => put(`gone/${name}`)));
    const { answers } = await write(
      store(),
      { op: 'delete', key: 'gone/d' },
      { op: 'delete', key: 'gone/none' },
      { op: 'deleteRange', range: { from: 'gone/a', to: 'gone/c' } },
      { op: 'deleteRange', range: { from: 'gone/x', to: 'gone/a' } },
      { op: 'range', range: under('gone/'), limit: 10 },
    );
    expect(answers.map(summary)).toEqual(['deleted 1', 'deleted 0', 'deleted 2', 'deleted 0', 'gone/c=']);
  });

  it('a range says whether there is more than its limit', async () => {
    await write(store(), ...['a', 'b', 'c'].map((name) => put(`limit/${name}`)));
    const { answers } = await write(
      store(),
      { op: 'range', range: under('limit/'), limit: 2 },
      { op: 'range', range: under('limit/'), limit: 3 },
      { op: 'range', range: { from: 'limit/c', to: 'limit/b' }, limit: 3 },
    );
    expect(answers.map((answer) => answer.op === 'range' && [answer.found.length, answer.more])).toEqual([
      [2, true],
      [3, false],
      [0, false],
    ]);
  });

  it('all of `then` where every compare holds, else all of `otherwise`', async () => {
    await write(store(), put('branch/k', 'v'));
    const holds: Compare = { target: 'version', key: 'branch/k', is: '=', than: 1 };
    const fails: Compare = { target: 'version', key: 'branch/k', is: '=', than: 7 };
    const run = async (...compares: Compare[]) =>
      value(
        await store().transact({
          compares,
          then: [put('branch/then', 'x'), { op: 'get', key: 'branch/k' }],
          otherwise: [{ op: 'get', key: 'branch/none' }],
        }),
      );
    expect(await run(holds)).toMatchObject({ succeeded: true, answers: [{ op: 'put' }, { op: 'get' }] });
    expect(await run()).toMatchObject({ succeeded: true });
    const before = value(await store().get('branch/then', 'strong')).found[0]?.version;
    expect(await run(holds, fails)).toMatchObject({
      succeeded: false,
      answers: [{ op: 'get', found: undefined }],
    });
    expect(value(await store().get('branch/then', 'strong')).found[0]?.version).toBe(before);
  });

  it('the branch that is not taken may write the same keys', async () => {
    const answer = await store().transact({
      compares: [{ target: 'version', key: 'both/k', is: '=', than: 0 }],
      then: [put('both/k', 'then')],
      otherwise: [put('both/k', 'otherwise')],
    });
    expect(value(answer).succeeded).toBe(true);
    expect(text(value(await store().get('both/k', 'strong')).found[0]?.value)).toBe('then');
  });

  it('the largest number of operations is taken', async () => {
    const operations = Array.from({ length: limits.quorumOperations }, (_, at) => put(`many/${at}`));
    expect((await write(store(), ...operations)).answers).toHaveLength(limits.quorumOperations);
  });
}

function describeCompares({ store }: Parts): void {
  const numbers = ['version', 'modRevision', 'createRevision', 'lease'] as const;

  const holds = async (...compares: Compare[]): Promise<boolean> =>
    value(await store().transact(transaction({ compares }))).succeeded;

  it.each(numbers)('%s: =, !=, < and > against less, the same and more', async (target) => {
    const key = `compare/${target}`;
    const lease = value(await store().grantLease(60_000));
    await write(store(), put(key, '', lease.id));
    await write(store(), put(key, '', lease.id));
    const entry = value(await store().get(key, 'strong')).found[0];
    const is = entry?.[target] ?? Number.NaN;
    for (const [than, expected] of [
      [is - 1, ['!=', '>']],
      [is, ['=']],
      [is + 1, ['!=', '<']],
    ] as const) {
      const held: string[] = [];
      for (const relation of ['=', '!=', '<', '>'] as const) {
        if (await holds({ target, key, is: relation, than })) held.push(relation);
      }
      expect(held, `${is} against ${than}`).toEqual(expected);
    }
    value(await store().revokeLease(lease.id));
  });

  it.each(numbers)('%s of a key that does not exist is 0', async (target) => {
    const key = 'compare/none';
    expect(await holds({ target, key, is: '=', than: 0 })).toBe(true);
    expect(await holds({ target, key, is: '!=', than: 0 })).toBe(false);
    expect(await holds({ target, key, is: '<', than: 1 })).toBe(true);
    expect(await holds({ target, key, is: '>', than: 0 })).toBe(false);
  });

  it('values, and the empty value of a key that does not exist', async () => {
    await write(store(), put('compare/full', 'full'), put('compare/empty', ''));
    const table: (readonly [string, string, boolean])[] = [
      ['full', 'full', true],
      ['full', 'ful', false],
      ['full', '', false],
      ['empty', '', true],
      ['empty', 'x', false],
      ['none', '', true],
      ['none', 'x', false],
    ];
    for (const [name, than, isEqual] of table) {
      const compare = { target: 'value', key: `compare/${name}`, than: utf8(than) } as const;
      expect(await holds({ ...compare, is: '=' }), `${name} = ${than}`).toBe(isEqual);
      expect(await holds({ ...compare, is: '!=' }), `${name} != ${than}`).toBe(!isEqual);
    }
  });

  it('any mix of compares of values takes the right branch and answers it (all 64 of six)', async () => {
    await write(store(), put('mix/full', 'full'), put('mix/empty', ''));
    const all: readonly (readonly [Compare, boolean])[] = [
      [{ target: 'value', key: 'mix/none', is: '=', than: utf8('') }, true],
      [{ target: 'value', key: 'mix/none', is: '!=', than: utf8('x') }, true],
      [{ target: 'value', key: 'mix/full', is: '!=', than: utf8('x') }, true],
      [{ target: 'version', key: 'mix/full', is: '>', than: 0 }, true],
      [{ target: 'value', key: 'mix/full', is: '=', than: utf8('') }, false],
      [{ target: 'value', key: 'mix/empty', is: '!=', than: utf8('') }, false],
    ];
    for (let mix = 0; mix < 64; mix++) {
      const chosen = all.filter((_, at) => mix & (1 << at));
      const answer = value(
        await store().transact({
          compares: chosen.map(([compare]) => compare),
          then: [put('mix/taken', `then ${mix}`), { op: 'get', key: 'mix/taken' }],
          otherwise: [{ op: 'get', key: 'mix/full' }, put('mix/taken', `otherwise ${mix}`)],
        }),
      );
      const succeeds = chosen.every(([, holds]) => holds);
      expect(answer.succeeded, `mix ${mix}`).toBe(succeeds);
      expect(answer.answers.map(summary)).toEqual(succeeds ? ['put', `then ${mix}`] : ['full', 'put']);
    }
  });
}

function describeLimits({ store }: Parts): void {
  const longest = 'k'.repeat(limits.quorumKeyBytes);

  it('the longest key and the largest value are taken, one byte more is TOO_LARGE', async () => {
    const largest = new Uint8Array(limits.quorumValueBytes).fill(1);
    await write(store(), put(longest, largest));
    expect(value(await store().get(longest, 'strong')).found[0]?.value.length).toBe(limits.quorumValueBytes);
    await write(store(), { op: 'delete', key: longest });
    const larger = new Uint8Array(limits.quorumValueBytes + 1);
    const refused = [
      await store().transact(transaction({ then: [put('k', larger)] })),
      await store().transact(transaction({ then: [put(`${longest}k`)] })),
      await store().transact(transaction({ then: [put(`${longest.slice(1)}ß`)] })),
      await store().get(`${longest}k`, 'strong'),
    ];
    expect(refused.map((result) => error(result).code)).toEqual(Array(4).fill('TOO_LARGE'));
  });

  it('too many operations or bytes in one transaction are TOO_LARGE', async () => {
    const gets = Array.from(
      { length: limits.quorumOperations + 1 },
      () => ({ op: 'get', key: 'k' }) as const,
    );
    expect(error(await store().transact(transaction({ then: gets }))).code).toBe('TOO_LARGE');
    expect(
      error(await store().transact({ compares: [], then: gets.slice(60), otherwise: gets.slice(60) })).code,
    ).toBe('TOO_LARGE');
    const half = new Uint8Array(limits.quorumTransactionBytes / 2);
    expect(error(await store().transact(transaction({ then: [put('a', half), put('b', half)] }))).code).toBe(
      'TOO_LARGE',
    );
  });

  it.each([
    ['an empty key', put('')],
    ['half a surrogate pair', put('a\ud800b')],
    [
      'half a surrogate pair in a range',
      { op: 'range', range: { from: 'a', to: '\udc00' }, limit: 1 } as Operation,
    ],
    ['a limit of 0', { op: 'range', range: under('a'), limit: 0 } as Operation],
    ['a limit beyond a page', { op: 'range', range: under('a'), limit: limits.listPage + 1 } as Operation],
    ['a lease below 0', put('k', '', -1)],
    ['a lease that is no whole number', put('k', '', 1.5)],
  ])('%s is INVALID_ARGUMENT, in either branch', async (_, operation) => {
    const before = value(await store().get('none', 'strong')).revision;
    const written = put('hostile/k');
    expect(error(await store().transact(transaction({ then: [written, operation] }))).code).toBe(
      'INVALID_ARGUMENT',
    );
    expect(error(await store().transact(transaction({ otherwise: [operation] }))).code).toBe(
      'INVALID_ARGUMENT',
    );
    expect(value(await store().get('hostile/k', 'strong'))).toMatchObject({ found: [], revision: before });
  });

  it.each([
    ['two puts', [put('twice/k'), put('twice/k')]],
    ['a put and a delete', [put('twice/k'), { op: 'delete', key: 'twice/k' }]],
    ['a put and a range that holds it', [{ op: 'deleteRange', range: under('twice/') }, put('twice/k')]],
    [
      'a delete and a range',
      [
        { op: 'delete', key: 'twice/k' },
        { op: 'deleteRange', range: under('twice/') },
      ],
    ],
  ] as [string, Operation[]][])('a key written twice is INVALID_ARGUMENT: %s', async (_, operations) => {
    expect(error(await store().transact(transaction({ then: operations }))).code).toBe('INVALID_ARGUMENT');
    expect(error(await store().transact(transaction({ otherwise: operations }))).code).toBe(
      'INVALID_ARGUMENT',
    );
  });

  it('calls with wrong arguments are refused, not thrown', async () => {
    const wrong = [
      await store().get('', 'strong'),
      await store().get('\ud800', 'strong'),
      await store().range(under('a'), 0, 'strong'),
      await store().range(under('a'), limits.listPage + 1, 'strong'),
      await store().range({ from: 'a', to: '\ud800' }, 1, 'strong'),
      await store().range(under('a'), Number.NaN, 'strong'),
      await store().grantLease(999),
      await store().grantLease(Number.POSITIVE_INFINITY),
      await store().grantLease(limits.ttlSeconds * 1000 + 1),
      await store().renewLease(0),
      await store().revokeLease(-5),
      await store().renewLease(2 ** 60),
    ];
    expect(wrong.map((result) => error(result).code)).toEqual(Array(wrong.length).fill('INVALID_ARGUMENT'));
  });

  it('a mirror that is asked for what cannot be refuses it or finds nothing, and does not throw', async () => {
    const answers = [
      await store().get('', 'mirror'),
      await store().get('\ud800', 'mirror'),
      await store().range({ from: '\ud800', to: '\ud801' }, 1, 'mirror'),
    ];
    for (const answer of answers) {
      if (answer.ok) expect(answer.value.found).toEqual([]);
      else expect(answer.error.code).toBe('INVALID_ARGUMENT');
    }
  });
}

function describeWatches({ subject, store }: Parts): void {
  it('tells every change in the range once, in order, a revision at a time (K47)', async () => {
    const { revision } = await write(store(), put('watch/before', '0'));
    const told = new Told(store(), under('watch/'), revision + 1);
    await told.live();
    expect(told.changed).toEqual([]);
    await write(store(), put('watch/a', '1'), put('watch/b', '1'));
    await write(store(), put('elsewhere/a', '1'));
    await write(store(), put('watch/a', '2'), { op: 'delete', key: 'watch/b' }, put('elsewhere/a', '2'));
    const last = await write(store(), { op: 'deleteRange', range: under('watch/') });
    await until(() => told.changed.at(-1)?.revision === last.revision, 'all is told');
    told.end();
    expect(told.lines).toEqual(['watch/a=1 watch/b=1', 'watch/a=2 -watch/b', '-watch/a -watch/before']);
    expectSound(told);
    expect(told.changed[2]?.changes[0]?.entry).toEqual({
      key: 'watch/a',
      value: new Uint8Array(0),
      createRevision: 0,
      modRevision: last.revision,
      version: 0,
      lease: 0,
    });
  });

  it('from a revision of the past: what was, then what comes (K47)', async () => {
    const first = await write(store(), put('past/k', '1'));
    await write(store(), put('past/k', '2'));
    await write(store(), put('past/l', '2'));
    await write(store(), { op: 'delete', key: 'past/k' });
    const all = new Told(store(), under('past/'), first.revision);
    const some = new Told(store(), { from: 'past/l', to: 'past/m' }, first.revision + 1);
    await all.live();
    await some.live();
    expect(all.lines).toEqual(['past/k=1', 'past/k=2', 'past/l=2', '-past/k']);
    expect(all.progress).toBeGreaterThanOrEqual(first.revision + 3);
    await write(store(), put('past/k', '5'), put('past/l', '5'));
    await until(() => all.changed.length === 5 && some.changed.length === 2, 'both are told');
    expect(some.lines).toEqual(['past/l=2', 'past/l=5']);
    all.end();
    some.end();
    expectSound(all, some);
  });

  it('from now on', async () => {
    await write(store(), put('now/k', 'before'));
    const told = new Told(store(), under('now/'), 0);
    await told.live();
    await write(store(), put('now/k', 'after'));
    await until(() => told.changed.length > 0, 'it is told');
    told.end();
    expect(told.lines).toEqual(['now/k=after']);
    expectSound(told);
  });

  it('a read and a watch from behind its revision miss nothing between them, however many write (K47)', async () => {
    let isOver = false;
    const writers = subject().stores.map(async (each, writer) => {
      for (let at = 0; !isOver; at++) await write(each, put(`mirrored/${writer}-${at % 20}`, String(at)));
    });
    const watches: Told[] = [];
    for (const each of subject().stores) {
      const { found, revision } = value(await each.range(under('mirrored/'), 1000, 'strong'));
      const state = new Map(found.map((entry) => [entry.key, entry.version]));
      const told = new Told(each, under('mirrored/'), revision + 1);
      watches.push(told);
      await until(() => told.changed.length > 30, 'much is told');
      for (const { entry } of told.changed.flatMap(({ changes }) => changes)) {
        expect(entry.version).toBe((state.get(entry.key) ?? 0) + 1);
        state.set(entry.key, entry.version);
      }
    }
    isOver = true;
    await Promise.all(writers);
    for (const told of watches) told.end();
    expectSound(...watches);
  });

  it('a long past is told whole (n=2,000)', async () => {
    const first = await write(store(), put('long/first', '0'));
    for (let from = 0; from < 2000; from += 50) {
      await Promise.all(
        Array.from({ length: 50 }, (_, at) =>
          write(store(), put(`long/${at}`, String(from)), put('other/long')),
        ),
      );
    }
    const told = new Told(store(), under('long/'), first.revision);
    await until(() => told.changed.length === 2001, 'all is told');
    await told.live();
    expect(told.changed.map(({ revision }) => revision)).toEqual(
      Array.from({ length: 2001 }, (_, at) => first.revision + at),
    );
    told.end();
    expectSound(told);
  });

  it('tells nothing once it was ended', async () => {
    const told = new Told(store(), under('ended/'), 0);
    await told.live();
    told.end();
    told.end();
    const count = told.events.length;
    const other = new Told(store(), under('ended/'), 0);
    await other.live();
    await write(store(), put('ended/k'));
    await until(() => other.changed.length === 1, 'another watch is told');
    expect(told.events).toHaveLength(count);
    other.end();
  });

  it('a listener may end its own watch', async () => {
    const { revision } = await write(store(), put('self/a'));
    await write(store(), put('self/b'));
    const seen: string[] = [];
    const end = store().watch(under('self/'), revision, (event) => {
      seen.push(event.kind);
      end();
    });
    const other = new Told(store(), under('self/'), revision);
    await until(() => other.changed.length === 2 && seen.length > 0, 'both watches are told');
    await write(store(), put('self/c'));
    await until(() => other.changed.length === 3, 'another watch goes on');
    other.end();
    expect(seen).toEqual(['changed']);
  });

  it('a watch from before what is remembered is told so, once, and ends', async ({ skip }) => {
    const { compact } = subject();
    if (compact === undefined) return skip('to fill the history of this engine takes too long here');
    const { revision } = await write(store(), put('compact/k', '1'));
    await write(store(), put('compact/k', '2'));
    await compact();
    const told = new Told(store(), under('compact/'), revision);
    await until(() => told.compactRevision !== undefined, 'compacted is told');
    expect(told.events.map(({ kind }) => kind)).toEqual(['compacted']);
    expect(told.compactRevision).toBeGreaterThan(revision);
    const read = value(await store().range(under('compact/'), 10, 'strong'));
    const again = new Told(store(), under('compact/'), read.revision + 1);
    await again.live();
    await write(store(), put('compact/k', '3'));
    await until(() => again.changed.length === 1, 'the new watch goes on');
    expect(told.events).toHaveLength(1);
    again.end();
    expectSound(told, again);
  });
}

function describeLeases({ store }: Parts): void {
  it('a lease that nobody renews ends not before its time, and its keys go in one revision', async () => {
    const lease = value(await store().grantLease(1_000));
    expect(lease.ttlMs).toBeGreaterThanOrEqual(1_000);
    expect(Number.isSafeInteger(lease.id) && lease.id > 0).toBe(true);
    const grantedMs = performance.now();
    const written = await write(
      store(),
      put('lease/b', '1', lease.id),
      put('lease/a', '1', lease.id),
      put('lease/c'),
    );
    expect(value(await store().get('lease/a', 'strong')).found[0]?.lease).toBe(lease.id);
    const told = new Told(store(), under('lease/'), written.revision + 1);
    await until(() => told.changed.length > 0, 'the lease ends', lease.ttlMs + 8_000);
    expect(performance.now() - grantedMs).toBeGreaterThanOrEqual(lease.ttlMs - 50);
    expect(told.lines).toEqual(['-lease/a -lease/b']);
    expect(value(await store().range(under('lease/'), 10, 'strong')).found.map(({ key }) => key)).toEqual([
      'lease/c',
    ]);
    expect(error(await store().renewLease(lease.id)).code).toBe('NOT_FOUND');
    told.end();
    expectSound(told);
  });

  it('a lease that is renewed stands', async () => {
    const lease = value(await store().grantLease(1_000));
    await write(store(), put('renewed/k', '', lease.id));
    const endMs = performance.now() + 2.5 * lease.ttlMs;
    while (performance.now() < endMs) {
      expect(value(await store().renewLease(lease.id))).toEqual(lease);
      await new Promise((resolve) => setTimeout(resolve, lease.ttlMs / 4));
    }
    expect(value(await store().get('renewed/k', 'strong')).found).toHaveLength(1);
    value(await store().revokeLease(lease.id));
  });

  it('to revoke a lease deletes its keys in one revision; to revoke it again is harmless', async () => {
    const lease = value(await store().grantLease(60_000));
    const written = await write(
      store(),
      ...['c', 'a', 'b'].map((name) => put(`revoked/${name}`, '', lease.id)),
    );
    const told = new Told(store(), under('revoked/'), written.revision + 1);
    const { revision } = value(await store().revokeLease(lease.id));
    expect(revision).toBe(written.revision + 1);
    expect(value(await store().range(under('revoked/'), 10, 'strong'))).toMatchObject({
      found: [],
      revision,
    });
    await until(() => told.changed.length === 1, 'it is told');
    expect(told.lines).toEqual(['-revoked/a -revoked/b -revoked/c']);
    expect(value(await store().revokeLease(lease.id))).toEqual({ revision });
    expect(error(await store().renewLease(lease.id)).code).toBe('NOT_FOUND');
    told.end();
    expectSound(told);
  });

  it('a put on a lease that is not there is NOT_FOUND, and nothing of its transaction takes effect', async () => {
    const result = await store().transact(
      transaction({ then: [put('unleased/a'), put('unleased/b', '', 12_345)] }),
    );
    expect(error(result).code).toBe('NOT_FOUND');
    expect(value(await store().range(under('unleased/'), 10, 'strong')).found).toEqual([]);
  });

  it('the branch that is not taken may name a lease that is not there', async () => {
    const answer = await store().transact(
      transaction({ then: [put('untaken/a')], otherwise: [put('untaken/b', '', 99)] }),
    );
    expect(value(answer).succeeded).toBe(true);
  });

  it('a key hangs on the lease of its last write only', async () => {
    const one = value(await store().grantLease(60_000));
    const two = value(await store().grantLease(60_000));
    expect(one.id).not.toBe(two.id);
    await write(store(), put('moved/a', '', one.id), put('moved/b', '', one.id), put('moved/c', '', one.id));
    await write(store(), put('moved/a', '', two.id), put('moved/b'));
    value(await store().revokeLease(one.id));
    const { found } = value(await store().range(under('moved/'), 10, 'strong'));
    expect(found.map(({ key, lease }) => [key, lease])).toEqual([
      ['moved/a', two.id],
      ['moved/b', 0],
    ]);
    value(await store().revokeLease(two.id));
  });
}

function describeClients({ subject }: Parts): void {
  it('what one client was told is done, every other reads at once (strong)', async () => {
    const { stores } = subject();
    for (let round = 0; round < 10; round++) {
      const writer = stores[round % stores.length]!;
      const written = await write(writer, put('seen/k', String(round)));
      for (const reader of stores) {
        const { found, revision } = value(await reader.get('seen/k', 'strong'));
        expect(text(found[0]?.value)).toBe(String(round));
        expect(revision).toBeGreaterThanOrEqual(written.revision);
        expect(text(value(await reader.range(under('seen/'), 1, 'strong')).found[0]?.value)).toBe(
          String(round),
        );
      }
    }
  });

  it('of many that want what can be had once, one gets it (n=20)', async () => {
    const { stores } = subject();
    for (let round = 0; round < 5; round++) {
      const key = `once/${round}`;
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, at) =>
          stores[at % stores.length]!.transact({
            compares: [{ target: 'version', key, is: '=', than: 0 }],
            then: [put(key, String(at))],
            otherwise: [{ op: 'get', key }],
          }),
        ),
      );
      const winners = answers.flatMap((answer, at) => (value(answer).succeeded ? [String(at)] : []));
      expect(winners).toHaveLength(1);
      for (const answer of answers) {
        const [read] = value(answer).answers;
        if (read?.op === 'get') expect(text(read.found?.value)).toBe(winners[0]);
      }
    }
  });

  it('a counter that all add to loses nothing (n=100)', async () => {
    const { stores } = subject();
    await Promise.all(
      Array.from({ length: 5 * stores.length }, async (_, at) => {
        const store = stores[at % stores.length]!;
        for (let count = 0; count < 20 / stores.length; count++) value(await increment(store, 'counter/k'));
      }),
    );
    const { found } = value(await stores[0]!.get('counter/k', 'strong'));
    expect(Number(text(found[0]?.value))).toBe(found[0]?.version);
    expect(found[0]?.version).toBeGreaterThanOrEqual(100);
  });

  it('a hundred calls at a time are answered, each for itself', async () => {
    const { stores } = subject();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, at) =>
        write(stores[at % stores.length]!, put(`crowd/${at}`, String(at)), { op: 'get', key: `crowd/${at}` }),
      ),
    );
    expect(answers.map(({ answers }) => answers.map(summary)[1])).toEqual(
      Array.from({ length: 100 }, (_, at) => String(at)),
    );
    expect(new Set(answers.map(({ revision }) => revision)).size).toBe(100);
  });
}

function describeCancellation({ store }: Parts): void {
  it('a call whose signal has aborted does nothing', async () => {
    const signal = AbortSignal.abort();
    const result = await store().transact(transaction({ then: [put('aborted/k')] }), signal);
    expect(error(result).code).toBe('TIMEOUT');
    expect(error(await store().get('aborted/k', 'strong', signal)).code).toBe('TIMEOUT');
    expect(value(await store().get('aborted/k', 'strong')).found).toEqual([]);
  });

  it('a call that is cancelled on its way answers at once, and the store goes on', async () => {
    for (let round = 0; round < 20; round++) {
      const abort = new AbortController();
      const call = store().transact(transaction({ then: [put('cancelled/k', String(round))] }), abort.signal);
      abort.abort();
      const result = await call;
      if (!result.ok) expect(result.error.code).toBe('TIMEOUT');
    }
    await write(store(), put('cancelled/k', 'last'));
    expect(text(value(await store().get('cancelled/k', 'strong')).found[0]?.value)).toBe('last');
  });
}

function summary(answer: OperationAnswer): string {
  switch (answer.op) {
    case 'put':
      return 'put';
    case 'get':
      return text(answer.found?.value) ?? 'none';
    case 'range':
      return answer.found.map((entry) => `${entry.key}=${text(entry.value)}`).join(' ');
    default:
      return `deleted ${answer.deleted}`;
  }
}
