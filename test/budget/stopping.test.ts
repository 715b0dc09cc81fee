import { describe, expect, it } from 'vitest';
import { AGENT, worldWith } from './world.ts';

describe('budgets: a disk that fails, and a node that stops', () => {
  it('while the disk fails nothing is asked of the store, and whoever waits is told; then all goes on (B29)', () => {
    const world = worldWith(1);
    const { one } = world;
    // The answer of the store is under way when the disk fails.
    const waiting = one.ask({ op: 'request', budget: 'team', amount: 100 });
    one.tell({ kind: 'diskFailed', reason: 'full' });
    world.pass(10);
    const before = world.transactions;
    const failed = { ok: false, error: { code: 'INTERNAL' } };
    expect(one.call({ op: 'request', budget: 'team', amount: 100 })).toMatchObject({ ok: false });
    expect(one.reserve(10)).toMatchObject(failed);
    expect(one.call({ op: 'setLimit', budget: 'team', limit: 5 })).toMatchObject(failed);
    expect(world.transactions).toBe(before);
    expect(one.answers.has(waiting)).toBe(true);
    one.tell({ kind: 'diskRecovered' });
    world.pass(500);
    expect(one.reserve(1_000)).toMatchObject({ ok: true });
    expect(one.status()).toMatchObject({ held: 1_000, remaining: 0, problems: [] });
  });

  it('a store that was not asked since the disk failed is not taken for one that is away (B29)', () => {
    const { one, now } = worldWith(1);
    one.ask({ op: 'request', budget: 'team', amount: 100 });
    one.tell({ kind: 'diskFailed', reason: 'full' });
    const request = { op: 'request', budget: 'team', amount: 100 } as const;
    expect(one.call(request)).toMatchObject({ ok: false, error: { code: 'INTERNAL' } });
    one.tell({ kind: 'diskRecovered' });
    expect(one.reserve(10)).toMatchObject({ ok: true });
    expect(one.world.now.monoMs - now.monoMs).toBeLessThan(100);
  });

  it('what was requested before the disk failed is told that it is the disk (B29)', () => {
    const { one } = worldWith(1);
    const waiting = one.ask({ op: 'request', budget: 'team', amount: 100 });
    one.tell({ kind: 'diskFailed', reason: 'full' });
    one.world.pass(100);
    expect(one.answers.get(waiting)).toMatchObject({ ok: false, error: { code: 'INTERNAL' } });
  });

  it('a node that stops tells others first what it spent last', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'request', budget: 'team', amount: 100 });
    world.pass(2_000);
    two.call({ op: 'report', budget: 'team', agent: AGENT, amount: 60 });
    expect(one.status().spent).toBe(0);
    two.carry(two.budgets.stop(world.now));
    world.pass(0);
    expect(one.status().spent).toBe(60);
  });
});
