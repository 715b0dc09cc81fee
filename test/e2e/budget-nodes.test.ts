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

describe('three nodes with one limit', () => {
  let three: BudgetNode[] = [];

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
