import { describe, expect, it } from 'vitest';
import { type AccountId, accountOf, rowKey } from '../../src/budget/names.ts';
import { AGENT, type BudgetWorld, WorldNode, worldWith } from './world.ts';

describe('budgets: lost accounts', () => {
  it('what others took in of a lost account is not given back, though its own last row does not tell of it', () => {
    const world = worldWith(3);
    const [one, two, three] = world.nodes as [WorldNode, WorldNode, WorldNode];
    three.call({ op: 'request', budget: 'team', amount: 600 });
    world.pass(2_000);
    world.deaf.add(`${three.self}>${one.self}`);
    three.call({ op: 'transfer', budget: 'team', to: two.self, amount: 200 });
    world.pass(2_000);
    world.kill(three);
    const call = { op: 'writeOff', budget: 'team', account: three.self } as const;
    expect(one.call(call)).toMatchObject({ ok: true, value: { writtenOff: 400 } });
    expect(one.reserve(800)).toMatchObject({ ok: true });
    expect(two.reserve(200)).toMatchObject({ ok: true });
    expect(one.reserve(1)).toMatchObject({ ok: false });
  });

  it('a machine goes on under its account though a copy of its data opened another later (B11)', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'request', budget: 'team', amount: 600 });
    const copy = new WorldNode(world, two.self, { place: 'elsewhere' });
    copy.journal = [...two.journal];
    copy.boot();
    world.nodes.push(copy);
    world.pass(500);
    copy.isUp = false;
    world.nodes.pop();
    two.reserve(10);
    world.pass(3_000);
    expect(one.status()).toMatchObject({ stranded: 0 });
    const { account } = two.budgets.ledger;
    expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({ ok: false });
    expect(one.call({ op: 'request', budget: 'team', amount: 100 })).toMatchObject({ ok: true });
    const transfer = { op: 'transfer', budget: 'team', to: two.self, amount: 50 } as const;
    expect(one.call(transfer)).toMatchObject({ ok: true });
    world.pass(1_000);
    expect([...two.budgets.ledger.purses.values()].map(({ rights }) => rights)).toEqual([640]);
  });

  it('what a copy had that opened the last account and is gone, the machine itself writes off: others cannot tell which is which, and say so (B11)', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'request', budget: 'team', amount: 300 });
    const copy = new WorldNode(world, two.self, { place: 'elsewhere' });
    copy.journal = [...two.journal];
    copy.boot();
    world.nodes.push(copy);
    world.pass(500);
    copy.call({ op: 'request', budget: 'team', amount: 200 });
    world.pass(500);
    const { account } = copy.budgets.ledger;
    copy.isUp = false;
    world.nodes.pop();
    two.reserve(10);
    world.pass(10_000);
    expect(one.status()).toMatchObject({ stranded: 200 });
    expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({
      ok: false,
      error: { code: 'CONFLICT', hint: expect.stringContaining('on the machine itself') },
    });
    expect(two.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({
      ok: true,
      value: { writtenOff: 200, lost: 0 },
    });
    world.pass(1_000);
    expect(one.status()).toMatchObject({ stranded: 0, remaining: 990 });
    expect(two.reserve(290)).toMatchObject({ ok: true });
  });

  it('what a copy got under an account that the store was never told of is stranded once the machine is heard of again, and can be written off anywhere (B11)', () => {
    const world = worldWith(2);
    const { one, two } = world;
    for (const node of [one, two]) node.call({ op: 'request', budget: 'team', amount: 300 });
    world.pass(5_000);
    const copy = new WorldNode(world, two.self, { place: 'elsewhere' });
    copy.journal = [...two.journal];
    world.isStoreUp = false;
    copy.boot();
    world.nodes.splice(1, 0, copy);
    world.connect(copy);
    expect(copy.call({ op: 'request', budget: 'team', amount: 20 })).toMatchObject({ ok: true });
    world.pass(3_000);
    const { account } = copy.budgets.ledger;
    expect(one.status()).toMatchObject({ stranded: 0, remaining: 1_000 });
    copy.isUp = false;
    world.nodes.splice(1, 1);
    world.isStoreUp = true;
    two.reserve(10);
    world.pass(10_000);
    for (const node of [one, two]) expect(node.status()).toMatchObject({ stranded: 20, remaining: 970 });
    expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({
      value: { writtenOff: 20 },
    });
    world.pass(1_000);
    for (const node of [one, two]) expect(node.status()).toMatchObject({ stranded: 0, remaining: 990 });
  });

  it('whoever names a machine that goes on without its data writes off what it had before, and not what it has (B12)', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'request', budget: 'team', amount: 600 });
    world.pass(2_000);
    two.journal = [];
    two.boot();
    world.connect(two);
    two.call({ op: 'request', budget: 'team', amount: 100 });
    world.pass(2_000);
    const call = { op: 'writeOff', budget: 'team', account: two.self } as const;
    expect(one.call(call)).toMatchObject({ ok: true, value: { writtenOff: 600, lost: 0 } });
    expect(one.call(call)).toMatchObject({ ok: false, error: { code: 'CONFLICT' } });
    expect(two.reserve(100)).toMatchObject({ ok: true });
    world.pass(10_000);
    expect(one.status()).toMatchObject({ stranded: 0, remaining: 900 });
  });

  it('of a machine that goes on without its data, what it had lost is written off, and not what it has (B12)', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'request', budget: 'team', amount: 600 });
    world.pass(2_000);
    const lost = two.budgets.ledger.account;
    two.journal = [];
    two.boot();
    world.connect(two);
    two.call({ op: 'request', budget: 'team', amount: 100 });
    world.pass(2_000);
    const { account } = two.budgets.ledger;
    expect(account).not.toBe(lost);
    expect(one.status()).toMatchObject({ stranded: 600, remaining: 400 });
    expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({ ok: false });
    const written = one.call({ op: 'writeOff', budget: 'team', account: lost });
    expect(written).toEqual({ ok: true, value: { writtenOff: 600, lost: 0 } });
    expect(one.reserve(1_000)).toMatchObject({ ok: true });
  });

  it('of two that run on one image of a machine the one started first ends as soon as the store tells of the other (B11)', () => {
    const world = worldWith(2);
    const { one, two } = world;
    two.call({ op: 'request', budget: 'team', amount: 600 });
    const { account } = two.budgets.ledger;
    const twin = new WorldNode(world, two.self, {});
    twin.journal = [...two.journal];
    twin.boot();
    world.pass(100);
    expect(two.budgets.ledger.account).not.toBe(account);
    expect([...two.budgets.ledger.purses.values()].map(({ rights }) => rights)).toEqual([0]);
    expect(twin.budgets.ledger).toMatchObject({ account, isConfirmed: true });
    expect(one.status().limit).toBe(1_000);
  });

  /** The third says what it likes in rows of accounts that it makes up. */
  const zero = { granted: 0, received: [], sent: [], returned: 0, spent: 0, held: 0, overrun: 0, covered: 0 };
  const claim = (world: BudgetWorld, liar: WorldNode, number: number, body: object): AccountId => {
    const account = accountOf(liar.self, number);
    world.publish(liar, rowKey(world.purse, account), { sequence: 1, ...zero, ...body });
    return account;
  };

  it('what a member claims to have sent to a lost account comes to the reserve only where it can be proved (B26, B27)', () => {
    const world = worldWith(3);
    const [one, two, three] = world.nodes as [WorldNode, WorldNode, WorldNode];
    three.call({ op: 'request', budget: 'team', amount: 200 });
    two.call({ op: 'request', budget: 'team', amount: 500 });
    two.reserve(300);
    world.pass(2_000);
    two.isUp = false;
    const lost = two.budgets.ledger.account;
    const transfer = { op: 'transfer', budget: 'team', to: two.self, amount: 40 } as const;
    expect(three.call(transfer)).toMatchObject({ ok: true });
    claim(world, three, 77, { granted: 250, sent: [[lost, 250]] });
    world.pass(2_000);
    world.kill(two);
    const written = one.call({ op: 'writeOff', budget: 'team', account: two.self });
    expect(written).toMatchObject({ ok: true, value: { writtenOff: 240 } });
    world.pass(2_000);
    expect(one.status()).toMatchObject({ reserve: 540 });
  });

  it('what an account sent after the row it was written off on does not come to the reserve a second time (I1)', () => {
    const world = worldWith(4);
    const [one, two, three, four] = world.nodes as [WorldNode, WorldNode, WorldNode, WorldNode];
    three.call({ op: 'request', budget: 'team', amount: 10 });
    two.call({ op: 'request', budget: 'team', amount: 300 });
    one.reserve(200);
    world.pass(2_000);
    world.deaf.add(`${two.self}>${four.self}`);
    three.isUp = false;
    two.call({ op: 'transfer', budget: 'team', to: three.self, amount: 40 });
    world.pass(2_000);
    world.kill(two);
    world.kill(three);
    const first = four.call({ op: 'writeOff', budget: 'team', account: two.self });
    expect(first).toMatchObject({ ok: true, value: { writtenOff: 300 } });
    const second = one.call({ op: 'writeOff', budget: 'team', account: three.self });
    expect(second).toMatchObject({ ok: true, value: { writtenOff: 10 } });
    expect(one.status()).toMatchObject({ stranded: 0, onTheWay: 0 });
  });

  it('what an account sent while others wrote it off reaches whoever is to have it from who took it in (I8, B13)', () => {
    const world = worldWith(3);
    const [one, two, three] = world.nodes as [WorldNode, WorldNode, WorldNode];
    three.call({ op: 'request', budget: 'team', amount: 300 });
    world.pass(2_000);
    const lost = three.budgets.ledger.account;
    // The first does not hear the third any more, and takes it for dead; the store's news come to nobody else.
    world.deaf.add(`${three.self}>${one.self}`);
    for (const node of [two, three]) world.behind.add(node);
    one.tell({ kind: 'memberChanged', member: three.self, state: 'dead' });
    expect(one.call({ op: 'writeOff', budget: 'team', account: lost })).toMatchObject({ ok: true });
    expect(three.call({ op: 'transfer', budget: 'team', to: two.self, amount: 200 })).toMatchObject({
      ok: true,
    });
    world.pass(500);
    world.deaf.clear();
    world.behind.clear();
    for (const node of [two, three]) world.read(node);
    for (const node of world.nodes) world.connect(node);
    world.pass(2_000);
    expect(two.budgets.ledger.purses.get(world.purse)?.rights).toBe(200);
    expect(two.call({ op: 'transfer', budget: 'team', to: one.self, amount: 150 })).toMatchObject({
      ok: true,
    });
    world.pass(2_000);
    expect(one.status()).toMatchObject({ onTheWay: 0 });
    expect(one.budgets.ledger.purses.get(world.purse)?.rights).toBe(150);
  });

  it('an account that is fenced off is written off in its other budgets too, though its machine is alive again', () => {
    const world = worldWith(2);
    const { one, two } = world;
    one.call({ op: 'create', budget: 'other', limit: 500 });
    for (const budget of ['team', 'other']) two.call({ op: 'request', budget, amount: 100 });
    world.pass(2_000);
    const { account } = two.budgets.ledger;
    world.kill(two);
    expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({ ok: true });
    one.tell({ kind: 'memberChanged', member: two.self, state: 'alive' });
    const other = one.call({ op: 'writeOff', budget: 'other', account });
    expect(other).toMatchObject({ ok: true, value: { writtenOff: 100 } });
  });

  it('what an account claims to have got is given back only where who sent it says so (B27)', () => {
    const world = worldWith(3);
    const [one, two, three] = world.nodes as [WorldNode, WorldNode, WorldNode];
    two.call({ op: 'request', budget: 'team', amount: 500 });
    two.reserve(450);
    three.call({ op: 'request', budget: 'team', amount: 100 });
    three.call({ op: 'transfer', budget: 'team', to: two.self, amount: 30 });
    world.pass(2_000);
    const made = claim(world, three, 77, { received: [[two.budgets.ledger.account, 400]] });
    world.kill(three);
    expect(one.call({ op: 'writeOff', budget: 'team', account: made })).toMatchObject({
      ok: true,
      value: { writtenOff: 0 },
    });
    expect(one.status()).toMatchObject({ reserve: 400 });
  });

  it('who waits on a machine that hears that its account was written off gets out of the reserve what is there (B13, B24)', () => {
    for (const isToldFirst of [true, false]) {
      const world = worldWith(2);
      const { one, two } = world;
      two.call({ op: 'request', budget: 'team', amount: 100 });
      world.pass(2_000);
      const { account } = two.budgets.ledger;
      world.kill(two);
      expect(one.call({ op: 'writeOff', budget: 'team', account })).toMatchObject({ ok: true });
      two.isUp = true;
      const reserve = { op: 'reserve', budget: 'team', agent: AGENT, amount: 500 } as const;
      const id = two.ask(reserve);
      // Else the store says so in its answer.
      if (isToldFirst) world.read(two);
      world.connect(two);
      for (let waited = 0; !two.answers.has(id) && waited < 5_000; waited += 10) world.pass(10);
      expect(two.budgets.ledger.account).not.toBe(account);
      expect(two.answers.get(id)).toMatchObject({ ok: true });
    }
  });

  it('who waits on a machine that hears that a copy of its data was started gets out of the reserve what is there (B11, B24)', () => {
    const world = worldWith(2);
    const { two } = world;
    two.call({ op: 'request', budget: 'team', amount: 100 });
    world.pass(2_000);
    const { account } = two.budgets.ledger;
    two.isUp = false;
    const twin = new WorldNode(world, two.self, {});
    twin.journal = [...two.journal];
    twin.boot();
    world.nodes.push(twin);
    world.pass(500);
    twin.isUp = false;
    world.nodes.pop();
    two.isUp = true;
    const id = two.ask({ op: 'reserve', budget: 'team', agent: AGENT, amount: 500 });
    for (let waited = 0; !two.answers.has(id) && waited < 5_000; waited += 10) world.pass(10);
    expect(two.budgets.ledger.account).not.toBe(account);
    expect(two.answers.get(id)).toMatchObject({ ok: true });
  });
});
