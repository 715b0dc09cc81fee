import { describe, expect, it } from 'vitest';
import { type WorldNode, worldWith } from './world.ts';

type Three = [WorldNode, WorldNode, WorldNode];

/**
 * The second of three got 600 and sent the first 200 of them, of which the third never heard, since the second's disk was then put back
 * to before that, and what it told from there took the place of what it had told.
 */
function putBack() {
  const world = worldWith(3);
  const [one, two, three] = world.nodes as Three;
  two.call({ op: 'request', budget: 'team', amount: 600 });
  world.pass(2_000);
  const older = [...two.journal];
  const former = two.budgets.ledger.account;
  world.deaf.add(`${two.self}>${three.self}`);
  two.call({ op: 'transfer', budget: 'team', to: one.self, amount: 200 });
  world.pass(2_000);
  const told = world.rowsOf(two).find(({ body }) => (body as { sent: unknown[] }).sent.length > 0)!;
  world.kill(two);
  world.deaf.clear();
  two.journal = older;
  two.boot();
  world.pass(2_000);
  two.reserve(10);
  world.pass(6_000);
  two.tell(told);
  world.connect(two);
  world.pass(2_000);
  expect(two.budgets.ledger.account).not.toBe(former);
  two.call({ op: 'request', budget: 'team', amount: 1 });
  world.pass(2_000);
  return { world, one, two, three, former };
}

/** All that can be had by one node, in pieces. */
function spendAll(node: WorldNode): number {
  let spent = 0;
  for (let piece = 400; piece >= 1; )
    if (node.reserve(piece).ok) spent += piece;
    else piece = Math.floor(piece / 2);
  return spent;
}

describe('budgets: an older disk was put back', () => {
  it('what a machine took in of an account that forgot it is not shown as remaining where it cannot be proved (I7)', () => {
    const { three } = putBack();
    const { remaining } = three.status();
    expect(spendAll(three)).toBeGreaterThanOrEqual(remaining);
  });

  it('nor does a refusal count it: no more is said to be had than can be spent (I7)', () => {
    const { three } = putBack();
    const refused = three.reserve(1_000);
    expect(refused).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
    const remaining = Number(refused.ok || refused.error.details?.remaining);
    expect(remaining).toBeGreaterThan(0);
    expect(spendAll(three)).toBeGreaterThanOrEqual(remaining);
  });

  it('once that account is written off, all that is left can be spent from any one node (I8)', () => {
    const { world, one, three, former } = putBack();
    const { stranded } = three.status();
    const written = three.call({ op: 'writeOff', budget: 'team', account: former });
    expect(written).toEqual({ ok: true, value: { writtenOff: 390, lost: 10 } });
    expect(stranded).toBe(400);
    world.pass(40_000);
    expect(one.status()).toMatchObject({ remaining: 990, stranded: 0, spent: 10, problems: [] });
    expect(three.status()).toMatchObject({ remaining: 990, stranded: 0, spent: 10, problems: [] });
    expect(spendAll(three)).toBe(990);
    expect(three.status()).toMatchObject({ remaining: 0 });
  });

  it('what was on the way to a machine that died is stranded, as a write-off would bring it, and not on the way (I8)', () => {
    const world = worldWith(3);
    const [one, two, three] = world.nodes as Three;
    two.call({ op: 'request', budget: 'team', amount: 300 });
    three.call({ op: 'request', budget: 'team', amount: 100 });
    world.pass(2_000);
    three.isUp = false;
    two.call({ op: 'transfer', budget: 'team', to: three.self, amount: 200 });
    world.pass(1_000);
    expect(one.status()).toMatchObject({ onTheWay: 200 });
    world.kill(three);
    expect(one.status()).toMatchObject({ onTheWay: 0, stranded: 300 });
    const { account } = three.budgets.ledger;
    const written = one.call({ op: 'writeOff', budget: 'team', account });
    expect(written).toEqual({ ok: true, value: { writtenOff: 300, lost: 0 } });
  });
});
