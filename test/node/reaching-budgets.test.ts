/** Requests and reports that reach beyond the reserve, over budgets that only count. */
import { describe, expect, it } from 'vitest';
import type { BudgetAnswers, BudgetCall, Budgets } from '../../src/budget/api.ts';
import { failWith, ok, type Result } from '../../src/kernel/errors.ts';
import type { AgentId, NodeId } from '../../src/kernel/ids.ts';
import { reachingBudgets } from '../../src/node/reaching-budgets.ts';

const SELF = 'n1' as NodeId;

/** One node with rights, a reserve that requests take from, and others that only reservations ask. */
class Counted {
  rights = 0;
  overrun = 0;
  held = 0;
  lead: NodeId | undefined = SELF;
  readonly asked: BudgetCall[] = [];
  reserve: number;
  others: number;

  constructor(reserve: number, others: number) {
    this.reserve = reserve;
    this.others = others;
  }

  get budgets(): Budgets {
    const counted = this;
    return {
      call: async (call: BudgetCall) => {
        counted.asked.push(call);
        return counted.#run(call);
      },
      status: () =>
        ok({
          remaining: counted.rights + counted.reserve + counted.others,
          machines: [{ nodeId: SELF, rights: counted.rights, overrun: counted.overrun }],
        }),
      get orchestrator() {
        return counted.lead;
      },
    } as unknown as Budgets;
  }

  #run(call: BudgetCall): Result<unknown> {
    if (call.op === 'request') {
      const amount = call.amount;
      if (amount > this.reserve) return this.#exhausted(this.reserve);
      this.reserve -= amount;
      this.#gain(amount);
      return ok({ granted: amount, rights: this.rights });
    }
    if (call.op === 'reserve') {
      const lacks = (call.amount ?? 0) - this.rights;
      const reachable = this.reserve + this.others;
      if (lacks > reachable) return this.#exhausted(reachable);
      const fromReserve = Math.min(this.reserve, lacks);
      this.reserve -= fromReserve;
      this.others -= lacks - fromReserve;
      this.rights = 0;
      this.held = call.amount ?? 0;
      return ok({ reservationId: 'r', amount: this.held, expiresAt: 0 });
    }
    if (call.op === 'settle') {
      this.#gain(this.held);
      this.held = 0;
      return ok({ reservationId: 'r', amount: 0, freed: 0, overrun: 0, ending: 'settled' });
    }
    if (call.op !== 'report') return ok('other');
    const amount = call.amount ?? 7;
    const overrun = Math.max(0, amount - this.rights);
    this.rights -= amount - overrun;
    this.overrun += overrun;
    return ok({ id: 'i', amount, overrun });
  }

  #gain(amount: number): void {
    const paid = Math.min(amount, this.overrun);
    this.overrun -= paid;
    this.rights += amount - paid;
  }

  #exhausted(remaining: number): Result<never> {
    return failWith('BUDGET_EXHAUSTED', 'm', 'h', { details: { remaining } });
  }
}

const reportOf = (budgets: Budgets, amount: number) =>
  budgets.call({ op: 'report', budget: 't', agent: 'a' as AgentId, amount });
const overrunOf = (answer: Result<BudgetAnswers['report']>) => (answer.ok ? answer.value.overrun : undefined);

describe('a request', () => {
  it.each([
    [100, 0],
    [0, 100],
    [40, 60],
  ])(
    'gets 100 out of a reserve of %i and %i of others, and keeps what was there',
    async (reserve, others) => {
      const counted = new Counted(reserve, others);
      counted.rights = 5;
      const budgets = reachingBudgets(counted.budgets, SELF);
      expect(await budgets.call({ op: 'request', budget: 't', amount: 100 })).toEqual(
        ok({ granted: 100, rights: 105 }),
      );
      expect(counted).toMatchObject({ rights: 105, held: 0, reserve: 0, others: 0 });
    },
  );

  it('for more than can be reached says what there is, and takes nothing', async () => {
    const counted = new Counted(40, 50);
    const budgets = reachingBudgets(counted.budgets, SELF);
    expect(await budgets.call({ op: 'request', budget: 't', amount: 100 })).toMatchObject({
      error: { code: 'BUDGET_EXHAUSTED', details: { remaining: 90 } },
    });
    expect(counted).toMatchObject({ reserve: 40, others: 50 });
  });
});

describe('a report', () => {
  it('within the rights of the node asks for nothing', async () => {
    const counted = new Counted(100, 0);
    counted.rights = 10;
    expect(overrunOf(await reportOf(reachingBudgets(counted.budgets, SELF), 10))).toBe(0);
    expect(counted.asked.map(({ op }) => op)).toEqual(['report']);
  });

  it.each([
    [100, 0],
    [0, 100],
    [60, 40],
  ])('is paid out of a reserve of %i and %i of others', async (reserve, others) => {
    const counted = new Counted(reserve, others);
    expect(overrunOf(await reportOf(reachingBudgets(counted.budgets, SELF), 100))).toBe(0);
    expect(counted).toMatchObject({ overrun: 0, rights: 0, reserve: 0, others: 0 });
  });

  it.each([
    [30, 0, 70],
    [0, 30, 70],
    [0, 0, 100],
  ])(
    'beyond a reserve of %i and %i of others leaves %i as overrun, and nothing to others',
    async (...given) => {
      const [reserve, others, overrun] = given;
      const counted = new Counted(reserve, others);
      expect(overrunOf(await reportOf(reachingBudgets(counted.budgets, SELF), 100))).toBe(overrun);
      expect(counted).toMatchObject({ overrun, rights: 0, reserve: 0, others: 0 });
    },
  );

  it('of tokens of a model, whose price is not known before, is paid afterwards', async () => {
    const counted = new Counted(100, 0);
    const budgets = reachingBudgets(counted.budgets, SELF);
    const use = { model: 'm', input: 1 };
    const answer = await budgets.call({ op: 'report', budget: 't', agent: 'a' as AgentId, use });
    expect(overrunOf(answer)).toBe(0);
    expect(counted).toMatchObject({ overrun: 0, reserve: 93 });
  });
});

it('everything else goes through as it is', async () => {
  const counted = new Counted(0, 0);
  const budgets = reachingBudgets(counted.budgets, SELF);
  expect(await budgets.call({ op: 'rebalance', budget: 't' })).toEqual(ok('other'));
  expect(counted.asked).toEqual([{ op: 'rebalance', budget: 't' }]);
  expect(budgets.orchestrator).toBe(SELF);
  counted.lead = undefined;
  expect(budgets.orchestrator).toBeUndefined();
});
