import { describe, expect, it } from 'vitest';
import { NamedLeases } from '../../src/quorum/leases.ts';
import { ManualClock, SingleStore } from '../support/single-store.ts';

function swarm(count = 3) {
  const clock = new ManualClock();
  const store = new SingleStore(clock);
  const nodes = Array.from({ length: count }, (_, index) => {
    const connection = store.connect();
    const holder = { agent: 'agent', node: `node-${index}` };
    return { connection, holder, leases: new NamedLeases(connection, clock) };
  });
  return { clock, store, nodes: nodes as [Node, Node, Node] };
}
type Node = {
  connection: ReturnType<SingleStore['connect']>;
  holder: { agent: string; node: string };
  leases: NamedLeases;
};

const acquire = async ({ leases, holder }: Node, ttlMs = 10_000, name = 'deploy') => {
  const answer = await leases.acquire({ name, holder, ttlMs });
  if (!answer.ok) throw new Error(JSON.stringify(answer.error));
  return answer.value;
};

describe('named leases', () => {
  it.each([2, 5])('of %i nodes that ask at once one holds it, and the others hear who', async (count) => {
    const { nodes, clock, store } = swarm(count);
    const answers = await Promise.all(nodes.map((node) => acquire(node)));
    const winners = answers.filter(({ held }) => held);
    expect(winners).toHaveLength(1);
    const [winner] = winners;
    expect(winner).toMatchObject({ fencingToken: expect.any(Number) });
    expect(winner?.expiresMs).toBeLessThanOrEqual(clock.now().wallMs + 10_000);
    for (const loser of answers.filter(({ held }) => !held)) {
      expect(loser).toMatchObject({ holder: winner?.holder });
      expect(loser.fencingToken).toBeUndefined();
      expect(loser.expiresMs).toBeGreaterThanOrEqual(winner?.expiresMs ?? 0);
    }
    await clock.advance(1);
    expect(store.register.usage.leases).toBe(1);
  });

  it('the holder that asks again keeps its token, and its time begins anew', async () => {
    const { nodes, clock } = swarm();
    const [a, b] = nodes;
    const first = await acquire(a);
    await clock.advance(9_000);
    expect(await acquire(a)).toMatchObject({ held: true, already: true, fencingToken: first.fencingToken });
    await clock.advance(9_000);
    expect(await acquire(b)).toMatchObject({ held: false, holder: a.holder });
  });

  it('the same agent on another node is another holder', async () => {
    const { nodes } = swarm();
    await acquire(nodes[0]);
    expect(await acquire(nodes[1])).toMatchObject({ held: false });
  });

  it('a holder that is not heard of loses it at its time, not before, and the next token is greater', async () => {
    const { nodes, clock } = swarm();
    const [a, b] = nodes;
    const first = await acquire(a);
    a.connection.isCutOff = true;
    await clock.advance(9_999);
    expect(await acquire(b)).toMatchObject({ held: false });
    await clock.advance(400);
    const second = await acquire(b);
    expect(second.held).toBe(true);
    expect(second.fencingToken).toBeGreaterThan(first.fencingToken as number);
    a.connection.isCutOff = false;
    const late = await a.leases.renew({ name: 'deploy', holder: a.holder });
    expect(late).toMatchObject({ ok: true, value: { held: false, holder: b.holder } });
  });

  it('renewing keeps it for as long as wanted, also with another time to live', async () => {
    const { nodes, clock, store } = swarm();
    const [a, b] = nodes;
    const { fencingToken } = await acquire(a, 2_000);
    for (let round = 0; round < 5; round++) {
      await clock.advance(1_500);
      const renewed = await a.leases.renew({ name: 'deploy', holder: a.holder, fencingToken });
      expect(renewed).toMatchObject({ value: { held: true, fencingToken } });
    }
    const longer = await a.leases.renew({ name: 'deploy', holder: a.holder, ttlMs: 60_000 });
    expect(longer).toMatchObject({ value: { held: true, fencingToken } });
    await clock.advance(50_000);
    expect(await acquire(b)).toMatchObject({ held: false });
    expect(store.register.usage.leases).toBe(1);
    await clock.advance(11_000);
    expect(await acquire(b)).toMatchObject({ held: true });
  });

  it('a release is at once; it takes nothing from others, and an old token releases nothing', async () => {
    const { nodes } = swarm();
    const [a, b] = nodes;
    const first = await acquire(a);
    const stranger = await b.leases.release({ name: 'deploy', holder: b.holder });
    expect(stranger).toMatchObject({ value: { held: false, holder: a.holder } });
    expect(await a.leases.release({ name: 'deploy', holder: a.holder })).toEqual({
      ok: true,
      value: { name: 'deploy', held: false },
    });
    const second = await acquire(a);
    expect(second.fencingToken).toBeGreaterThan(first.fencingToken as number);
    const old = { name: 'deploy', holder: a.holder, fencingToken: first.fencingToken };
    expect(await a.leases.release(old)).toMatchObject({ value: { held: false, holder: a.holder } });
    expect(await acquire(b)).toMatchObject({ held: false });
  });

  it('whoever loses the race between reading and writing hears who won it', async () => {
    const { nodes } = swarm();
    const [a, b] = nodes;
    let raced = false;
    a.connection.beforeTransact = () => {
      if (raced) return;
      raced = true;
      // Between the reading of a and its transaction b takes the lease.
      b.connection.transact({
        compares: [],
        then: [
          { op: 'put', key: 'l/deploy', value: new Uint8Array([0x95, 0xa1, 0x62, 0xa1, 0x6e, 1, 1, 1]) },
        ],
        otherwise: [],
      });
    };
    expect(await acquire(a)).toMatchObject({ held: false, holder: { agent: 'b', node: 'n' } });
  });

  it('a minority refuses: nobody is told that it holds what it may not', async () => {
    const { nodes } = swarm();
    const [a] = nodes;
    a.connection.isCutOff = true;
    expect(await a.leases.acquire({ name: 'deploy', holder: a.holder, ttlMs: 5_000 })).toMatchObject({
      ok: false,
      error: { code: 'QUORUM_UNAVAILABLE' },
    });
  });

  it('lists who holds what, page by page', async () => {
    const { nodes } = swarm();
    const [a, b] = nodes;
    await acquire(a, 5_000, 'b');
    await acquire(b, 5_000, 'a');
    await acquire(b, 5_000, 'c');
    const first = await a.leases.list({ limit: 2 });
    expect(first).toMatchObject({
      value: {
        more: true,
        leases: [
          { name: 'a', holder: b.holder, ttlMs: 5_000 },
          { name: 'b', holder: a.holder },
        ],
      },
    });
    expect(await a.leases.list({ limit: 2, after: 'b' })).toMatchObject({
      value: { more: false, leases: [{ name: 'c' }] },
    });
  });

  it.each([
    ['', 5_000],
    ['x'.repeat(257), 5_000],
    ['a\nb', 5_000],
    ['a', 999],
    ['a', Number.NaN],
  ])('the name %j with %d ms is refused', async (name, ttlMs) => {
    const { nodes } = swarm();
    expect(await nodes[0].leases.acquire({ name, holder: nodes[0].holder, ttlMs })).toMatchObject({
      error: { code: 'INVALID_ARGUMENT' },
    });
  });
});
