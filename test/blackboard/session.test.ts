import { describe, expect, it } from 'vitest';
import { decodeSession, encodeSession } from '../../src/blackboard/session.ts';
import type { BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { cpuMs, expectOk, MAIN, Network } from './network.ts';

const read = (session: string | undefined, key = 'x') =>
  ({
    op: 'read',
    board: MAIN,
    key,
    level: 'session',
    ...(session === undefined ? {} : { session }),
  }) as const;

describe('boards: sessions', () => {
  it('K10 read your writes on a node that is behind: waits, and never shows the old value', () => {
    const net = new Network(1, ['a', 'b']);
    net.write('a', 'x', 'old');
    net.converge();
    net.latencyMs = 300;
    const { session } = net.write('a', 'x', 'new');
    expect(net.read('b', 'x')).toBe('old');
    expect(expectOk(net.call('b', read(session)))).toMatchObject({ found: true, value: 'new' });
  });

  it('K10 K16 a token that cannot be satisfied: SESSION_NOT_SATISFIED within the bound, with what is missing', () => {
    const net = new Network(2, ['a', 'b']);
    net.write('a', 'x', 'old');
    net.converge();
    net.cut('a', 'b');
    const { session } = net.write('a', 'x', 'new');
    const startMs = net.nowMs;
    const answer = net.call('b', read(session));
    expect(answer).toMatchObject({ ok: false, error: { code: 'SESSION_NOT_SATISFIED', retryable: true } });
    expect(net.nowMs - startMs).toBeLessThanOrEqual(limits.sessionWaitMs + 1);
    expect(expectOk(net.call('b', { op: 'read', board: MAIN, key: 'x' }))).toMatchObject({ value: 'old' });
  });

  it('K16 in a partition a session whose token is covered is served', () => {
    const net = new Network(3, ['a', 'b']);
    const { session } = net.write('a', 'x', 1);
    net.converge();
    net.cut('a', 'b');
    expect(expectOk(net.call('b', read(session)))).toMatchObject({ value: 1 });
  });

  it('K11 monotonic reads: what was read on one node is not unread on another', () => {
    const net = new Network(4, ['a', 'b', 'c']);
    net.write('a', 'x', 'old');
    net.converge();
    net.cut('a', 'c');
    net.cut('b', 'c');
    net.write('a', 'x', 'new');
    net.run(10);
    const seen = expectOk(net.call('b', read(undefined)));
    expect(seen).toMatchObject({ value: 'new' });
    expect(net.call('c', read(seen.session))).toMatchObject({
      ok: false,
      error: { code: 'SESSION_NOT_SATISFIED' },
    });
    net.heal();
    net.run(1_000);
    expect(expectOk(net.call('c', read(seen.session)))).toMatchObject({ value: 'new' });
  });

  it('K12 K13 a write that follows another is not shown without it, on any node, in any order of arrival', () => {
    const net = new Network(5, ['a', 'b', 'c']);
    net.converge();
    net.cut('a', 'c');
    const first = net.write('a', 'question', 'first');
    net.run(10);
    const second = net.write('b', 'answer', 'second', { session: first.session });
    for (let ms = 0; ms < 3_000; ms++) {
      net.run(1);
      // `c` gets the second write from its author, and the first only through it.
      if (net.read('c', 'answer') !== undefined) expect(net.read('c', 'question')).toBe('first');
    }
    expect(second.revision).toBeGreaterThan(0);
    net.heal();
    net.until(() => net.read('c', 'answer') === 'second', 10_000);
    expect(net.read('c', 'question')).toBe('first');
  });

  it('K14 a token outlives the restart of its node, also from its disk', () => {
    const net = new Network(6, ['a', 'b']);
    const { session } = net.write('a', 'x', 1);
    net.restart('a');
    expect(expectOk(net.call('a', read(session)))).toMatchObject({ value: 1 });
    expect(expectOk(net.call('b', read(session)))).toMatchObject({ value: 1 });
  });

  it('K14 on a node restored from an older disk the token waits for what is missing', () => {
    const net = new Network(7, ['a', 'b']);
    net.write('a', 'x', 'old');
    net.converge();
    const image = [...net.node('b').journal];
    const { session } = net.write('a', 'x', 'new');
    net.converge();
    net.crash('b');
    net.crash('a');
    net.restart('b', image);
    expect(net.call('b', read(session))).toMatchObject({
      ok: false,
      error: { code: 'SESSION_NOT_SATISFIED' },
    });
    net.restart('a');
    expect(expectOk(net.call('b', read(session)))).toMatchObject({ value: 'new' });
  });

  it('K14 a token from before lanes were folded is honoured afterwards, on a node that never saw them too', () => {
    const net = new Network(8, ['a', 'b']);
    const { session } = net.write('a', 'x', 1);
    net.run(1_000);
    net.restart('a');
    net.write('a', 'y', 2);
    net.run(30_000);
    expect(net.bodies.get(net.node('a').id)?.incarnations).toHaveLength(1);
    net.add('c');
    net.connectAll();
    net.converge();
    for (const name of ['a', 'b', 'c'])
      expect(expectOk(net.call(name, read(session)))).toMatchObject({ value: 1 });
  });

  it('K15 forged, damaged and huge tokens are refused at once', () => {
    const net = new Network(9, ['a']);
    net.write('a', 'x', 1);
    const { incarnation } = net.node('a');
    const forged = [
      'nonsense',
      '####',
      '',
      'A'.repeat(limits.sessionTokenBytes * 2),
      encodeSession(new Map([[MAIN, new Map([[incarnation, 2 ** 52]])]])),
      encodeSession(new Map([[MAIN, new Map([[incarnation, 17]])]])),
      encodeSession(new Map([[MAIN, new Map(Array.from({ length: 100_000 }, (_, at) => [at + 1, 1]))]])),
      encodeSession(new Map([['BAD NAME' as BoardName, new Map([[1, 1]])]])),
    ];
    for (const session of forged) {
      const startMs = cpuMs();
      expect(net.call('a', read(session))).toMatchObject({ ok: false, error: { code: 'INVALID_ARGUMENT' } });
      expect(cpuMs() - startMs).toBeLessThan(50);
    }
  });

  it('K15 a well-formed token about an unknown lane only waits its bounded time', () => {
    const net = new Network(10, ['a']);
    const session = encodeSession(new Map([[MAIN, new Map([[123_456, 5]])]]));
    const startMs = net.nowMs;
    expect(net.call('a', read(session))).toMatchObject({
      ok: false,
      error: { code: 'SESSION_NOT_SATISFIED' },
    });
    expect(net.nowMs - startMs).toBeLessThanOrEqual(limits.sessionWaitMs + 1);
  });

  it('a token keeps its size however many writes it has seen, and decodes to what was encoded', () => {
    const net = new Network(11, ['a']);
    let session: string | undefined;
    for (let index = 0; index < 200; index++) {
      session = net.write('a', `k${index}`, index, session === undefined ? {} : { session }).session;
    }
    expect(session?.length).toBeLessThan(60);
    const clocks = new Map([[MAIN, new Map([[7, 8]])]]);
    expect(expectOk(decodeSession(encodeSession(clocks)))).toEqual(clocks);
  });

  it('strong is not offered by a crdt board, and says so', () => {
    const net = new Network(12, ['a']);
    const answer = net.call('a', { op: 'read', board: MAIN, key: 'x', level: 'strong' });
    expect(answer).toMatchObject({ ok: false, error: { code: 'LEVEL_NOT_OFFERED' } });
  });
});
