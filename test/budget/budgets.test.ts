import { describe, expect, it } from 'vitest';
import { freshText } from '../../src/budget/names.ts';
import { parsePriceTable } from '../../src/budget/price.ts';
import { limits } from '../../src/kernel/limits.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { Told } from '../quorum/register/support.ts';
import { AGENT, BudgetWorld, worldWith } from './world.ts';

const exhausted = { ok: false, error: { code: 'BUDGET_EXHAUSTED' } };

describe('budgets: reserving', () => {
  it('takes at most 2 % of the limit ahead out of the reserve', () => {
    const { one } = worldWith(1);
    expect(one.reserve(1)).toMatchObject({ ok: true, value: { amount: 1 } });
    const { reserve, held } = one.status();
    expect(held).toBe(1);
    expect(1_000 - reserve).toBeLessThanOrEqual(20);
  });

  it('asks the store once for 100 reservations that wait together, and grants them in their order (B22)', () => {
    const world = worldWith(1);
    const before = world.transactions;
    const ids = Array.from({ length: 100 }, () =>
      world.one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 5 }),
    );
    world.pass(10);
    expect([...world.one.answers.keys()].slice(-100)).toEqual(ids);
    expect(ids.every((id) => world.one.answers.get(id)?.ok)).toBe(true);
    expect(world.transactions - before).toBeLessThanOrEqual(2);
  });

  it('gives the last unit, then says how much there is, where, and that waiting helps while something is held', () => {
    const world = worldWith(2);
    expect(world.one.reserve(600)).toMatchObject({ ok: true });
    expect(world.two.reserve(400)).toMatchObject({ ok: true });
    world.pass(1_500);
    const refused = world.one.reserve(1);
    expect(refused).toMatchObject({
      ok: false,
      error: {
        code: 'BUDGET_EXHAUSTED',
        retryable: true,
        details: { outcome: 'not-done', needed: 1, remaining: 0, reserve: 0, held: 1_000, machines: [] },
      },
    });
  });

  it('does not wait with waitMs 0, and not longer than it was told', () => {
    const world = worldWith(1);
    expect(world.one.reserve(5, { waitMs: 0 })).toMatchObject(exhausted);
    world.isStoreUp = false;
    const startMs = world.now.monoMs;
    expect(world.one.reserve(5, { waitMs: 300 })).toMatchObject({
      ok: false,
      error: { code: 'QUORUM_UNAVAILABLE', details: { outcome: 'not-done', reserve: 1_000 } },
    });
    expect(world.now.monoMs - startMs).toBeLessThanOrEqual(320);
  });

  it('a reservation whose caller has gone takes nothing, and whoever waits behind it gets its turn', () => {
    const { one, two } = worldWith(2);
    expect(two.reserve(1)).toMatchObject({ ok: true });
    const gone = one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 900 });
    const next = one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 500 });
    one.tell({ kind: 'budgetCancelled', id: gone });
    one.world.pass(6_000);
    expect(one.answers.has(gone)).toBe(false);
    expect(one.answers.get(next)).toMatchObject({ ok: true });
    expect(one.status()).toMatchObject({ held: 501 });
  });

  it('rights that a settlement frees go to who waits', () => {
    const world = worldWith(1);
    const all = world.one.reserve(1_000);
    if (!all.ok) throw new Error(all.error.message);
    world.isStoreUp = false;
    const waiting = world.one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 400 });
    world.one.call({ op: 'settle', id: all.value.reservationId, amount: 100 });
    expect(world.one.answers.get(waiting)).toMatchObject({ ok: true, value: { amount: 400 } });
  });

  it('rights of a reservation whose time is up go to who waits, where they are given back', () => {
    const world = worldWith(2, { expiry: 'free' });
    world.two.reserve(1);
    world.pass(2_000);
    expect(world.one.reserve(990, { ttlMs: 500 })).toMatchObject({ ok: true });
    // It is asked for a second, and does not answer.
    world.two.isUp = false;
    const waiting = world.one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 100 });
    world.pass(450);
    expect(world.one.answers.has(waiting)).toBe(false);
    world.pass(60);
    expect(world.one.answers.get(waiting)).toMatchObject({ ok: true });
  });

  it('takes from the ancestors too, and waits for them', () => {
    const world = worldWith(2);
    world.one.call({ op: 'create', budget: 'task', limit: 5_000, parent: 'team' });
    expect(world.one.reserve(700, { budget: 'task' })).toMatchObject({ ok: true });
    expect(world.two.reserve(400, { budget: 'task' })).toMatchObject({
      ok: false,
      error: { code: 'BUDGET_EXHAUSTED', details: { budget: 'team' } },
    });
    expect(world.two.reserve(300, { budget: 'task' })).toMatchObject({ ok: true, value: {} });
  });

  it('gathers what others hold where the reserve is empty (B23), and without any quorum too', () => {
    const world = worldWith(4);
    for (const node of world.nodes)
      expect(node.call({ op: 'request', budget: 'team', amount: 250 })).toEqual({
        ok: true,
        value: { granted: 250, rights: 250 },
      });
    world.isStoreUp = false;
    expect(world.two.reserve(1_000)).toMatchObject({ ok: true });
    world.pass(2_000);
    expect(world.one.status()).toMatchObject({ held: 1_000, remaining: 0, problems: [] });
  });
});

describe('budgets: settling', () => {
  it('counts once, on whichever node it is asked for, and says what became free', () => {
    const world = worldWith(2);
    const held = world.one.reserve(100);
    if (!held.ok) throw new Error(held.error.message);
    const settle = { op: 'settle', id: held.value.reservationId, amount: 30 } as const;
    const settled = { reservationId: settle.id, amount: 30, freed: 70, overrun: 0, ending: 'settled' };
    expect(world.two.call(settle)).toEqual({ ok: true, value: settled });
    expect(world.one.call(settle)).toEqual({ ok: true, value: settled });
    world.pass(2_000);
    expect(world.two.status()).toMatchObject({ spent: 30, held: 0 });
  });

  it('says that the node which reserved cannot be reached, and that nothing was done', () => {
    const world = worldWith(2);
    const held = world.one.reserve(100);
    if (!held.ok) throw new Error(held.error.message);
    world.kill(world.one);
    expect(world.two.call({ op: 'settle', id: held.value.reservationId, amount: 1 })).toMatchObject({
      ok: false,
      error: { code: 'UNREACHABLE', details: { outcome: 'not-done' } },
    });
  });

  it('an id of the caller gives the same reservation, one of another node none', () => {
    const world = worldWith(2);
    const first = world.one.reserve(10, { id: 'mine' });
    expect(world.one.reserve(10, { id: 'mine' })).toEqual(first);
    expect(first).toMatchObject({ ok: true, value: { reservationId: `mine@${world.one.self}` } });
    expect(world.two.reserve(10, { id: `mine@${world.one.self}` })).toMatchObject({
      ok: false,
      error: { code: 'INVALID_ARGUMENT' },
    });
    const longest = 'x'.repeat(limits.budgetIdBytes - 53);
    expect(world.one.reserve(10, { id: longest })).toMatchObject({ ok: true });
    expect(world.one.reserve(10, { id: `${longest}x` })).toMatchObject({ ok: false });
  });

  it.each([0, -1, 1.5, Number.NaN, -0, 2 ** 53, '5', null])('B25 an amount of %s is refused', (amount) => {
    const { one } = worldWith(1);
    expect(one.reserve(amount as number)).toMatchObject({ ok: false, error: { code: 'INVALID_ARGUMENT' } });
  });

  it('a reservation that is asked for again while its record fails is not answered as made (I3, B29)', () => {
    const world = worldWith(1);
    const { one } = world;
    one.call({ op: 'request', budget: 'team', amount: 100 });
    const call = { op: 'reserve', budget: 'team', agent: AGENT, id: 'mine', amount: 10 } as const;
    const ask = (id: number) => one.budgets.handle({ kind: 'budgetRequested', id, call }, world.now);
    ask(901);
    const written = one.budgets.expire(world.now);
    expect(written.map(({ kind }) => kind).slice(0, 2)).toEqual(['persist', 'answer']);
    // Its record is under way, and fails before the second answer is given.
    const told = [...ask(902), ...one.budgets.handle({ kind: 'diskFailed', reason: 'full' }, world.now)];
    const answers = told.filter((effect) => effect.kind === 'answer' && effect.id === 902);
    expect(answers).toMatchObject([{ result: { ok: false, error: { details: { outcome: 'unknown' } } } }]);
  });

  it('an id that the node gives tells nothing of the next one, and is no longer than a caller may give', () => {
    const drawn: number[] = [];
    const rng = seededRng(9);
    const fresh = (): number => {
      drawn.push(1 + rng.below(2 ** 32) * 2 ** 20);
      return drawn.at(-1)!;
    };
    const world = new BudgetWorld(1, { fresh });
    world.one.call({ op: 'create', budget: 'team', limit: 1_000 });
    const ids = [1, 2, 3].map(() => {
      drawn.length = 0;
      const held = world.one.reserve(1);
      if (!held.ok) throw new Error(held.error.message);
      const [id = ''] = held.value.reservationId.split('@');
      // Of 53 random bits each, and of nothing else.
      expect(id).toBe(freshText(drawn[0]!, drawn[1]!));
      return id;
    });
    expect(new Set(ids).size).toBe(3);
    expect(Math.max(...ids.map(({ length }) => length))).toBeLessThanOrEqual(23);
  });

  it('prices the use of a model, in budgets of money only', () => {
    const prices = parsePriceTable({ large: { input: 3_000_000, output: 15_000_000 } });
    if (!prices.ok) throw new Error(prices.error.message);
    const world = new BudgetWorld(1, { prices: prices.value });
    world.one.call({ op: 'create', budget: 'money', limit: 1_000_000, unit: 'microusd' });
    world.one.call({ op: 'create', budget: 'team', limit: 1_000 });
    const use = { model: 'large', input: 100, output: 10 };
    const asked = { op: 'reserve', budget: 'money', agent: AGENT, use } as const;
    expect(world.one.call(asked)).toMatchObject({ ok: true, value: { amount: 450 } });
    expect(world.one.call({ ...asked, use: { model: 'other' } })).toMatchObject({
      ok: false,
      error: { code: 'NOT_FOUND' },
    });
    expect(world.one.call({ ...asked, amount: 5 })).toMatchObject({ ok: false });
    expect(world.one.call({ ...asked, budget: 'team' })).toMatchObject({ ok: false });
  });
});

describe('budgets: looking after them', () => {
  it('tells a threshold once for its period, over a restart too, and changes at most every 100 ms', () => {
    const world = worldWith(1, { thresholds: [50, 80] });
    const { one } = world;
    one.call({ op: 'request', budget: 'team', amount: 1_000 });
    one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 600 });
    world.pass(1_000);
    expect(one.thresholds).toEqual([50]);
    const before = one.changed;
    for (let index = 0; index < 50; index++)
      one.ask({ op: 'report', budget: 'team', agent: AGENT, amount: 1 });
    world.pass(99);
    expect(one.changed - before).toBeLessThanOrEqual(1);
    one.boot();
    world.pass(1_000);
    expect(one.thresholds).toEqual([50]);
    one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 200 });
    world.pass(1_000);
    expect(one.thresholds).toEqual([50, 80]);
  });

  it('tells a threshold again once a raised limit is spent as far', () => {
    const world = worldWith(1, { thresholds: [50, 80] });
    const { one } = world;
    one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 600 });
    world.pass(1_000);
    expect(one.thresholds).toEqual([50]);
    one.call({ op: 'setLimit', budget: 'team', limit: 2_000 });
    world.pass(1_000);
    expect(one.thresholds).toEqual([50]);
    one.call({ op: 'report', budget: 'team', agent: AGENT, amount: 500 });
    world.pass(1_000);
    expect(one.thresholds).toEqual([50, 50]);
  });

  it('tells a threshold that a write-off passes: what the lost machine held counts as spent', () => {
    const world = worldWith(2, { thresholds: [50] });
    const { one, two } = world;
    two.reserve(600);
    world.pass(3_000);
    world.kill(two);
    expect(one.call({ op: 'writeOff', budget: 'team', account: two.self })).toMatchObject({
      ok: true,
      value: { lost: 600 },
    });
    world.pass(1_000);
    expect(one.thresholds).toEqual([50]);
  });

  it('moves rights by hand, and gives those of a period that is over back', () => {
    const world = worldWith(2, { window: 'hour' });
    world.one.call({ op: 'request', budget: 'team', amount: 500 });
    expect(world.two.call({ op: 'request', budget: 'team', amount: 10 })).toMatchObject({ ok: true });
    expect(world.one.call({ op: 'transfer', budget: 'team', to: world.two.self, amount: 200 })).toEqual({
      ok: true,
      value: { moved: 200, rights: 300 },
    });
    world.pass(1_000);
    const purse = [...world.two.budgets.ledger.purses.keys()][0]!;
    expect(world.two.budgets.ledger.purses.get(purse)?.rights).toBe(210);
    world.pass(3_700_000);
    expect(world.one.budgets.ledger.purses.get(purse)).toMatchObject({ rights: 0, returned: 300 });
    expect(world.two.budgets.ledger.purses.get(purse)).toMatchObject({ rights: 0, returned: 210 });
    expect(world.one.status()).toMatchObject({ reserve: 1_000, allocated: 0 });
  });

  it('a lowered limit owes what was granted beyond it, and nothing is granted meanwhile (B18)', () => {
    const world = worldWith(2);
    world.one.call({ op: 'request', budget: 'team', amount: 800 });
    const lowered = world.two.call({ op: 'setLimit', budget: 'team', limit: 500 });
    expect(lowered).toMatchObject({ ok: true, value: { limit: 500, owed: 300, reserve: 0 } });
    // What others hold may still be moved and spent.
    expect(world.two.call({ op: 'request', budget: 'team', amount: 200 })).toMatchObject({ ok: true });
    expect(world.one.call({ op: 'request', budget: 'team', amount: 900 })).toMatchObject({
      value: { granted: 200, rights: 800 },
    });
    expect(world.one.status()).toMatchObject({ reserve: 0, owed: 300, remaining: 800, problems: [] });
  });

  it('writes off what a dead node had, not what it held, and never that of one that is alive', () => {
    const world = worldWith(2);
    world.two.call({ op: 'request', budget: 'team', amount: 600 });
    world.two.reserve(50);
    world.pass(2_000);
    const call = { op: 'writeOff', budget: 'team', account: world.two.self } as const;
    expect(world.one.call(call)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    world.kill(world.two);
    expect(world.one.status()).toMatchObject({ stranded: 600 });
    expect(world.one.call(call)).toEqual({ ok: true, value: { writtenOff: 550, lost: 50 } });
    expect(world.one.marks.find(({ name }) => name === 'budget.writtenOff')?.fields).toMatchObject({
      budget: 'team',
      writtenOff: 550,
      lost: 50,
    });
    expect(world.one.call(call)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    expect(world.one.status()).toMatchObject({ spent: 50, stranded: 0, reserve: 950, problems: [] });
    // Should it come back, it ends.
    world.two.boot();
    world.connect(world.two);
    world.pass(3_000);
    expect(world.two.marks.some(({ name }) => name === 'budget.accountReplaced')).toBe(true);
    expect(world.one.status()).toMatchObject({ limit: 1_000, spent: 50, problems: [] });
  });

  it('a store that was recovered without its grants is told them before it grants the same money again', () => {
    const world = worldWith(2);
    const old = world.store.register.range({ from: 'budget/', to: 'budget0' }, 100).found;
    world.one.call({ op: 'request', budget: 'team', amount: 700 });
    world.two.call({ op: 'request', budget: 'team', amount: 200 });
    world.pass(2_000);
    world.store = new Told();
    world.transact({
      compares: [],
      then: old.map(({ key, value }) => ({ op: 'put', key, value })),
      otherwise: [],
    });
    for (const node of world.nodes) world.read(node);
    world.pass(10);
    expect(world.one.reserve(101)).toMatchObject({ ok: true });
    world.pass(2_000);
    expect(world.one.status()).toMatchObject({ reserve: 100 });
    expect(world.two.reserve(301, { waitMs: 0 })).toMatchObject(exhausted);
    expect(world.one.status()).toMatchObject({ limit: 1_000, allocated: 900, owed: 0 });
  });

  it('a store that is read anew and has forgotten nothing is told nothing, and nobody is alarmed', () => {
    const world = worldWith(2);
    world.two.call({ op: 'request', budget: 'team', amount: 300 });
    world.one.reserve(10);
    world.pass(2_000);
    const before = world.transactions;
    for (const node of world.nodes) world.read(node);
    world.pass(5_000);
    expect(world.transactions).toBe(before);
    for (const { marks } of world.nodes)
      expect(marks.filter(({ name }) => name.endsWith('Lost'))).toEqual([]);
  });

  it('says that money was lost only when it stays so for 30 s', () => {
    const world = worldWith(2);
    world.two.call({ op: 'request', budget: 'team', amount: 500 });
    world.pass(2_000);
    const [reserve] = world.store.register
      .range({ from: 'budget/team/', to: 'budget/team0' }, 10)
      .found.filter(({ key }) => key.split('/').length === 4);
    const { entry } = { entry: reserve! };
    world.transact({ compares: [], then: [{ op: 'delete', key: entry.key }], otherwise: [] });
    world.pass(25_000);
    expect(world.one.status().problems).toEqual([]);
    world.pass(15_000);
    expect(world.one.status().problems).not.toEqual([]);
    expect(world.one.marks.filter(({ name }) => name === 'budget.notConserved').length).toBeGreaterThan(0);
  });
});
