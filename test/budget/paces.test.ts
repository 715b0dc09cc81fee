import { describe, expect, it } from 'vitest';
import { AGENT, worldWith } from './world.ts';

/** A parent, and a child of it by the hour, of which one machine spends. */
function family() {
  const world = worldWith(2);
  const { one, two } = world;
  const child = { op: 'create', budget: 'child', limit: 1_000, parent: 'team', window: 'hour' } as const;
  expect(one.call(child)).toMatchObject({ ok: true });
  world.pass(3_000);
  const spend = (amount: number) =>
    expect(one.call({ op: 'report', budget: 'child', agent: AGENT, amount })).toMatchObject({ ok: true });
  const burns = () =>
    [one, two].flatMap((node) => ['child', 'team'].map((budget) => node.status(budget).burnPerSecond));
  return { world, one, spend, burns };
}

describe('budget status: how fast it burns', () => {
  it('a parent burns as its child does, as soon as the first is spent', () => {
    const { one, spend } = family();
    spend(180);
    const child = one.status('child');
    const parent = one.status('team');
    expect(child.burnPerSecond).toBeGreaterThan(0);
    expect(parent.burnPerSecond).toBeCloseTo(child.burnPerSecond, 6);
    expect(parent.projectedEnd).toBeDefined();
  });

  it('all machines tell the same of it, whichever was asked before', () => {
    const { world, one, spend, burns } = family();
    for (let second = 0; second < 20; second++) {
      spend(10);
      if (second % 3 === 0) one.status('child');
      world.pass(1_000);
    }
    world.pass(6_000);
    const [own = 0, ...others] = burns();
    expect(own).toBeGreaterThan(3);
    for (const other of others) expect(Math.abs(other - own) / own).toBeLessThan(0.1);
  });

  it('what was spent before a machine heard of an account is no burn', () => {
    const { world, spend } = family();
    spend(180);
    world.pass(120_000);
    world.two.boot();
    world.connect(world.two);
    world.pass(1_000);
    expect(world.two.status('team').burnPerSecond).toBe(0);
  });
});
