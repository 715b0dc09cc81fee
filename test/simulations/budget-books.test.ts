/** The true state of all money, as the world of budgets keeps it: where an account ends in the turn in which it was asked for something. */
import { describe, expect, it } from 'vitest';
import { Books } from '../../simulations/budget/books.ts';
import type { BudgetMachine } from '../../simulations/budget/machine.ts';
import { BudgetWorld } from '../../simulations/budget/world.ts';
import type { BudgetAnswers, BudgetCall } from '../../src/budget/api.ts';
import type { Result } from '../../src/kernel/errors.ts';
import type { AgentId } from '../../src/kernel/ids.ts';

const AGENT = 'agent' as AgentId;
const HOUR_MS = 3_600_000;

function worldOf(seed: number): { readonly world: BudgetWorld; readonly books: Books } {
  const world = new BudgetWorld({
    ...{ seed, nodes: 3, orchestrators: 1, breakAfterMs: 60_000, maxDelayMs: 2 },
    ...{ checkpointFloorBytes: 100_000, historyChanges: 1_000, startWallMs: HOUR_MS / 2 },
  });
  const books = new Books(world);
  for (const machine of world.machines) machine.start();
  return { world, books };
}

function asked(machine: BudgetMachine, call: BudgetCall): { result: Result<unknown> | undefined } {
  const answer: { result: Result<unknown> | undefined } = { result: undefined };
  machine.call(call, (result) => {
    answer.result = result;
  });
  return answer;
}

function value<T>(world: BudgetWorld, ask: () => { result: Result<unknown> | undefined }): T {
  for (let tries = 0; tries < 20; tries++) {
    const answer = ask();
    world.scheduler.runUntilTrue(() => answer.result !== undefined, world.nowMs + 5_000);
    if (answer.result?.ok === true) return answer.result.value as T;
  }
  throw new Error('no answer');
}

describe('the books of the world of budgets', () => {
  it('know what an account reserved in the turn in which it heard that it was written off, and forgive what the reserve got of that (B13)', () => {
    const { world, books } = worldOf(7);
    const [operator, lost] = [world.machine(0), world.machine(1)];
    value(world, () => asked(operator, { op: 'create', budget: 'org', limit: 10_000 }));
    const reserve: BudgetCall = { op: 'reserve', budget: 'org', agent: AGENT, amount: 60, ttlMs: 60_000 };
    value<BudgetAnswers['reserve']>(world, () => asked(lost, reserve));
    world.scheduler.runUntilTrue(() => false, world.nowMs + 8_000);
    const account = lost.budgets?.ledger.account;
    const purse = [...books.purses][0];
    if (account === undefined || purse === undefined) throw new Error('nothing was reserved');
    const heldBy = () => books.rowsOf(purse).find(([each]) => each === account)?.[1].held;
    expect(heldBy()).toBe(60);

    lost.pause();
    // Waits in front of the news that it was written off.
    const late = asked(lost, { ...reserve, amount: 20 });
    for (const machine of world.running) machine.believe(lost.nodeId, 'dead');
    const { writtenOff } = value<BudgetAnswers['writeOff']>(world, () =>
      asked(operator, { op: 'writeOff', budget: 'org', account }),
    );
    expect(writtenOff).toBeGreaterThan(0);
    lost.resume();
    world.scheduler.runUntilTrue(() => late.result !== undefined, world.nowMs + 5_000);

    expect(late.result?.ok).toBe(true);
    expect(lost.budgets?.ledger.account).not.toBe(account);
    expect(heldBy()).toBe(80);
    books.owe([purse], 80);
    world.scheduler.runUntilTrue(() => false, world.nowMs + 2_000);
    expect(world.violations).toEqual([]);
    // Not more than that: what nobody reserved there is missed.
    books.owe([purse], 1);
    books.serve([purse], 0, false);
    expect(world.violations.map(({ check }) => check)).toEqual(['counted']);
  });

  it('keep what an account reserved whose disk was lost, though the machine falls before the one that takes its place wrote anything (B12)', () => {
    const { world, books } = worldOf(8);
    const [operator, lost] = [world.machine(0), world.machine(1)];
    value(world, () => asked(operator, { op: 'create', budget: 'org', limit: 10_000 }));
    const reserve: BudgetCall = { op: 'reserve', budget: 'org', agent: AGENT, amount: 60, ttlMs: 60_000 };
    value<BudgetAnswers['reserve']>(world, () => asked(lost, reserve));
    const account = lost.budgets?.ledger.account;
    const purse = [...books.purses][0];
    if (account === undefined || purse === undefined) throw new Error('nothing was reserved');
    books.owe([purse], 60);
    world.crash(lost, 'power');
    lost.image.lose();
    lost.image.reread();
    lost.start();
    expect(lost.budgets?.ledger.account).not.toBe(account);
    world.crash(lost, 'power');
    expect(books.rowsOf(purse).find(([each]) => each === account)?.[1].held).toBe(60);
    expect(world.violations).toEqual([]);
  });

  it.each([true, false])(
    'let an older image in only where a store that was founded anew has forgotten all later starts (before the image was put back: %s; B10)',
    (isBefore) => {
      const { world, books } = worldOf(9);
      const [operator, old] = [world.machine(0), world.machine(1)];
      value(world, () => asked(operator, { op: 'create', budget: 'org', limit: 10_000 }));
      const reserve: BudgetCall = { op: 'reserve', budget: 'org', agent: AGENT, amount: 60, ttlMs: 60_000 };
      value<BudgetAnswers['reserve']>(world, () => asked(old, reserve));
      const account = old.budgets?.ledger.account;
      const image = old.image.snapshot();
      world.store.keep();
      const restart = () => {
        world.crash(old, 'power');
        old.start();
        const isConfirmed = () => old.budgets?.ledger.isConfirmed === true;
        expect(world.scheduler.runUntilTrue(isConfirmed, world.nowMs + 5_000)).toBe(true);
      };
      restart();
      world.crash(old, 'power');
      const recover = () => books.recovering(() => world.store.recover());
      if (isBefore) recover();
      old.image.restore(image);
      old.image.reread();
      books.putBack(old, true);
      expect(books.forgottenStarts).toBe(isBefore ? 1 : 0);
      if (!isBefore) recover();
      expect(books.forgottenStarts).toBe(1);
      restart();
      expect(old.budgets?.ledger.account).toBe(account);
      expect(world.violations).toEqual([]);
    },
  );

  it('expect an older image to be found out where a store that was founded anew has a later start (B10)', () => {
    const { world, books } = worldOf(10);
    const [operator, old] = [world.machine(0), world.machine(1)];
    value(world, () => asked(operator, { op: 'create', budget: 'org', limit: 10_000 }));
    value<BudgetAnswers['request']>(world, () => asked(old, { op: 'request', budget: 'org', amount: 60 }));
    const account = old.budgets?.ledger.account;
    const image = old.image.snapshot();
    world.crash(old, 'power');
    old.start();
    world.scheduler.runUntilTrue(() => old.budgets?.ledger.isConfirmed === true, world.nowMs + 5_000);
    world.store.keep();
    world.crash(old, 'power');
    books.recovering(() => world.store.recover());
    books.diskReplaced(old);
    old.image.restore(image);
    old.image.reread();
    books.putBack(old, true);
    expect(books.forgottenStarts).toBe(0);
    old.start();
    world.scheduler.runUntilTrue(() => old.budgets?.ledger.isConfirmed === true, world.nowMs + 5_000);
    expect(old.budgets?.ledger.account).not.toBe(account);
    expect(world.violations).toEqual([]);
  });

  it.each([true, false])(
    'miss an account that ends unless there was another state of its data (known: %s; B11)',
    (isKnown) => {
      const { world, books } = worldOf(11);
      const [operator, doubled] = [world.machine(0), world.machine(1)];
      value(world, () => asked(operator, { op: 'create', budget: 'org', limit: 10_000 }));
      value<BudgetAnswers['request']>(world, () =>
        asked(doubled, { op: 'request', budget: 'org', amount: 60 }),
      );
      const account = doubled.budgets?.ledger.account;
      const copy = world.copyOf(doubled);
      copy.place = doubled.place;
      books.copied(copy);
      if (isKnown) books.needless.doubt(doubled);
      copy.start();
      const isOver = () => doubled.budgets?.ledger.account !== account;
      expect(world.scheduler.runUntilTrue(isOver, world.nowMs + 5_000)).toBe(true);
      world.scheduler.runUntilTrue(() => false, world.nowMs + 100);
      expect(world.violations.map(({ check }) => check)).toEqual(isKnown ? [] : ['needless']);
    },
  );
});
