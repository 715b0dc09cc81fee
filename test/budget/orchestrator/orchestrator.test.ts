import { describe, expect, it } from 'vitest';
import { decodeCall, encodeCall } from '../../../src/budget/gathering/frames.ts';
import { planFencing, planLimit } from '../../../src/budget/reserve-register.ts';
import { Toy, type ToyNode, type ToyOptions } from '../gathering/toy.ts';
import { amountOf, definitionOf, problemsOf, rowsOf } from '../support.ts';

const LIMIT = 100_000;

function toy(options: Partial<ToyOptions> = {}): Toy {
  return new Toy({ nodes: 3, limit: LIMIT, orchestrators: 2, ...options }, definitionOf({ limit: LIMIT }));
}

function problems(world: Toy): readonly string[] {
  const hosts = world.nodes.map(({ host }) => host);
  return problemsOf(world.store, world.definition, rowsOf(hosts, world.purse), world.now.wallMs);
}

function leaders(world: Toy): readonly ToyNode[] {
  const leads = new Set(
    world.nodes.filter(({ isDown }) => !isDown).map((node) => node.orchestrator.lead?.node),
  );
  return world.nodes.filter(({ id }) => leads.has(id));
}

/** Reserves and settles so much each step, from now on for so long. */
function spend(world: Toy, node: ToyNode, amount: number, everyMs: number, forMs: number): void {
  const endMs = world.now.monoMs + forMs;
  const step = (): void => {
    if (node.isDown || world.now.monoMs >= endMs) return;
    node.reserve(amount, ({ kind }) => {
      if (kind === 'granted') node.settleLast(amount);
    });
    world.at(world.now.monoMs + everyMs, step);
  };
  step();
}

describe('orchestrator', () => {
  it('of those with the role one leads within a second, all know it, and nobody else tries', () => {
    const world = toy();
    world.run(1_000);
    expect(leaders(world)).toHaveLength(1);
    expect(leaders(world)[0]!.isCandidate).toBe(true);
    const calls = world.storeCalls;
    world.run(11_000);
    // Renewals of one lease.
    expect(world.storeCalls - calls).toBeLessThanOrEqual(21);
  });

  it('without a node of the role nobody leads, and nodes take from the reserve themselves', () => {
    const world = toy({ orchestrators: 0 });
    spend(world, world.nodes[0]!, 100, 10, 1_000);
    world.run(2_000);
    expect(leaders(world)).toEqual([]);
    expect(world.nodes[0]!.host.row(world.purse)?.spent).toBe(10_000);
  });

  it('where nothing happens the lease is given back after a minute, and taken again when something does', () => {
    const world = toy();
    world.run(70_000);
    expect(leaders(world)).toEqual([]);
    const calls = world.storeCalls;
    world.run(1_000_000);
    expect(world.storeCalls).toBe(calls);
    spend(world, world.nodes[2]!, 100, 10, 3_000);
    world.run(1_004_000);
    expect(leaders(world)).toHaveLength(1);
  });

  it('grants ahead of need: whoever spends evenly waits for rights at the start only', () => {
    const world = toy({ latencyMs: 20 });
    world.run(1_000);
    const waits: number[] = [];
    const node = world.nodes[2]!;
    const step = (): void => {
      if (world.now.monoMs > 20_000) return;
      node.reserve(10, ({ kind, waitedMs }) => {
        waits.push(waitedMs);
        if (kind === 'granted') node.settleLast(10);
      });
      world.at(world.now.monoMs + 20, step);
    };
    step();
    world.run(21_000);
    expect(waits.length).toBeGreaterThan(900);
    expect(waits.filter((waitedMs) => waitedMs > 0).length / waits.length).toBeLessThan(0.02);
    expect(problems(world)).toEqual([]);
  });

  it('B17: after the one that leads is killed another leads within 3 s, and spending goes on meanwhile', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const world = toy({ seed, loss: 0.05, jitter: true });
      world.run(1_000);
      const [first] = leaders(world) as [ToyNode];
      const node = world.nodes[2]!;
      spend(world, node, 50, 10, 8_000);
      world.run(3_000);
      first.kill();
      const spent = node.host.row(world.purse)?.spent ?? 0;
      world.run(6_000);
      const [second] = leaders(world) as [ToyNode];
      expect([seed, second !== undefined && second !== first]).toEqual([seed, true]);
      expect((node.host.row(world.purse)?.spent ?? 0) - spent).toBeGreaterThan(14_000);
      world.run(12_000);
      expect([seed, problems(world)]).toEqual([seed, []]);
    }
  });

  it('B16, I6: one that was cut off from the store and from everybody can neither grant nor move once another leads', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const world = toy({ seed, jitter: true });
      world.give(0, 1_500);
      world.give(1, 1_500);
      world.run(1_000);
      const [old] = leaders(world) as [ToyNode];
      const stale = old.orchestrator.lead!;
      old.hasStore = false;
      world.run(6_000);
      const next = world.nodes.find((node) => node.hasStore && node.orchestrator.lead?.node === node.id)!;
      expect([seed, next === undefined, next === old]).toEqual([seed, false, false]);
      // It orders as it did when it led.
      const giver = world.nodes.find((node) => node !== old && node.rights > 0)!;
      const before = giver.rights;
      const bytes = encodeCall({
        kind: 'order',
        id: 77,
        fence: stale.fence.createRevision,
        purse: world.purse,
        of: giver.host.ledger.account,
        to: old.host.ledger.account,
        amount: amountOf(100),
        above: amountOf(0),
      });
      giver.tell({ kind: 'received', from: old.id, bytes });
      expect(giver.rights).toBe(before);
      // And what it grants compares the key that is another's now.
      const granted = world.store.fencedGrant(world.purse, giver.host.ledger.account, stale.fence, 10);
      expect(granted).toBe(false);
      expect(problems(world)).toEqual([]);
    }
  });

  it('whatever is granted to others compares the key of the lease of who grants it (I6)', () => {
    const world = toy();
    const fences: unknown[] = [];
    const ask = world.ask.bind(world);
    world.ask = (node, id, call) => {
      const puts = call.op === 'transact' ? call.transaction.then : [];
      if (
        call.op === 'transact' &&
        puts.some((put) => put.op === 'put' && put.key.startsWith('budget/team/'))
      )
        fences.push(
          call.transaction.compares.some(
            (compare) =>
              compare.target === 'createRevision' &&
              compare.key === node.orchestrator.lead?.fence.key &&
              compare.than === node.orchestrator.lead.fence.createRevision,
          ),
        );
      ask(node, id, call);
    };
    world.run(1_000);
    spend(world, world.nodes[2]!, 100, 100, 10_000);
    world.run(11_000);
    expect(fences.length).toBeGreaterThan(0);
    expect(fences.every((isFenced) => isFenced)).toBe(true);
  });

  it('nothing is granted to an account that was fenced off, nor moved to it', () => {
    const world = toy({ latencyMs: 10 });
    for (let round = 0; round < 2; round++) for (let index = 0; index < 2; index++) world.give(index, 24_750);
    world.give(2, 1_000);
    world.run(1_000);
    const { account } = world.nodes[2]!.host.ledger;
    const plan = planFencing(world.store.view(world.purse, account).view);
    world.store.carry((plan as Extract<typeof plan, { ok: true }>).value);
    const ordered: unknown[] = [];
    const send = world.send.bind(world);
    world.send = (from, to, bytes) => {
      const frame = decodeCall(bytes);
      if (frame?.kind === 'order') ordered.push(frame.to);
      send(from, to, bytes);
    };
    spend(world, world.nodes[2]!, 10, 100, 10_000);
    world.run(12_000);
    expect(ordered).not.toContain(account);
    expect(world.store.entry(world.purse, account)?.granted).toBe(1_000);
  });

  it('B17: a grant that was made twice, by the one before and the one after, is one', () => {
    const world = toy();
    world.run(1_000);
    const [leader] = leaders(world) as [ToyNode];
    const { account } = world.nodes[2]!.host.ledger;
    const { fence } = leader.orchestrator.lead!;
    expect(world.store.fencedGrant(world.purse, account, fence, 500)).toBe(true);
    expect(world.store.fencedGrant(world.purse, account, fence, 500, 0)).toBe('done');
    world.run(2_000);
    expect(world.nodes[2]!.rights).toBe(500);
    expect(problems(world)).toEqual([]);
  });

  it('B18: where the limit is lowered below what is granted, what nobody needs comes back until that is paid', () => {
    const world = toy({ nodes: 4 });
    for (let index = 0; index < 4; index++) world.give(index, 2_000);
    world.run(2_000);
    const { view } = world.store.view(world.purse, world.nodes[0]!.host.ledger.account);
    const plan = planLimit(view, amountOf(5_000));
    world.store.carry((plan as Extract<typeof plan, { ok: true }>).value);
    expect(world.store.reserve(world.definition).owed).toBe(3_000);
    world.run(8_000);
    expect(world.store.reserve(world.definition)).toEqual({ limit: 5_000, reserve: 0, owed: 0 });
    expect(world.nodes.reduce((sum, { rights }) => sum + rights, 0)).toBe(5_000);
  });

  it('rights move from who spends nothing to who runs short, once the reserve has none', () => {
    const world = toy({ latencyMs: 10 });
    for (let round = 0; round < 2; round++) for (let index = 0; index < 2; index++) world.give(index, 25_000);
    world.run(1_000);
    spend(world, world.nodes[2]!, 10, 50, 30_000);
    world.run(32_000);
    expect(world.nodes.some(({ ordersMoved }) => ordersMoved > 0)).toBe(true);
    expect(world.nodes[2]!.host.row(world.purse)?.spent).toBe(6_000);
    expect(problems(world)).toEqual([]);
  });

  it('rebalance is asked of whoever leads, from any node, and without one it cannot be', () => {
    const world = toy();
    world.give(0, 50_000);
    world.give(1, 50_000);
    world.run(1_000);
    spend(world, world.nodes[2]!, 100, 100, 2_000);
    world.run(2_500);
    for (const [index, node] of world.nodes.entries())
      node.lead({ kind: 'rebalanceRequested', id: index, budget: world.definition.name });
    world.run(3_500);
    for (const [index, node] of world.nodes.entries())
      expect([index, node.rebalanced.get(index)?.ok]).toEqual([index, true]);
    const alone = toy({ orchestrators: 0 });
    alone.run(1_000);
    alone.nodes[0]!.lead({ kind: 'rebalanceRequested', id: 1, budget: alone.definition.name });
    expect(alone.nodes[0]!.rebalanced.get(1)).toMatchObject({ ok: false, error: { code: 'UNREACHABLE' } });
  });

  it('I1: conservation holds whoever leads, over losses, cuts from the store and kills', () => {
    for (let seed = 1; seed <= 6; seed++) {
      const world = toy({ nodes: 5, orchestrators: 3, seed, loss: 0.1, duplication: 0.1, jitter: true });
      for (const node of world.nodes)
        spend(world, node, 1 + world.rng.below(200), 5 + world.rng.below(40), 12_000);
      for (let step = 0; step < 20; step++) {
        const node = world.rng.pick(world.nodes.slice(0, 3));
        if (world.rng.chance(0.3)) node.hasStore = false;
        if (world.rng.chance(0.4)) for (const each of world.nodes) world.restoreStore(each);
        world.run(world.now.monoMs + 500);
      }
      for (const each of world.nodes) world.restoreStore(each);
      world.run(world.now.monoMs + 6_000);
      expect([seed, problems(world)]).toEqual([seed, []]);
    }
  });
});
