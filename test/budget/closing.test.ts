/** Periods that are over for long leave the quorum store, and never begin anew (B28). */
import { describe, expect, it } from 'vitest';
import { type Definition, parseDefinition } from '../../src/budget/definition.ts';
import { CLOSING_TIMES, type ClosingTimes, OverPeriods, SureClock } from '../../src/budget/over-periods.ts';
import { ALL_BUDGETS } from '../../src/budget/reserve-register.ts';
import { decode, encode } from '../../src/kernel/codec.ts';
import { limits } from '../../src/kernel/limits.ts';
import { Told } from '../quorum/register/support.ts';
import { AGENT, type BudgetWorld, type WorldNode, worldWith } from './world.ts';

const HOUR_MS = 3_600_000;
const TIMES: ClosingTimes = {
  ...CLOSING_TIMES,
  graceMs: 2 * HOUR_MS,
  sureMs: 2_000,
  loneGraceMs: 6 * HOUR_MS,
  everyMs: 500,
};

function hourly(count: number, times = TIMES): BudgetWorld {
  return worldWith(count, { window: 'hour' }, { isOrchestrator: true, times });
}

function definition(world: BudgetWorld): Definition {
  const found = world.store.register.get('budget/team');
  const parsed = parseDefinition(decode(found!.value));
  if (!parsed.ok) throw new Error(parsed.error.message);
  return parsed.value;
}

/** Of the budget: its periods, with the keys of each. */
function periods(world: BudgetWorld): readonly string[] {
  const { found } = world.store.register.range({ from: 'budget/team/', to: 'budget/team0' }, 1_000);
  return [...new Set(found.map(({ key }) => key.split('/')[3]!))];
}

/** Each of them spends a little every hour. */
function spend(world: BudgetWorld, hours: number, nodes: readonly WorldNode[] = world.nodes): void {
  for (let hour = 0; hour < hours; hour++) {
    for (const node of nodes) {
      const reserved = node.reserve(5);
      if (!reserved.ok) throw new Error(reserved.error.message);
      node.call({ op: 'settle', id: reserved.value.reservationId, amount: 3 });
    }
    nextHour(world);
  }
}

function nextHour(world: BudgetWorld): void {
  world.sleep(HOUR_MS - 10_000);
  world.pass(10_000);
}

describe('closing periods', () => {
  it.each([
    { isOrchestrator: true, overdue: 0 },
    { isOrchestrator: false, overdue: 4 },
  ])('$overdue should have left the store long ago where an orchestrator runs: $isOrchestrator', (given) => {
    const { isOrchestrator, overdue } = given;
    const world = worldWith(2, { window: 'hour' }, { isOrchestrator, times: TIMES });
    spend(world, 12);
    expect(world.one.budgets.overdue(world.one.now)).toBe(overdue);
  });

  it.each([
    ['both spend', 2],
    ['the other never spent anything', 1],
  ])('entries of periods long over leave the store, and only theirs: %s', (_what, spenders) => {
    const world = hourly(2);
    spend(world, 12, world.nodes.slice(0, spenders));
    const kept = periods(world);
    expect(kept.length).toBeLessThanOrEqual(7);
    expect(definition(world).closed).toBeDefined();
    expect(kept.at(-1)).toBe(hourOf(world, -HOUR_MS));
    expect(world.one.status()).toMatchObject({ reserve: 1_000, problems: [] });
    spend(world, 12, world.nodes.slice(0, spenders));
    expect(periods(world).length).toBeLessThanOrEqual(7);
    // What stays is what stops a copy of the data.
    const { found } = world.store.register.range(ALL_BUDGETS, 1_000);
    expect(found.filter(({ key }) => key.startsWith('budget/!account/'))).toHaveLength(2);
    for (const node of world.nodes) expect([...node.budgets.ledger.purses.keys()].length).toBeLessThan(6);
  });

  it('a clock that is days fast closes nothing as long as another disagrees, and does not keep it from what is over', () => {
    const world = hourly(2);
    world.one.fastMs = 50 * HOUR_MS;
    spend(world, 12);
    const isFuture = (period: string) => Date.parse(`${period}:00Z`) > world.now.wallMs - 2 * HOUR_MS;
    const { closed } = definition(world);
    expect(closed === undefined || !isFuture(closed)).toBe(true);
    expect(periods(world).some(isFuture)).toBe(true);
    spend(world, 1, [world.two]);
    world.one.fastMs = 0;
    spend(world, 60, [world.two]);
    expect(periods(world).length).toBeLessThanOrEqual(8);
    spend(world, 1);
  });

  it('a node that is alone waits longer, and closes then', () => {
    const world = hourly(1);
    spend(world, 6);
    expect(definition(world).closed).toBeUndefined();
    expect(periods(world)).toHaveLength(6);
    spend(world, 12);
    expect(definition(world).closed).toBeDefined();
    expect(periods(world).length).toBeLessThanOrEqual(10);
  });

  it('in a period that was closed nothing is reserved, limited or granted any more, whatever the time on the node', () => {
    const world = hourly(3);
    const first = hourOf(world);
    spend(world, 12, [world.one, world.two]);
    expect(periods(world)).not.toContain(first);
    const three = world.nodes[2]!;
    three.fastMs = -12 * HOUR_MS;
    expect(three.status()).toMatchObject({ reserve: 0, remaining: 0, problems: [] });
    expect(three.reserve(5)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    const limited = three.call({ op: 'setLimit', budget: 'team', limit: 5_000 });
    expect(limited).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    expect(three.call({ op: 'request', budget: 'team', amount: 5 })).toMatchObject({ ok: false });
    expect(periods(world)).not.toContain(first);
    // Though the store has forgotten that it is closed, this node's disk has not.
    const { closed: _closed, over: _over, parent: _parent, ...open } = definition(world);
    world.transact({
      compares: [],
      then: [{ op: 'put', key: 'budget/team', value: encode({ ...open, parent: null }).slice() }],
      otherwise: [],
    });
    world.pass(10);
    three.boot();
    world.pass(2_000);
    expect(three.reserve(5)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
  });

  it('what was held or had by a node that slept through it stays what it was, and its rows of then count nowhere', () => {
    const world = hourly(3);
    const three = world.nodes[2]!;
    const held = three.reserve(5, { ttlMs: 60_000 });
    expect(held.ok).toBe(true);
    world.pass(2_000);
    world.kill(three);
    spend(world, 12, [world.one, world.two]);
    three.boot();
    world.connect(three);
    world.pass(5_000);
    expect(three.status()).toMatchObject({ problems: [] });
    expect(world.one.status()).toMatchObject({ problems: [] });
    world.pass(10_000);
    expect(three.budgets.ledger.purses.size).toBe(0);
    expect(three.reserve(5)).toMatchObject({ ok: true });
    world.pass(2_000);
    const own = world.rowsOf(three).filter(({ body }) => body !== undefined);
    expect(own).toHaveLength(1);
  });

  it.each(['with nothing', 'as it was before anything was closed'])(
    'a store that was founded anew %s is told what is closed, and no grants of it',
    (what) => {
      const world = hourly(2);
      spend(world, 3);
      const before = world.store.register.range(ALL_BUDGETS, 1_000).found;
      spend(world, 9);
      const { closed } = definition(world);
      expect(closed).toBeDefined();
      world.store = new Told();
      if (what !== 'with nothing')
        world.store.transact({ then: before.map(({ key, value }) => ({ op: 'put', key, value })) });
      for (const node of world.nodes) world.read(node);
      world.pass(120_000);
      expect(definition(world).closed! >= closed!).toBe(true);
      spend(world, 1);
      for (const period of periods(world)) expect(period > closed!).toBe(true);
      expect(world.one.status()).toMatchObject({ problems: [] });
    },
  );

  it('a limit that is changed, and the word of one node, take nothing back of what is closed', () => {
    const world = hourly(2);
    spend(world, 12);
    const { closed } = definition(world);
    expect(world.two.call({ op: 'setLimit', budget: 'team', limit: 2_000 })).toMatchObject({ ok: true });
    expect(definition(world)).toMatchObject({ limit: 2_000, closed });
    const made = world.one.call({
      op: 'create',
      budget: 'b',
      limit: 5,
      window: 'hour',
      closed: '2030-01-01T00',
    } as never);
    expect(made).toMatchObject({ ok: true });
    expect(world.one.call({ op: 'reserve', budget: 'b', agent: AGENT, amount: 5 })).toMatchObject({
      ok: true,
    });
  });
});

function hourOf(world: BudgetWorld, afterMs = 0): string {
  return new Date(world.now.wallMs + afterMs).toISOString().slice(0, 13);
}

describe('closing periods: room', () => {
  it('a node that keeps many periods lets go of those that are over sooner, so that those that run have room', () => {
    const over = new OverPeriods(CLOSING_TIMES);
    const key = 'team/1/2026-01-01T00' as never;
    const endMs = Date.parse('2026-01-01T01:00Z');
    const at = (wallMs: number, monoMs: number) => ({ wallMs, monoMs });
    expect(over.due([key], true, at(endMs + limits.budgetCrowdedGraceMs, 0))).toEqual([]);
    const later = at(endMs + limits.budgetCrowdedGraceMs + 1, limits.budgetCrowdedSureMs);
    expect(over.due([key], true, later)).toEqual([key]);
    expect(over.due([key], false, later)).toEqual([]);
  });

  it('of three times as many budgets by the hour as there would be room for, all can be spent from, hour by hour', {
    timeout: 120_000,
  }, () => {
    const times = { ...CLOSING_TIMES, crowdedSureMs: 1_000, everyMs: 500 };
    const world = worldWith(1, { window: 'hour' }, { times });
    const budgets = Math.ceil((3 * limits.budgetPurses * HOUR_MS) / limits.budgetGraceMs);
    for (let index = 0; index < budgets; index++)
      expect(world.one.call({ op: 'create', budget: `b${index}`, limit: 100, window: 'hour' }).ok).toBe(true);
    let most = 0;
    for (let hour = 0; hour < 17; hour++) {
      for (let index = 0; index < budgets; index++) {
        const reported = world.one.call({ op: 'report', budget: `b${index}`, agent: AGENT, amount: 1 });
        if (!reported.ok) throw new Error(reported.error.message);
      }
      world.sleep(HOUR_MS - 3_000);
      world.pass(3_000);
      most = Math.max(most, world.one.budgets.ledger.purses.size);
    }
    expect(17 * budgets).toBeGreaterThan(limits.budgetPurses);
    expect(most).toBeLessThan(limits.budgetPurses);
  });
});

describe('a clock that is to be believed', () => {
  const look = (clock: SureClock, monoMs: number, wallMs: number) => {
    clock.look({ monoMs, wallMs });
    return clock.leastWallMs;
  };

  it('knows nothing before it ran for long enough, and then the least that it showed in that time', () => {
    const clock = new SureClock(100);
    expect(look(clock, 0, 1_000)).toBe(Number.NEGATIVE_INFINITY);
    expect(look(clock, 60, 1_060)).toBe(Number.NEGATIVE_INFINITY);
    expect(look(clock, 100, 1_100)).toBe(1_000);
    expect(look(clock, 170, 9_000)).toBe(1_060);
    expect(look(clock, 270, 500)).toBe(500);
    expect(look(clock, 380, 9_000)).toBe(500);
    expect(look(clock, 490, 9_100)).toBe(9_000);
  });
});
