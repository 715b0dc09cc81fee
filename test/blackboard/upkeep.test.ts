/** Time to live, logs, quotas, waits, bad input, the disk, and folding. */
import { describe, expect, it } from 'vitest';
import type { BoardCall, Change } from '../../src/blackboard/api.ts';
import type { BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { expectOk, MAIN, Network } from './network.ts';

const NAMES = ['a', 'b', 'c'];

describe('boards: time to live', () => {
  it('an entry vanishes everywhere when its time is up, watchers are told, and it does not come back', () => {
    const net = new Network(1, NAMES);
    net.write('a', 'x', 'older');
    net.converge();
    net.write('b', 'x', 'short', { ttlSeconds: 5 });
    net.converge();
    expect(expectOk(net.call('c', { op: 'read', board: MAIN, key: 'x' }))).toHaveProperty('expiresAt');
    const wait = net.ask('c', { op: 'wait', board: MAIN, key: 'x', timeoutMs: 60_000 });
    net.run(5_100);
    for (const name of NAMES) expect(net.read(name, 'x')).toBeUndefined();
    expect(net.answers.get(wait)).toMatchObject({
      ok: true,
      value: { changes: [{ key: 'x', deleted: true }] },
    });
    net.run(60_000);
    for (const name of NAMES) expect(net.read(name, 'x')).toBeUndefined();
    for (const name of NAMES) net.restart(name);
    net.run(10_000);
    for (const name of NAMES) expect(net.read(name, 'x')).toBeUndefined();
  });

  it('a write that came before the expiry, seen after it, is not lost', () => {
    const net = new Network(2, NAMES);
    net.write('a', 'x', 'short', { ttlSeconds: 5 });
    net.converge();
    net.partition(['c'], ['a', 'b']);
    net.run(4_000);
    net.write('c', 'x', 'kept');
    net.run(5_000);
    net.heal();
    net.converge();
    for (const name of NAMES) expect(net.read(name, 'x')).toBe('kept');
  });
});

describe('boards: tombstones', () => {
  it('S78 3,000 keys written and deleted leave nothing behind once tombstones have served', () => {
    const net = new Network(20, ['a']);
    for (let index = 0; index < 3_000; index++) {
      net.ask('a', { op: 'write', board: MAIN, key: `task/${index}`, value: 'x' });
      net.ask('a', { op: 'delete', board: MAIN, key: `task/${index}` });
    }
    net.run(1_000);
    const [before] = net.node('a').boards.boards();
    expect(before).toMatchObject({ keys: 0 });
    expect(before?.bytes).toBeLessThan(3_000 * 40);
    net.run(limits.tombstoneMs + 3_600_000);
    expect(net.node('a').boards.boards()[0]).toMatchObject({ keys: 0, bytes: 0 });
    expect(
      [...net.node('a').boards.checkpoint()].reduce((sum, record) => sum + record.length, 0),
    ).toBeLessThan(500);
  });
});

describe('boards: overwrites', () => {
  it('five interleaved writers, 1,000 keys, 15,000 overwrites: the document stays within 1.2 times the live data', () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    const net = new Network(21, names);
    const value = 'v'.repeat(200);
    for (let index = 0; index < 15_000; index += 100) {
      for (const [at, name] of names.entries()) {
        const keys = Array.from({ length: 20 }, (_, each) => ((index + at * 20 + each) * 7919) % 1_000);
        net.writeAll(
          name,
          keys.map((key) => [`task/${key}`, value]),
        );
      }
      net.run(2);
    }
    net.run(2_000);
    expect(net.converged).toBe(true);
    const live = 1_000 * (200 + 2 + 8 + 7);
    expect(net.node('c').boards.encodeState(MAIN, undefined).length).toBeLessThan(1.2 * live);
    expect(
      [...net.node('d').boards.checkpoint()].reduce((sum, record) => sum + record.length, 0),
    ).toBeLessThan(1.2 * live);
  });

  it('one small write to a board of 100,000 keys sends less than 1 KiB to a neighbour', () => {
    const net = new Network(22, ['a', 'b']);
    for (let index = 0; index < 100_000; index += 1_000) {
      net.writeAll(
        'a',
        Array.from({ length: 1_000 }, (_, each) => [`task/${index + each}`, 'v'.repeat(20)]),
      );
      net.run(2);
    }
    net.run(20_000);
    expect(net.converged).toBe(true);
    net.sentBytes = 0;
    net.write('a', 'task/5', 'small');
    net.run(10);
    expect(net.read('b', 'task/5')).toBe('small');
    expect(net.sentBytes).toBeLessThan(200);
    // With the head that is signed for it, and the roots that neighbours tell each other:
    net.run(2_000);
    expect(net.sentBytes).toBeLessThan(1_024);
  });
});

describe('boards: logs', () => {
  it('items of several writers stand in the order of their stamps; a write starts the key anew', () => {
    const net = new Network(3, NAMES);
    const expected: number[] = [];
    for (let index = 0; index < 30; index++) {
      expectOk(
        net.call(NAMES[index % 3] as string, {
          op: 'append',
          board: MAIN,
          key: 'log',
          items: [index, -index],
        }),
      );
      expected.push(index, index === 0 ? 0 : -index);
      net.run(5);
    }
    net.converge();
    for (const name of NAMES)
      expect((net.read(name, 'log') as number[]).map((each) => each + 0)).toEqual(expected);
    net.write('b', 'log', ['begin']);
    net.converge();
    expectOk(net.call('c', { op: 'append', board: MAIN, key: 'log', items: ['next'] }));
    net.converge();
    expect(net.read('a', 'log')).toEqual(['begin', 'next']);
    net.run(5_000);
    // Superseded items are gone from their authors' lanes.
    expect(net.node('a').boards.boards()[0]?.bytes).toBeLessThan(300);
  });

  it('a log is bounded', () => {
    const net = new Network(4, ['a']);
    const items = Array.from({ length: limits.appendItems }, (_, index) => index);
    for (let index = 0; index < limits.logItems / limits.appendItems; index++) {
      expectOk(net.call('a', { op: 'append', board: MAIN, key: 'log', items }));
    }
    const answer = net.call('a', { op: 'append', board: MAIN, key: 'log', items: [1] });
    expect(answer).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
  });
});

describe('boards: quotas and bad input', () => {
  it('QUOTA_EXCEEDED for one key or byte too many, nothing written; a delete makes room', () => {
    const net = new Network(5, ['a'], [{ name: 'main', mode: 'crdt', quotaKeys: 3, quotaBytes: 4_000 }]);
    for (const key of ['1', '2', '3']) net.write('a', key, 'v');
    const write = (key: string, value: string) => net.call('a', { op: 'write', board: MAIN, key, value });
    const before = net.hashes();
    expect(write('4', 'v')).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
    expect(write('1', 'v'.repeat(4_000))).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
    expect(net.hashes()).toEqual(before);
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: '1' }));
    expectOk(write('4', 'v'));
  });

  const write = (over: object): BoardCall =>
    ({ op: 'write', board: MAIN, key: 'k', value: 1, ...over }) as BoardCall;
  const list = (over: object): BoardCall => ({ op: 'list', board: MAIN, ...over }) as BoardCall;
  const bad: [string, BoardCall, string][] = [
    ['an empty key', write({ key: '' }), 'INVALID_ARGUMENT'],
    ['a key that is too long', write({ key: 'é'.repeat(300) }), 'TOO_LARGE'],
    ['__proto__ as a key', write({ key: '__proto__' }), 'INVALID_ARGUMENT'],
    ['a lone surrogate in the key', write({ key: 'a\ud800' }), 'INVALID_ARGUMENT'],
    ['a lone surrogate in the value', write({ value: { x: ['\udfff!'] } }), 'INVALID_ARGUMENT'],
    ['__proto__ in the value', write({ value: JSON.parse('{"a":{"__proto__":1}}') }), 'INVALID_ARGUMENT'],
    ['a value of 100 MB', write({ value: 'x'.repeat(100_000_000) }), 'TOO_LARGE'],
    [
      'a value nested too deep',
      write({ value: JSON.parse(`${'['.repeat(99)}${']'.repeat(99)}`) }),
      'INVALID_ARGUMENT',
    ],
    ['a value that is no JSON', write({ value: undefined }), 'INVALID_ARGUMENT'],
    ['a time to live of 0', write({ ttlSeconds: 0 }), 'INVALID_ARGUMENT'],
    ['a time to live of 1.5', write({ ttlSeconds: 1.5 }), 'INVALID_ARGUMENT'],
    ['a wrong board name', write({ board: 'No Such!' as BoardName }), 'INVALID_ARGUMENT'],
    ['a board that is not declared', write({ board: 'other' as BoardName }), 'NOT_FOUND'],
    ['an unknown level', write({ level: 'weak' }), 'INVALID_ARGUMENT'],
    ['a bad list cursor', list({ cursor: '~~' }), 'INVALID_ARGUMENT'],
    ['a limit of 0', list({ limit: 0 }), 'INVALID_ARGUMENT'],
    [
      'a wait for both key and prefix',
      { op: 'wait', board: MAIN, key: 'a', prefix: 'b', timeoutMs: 1 },
      'INVALID_ARGUMENT',
    ],
    ['a wait for ever', { op: 'wait', board: MAIN, key: 'a', timeoutMs: 1e12 }, 'INVALID_ARGUMENT'],
    [
      'a bad wait cursor',
      { op: 'wait', board: MAIN, key: 'a', cursor: '!', timeoutMs: 1 },
      'INVALID_ARGUMENT',
    ],
    ['an append of nothing', { op: 'append', board: MAIN, key: 'a', items: [] }, 'INVALID_ARGUMENT'],
    ['a document without a name', { op: 'documentRead', board: MAIN, document: '' }, 'INVALID_ARGUMENT'],
  ];
  it.each(bad)('%s gets a clear error', (_title, call, code) => {
    const net = new Network(6, ['a']);
    const before = net.hashes();
    const answer = net.call('a', call);
    expect(answer).toMatchObject({ ok: false, error: { code } });
    expect(!answer.ok && answer.error.hint.length).toBeGreaterThan(10);
    expect(net.hashes()).toEqual(before);
  });

  it('a full disk refuses writes and serves reads until it has recovered', () => {
    const net = new Network(7, ['a']);
    net.write('a', 'x', 1);
    net.event('a', { kind: 'diskFailed', reason: 'no space left on device' });
    const refused = net.call('a', { op: 'write', board: MAIN, key: 'x', value: 2 });
    expect(refused).toMatchObject({ ok: false, error: { details: { outcome: 'not-done' } } });
    expect(net.read('a', 'x')).toBe(1);
    net.event('a', { kind: 'diskRecovered' });
    net.write('a', 'x', 3);
    expect(net.read('a', 'x')).toBe(3);
  });
});

describe('boards: waits', () => {
  it('a wait is answered by the next change of its key or prefix, wherever it was made', () => {
    const net = new Network(8, NAMES);
    const byKey = net.ask('c', { op: 'wait', board: MAIN, key: 'task/1', timeoutMs: 10_000 });
    const byPrefix = net.ask('c', { op: 'wait', board: MAIN, prefix: 'task/', timeoutMs: 10_000 });
    const other = net.ask('c', { op: 'wait', board: MAIN, key: 'task/2', timeoutMs: 1_000 });
    net.write('a', 'task/1', 'done');
    net.run(2_000);
    for (const id of [byKey, byPrefix]) {
      expect(net.answers.get(id)).toMatchObject({
        ok: true,
        value: { changes: [{ key: 'task/1', deleted: false }] },
      });
    }
    expect(net.answers.get(other)).toMatchObject({ ok: true, value: { changes: [] } });
  });

  it('a cancelled wait is never answered', () => {
    const net = new Network(9, ['a']);
    const id = net.ask('a', { op: 'wait', board: MAIN, key: 'x', timeoutMs: 1_000 });
    net.event('a', { kind: 'cancelled', id });
    net.write('a', 'x', 1);
    net.run(2_000);
    expect(net.answers.has(id)).toBe(false);
  });

  it.each([1, 100, 5_000])(
    'K47 following cursors through %d changes misses none and repeats none',
    (count) => {
      const net = new Network(10, ['a', 'b']);
      let answer = expectOk(net.call('b', { op: 'wait', board: MAIN, prefix: '', timeoutMs: 0 }));
      for (let index = 0; index < count; index++)
        net.ask('a', { op: 'write', board: MAIN, key: `k${index}`, value: index });
      net.run(5_000);
      const seen: Change[] = [];
      for (;;) {
        answer = expectOk(
          net.call('b', { op: 'wait', board: MAIN, prefix: '', cursor: answer.cursor, timeoutMs: 0 }),
        );
        if (answer.changes.length === 0) break;
        seen.push(...answer.changes);
      }
      expect(new Set(seen.map((change) => change.key)).size).toBe(count);
      expect(seen).toHaveLength(count);
    },
  );

  it('after_revision answers at once with what is newer', () => {
    const net = new Network(11, ['a']);
    const { revision } = net.write('a', 'x', 1);
    net.write('a', 'x', 2);
    const answer = net.call('a', {
      op: 'wait',
      board: MAIN,
      key: 'x',
      afterRevision: revision,
      timeoutMs: 1_000,
    });
    expect(expectOk(answer).changes).toMatchObject([{ key: 'x', entry: { value: 2 } }]);
  });
});

describe('boards: folding', () => {
  it('over ten restarts nothing is lost or resurrected, lanes stay few, and others drop the folded ones', () => {
    const net = new Network(12, NAMES);
    const expected = new Map<string, number>();
    for (let round = 0; round < 10; round++) {
      for (let index = 0; index < 40; index++) {
        const key = `k${(round * 13 + index) % 100}`;
        net.write('a', key, round * 100 + index);
        expected.set(key, round * 100 + index);
      }
      const gone = `k${round}`;
      expectOk(net.call('a', { op: 'delete', board: MAIN, key: gone }));
      expected.delete(gone);
      net.run(round % 3 === 0 ? 100 : 15_000);
      net.restart('a');
    }
    net.run(60_000);
    net.converge();
    for (const name of NAMES) {
      const list = expectOk(net.call(name, { op: 'list', board: MAIN, limit: 1_000 }));
      expect(new Map(list.entries.map((entry) => [entry.key, entry.value]))).toEqual(expected);
    }
    expect(net.bodies.get(net.node('a').id)?.incarnations.length).toBeLessThanOrEqual(2);
    const marks = [...net.nodes.values()].flatMap((node) =>
      node.marks.filter((mark) => mark.level === 'error'),
    );
    expect(marks).toEqual([]);
  });

  it('a node that was away while lanes were folded neither loses nor resurrects anything', () => {
    const net = new Network(13, NAMES);
    for (let index = 0; index < 200; index++) net.write('a', `k${index}`, index);
    net.converge();
    net.write('c', 'k3', 'by c');
    net.converge();
    net.crash('c');
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'k1' }));
    net.restart('a');
    net.write('a', 'k2', 'new');
    net.run(60_000);
    net.restart('a');
    net.run(60_000);
    net.restart('c');
    net.converge();
    net.run(5_000);
    expect(net.converged).toBe(true);
    expect(net.read('c', 'k1')).toBeUndefined();
    expect(net.read('c', 'k2')).toBe('new');
    expect(net.read('c', 'k3')).toBe('by c');
    expect(net.read('c', 'k199')).toBe(199);
  });

  it('a large old lane is not copied by a restart that wrote little', () => {
    const net = new Network(14, ['a', 'b']);
    const value = 'v'.repeat(1_000);
    for (let index = 0; index < 500; index++)
      net.ask('a', { op: 'write', board: MAIN, key: `k${index}`, value });
    net.converge();
    net.run(1_000);
    for (let round = 0; round < 4; round++) {
      net.restart('a');
      net.write('a', 'small', round);
      net.sentBytes = 0;
      net.run(60_000);
      expect(net.sentBytes).toBeLessThan(30_000);
    }
    expect(net.bodies.get(net.node('a').id)?.incarnations.length).toBeLessThanOrEqual(3);
    expect(net.read('b', 'k499')).toBe(value);
  });

  it.each([false, true])(
    'a node that lost its disk (or has an old one: %s) gets its own writes back and goes on owning them',
    (old) => {
      const net = new Network(15, NAMES);
      for (let index = 0; index < 50; index++) net.write('a', `k${index}`, index);
      const image = old ? [...net.node('a').journal] : [];
      for (let index = 25; index < 75; index++) net.write('a', `k${index}`, `new ${index}`);
      expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'k3' }));
      net.converge();
      net.run(1_000);
      const before = net.hashes();
      net.restart('a', image);
      net.converge(20_000);
      expect(net.hashes()).toEqual(before);
      net.run(120_000);
      expect(net.hashes()).toEqual(before);
      net.write('a', 'k74', 'again');
      net.run(120_000);
      net.converge();
      const list = expectOk(net.call('c', { op: 'list', board: MAIN, limit: 1_000 }));
      expect(list.entries).toHaveLength(74);
      expect(net.read('b', 'k74')).toBe('again');
      const marks = [...net.nodes.values()].flatMap((node) =>
        node.marks.filter((mark) => mark.level === 'error'),
      );
      expect(marks).toEqual([]);
    },
  );

  it('B10 an old disk that knows of the run but of nothing that it wrote does not disown it', () => {
    const net = new Network(16, NAMES);
    const image = [...net.node('a').journal];
    const first = net.node('a').incarnation;
    for (let index = 0; index < 50; index++) net.write('a', `k${index}`, index);
    net.converge();
    net.run(1_000);
    const before = net.hashes();
    net.crash('a');
    for (const name of ['b', 'c']) net.cut('a', name);
    net.restart('a', image);
    net.write('a', 'meanwhile', 1);
    net.run(30_000);
    expect(net.proofs.get(first)).toBe('a');
    net.heal();
    net.converge();
    expect(net.read('a', 'k49')).toBe(49);
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'meanwhile' }));
    net.run(60_000);
    expect(net.hashes()).toEqual(before);
    expect(errorsOf(net)).toEqual([]);
  });

  it('B10 an old disk that folded what little it knew, alone, takes back the rest when it hears of it', () => {
    const net = new Network(17, NAMES);
    for (let index = 0; index < 50; index++) net.write('a', `k${index}`, index);
    net.run(1_000);
    const image = [...net.node('a').journal];
    for (let index = 25; index < 75; index++) net.write('a', `k${index}`, `new ${index}`);
    expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'k3' }));
    net.converge();
    net.run(1_000);
    const before = net.hashes();
    const first = net.node('a').incarnation;
    net.crash('a');
    for (const name of ['b', 'c']) net.cut('a', name);
    net.restart('a', image);
    net.run(120_000);
    expect(net.bodies.get(net.node('a').id)?.incarnations).not.toContain(first);
    net.heal();
    net.converge();
    expect(net.hashes()).toEqual(before);
    net.run(60_000);
    expect(net.hashes()).toEqual(before);
    expect(net.read('a', 'k74')).toBe('new 74');
    expect(net.read('a', 'k3')).toBeUndefined();
    expect(net.bodies.get(net.node('a').id)?.incarnations).toEqual([net.node('a').incarnation]);
    expect(errorsOf(net)).toEqual([]);
  });

  it('B10 a lane that was folded is taken again where an old disk brings its author back to using it', () => {
    const net = new Network(18, NAMES);
    const value = 'v'.repeat(1_000);
    for (let index = 0; index < 200; index++)
      net.ask('a', { op: 'write', board: MAIN, key: `k${index}`, value });
    net.converge();
    net.run(1_000);
    const image = [...net.node('a').journal];
    const first = net.node('a').incarnation;
    net.restart('a');
    for (let index = 0; index < 300; index++)
      net.ask('a', { op: 'write', board: MAIN, key: `more${index}`, value });
    net.run(60_000);
    expect(net.bodies.get(net.node('a').id)?.incarnations).not.toContain(first);
    const before = net.hashes();
    net.restart('a', image);
    net.run(120_000);
    expect(net.hashes()).toEqual(before);
    const marks = [...net.nodes.values()].flatMap((node) => node.marks);
    expect(marks.filter((mark) => mark.name === 'replication.diverged')).toEqual([]);
    expect(errorsOf(net)).toEqual([]);
  });

  it('a tombstone that its author trimmed hides what it deleted until what superseded it arrives', () => {
    const net = new Network(20, NAMES);
    const older = net.write('b', 'k', 'older');
    net.run(1_000);
    const deleted = expectOk(net.call('a', { op: 'delete', board: MAIN, key: 'k' }));
    net.run(1_000);
    net.cut('b', 'c');
    net.write('c', 'k', 'newer');
    let least = deleted.revision;
    for (let ms = 0; ms < 5_000; ms += 5) {
      net.run(5);
      const { revision } = expectOk(net.call('b', { op: 'read', board: MAIN, key: 'k' }));
      expect(revision).toBeGreaterThanOrEqual(least);
      least = revision;
    }
    expect(least).toBeGreaterThan(older.revision);
    net.heal();
    net.converge();
    expect(net.read('b', 'k')).toBe('newer');
  });

  it('B10 an old disk that trimmed before it knew what it had lost gets the rest, and blames nobody', () => {
    const net = new Network(21, NAMES);
    for (let index = 0; index < 40; index++) net.write('a', `k${index}`, index);
    net.run(1_000);
    const image = [...net.node('a').journal];
    for (let index = 40; index < 60; index++) net.write('a', `k${index}`, index);
    net.converge();
    net.run(1_000);
    net.crash('a');
    for (const name of ['b', 'c']) net.cut('a', name);
    net.restart('a', image);
    for (let index = 0; index < 5; index++) net.write('a', `k${index}`, 'again');
    net.run(1_000);
    net.heal();
    net.converge(5_000);
    expect(net.read('a', 'k59')).toBe(59);
    expect(net.read('b', 'k4')).toBe('again');
    net.run(60_000);
    expect(net.converged).toBe(true);
    expect([...net.nodes.values()].flatMap((node) => node.penalties)).toEqual([]);
    expect(errorsOf(net)).toEqual([]);
  });

  it('starts without a write leave 64 names at most, and none in the place of lanes that were folded', () => {
    const net = new Network(19, ['a', 'b']);
    const written: number[] = [];
    for (let round = 0; round < 5; round++) {
      net.write('a', `k${round}`, round);
      written.push(net.node('a').incarnation);
      net.run(15_000);
      net.restart('a');
    }
    net.run(30_000);
    for (let round = 0; round < 80; round++) {
      net.restart('a');
      net.run(10);
    }
    const folded = Object.keys(net.bodies.get(net.node('a').id)?.folded ?? {});
    const named = folded.filter((key) => key.startsWith('@'));
    expect(named).toEqual(expect.arrayContaining(written.slice(0, -1).map((each) => `@${each}`)));
    expect(named.length).toBeLessThanOrEqual(64 + written.length);
  });
});

function errorsOf(net: Network): unknown[] {
  return [...net.nodes.values()].flatMap((node) => node.marks.filter((mark) => mark.level === 'error'));
}
