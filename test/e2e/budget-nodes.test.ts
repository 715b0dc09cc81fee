/** Whole nodes as processes that share one limit. */
import { afterAll, describe, expect, it } from 'vitest';
import type { AgentId } from '../../src/kernel/ids.ts';
import { type BudgetNode, BudgetNodes, eventually } from './budget-node.ts';

const AGENT = 'tester' as AgentId;
const nodes = new BudgetNodes();
afterAll(() => nodes.end());

const create = (on: BudgetNode, budget: string, limit: number) => on.call({ op: 'create', budget, limit });
const reserve = (on: BudgetNode, budget: string, amount: number, waitMs?: number) =>
  on.call({ op: 'reserve', budget, agent: AGENT, amount, ...(waitMs === undefined ? {} : { waitMs }) });
const known = (on: BudgetNode, budget: string) =>
  eventually(
    () => on.status(budget),
    (status) => status.ok,
  );

let three: BudgetNode[] = [];

describe('three nodes with one limit', () => {
  it('all know of a budget that one of them made', { timeout: 60_000 }, async () => {
    const first = await nodes.start('one');
    three = [first, await nodes.start('two'), await nodes.start('three')];
    const made = await eventually(
      () => create(first, 'shared', 10_000),
      ({ ok }) => ok,
    );
    expect(made).toMatchObject({ ok: true, value: { budget: 'shared', limit: 10_000, remaining: 10_000 } });
    for (const node of three) expect((await known(node, 'shared')).ok).toBe(true);
    expect(await create(three[1]!, 'shared', 5)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
  });

  it('grant at most 10,000 between 30 agents that take 7 at a time from all of them, and nearly all of it', {
    timeout: 60_000,
  }, async () => {
    let granted = 0;
    const refusals = new Set<string>();
    const agent = async (on: BudgetNode): Promise<void> => {
      for (;;) {
        const result = await reserve(on, 'shared', 7);
        if (!result.ok) {
          refusals.add(result.error.code);
          return;
        }
        granted += 7;
        const settled = await on.call({ op: 'settle', id: result.value.reservationId, amount: 7 });
        expect(settled).toMatchObject({ ok: true, value: { amount: 7, freed: 0, overrun: 0 } });
      }
    };
    await Promise.all(three.flatMap((node) => Array.from({ length: 10 }, () => agent(node))));
    expect([...refusals]).toEqual(['BUDGET_EXHAUSTED']);
    expect(granted).toBeLessThanOrEqual(10_000);
    expect(granted).toBeGreaterThan(9_900);
    const spent = await eventually(
      () => three[0]!.status('shared'),
      (status) => status.ok && status.value.spent === granted,
    );
    expect(spent).toMatchObject({ value: { spent: granted, problems: [] } });
  });

  it('B07 keep what was spent and held over kill -9 of each of them', { timeout: 90_000 }, async () => {
    await create(three[0]!, 'kept', 1_000);
    const ids: string[] = [];
    for (const node of three) {
      await known(node, 'kept');
      const held = await reserve(node, 'kept', 100);
      const used = await reserve(node, 'kept', 50);
      if (!held.ok || !used.ok) throw new Error(JSON.stringify([held, used]));
      ids.push(held.value.reservationId);
      await node.call({ op: 'settle', id: used.value.reservationId, amount: 20 });
    }
    for (const [index, node] of three.entries()) {
      await node.kill();
      const peers = three.filter((other) => other !== node).flatMap(({ ready }) => ready.meshAddresses);
      three[index] = nodes.own(await node.again({ peers }));
    }
    for (const [index, node] of three.entries()) {
      await known(node, 'kept');
      const settled = await node.call({ op: 'settle', id: ids[index]!, amount: 60 });
      expect(settled, `node ${index}`).toMatchObject({ ok: true, value: { amount: 60, freed: 40 } });
    }
    const status = await eventually(
      () => three[2]!.status('kept'),
      (seen) => seen.ok && seen.value.spent === 3 * 80,
    );
    expect(status).toMatchObject({ value: { held: 0, spent: 240, overrun: 0, stranded: 0, problems: [] } });
  });
});

describe('what nodes do for each other', () => {
  it('a reservation is settled from another node once, however often it is asked for', {
    timeout: 60_000,
  }, async () => {
    const [one, two] = three as [BudgetNode, BudgetNode];
    await create(one, 'elsewhere', 1_000);
    await known(two, 'elsewhere');
    const held = await reserve(one, 'elsewhere', 100);
    if (!held.ok) throw new Error(held.error.message);
    const settle = { op: 'settle', id: held.value.reservationId, amount: 70 } as const;
    const first = await two.call(settle);
    expect(first).toMatchObject({
      ok: true,
      value: { reservationId: held.value.reservationId, amount: 70, overrun: 0 },
    });
    expect(await two.call(settle)).toEqual(first);
    expect(await one.call({ ...settle, amount: 71 })).toMatchObject({
      ok: false,
      error: { code: 'CONFLICT' },
    });
    const status = await eventually(
      () => one.status('elsewhere'),
      (seen) => seen.ok && seen.value.spent === 70 && seen.value.held === 0,
    );
    expect(status.ok).toBe(true);
  });

  it('B23 the whole remainder, scattered over all, is spent from one', { timeout: 60_000 }, async () => {
    await create(three[0]!, 'scattered', 9_000);
    for (const node of three) {
      await known(node, 'scattered');
      expect(await node.call({ op: 'request', budget: 'scattered', amount: 2_900 })).toMatchObject({
        ok: true,
        value: { granted: 2_900 },
      });
    }
    const startMs = performance.now();
    const all = await reserve(three[1]!, 'scattered', 9_000);
    expect(all, `after ${performance.now() - startMs} ms`).toMatchObject({
      ok: true,
      value: { amount: 9_000 },
    });
    expect(await reserve(three[2]!, 'scattered', 1)).toMatchObject({
      ok: false,
      error: {
        code: 'BUDGET_EXHAUSTED',
        details: { outcome: 'not-done', needed: 1, remaining: 0 },
      },
    });
  });

  it('thresholds are told where they are passed, once each', { timeout: 60_000 }, async () => {
    const [one] = three as [BudgetNode];
    await one.call({ op: 'create', budget: 'watched', limit: 100, thresholds: [50, 80] });
    const spend = (amount: number) => one.call({ op: 'report', budget: 'watched', agent: AGENT, amount });
    const held = await reserve(one, 'watched', 100);
    if (!held.ok) throw new Error(held.error.message);
    await one.call({ op: 'settle', id: held.value.reservationId, amount: 60 });
    await eventually(
      async () => one.thresholds.length,
      (count) => count === 1,
    );
    expect((await spend(30)).ok).toBe(true);
    await eventually(
      async () => one.thresholds.length,
      (count) => count === 2,
    );
    expect(one.thresholds).toEqual([
      { budget: 'watched', percent: 50, spent: 60, limit: 100 },
      { budget: 'watched', percent: 80, spent: 90, limit: 100 },
    ]);
  });

  it('what a machine that is gone for good had left is written off, and can be spent again', {
    timeout: 90_000,
  }, async () => {
    await create(three[0]!, 'lost', 1_000);
    await known(three[2]!, 'lost');
    const lost = three[2]!;
    expect(await lost.call({ op: 'request', budget: 'lost', amount: 600 })).toMatchObject({ ok: true });
    const held = await reserve(lost, 'lost', 50);
    if (!held.ok) throw new Error(held.error.message);
    await eventually(
      () => three[0]!.status('lost'),
      (seen) => seen.ok && seen.value.held === 50,
    );
    const account = { op: 'writeOff', budget: 'lost', account: lost.ready.nodeId } as const;
    expect(await three[0]!.call(account)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    await lost.kill();
    expect(await reserve(three[1]!, 'lost', 900, 500)).toMatchObject({
      ok: false,
      error: { code: 'BUDGET_EXHAUSTED' },
    });
    const written = await eventually(
      () => three[0]!.call(account),
      ({ ok }) => ok,
      40_000,
    );
    expect(written).toEqual({ ok: true, value: { writtenOff: 550, lost: 50 } });
    expect(await three[0]!.call(account)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    expect(await reserve(three[1]!, 'lost', 950)).toMatchObject({ ok: true });
    expect(await three[1]!.call({ op: 'settle', id: held.value.reservationId, amount: 50 })).toMatchObject({
      ok: false,
      error: { code: 'UNREACHABLE', details: { outcome: 'not-done' } },
    });
  });
});
