import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encode } from '../../../src/kernel/codec.ts';
import type { NodeId } from '../../../src/kernel/ids.ts';
import { limits } from '../../../src/kernel/limits.ts';
import { seededRng } from '../../../src/kernel/rng.ts';
import type { MembershipEffect, MembershipEvent } from '../../../src/mesh/membership/events.ts';
import { Membership } from '../../../src/mesh/membership/membership.ts';
import {
  encodeMessage,
  MAX_INCARNATION,
  type Message,
  parseMessage,
  type Update,
} from '../../../src/mesh/membership/messages.ts';
import { at, nodeId, WALL_ZERO_MS } from './cluster.ts';

const SELF = nodeId(0);
const A = nodeId(1);
const B = nodeId(2);
const C = nodeId(3);

interface Sent {
  readonly to: readonly NodeId[];
  readonly message: Message;
}

/** One machine whose peers are played by the test. */
class Rig {
  nowMs = 0;
  readonly machine: Membership;
  readonly effects: MembershipEffect[] = [];
  sent: Sent[] = [];
  /** These answer every ping, direct or relayed, with this incarnation. */
  readonly answering = new Map<NodeId, number>();

  constructor(peers: readonly NodeId[] = [], seed = 1) {
    this.machine = new Membership({ self: SELF, rng: seededRng(seed), now: at(0) });
    for (const peer of peers) {
      this.answering.set(peer, 1);
      this.give({ kind: 'peerUp', peer });
      this.say(peer, { kind: 'gossip', incarnation: 1, updates: [] });
    }
    this.sent = [];
  }

  give(event: MembershipEvent): void {
    this.#perform(this.machine.handle(event, at(this.nowMs)));
  }

  say(from: NodeId, message: Message): void {
    this.give({ kind: 'received', from, bytes: encodeMessage(message) });
  }

  tell(from: NodeId, ...updates: readonly Update[]): void {
    this.say(from, { kind: 'gossip', incarnation: this.answering.get(from) ?? 1, updates });
  }

  /** The node is woken by something else at `ms`. */
  wake(ms: number): void {
    this.nowMs = ms;
    this.#perform(this.machine.expire(at(ms)));
  }

  /** Lets `ms` pass with punctual timers. */
  run(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const due = this.machine.deadline();
      if (due === undefined || due.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, due.atMs);
      this.#perform(this.machine.expire(at(this.nowMs)));
    }
    this.nowMs = endMs;
  }

  messages(kind: Message['kind']): readonly Sent[] {
    return this.sent.filter((sent) => sent.message.kind === kind);
  }

  changes(): readonly string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === 'memberChanged' ? [`${effect.was ?? '-'}>${effect.state}`] : [],
    );
  }

  #perform(effects: readonly MembershipEffect[]): void {
    this.effects.push(...effects);
    for (const effect of effects) {
      if (effect.kind !== 'send') continue;
      const message = parseMessage(effect.bytes);
      if (message === undefined || message === 'later') throw new Error('the machine sent a malformed frame');
      this.sent.push({ to: effect.to, message });
      for (const to of effect.to) this.#answer(to, message);
    }
  }

  #answer(to: NodeId, message: Message): void {
    const incarnation = this.answering.get(to);
    if (incarnation === undefined) return;
    if (message.kind === 'ping') this.say(to, { kind: 'ack', incarnation, updates: [], seq: message.seq });
    if (message.kind !== 'pingRequest') return;
    const { seq, target } = message;
    const targetIncarnation = this.answering.get(target);
    this.say(
      to,
      targetIncarnation === undefined
        ? { kind: 'nack', incarnation, updates: [], seq, target }
        : { kind: 'relayedAck', incarnation, updates: [], seq, target, targetIncarnation },
    );
  }
}

const about = (member: NodeId, state: Update['state'], incarnation = 1): Update => ({
  member,
  incarnation,
  state,
});

describe('membership', () => {
  it('takes an admitted peer for alive, tells it the table and measures the round trip', () => {
    const rig = new Rig([A]);
    rig.give({ kind: 'peerUp', peer: B });
    expect(rig.changes()).toEqual(['->alive', '->alive']);
    const [gossip] = rig.messages('gossip');
    expect(gossip).toMatchObject({ to: [B], message: { updates: [about(A, 'alive')] } });
    const [ping] = rig.messages('ping').filter((sent) => sent.to.includes(B));
    rig.nowMs += 12;
    rig.say(B, { kind: 'ack', incarnation: 7, updates: [], seq: (ping!.message as { seq: number }).seq });
    expect(rig.machine.members().find((member) => member.nodeId === B)).toEqual({
      nodeId: B,
      state: 'alive',
      incarnation: 7,
      linked: true,
      rttMs: 12,
      sinceMs: WALL_ZERO_MS,
    });
  });

  it('starts with an incarnation from the wall clock, so that a return outbids the run before', () => {
    expect(new Rig().machine.incarnation).toBe(WALL_ZERO_MS);
  });

  it('learns of members from members, without a link', () => {
    const rig = new Rig([A]);
    rig.tell(A, about(B, 'alive', 5), about(C, 'dead', 5));
    expect(rig.machine.members().filter((member) => !member.linked)).toMatchObject([
      { nodeId: B, state: 'alive', incarnation: 5 },
    ]);
  });

  it('hears nothing from a peer that is not linked', () => {
    const rig = new Rig([A]);
    rig.tell(B, about(C, 'alive', 5));
    rig.say(B, { kind: 'left', incarnation: 9, updates: [] });
    expect(rig.machine.members().map((member) => member.nodeId)).toEqual([A]);
  });

  it('answers a ping', () => {
    const rig = new Rig([A]);
    rig.say(A, { kind: 'ping', incarnation: 1, updates: [], seq: 77 });
    expect(rig.messages('ack')).toMatchObject([{ to: [A], message: { seq: 77 } }]);
  });

  it('pings on behalf of another, and says nack where nothing comes or no link is there', () => {
    const rig = new Rig([A, B]);
    const ask = (seq: number, target: NodeId) =>
      rig.say(A, { kind: 'pingRequest', incarnation: 1, updates: [], seq, target });
    ask(5, B);
    expect(rig.messages('relayedAck')).toMatchObject([{ to: [A], message: { seq: 5, target: B } }]);
    ask(6, C);
    expect(rig.messages('nack')).toMatchObject([{ to: [A], message: { seq: 6, target: C } }]);
    rig.answering.delete(B);
    ask(7, B);
    rig.run(299);
    expect(rig.messages('nack')).toHaveLength(1);
    rig.run(2);
    expect(rig.messages('nack')[1]).toMatchObject({ to: [A], message: { seq: 7, target: B } });
  });

  it(`relays at most ${limits.membershipRelaysPerPeer} pings for one peer at a time`, () => {
    const rig = new Rig([A, B]);
    rig.answering.delete(B);
    for (let seq = 0; seq < 500; seq++) {
      rig.say(A, { kind: 'pingRequest', incarnation: 1, updates: [], seq, target: B });
    }
    expect(rig.messages('ping')).toHaveLength(limits.membershipRelaysPerPeer);
    expect(rig.messages('nack')).toHaveLength(500 - limits.membershipRelaysPerPeer);
  });

  it('suspects at once when a link closes, and asks others at once', () => {
    const rig = new Rig([A, B, C]);
    rig.answering.delete(A);
    rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    expect(rig.machine.stateOf(A)).toBe('suspect');
    expect(
      rig
        .messages('pingRequest')
        .map((sent) => sent.to[0])
        .sort(),
    ).toEqual([B, C].sort());
    expect(rig.machine.members().find((member) => member.nodeId === A)).not.toHaveProperty('rttMs');
  });

  it('clears a suspicion when the peer comes back, and when others reach it', () => {
    const back = new Rig([A, B]);
    back.answering.delete(A);
    back.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    back.give({ kind: 'peerUp', peer: A });
    expect(back.machine.stateOf(A)).toBe('alive');
    const cut = new Rig([A, B]);
    cut.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    expect(cut.machine.stateOf(A)).toBe('alive');
    cut.run(60_000);
    expect(cut.machine.stateOf(A)).toBe('alive');
    expect(cut.changes().slice(2)).toEqual(['alive>suspect', 'suspect>alive']);
  });

  it.each([
    ['all confirm', 2, [B, C], 1_500],
    ['nobody could confirm', 0, [], 1_500],
    ['nobody confirms though two could', 2, [], 4_500],
  ])('declares a closed peer dead when %s', (_, others, confirming, afterMs) => {
    const rig = new Rig([A, B, C].slice(0, others + 1));
    rig.answering.delete(A);
    rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    for (const by of confirming) rig.tell(by, about(A, 'suspect'));
    rig.run(afterMs - 1);
    expect(rig.machine.stateOf(A)).toBe('suspect');
    rig.run(2);
    expect(rig.machine.stateOf(A)).toBe('dead');
  });

  it('lets the doubted know with every ping, so that it can refute', () => {
    const rig = new Rig([A, B]);
    rig.answering.delete(A);
    rig.run(2_500);
    expect(rig.machine.stateOf(A)).toBe('suspect');
    const last = rig
      .messages('ping')
      .filter((sent) => sent.to.includes(A))
      .at(-1);
    expect(last?.message.updates).toContainEqual(about(A, 'suspect'));
    rig.answering.set(A, 2);
    rig.run(301);
    expect(rig.machine.stateOf(A)).toBe('alive');
  });

  it('refutes what is said of itself, once for each incarnation and at most once in 50 ms', () => {
    const rig = new Rig([A, B]);
    const start = rig.machine.incarnation;
    rig.tell(A, about(SELF, 'suspect', start));
    rig.tell(B, about(SELF, 'dead', start));
    expect(rig.machine.incarnation).toBe(start + 1);
    rig.run(0);
    expect(rig.messages('gossip')).toMatchObject([
      { to: [A, B], message: { incarnation: start + 1, updates: [about(SELF, 'alive', start + 1)] } },
    ]);
    for (let more = 1; more <= 1_000; more++) rig.tell(A, about(SELF, 'suspect', start + more));
    rig.run(50);
    expect(rig.messages('gossip')).toHaveLength(2);
  });

  it('ignores a stale suspicion', () => {
    const rig = new Rig([A, B]);
    rig.answering.set(A, 9);
    rig.run(2_000);
    rig.answering.delete(A);
    rig.tell(B, about(A, 'suspect', 8), about(A, 'dead', 8));
    rig.run(100);
    expect(rig.messages('pingRequest')).toEqual([]);
    expect(rig.changes()).toEqual(['->alive', '->alive']);
  });

  it.each(['suspect', 'dead'] as const)(
    'no member can talk a healthy third to death, however often it says %s',
    (state) => {
      const rig = new Rig([A, B, C]);
      for (let round = 0; round < 600; round++) {
        rig.tell(A, about(B, state, 1 + (round % 2) * 1_000_000));
        rig.run(50);
      }
      expect(rig.changes()).toEqual(['->alive', '->alive', '->alive']);
      expect(rig.machine.members().find((member) => member.nodeId === B)?.incarnation).toBe(1);
    },
  );

  it('nor can a forged incarnation keep a member from being believed afterwards', () => {
    const rig = new Rig([A, B, C]);
    rig.tell(A, about(B, 'alive', MAX_INCARNATION), about(B, 'dead', MAX_INCARNATION));
    rig.run(10_000);
    expect(rig.machine.stateOf(B)).toBe('alive');
    rig.tell(A, about(SELF, 'dead', MAX_INCARNATION));
    expect(rig.machine.incarnation).toBe(MAX_INCARNATION);
    expect(() => rig.run(10_000)).not.toThrow();
  });

  it('one liar starts at most 64 probes a second', () => {
    const peers = Array.from({ length: 200 }, (_, index) => nodeId(index + 1));
    const rig = new Rig(peers);
    for (let round = 0; round < 5; round++) rig.tell(A, ...peers.slice(1).map((peer) => about(peer, 'dead')));
    expect(rig.messages('ping').length).toBeLessThanOrEqual(64);
  });

  it('a goodbye is a death without suspicion, and only from the one who goes', () => {
    const rig = new Rig([A, B]);
    rig.say(A, { kind: 'left', incarnation: 1, updates: [about(B, 'dead')] });
    expect(rig.machine.stateOf(A)).toBe('dead');
    expect(rig.machine.stateOf(B)).toBe('alive');
    rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    expect(rig.changes().slice(2)).toEqual(['alive>dead']);
    rig.give({ kind: 'peerUp', peer: A });
    expect(rig.machine.stateOf(A)).toBe('alive');
  });

  it('a late frame does not bring back who said goodbye', () => {
    const rig = new Rig([A]);
    rig.say(A, { kind: 'left', incarnation: 1, updates: [] });
    rig.say(A, { kind: 'ping', incarnation: 1, updates: [], seq: 1 });
    expect(rig.machine.stateOf(A)).toBe('dead');
  });

  it('says goodbye to all that are linked, and is silent then', () => {
    const rig = new Rig([A, B]);
    const effects = rig.machine.leave(at(rig.nowMs));
    expect(effects).toMatchObject([{ kind: 'send', to: [A, B], channel: 'mesh' }]);
    expect(rig.machine.deadline()).toBeUndefined();
    expect(rig.machine.leave(at(rig.nowMs))).toEqual([]);
  });

  it('a frozen member that wakes on its open link is alive again once it refutes', () => {
    const rig = new Rig([A, B]);
    rig.answering.delete(A);
    rig.run(8_000);
    expect(rig.machine.stateOf(A)).toBe('dead');
    rig.sent = [];
    rig.say(A, { kind: 'ping', incarnation: 1, updates: [], seq: 5 });
    expect(rig.machine.stateOf(A)).toBe('dead');
    expect(rig.messages('gossip')).toMatchObject([{ to: [A], message: { updates: [about(A, 'dead')] } }]);
    rig.say(A, { kind: 'gossip', incarnation: 2, updates: [] });
    expect(rig.machine.stateOf(A)).toBe('alive');
  });

  it('forgets the dead after ten minutes, and keeps at most 256 of them', () => {
    const rig = new Rig([A, B]);
    rig.answering.delete(A);
    rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    rig.run(590_000);
    expect(rig.machine.stateOf(A)).toBe('dead');
    rig.run(60_000);
    expect(rig.machine.stateOf(A)).toBeUndefined();
    for (let index = 10; index < 410; index++) {
      rig.give({ kind: 'peerUp', peer: nodeId(index) });
      rig.give({ kind: 'peerDown', peer: nodeId(index), reason: 'closed' });
    }
    rig.run(10_000);
    const dead = rig.machine.members().filter((member) => member.state === 'dead');
    expect(dead).toHaveLength(limits.deadMembers);
  });

  it(`knows at most ${limits.members} members, and prefers those that are really there`, () => {
    const rig = new Rig([A]);
    for (let from = 10; from < 1_410; from += 350) {
      rig.tell(A, ...Array.from({ length: 350 }, (_, index) => about(nodeId(from + index), 'alive')));
    }
    expect(rig.machine.members()).toHaveLength(limits.members);
    rig.give({ kind: 'peerUp', peer: B });
    expect(rig.machine.stateOf(B)).toBe('alive');
    expect(rig.machine.members()).toHaveLength(limits.members);
  });

  it.each(['a late timer', 'the word of the host'])(
    'a node that was held for 20 s blames nobody (%s)',
    (how) => {
      const rig = new Rig([A, B, C]);
      rig.run(1_000);
      rig.answering.clear();
      rig.run(600);
      rig.nowMs += 20_000;
      if (how === 'the word of the host') rig.give({ kind: 'lagged', ms: 20_000 });
      rig.run(0);
      for (const peer of [A, B, C]) rig.answering.set(peer, 1);
      expect(rig.machine.localHealth).toBeGreaterThan(0);
      rig.run(5_000);
      expect(rig.changes()).not.toContain('suspect>dead');
      for (const peer of [A, B, C]) expect(rig.machine.stateOf(peer)).toBe('alive');
      expect(rig.machine.localHealth).toBe(0);
    },
  );

  it('a closed link does not die of the time in which this node itself stood still', () => {
    const rig = new Rig([A, B]);
    rig.answering.delete(A);
    rig.give({ kind: 'peerDown', peer: A, reason: 'closed' });
    rig.tell(B, about(A, 'suspect'));
    rig.run(1_000);
    rig.nowMs += 30_000;
    rig.run(0);
    expect(rig.machine.stateOf(A)).toBe('suspect');
    rig.run(1_000);
    expect(rig.machine.stateOf(A)).toBe('dead');
  });

  it.each([
    ['noise', new Uint8Array([193, 0, 255])],
    ['nothing', new Uint8Array()],
    ['a number', encode(7)],
    ['no incarnation', encode([1, 'x', [], 1])],
    ['a negative incarnation', encode([6, -1, []])],
    ['an incarnation beyond the bound', encode([6, MAX_INCARNATION + 1, []])],
    ['no sequence number', encode([1, 1, []])],
    ['a forged id', encode([6, 1, [['12D3KooWnobody', 1, 2]]])],
    ['an unknown state', encode([6, 1, [[A, 1, 3]]])],
    ['too many updates', encode([6, 1, Array.from({ length: 513 }, () => [A, 1, 0])])],
    ['no target', encode([3, 1, [], 1, 'x'])],
    ['a kind that never was', encode([0, 1, [], 1])],
  ])('refuses and penalises %s', (_, bytes) => {
    const rig = new Rig([A, B]);
    rig.give({ kind: 'received', from: B, bytes });
    expect(rig.effects).toContainEqual({ kind: 'penalise', peer: B, reason: expect.any(String) });
    expect(rig.changes()).toEqual(['->alive', '->alive']);
  });

  it('passes over kinds and elements of later versions without blame', () => {
    const rig = new Rig([A]);
    rig.give({ kind: 'received', from: A, bytes: encode([40, 1, [], { any: 'thing' }]) });
    rig.give({
      kind: 'received',
      from: A,
      bytes: encode([1, 1, [[A, 1, 0, 'more']], 5, 'more', 'still more']),
    });
    expect(rig.effects.some((effect) => effect.kind === 'penalise')).toBe(false);
    expect(rig.messages('ack')).toHaveLength(1);
  });

  it('reads every message as it was written', () => {
    const id = fc.integer({ min: 0, max: 20 }).map(nodeId);
    const count = fc.integer({ min: 0, max: MAX_INCARNATION });
    const heading = {
      incarnation: count,
      updates: fc.array(
        fc.record({ member: id, incarnation: count, state: fc.constantFrom('alive', 'suspect', 'dead') }),
        { maxLength: 20 },
      ),
    };
    const message = fc.oneof(
      fc.record({ kind: fc.constantFrom('ping', 'ack'), ...heading, seq: count }),
      fc.record({ kind: fc.constantFrom('pingRequest', 'nack'), ...heading, seq: count, target: id }),
      fc.record({
        kind: fc.constant('relayedAck'),
        ...heading,
        seq: count,
        target: id,
        targetIncarnation: count,
      }),
      fc.record({ kind: fc.constantFrom('gossip', 'left'), ...heading }),
    );
    fc.assert(
      fc.property(message, (written) => {
        expect(parseMessage(encodeMessage(written as Message))).toEqual(written);
      }),
    );
  });

  it('never throws, never blames itself into the table, whatever a peer sends', () => {
    const value = fc.oneof(fc.integer(), fc.constantFrom<unknown>(SELF, A, B, C, [], null, MAX_INCARNATION));
    const update = fc.tuple(
      fc.constantFrom(SELF, A, B, C),
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 0, max: 2 }),
    );
    const frame = fc.tuple(
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 0, max: 5 }),
      fc.array(update, { maxLength: 4 }),
      value,
      value,
      value,
    );
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 40 }), fc.integer(), (frames, seed) => {
        const rig = new Rig([A, B], seed);
        for (const fields of frames) {
          rig.give({ kind: 'received', from: A, bytes: encode(fields) });
          rig.run(100);
        }
        expect(rig.machine.stateOf(SELF)).toBeUndefined();
        // B answers every ping: nothing that A says may kill it.
        expect(rig.machine.stateOf(B)).toBe('alive');
      }),
      { numRuns: 100 },
    );
  });
});

describe('the heartbeat', () => {
  it('goes up to 200 ms early where the node is awake anyway, no sooner, and the next one 1.15 s later at most', () => {
    const rig = new Rig([A, B, C]);
    rig.run(3_000);
    for (const peer of [A, B, C]) rig.tell(peer);
    const due = rig.machine.deadline();
    if (due?.earlyMs === undefined) throw new Error(`a heartbeat is what comes next, not ${due?.reason}`);
    rig.sent = [];
    rig.wake(due.atMs - due.earlyMs - 1);
    expect(rig.sent).toEqual([]);
    rig.wake(due.atMs - due.earlyMs);
    const told = rig.sent.flatMap(({ to }) => to);
    expect(new Set(told)).toEqual(new Set([A, B, C]));
    expect(due.earlyMs).toBe(200);
    for (const peer of [A, B, C]) rig.tell(peer);
    const next = rig.machine.deadline();
    expect(next?.reason).toBe(due.reason);
    expect(next?.atMs).toBeGreaterThan(rig.nowMs + 900);
    expect(next?.atMs).toBeLessThanOrEqual(rig.nowMs + 1_150);
  });
});
