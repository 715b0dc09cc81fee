/** What a node does for others, told frame by frame. */
import { describe, expect, it } from 'vitest';
import { type AskFrame, decodeCall, encodeCall } from '../../../src/budget/gathering/frames.ts';
import { Gathering } from '../../../src/budget/gathering/gathering.ts';
import type { GatheringEffect, GatheringEvent } from '../../../src/budget/gathering/messages.ts';
import { accountOf } from '../../../src/budget/names.ts';
import type { Lead } from '../../../src/budget/orchestrator/messages.ts';
import { Paces } from '../../../src/budget/orchestrator/paces.ts';
import type { Moved } from '../../../src/budget/spending.ts';
import type { Result } from '../../../src/kernel/errors.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { amountOf, definitionOf, type Host, hostWith, nodeIdOf, purseOf, Store } from '../support.ts';

const BUDGET = definitionOf();
const PURSE = purseOf(BUDGET);
const [LEADER, ASKER] = [nodeIdOf(1), nodeIdOf(2)];
const ASKING = accountOf(ASKER, 9);

class Giver {
  readonly host: Host;
  readonly gathering: Gathering;
  lead: Lead | undefined = { node: LEADER, fence: { key: 'budget-orchestrator', createRevision: 7 } };
  readonly frames: ReturnType<typeof decodeCall>[] = [];
  /** Whom it asked, newest last. */
  readonly asked: NodeId[] = [];

  constructor(host: Host) {
    this.host = host;
    this.gathering = new Gathering({
      self: host.self,
      ledger: host.ledger,
      paces: new Paces(host.ledger),
      lead: () => this.lead,
      limitOf: () => BUDGET.limit,
      now: host.now,
    });
    for (const peer of [LEADER, ASKER])
      this.#carry(this.gathering.handle({ kind: 'peerUp', peer } as never, host.now));
  }

  receive(from: NodeId, frame: Parameters<typeof encodeCall>[0]): void {
    const bytes = encodeCall(frame);
    this.#carry(
      this.gathering.handle({ kind: 'received', channel: 'call', from, bytes } as never, this.host.now),
    );
  }

  /** Lacks something that somebody else has, who is asked. */
  wantOfOthers(): void {
    const registered = { purse: PURSE, account: accountOf(LEADER, 3), granted: amountOf(500) };
    this.host.deliver({ kind: 'registered', ...registered });
    this.want(200);
  }

  want(need: number): void {
    const amount = amountOf(need);
    this.handle({ kind: 'wanted', purse: PURSE, need: amount, waiting: amount });
  }

  handle(event: GatheringEvent): void {
    this.#carry(this.gathering.handle(event, this.host.now));
  }

  ask(given: Partial<AskFrame> = {}): void {
    const amount = amountOf(10);
    const none = amountOf(0);
    const frame = { purse: PURSE, account: ASKING, of: undefined, above: none, least: amount, most: amount };
    this.receive(ASKER, { kind: 'ask', id: 1, ...frame, need: amount, askedAt: 0, gather: false, ...given });
  }

  order(from: NodeId, fence: number, above = 0): void {
    const frame = { purse: PURSE, of: this.host.ledger.account, to: ASKING, amount: amountOf(10) };
    this.receive(from, { kind: 'order', id: 2, fence, ...frame, above: amountOf(above) });
  }

  #carry(effects: readonly GatheringEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'send' && effect.stream === 'budget') this.frames.push(decodeCall(effect.bytes));
      if (effect.kind === 'send' && effect.stream === 'budget/call') this.asked.push(...effect.to);
      if (effect.kind !== 'moveRights') continue;
      const result = this.host.call(effect.call) as Result<Moved>;
      this.#carry(this.gathering.handle({ kind: 'rightsMoved', id: effect.id, result }, this.host.now));
    }
  }
}

function giverWith(rights: number): { readonly giver: Giver; readonly store: Store } {
  const store = new Store([BUDGET]);
  return { giver: new Giver(hostWith(store, 0, rights)), store };
}

describe('gathering: giving', () => {
  it('gives what was asked for once, however often it is asked, and answers by its row the first time', () => {
    const { giver } = giverWith(100);
    giver.ask();
    expect(giver.frames).toEqual([]);
    for (let time = 0; time < 2; time++) giver.ask();
    expect(giver.host.rights(PURSE)).toBe(90);
    expect(giver.frames).toHaveLength(2);
    expect(giver.frames.at(-1)).toMatchObject({ kind: 'answer', total: 10 });
  });

  it('a node whose account nobody has confirmed since it started gives nothing, and does what no order says (B10)', () => {
    const { giver, store } = giverWith(100);
    giver.host.crash();
    const restarted = new Giver(giver.host);
    restarted.ask();
    restarted.order(LEADER, 7);
    expect(restarted.frames).toMatchObject([
      { kind: 'answer', total: 0 },
      { kind: 'ordered', moved: 0 },
    ]);
    expect(giver.host.rights(PURSE)).toBe(100);
    giver.host.open(store);
    restarted.ask();
    expect(giver.host.rights(PURSE)).toBe(90);
  });

  it.each([
    { who: 'whoever leads', from: LEADER, fence: 7, moved: 10 },
    { who: 'the same node under an earlier lease', from: LEADER, fence: 6, moved: 0 },
    { who: 'another node under the lease', from: ASKER, fence: 7, moved: 0 },
  ])('of an order by $who $moved are moved (B16, I6)', ({ from, fence, moved }) => {
    const { giver } = giverWith(100);
    giver.order(from, fence);
    expect(giver.frames).toMatchObject([{ kind: 'ordered', moved }]);
    expect(giver.host.rights(PURSE)).toBe(100 - moved);
  });

  it('an order that comes twice is done once, and answered as done', () => {
    const { giver } = giverWith(100);
    giver.order(LEADER, 7);
    giver.order(LEADER, 7);
    expect(giver.frames).toMatchObject([{ moved: 10 }, { moved: 10 }]);
    expect(giver.host.rights(PURSE)).toBe(90);
  });

  it('what somebody waits for here is neither ordered away nor given to who only asks for what can be spared', () => {
    const { giver } = giverWith(100);
    giver.wantOfOthers();
    giver.order(LEADER, 7);
    giver.ask();
    expect(giver.frames).toMatchObject([
      { kind: 'ordered', moved: 0 },
      { kind: 'answer', total: 0 },
    ]);
    expect(giver.host.rights(PURSE)).toBe(100);
  });

  it('where something waits, what somebody was refused is kept for it for 250 ms from those who go behind it, and they are told of it (B24)', () => {
    const { giver } = giverWith(100);
    giver.wantOfOthers();
    const later = { account: accountOf(ASKER, 8), gather: true, askedAt: 6, need: amountOf(90) };
    const first = { askedAt: 5, least: amountOf(101), most: amountOf(101), need: amountOf(101) };
    giver.ask(first);
    giver.ask(later);
    const waiting = { account: ASKING, askedAt: 5, need: 101 };
    expect(giver.frames).toMatchObject([{ total: 0 }, { total: 0, waiting }]);
    giver.ask({ ...later, askedAt: 4 });
    expect(giver.host.rights(PURSE)).toBe(90);
    giver.ask(first);
    giver.host.pass(251);
    giver.ask({ ...later, above: amountOf(10) });
    expect(giver.host.rights(PURSE)).toBe(80);
  });

  it('an answer says what waits here, also where it goes behind the asker (B24)', () => {
    const { giver } = giverWith(100);
    giver.wantOfOthers();
    const askedAt = giver.host.now.wallMs;
    giver.ask();
    const waiting = { account: giver.host.ledger.account, askedAt, need: 200 };
    expect(giver.frames).toMatchObject([{ kind: 'answer', total: 0, waiting }]);
  });

  it('who sent rights to an account that this node had before is asked for what it has left (B12, B23)', () => {
    const { giver, store } = giverWith(0);
    const { host } = giver;
    const other = hostWith(store, 2, 100);
    const former = host.ledger.account;
    other.transfer(PURSE, former, 60, 0);
    const entry = store.entry(PURSE, other.ledger.account);
    host.deliver({
      kind: 'registered',
      purse: PURSE,
      account: other.ledger.account,
      granted: entry!.granted,
    });
    const tell = (): void => {
      other.pass(1_000);
      other.sync();
      for (const row of other.published) host.deliver({ kind: 'rowHeard', ...row });
      giver.handle({ kind: 'rowTaken', purse: PURSE });
    };
    const row = other.row(PURSE);
    const answer = {
      kind: 'answer',
      purse: PURSE,
      account: other.ledger.account,
      total: amountOf(60),
    } as const;
    other.published.length = 0;
    // Told of by an answer, of which the row never comes, in this life of the node.
    other.call({ op: 'report', id: 'x', budget: 'team', agent: 'ann', amount: 1 });
    giver.want(5);
    giver.receive(ASKER, { ...answer, id: 1, row, waiting: undefined });
    host.deliver({ kind: 'fenced', account: former, reason: 'another start' });
    giver.receive(ASKER, { ...answer, id: 2, row, waiting: undefined });
    host.open(store);
    tell();
    host.pass(3_000);
    giver.want(0);
    const before = giver.asked.length;
    giver.want(5);
    expect(giver.asked.slice(before)).toEqual([ASKER]);
  });

  it('one peer is answered 400 times at once, then 200 times a second', () => {
    const { giver } = giverWith(100);
    for (let time = 0; time < 500; time++) giver.ask({ most: amountOf(0), least: amountOf(0) });
    expect(giver.frames).toHaveLength(400);
    giver.host.pass(500);
    for (let time = 0; time < 500; time++) giver.ask({ most: amountOf(0), least: amountOf(0) });
    expect(giver.frames).toHaveLength(500);
  });
});

describe('gathering: settling elsewhere', () => {
  const forwarding = () => {
    const { giver } = giverWith(100);
    const settled: GatheringEffect[] = [];
    const tell = (event: unknown): void => {
      for (const effect of giver.gathering.handle(event as GatheringEvent, giver.host.now))
        if (effect.kind === 'settledThere' || effect.kind === 'settleHere') settled.push(effect);
    };
    return { giver, settled, tell };
  };
  const result = {
    ok: true,
    value: { id: 'r', amount: amountOf(3), ending: 'settled', overrun: amountOf(0) },
  };

  it('only the node that was asked can answer, and only about what it was asked for', () => {
    const { settled, tell } = forwarding();
    tell({ kind: 'settleThere', id: 1, node: LEADER, reservation: 'r', amount: amountOf(3) });
    const answer = (from: NodeId, reservation: string): void => {
      for (let id = 0; id < 5; id++) {
        const bytes = encodeCall({ kind: 'settled', id, reservation, result } as never);
        tell({ kind: 'received', channel: 'call', from, bytes });
      }
    };
    answer(ASKER, 'r');
    answer(LEADER, 'other');
    expect(settled).toEqual([]);
    answer(LEADER, 'r');
    answer(LEADER, 'r');
    expect(settled).toMatchObject([{ kind: 'settledThere', id: 1, result: { ok: true } }]);
  });

  it('a node that is no peer any more settles nothing here', () => {
    const { settled, tell } = forwarding();
    const frame = { kind: 'settle', id: 1, reservation: 'r', amount: amountOf(3) } as const;
    tell({ kind: 'received', channel: 'call', from: nodeIdOf(5), bytes: encodeCall(frame) });
    expect(settled).toEqual([]);
    tell({ kind: 'received', channel: 'call', from: ASKER, bytes: encodeCall(frame) });
    expect(settled).toMatchObject([{ kind: 'settleHere', reservation: 'r' }]);
  });

  it('a peer may have as many settlements made as it may have under way, and 2,000 a second beyond: ids cannot be tried out', () => {
    const { giver, settled, tell } = forwarding();
    const many = limits.budgetForwards + 500;
    const all = (): void => {
      for (let id = 0; id < many; id++) {
        const bytes = encodeCall({ kind: 'settle', id, reservation: `r${id}`, amount: amountOf(0) });
        tell({ kind: 'received', channel: 'call', from: ASKER, bytes });
      }
    };
    all();
    expect(settled).toHaveLength(limits.budgetForwards);
    tell({ kind: 'peerDown', peer: ASKER, reason: 'gone' });
    tell({ kind: 'peerUp', peer: ASKER });
    all();
    expect(settled).toHaveLength(limits.budgetForwards);
    giver.host.now = { ...giver.host.now, monoMs: giver.host.now.monoMs + 100 };
    all();
    expect(settled).toHaveLength(limits.budgetForwards + 200);
  });
});
