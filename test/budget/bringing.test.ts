/** Rights that are requested, or that spending lacks: out of the reserve, and from other machines. */
import { describe, expect, it } from 'vitest';
import type { BudgetCall } from '../../src/budget/api.ts';
import { AGENT, BudgetWorld, type WorldNode } from './world.ts';

const exhausted = { ok: false, error: { code: 'BUDGET_EXHAUSTED', details: { outcome: 'not-done' } } };

/** Of a limit of 1,000 so much is left in the reserve and with the second node; the first has `own`, the third spent the rest. */
function worldWith(reserve: number, others: number, own = 0, limit = 1_000): BudgetWorld {
  const world = new BudgetWorld(3);
  world.one.call({ op: 'create', budget: 'team', limit });
  world.pass(10);
  if (others > 0) request(world.two, others);
  if (own > 0) request(world.one, own);
  const spent = limit - reserve - others - own;
  if (spent > 0) {
    request(world.nodes[2]!, spent);
    expect(world.nodes[2]!.call(report(spent))).toMatchObject({ ok: true, value: { overrun: 0 } });
  }
  world.pass(2_000);
  return world;
}

function request(node: WorldNode, amount: number, given: { readonly waitMs?: number } = {}) {
  return node.call({ op: 'request', budget: 'team', amount, ...given });
}

function report(amount: number, budget = 'team') {
  return { op: 'report', budget, agent: AGENT, amount } as const satisfies BudgetCall;
}

const rightsOf = (node: WorldNode): number => [...node.budgets.ledger.purses.values()][0]?.rights ?? 0;

describe('a request', () => {
  it.each([
    [100, 0],
    [0, 100],
    [40, 60],
  ])('gets 100 out of a reserve of %i and %i of others, and keeps what was there', (reserve, others) => {
    const world = worldWith(reserve, others, 5);
    expect(request(world.one, 100)).toEqual({ ok: true, value: { granted: 100, rights: 105 } });
    world.pass(2_000);
    expect(world.one.status()).toMatchObject({ reserve: 0, remaining: 105, problems: [] });
  });

  it.each([
    [40, 50, 90],
    [40, 0, 40],
    [0, 50, 50],
  ])('for 100 where the reserve has %i and others %i brings %i', (reserve, others, granted) => {
    const world = worldWith(reserve, others, 5);
    expect(request(world.one, 100)).toEqual({ ok: true, value: { granted, rights: granted + 5 } });
  });

  it('is refused only where nothing can be had, and says what is left', () => {
    const world = worldWith(0, 0, 5);
    const startMs = world.now.monoMs;
    expect(request(world.one, 100)).toMatchObject(exhausted);
    expect(request(world.one, 100)).toMatchObject({ error: { details: { remaining: 5, reserve: 0 } } });
    expect(world.now.monoMs - startMs).toBeLessThan(1_000);
  });

  it('without a quorum brings what others hold of an empty reserve, and else takes nothing from who spends', () => {
    const empty = worldWith(0, 60);
    empty.isStoreUp = false;
    expect(request(empty.one, 100)).toMatchObject({ ok: true, value: { granted: 60 } });
    const world = worldWith(500, 60);
    world.isStoreUp = false;
    expect(request(world.one, 100)).toMatchObject({
      ok: false,
      error: { code: 'QUORUM_UNAVAILABLE', details: { reserve: 500 } },
    });
  });

  it('of two at once brings both amounts', () => {
    const world = worldWith(100, 100);
    const ids = [50, 70].map((amount) => world.one.ask({ op: 'request', budget: 'team', amount }));
    world.pass(2_000);
    expect(ids.map((id) => world.one.answers.get(id))).toMatchObject([
      { value: { granted: 50 } },
      { value: { granted: 70 } },
    ]);
    expect(rightsOf(world.one)).toBe(120);
  });

  it('and reservations of the same size that wait together all get theirs from others, and nothing is sought then', () => {
    const world = worldWith(0, 300);
    world.isStoreUp = false;
    const ids = Array.from({ length: 3 }, () =>
      world.one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 60 }),
    );
    const asked = world.one.ask({ op: 'request', budget: 'team', amount: 60 });
    world.pass(2_000);
    expect(ids.map((id) => world.one.answers.get(id)?.ok)).toEqual([true, true, true]);
    expect(world.one.answers.get(asked)).toMatchObject({ value: { granted: 60 } });
    world.pass(2_000);
    expect(request(world.two, 60)).toMatchObject({ value: { granted: 60 } });
  });

  it('stands behind reservations that wait, and takes nothing once its caller has gone', () => {
    const world = worldWith(0, 100);
    const asked = world.one.ask({ op: 'request', budget: 'team', amount: 60 });
    const reserved = world.one.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 70 });
    world.one.tell({ kind: 'budgetCancelled', id: asked });
    world.pass(3_000);
    expect(world.one.answers.has(asked)).toBe(false);
    expect(world.one.answers.get(reserved)).toMatchObject({ ok: true });
    expect(rightsOf(world.one)).toBeLessThan(60);
  });

  it('brings to a task no more than its team has, and nothing where that has nothing', () => {
    const world = worldWith(40, 0);
    world.one.call({ op: 'create', budget: 'task', limit: 5_000, parent: 'team' });
    const task = { op: 'request', budget: 'task', amount: 100 } as const;
    expect(world.two.call(task)).toEqual({ ok: true, value: { granted: 40, rights: 40 } });
    world.two.call(report(40, 'task'));
    expect(world.two.call(task)).toMatchObject({
      error: { code: 'BUDGET_EXHAUSTED', details: { budget: 'team', remaining: 0 } },
    });
    expect(world.two.status('task')).toMatchObject({ reserve: 4_960 });
  });
});

describe.each(['report', 'settle'] as const)('spending told by %s', (how) => {
  const overrunOf = (node: WorldNode, amount: number) => {
    if (how === 'report') return node.call(report(amount));
    const held = node.reserve(1);
    if (!held.ok) throw new Error(held.error.message);
    return node.call({ op: 'settle', id: held.value.reservationId, amount: amount + 1 });
  };
  const own = how === 'report' ? 0 : 1;

  it('within the rights of the node is answered at once', () => {
    const { one } = worldWith(500, 0, 20);
    const before = one.world.transactions;
    expect(overrunOf(one, 10)).toMatchObject({ value: { overrun: 0 } });
    expect(one.world.transactions).toBe(before);
  });

  it.each([
    [100, 0],
    [0, 100],
    [60, 40],
  ])('is paid out of a reserve of %i and %i of others', (reserve, others) => {
    const { one } = worldWith(reserve, others, own);
    expect(overrunOf(one, 100)).toMatchObject({ ok: true, value: { overrun: 0 } });
    one.world.pass(2_000);
    expect(one.status()).toMatchObject({ overrun: 0, remaining: 0, spent: 1_000, problems: [] });
  });

  it.each([
    [30, 0, 70],
    [0, 30, 70],
    [0, 0, 100],
  ])('beyond a reserve of %i and %i of others leaves %i as overrun', (reserve, others, overrun) => {
    const { one } = worldWith(reserve, others, own);
    const startMs = one.world.now.monoMs;
    expect(overrunOf(one, 100)).toMatchObject({ ok: true, value: { overrun } });
    expect(one.world.now.monoMs - startMs).toBeLessThan(1_000);
    expect(one.reserve(1)).toMatchObject({ ok: false, error: { code: 'DENIED' } });
  });

  it('is counted also when its caller has gone', () => {
    const { one } = worldWith(0, 0, own);
    one.world.isStoreUp = false;
    const held = how === 'settle' ? one.reserve(1) : undefined;
    const call: BudgetCall =
      held === undefined
        ? report(100)
        : { op: 'settle', id: held.ok ? held.value.reservationId : '', amount: 101 };
    const id = one.ask(call);
    one.tell({ kind: 'budgetCancelled', id });
    expect(one.status()).toMatchObject({ overrun: 100 });
  });
});

describe('spending while the disk fails', () => {
  it('what is to be counted while the disk fails is refused at once, though the reserve was seen to have some of it and others have the rest (B29)', () => {
    const world = worldWith(9, 6);
    const reserved = world.one.call({ op: 'reserve', budget: 'team', agent: AGENT, amount: 100 });
    expect(reserved).toMatchObject(exhausted);
    world.pass(1_000);
    world.one.tell({ kind: 'diskFailed', reason: 'input/output error' });
    const id = world.one.ask(report(15));
    world.pass(1_000);
    expect(world.one.answers.get(id)).toMatchObject({ ok: false, error: { code: 'INTERNAL' } });
    world.one.tell({ kind: 'diskRecovered' });
    expect(world.one.call(report(15))).toMatchObject({ ok: true, value: { overrun: 0 } });
  });
});

describe('a debt', () => {
  it('is paid as soon as the limit is raised, and its agent may go on', () => {
    const world = worldWith(30, 0);
    expect(world.one.call(report(100))).toMatchObject({ ok: true, value: { overrun: 70 } });
    expect(world.one.status()).toMatchObject({ overrun: 70 });
    world.two.call({ op: 'setLimit', budget: 'team', limit: 1_100 });
    world.pass(500);
    expect(world.one.status()).toMatchObject({ overrun: 0, reserve: 30 });
    expect(world.one.reserve(30)).toMatchObject({ ok: true });
  });

  it('is paid by rights that another node gets free later, within 30 s and also after a restart', () => {
    const world = worldWith(0, 100);
    const held = world.two.reserve(100);
    if (!held.ok) throw new Error(held.error.message);
    world.pass(2_000);
    expect(world.one.call(report(60))).toMatchObject({ ok: true, value: { overrun: 60 } });
    world.kill(world.one);
    world.one.boot();
    world.connect(world.one);
    world.two.call({ op: 'settle', id: held.value.reservationId, amount: 0 });
    world.pass(30_000);
    expect(world.one.status()).toMatchObject({ overrun: 0, remaining: 40, problems: [] });
  });
});
