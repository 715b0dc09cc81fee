import { describe, expect, it } from 'vitest';
import { encode } from '../../src/kernel/codec.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import { encodeMessage, type Message, parseMessage } from '../../src/mesh/membership/messages.ts';
import { cargoOf, loaded, withCargo } from '../../src/replication/cargo.ts';
import { decodeFrame } from '../../src/replication/frames.ts';
import { decodeDelta } from '../../src/replication/record-codec.ts';
import { nodeId } from './network.ts';
import { RecordMesh } from './record-mesh.ts';

const BEAT_MS = 1_000;

/** All connected; each node sends a heartbeat to the three before it each second, at a moment of its own. */
class Swarm extends RecordMesh {
  /** Share of heartbeats that get lost unnoticed. */
  lossEvery = Number.POSITIVE_INFINITY;
  beats = 0;
  cargoBytes = 0;
  #nextMs: number[];

  constructor(size: number, seed: number) {
    super(size, seed, { rides: ['budget'] });
    this.connectAll();
    this.#nextMs = Array.from({ length: size }, (_, index) => this.nowMs + ((index * 379) % BEAT_MS));
  }

  /** Until `until`, at most `forMs`; with heartbeats. */
  live(forMs: number, until: () => boolean = () => false): boolean {
    const endMs = this.nowMs + forMs;
    while (this.nowMs < endMs) {
      const nextMs = Math.min(endMs, ...this.#nextMs);
      if (this.run(nextMs - this.nowMs, until)) return true;
      for (const [index, atMs] of this.#nextMs.entries()) {
        if (atMs > this.nowMs) continue;
        this.#nextMs[index] = atMs + BEAT_MS;
        this.#beat(index);
      }
    }
    return until();
  }

  /** Frames of their own that hold records, and frames that compare and repair. */
  get alone(): { readonly pushes: number; readonly repairs: number } {
    const kinds = this.sent.map(({ bytes }) => decodeFrame(bytes)?.kind);
    return {
      pushes: kinds.filter((kind) => kind === 'push').length,
      repairs: kinds.filter((kind) => kind === 'digest' || kind === 'delta').length,
    };
  }

  #beat(index: number): void {
    const size = this.keys.length;
    for (const step of new Set([1, 2, 3].map((less) => (index + 3 * size - less) % size))) {
      if (step === index || !this.nodes.has(this.id(step)) || !this.nodes.has(this.id(index))) continue;
      const bytes = this.records(index).cargoFor(this.id(step), this.now);
      if (bytes === undefined) continue;
      this.cargoBytes += bytes.length;
      if (++this.beats % this.lossEvery === 0) continue;
      this.tell(this.id(step), { kind: 'received', from: this.id(index), bytes });
    }
  }
}

function knownBy(swarm: Swarm, owner: number, key: string): readonly unknown[] {
  return swarm.keys.map((_, index) => swarm.records(index).body(swarm.id(owner), 'budget', key));
}

describe('records that ride along', () => {
  it.each([{ size: 2 }, { size: 10 }, { size: 40 }])(
    'are known to all $size nodes within seconds, and cost no frame of their own',
    ({ size }) => {
      const swarm = new Swarm(size, size);
      swarm.live(2_000);
      const before = swarm.alone;
      swarm.publish(0, 'budget', 'team', { spent: 1 });
      const isKnown = () => knownBy(swarm, 0, 'team').every((body) => body !== undefined);
      expect(swarm.live(size > 10 ? 10_000 : 4_000, isKnown)).toBe(true);
      swarm.live(60_000);
      expect(swarm.alone).toEqual(before);
      expect(swarm.equal).toBe(true);
    },
  );

  it('of all nodes that change all the time cost no frame of their own either, and are at most 4 s old', () => {
    const swarm = new Swarm(10, 3);
    swarm.live(2_000);
    const before = swarm.alone;
    for (let second = 0; second < 40; second++) {
      for (let index = 0; index < 10; index++) swarm.publish(index, 'budget', 'team', { second });
      swarm.live(1_000);
      if (second < 4) continue;
      for (let owner = 0; owner < 10; owner++)
        for (const body of knownBy(swarm, owner, 'team'))
          expect((body as { readonly second: number }).second).toBeGreaterThanOrEqual(second - 4);
    }
    expect(swarm.alone.pushes).toBe(before.pushes);
    // Now and then all that is held is compared, though there is news.
    expect(swarm.alone.repairs).toBeLessThan(40);
  });

  it.each([{ lossEvery: 3 }, { lossEvery: 2 }])(
    'are equal everywhere at last where one heartbeat in $lossEvery is lost unnoticed',
    ({ lossEvery }) => {
      const swarm = new Swarm(10, 4);
      swarm.lossEvery = lossEvery;
      for (let index = 0; index < 10; index++) swarm.publish(index, 'budget', 'team', { spent: index });
      expect(swarm.live(60_000, () => swarm.equal)).toBe(true);
    },
  );

  it.each([{ seed: 41 }, { seed: 42 }, { seed: 43 }, { seed: 44 }, { seed: 45 }])(
    'that most lack since they were lost unnoticed are with all a second after the first of these has one, though each then has news (seed $seed)',
    ({ seed }) => {
      const swarm = new Swarm(10, seed);
      swarm.live(2_000);
      swarm.lossEvery = 1;
      swarm.publish(0, 'budget', 'team', { sent: 1 });
      swarm.live(5_000);
      swarm.lossEvery = Number.POSITIVE_INFINITY;
      const taken = new Map<number, number>();
      const lacking = () =>
        knownBy(swarm, 0, 'team').flatMap((body, index) =>
          index === 0 || taken.has(index) || body === undefined ? [] : [index],
        );
      // Whoever gets it says so, as an account does that takes something in.
      while (swarm.live(60_000, () => taken.size < 9 && lacking().length > 0))
        for (const index of lacking()) {
          taken.set(index, swarm.nowMs);
          swarm.publish(index, 'budget', 'team', { received: 1 });
        }
      expect(taken.size).toBe(9);
      expect(Math.max(...taken.values()) - Math.min(...taken.values())).toBeLessThan(1_000);
      expect(swarm.equal).toBe(true);
      // What is compared meanwhile has an end, though news go on.
      const before = swarm.alone.repairs;
      for (let second = 0; second < 20; second++) {
        for (let index = 0; index < 10; index++) swarm.publish(index, 'budget', 'team', { second });
        swarm.live(1_000);
      }
      expect(swarm.alone.repairs - before).toBeLessThan(20);
    },
  );

  it('are told again to a neighbour to which the wire lost frames, once its queue has drained', () => {
    const swarm = new Swarm(2, 5);
    swarm.live(2_000);
    swarm.publish(0, 'budget', 'team', { spent: 1 });
    swarm.records(0).cargoFor(swarm.id(1), swarm.now);
    swarm.tell(swarm.id(0), { kind: 'dropped', peer: swarm.id(1) });
    expect(swarm.run(1_000, () => swarm.equal)).toBe(true);
  });

  it('go at once to whom they are for, with all that others told of meanwhile, in one frame', () => {
    const swarm = new Swarm(4, 6);
    swarm.run(2_000);
    swarm.publish(0, 'budget', 'first', { sent: 1 });
    const cargo = swarm.records(0).cargoFor(swarm.id(1), swarm.now);
    swarm.tell(swarm.id(1), { kind: 'received', from: swarm.id(0), bytes: cargo as Uint8Array });
    const since = swarm.sent.length;
    swarm.carry(
      swarm.id(1),
      swarm.records(1).publish('budget', 'second', { sent: 2 }, swarm.now, { to: [swarm.id(2)] }),
    );
    swarm.run(10);
    const [frame, ...more] = swarm.sent
      .slice(since)
      .map(({ to, bytes }) => ({ to, frame: decodeFrame(bytes) }));
    expect(more).toEqual([]);
    expect(frame?.to).toBe(swarm.id(2));
    const delta = frame?.frame?.kind === 'push' ? decodeDelta(frame.frame.delta) : undefined;
    expect(delta?.records.map(({ key }) => key).sort()).toEqual(['first', 'second']);
    expect(swarm.records(3).ofKind('budget')).toEqual([]);
  });

  it('go to all at once where that is asked for', () => {
    const swarm = new Swarm(5, 7);
    swarm.run(2_000);
    swarm.carry(
      swarm.id(0),
      swarm.records(0).publish('budget', 'last', { spent: 1 }, swarm.now, { to: 'all' }),
    );
    swarm.run(10);
    expect(swarm.equal).toBe(true);
  });

  it('go by themselves after five seconds without anything to ride on, once', () => {
    const swarm = new Swarm(5, 8);
    swarm.run(2_000);
    const before = swarm.alone.pushes;
    swarm.publish(0, 'budget', 'team', { spent: 1 });
    swarm.run(4_900);
    expect(swarm.alone.pushes).toBe(before);
    swarm.run(200);
    expect(swarm.equal).toBe(true);
    swarm.run(60_000);
    expect(swarm.alone.pushes).toBe(before + 4);
  });

  it('of a neighbour that was away are asked for as soon as it is back', () => {
    const swarm = new Swarm(3, 9);
    swarm.live(1_000);
    swarm.crash(2);
    for (let key = 0; key < 50; key++) swarm.publish(0, 'budget', `team-${key}`, { spent: key });
    swarm.live(5_000);
    swarm.boot(2);
    swarm.connectAll();
    expect(swarm.run(1_000, () => swarm.equal)).toBe(true);
  });

  it('leave the others as they were: a record of another kind is with all at once', () => {
    const swarm = new Swarm(5, 10);
    swarm.run(2_000);
    swarm.publish(0, 'budget', 'team', { spent: 1 });
    swarm.publish(0, 'agent', 'agent', { lastSeen: 1 });
    swarm.run(10);
    expect(swarm.records(4).ofKind('agent').length).toBe(1);
    expect(swarm.records(4).ofKind('budget').length).toBe(0);
  });

  it('take no more room in a frame than there is, and go on with the next', () => {
    const swarm = new Swarm(2, 11);
    swarm.run(2_000);
    const text = 'x'.repeat(1_000);
    for (let key = 0; key < 100; key++) swarm.publish(0, 'budget', `team-${key}`, { text });
    let frames = 0;
    for (;;) {
      const bytes = swarm.records(0).cargoFor(swarm.id(1), swarm.now);
      if (bytes === undefined) break;
      frames++;
      expect(bytes.length).toBeLessThan(limits.rideBytes + 4_096);
      swarm.tell(swarm.id(1), { kind: 'received', from: swarm.id(0), bytes });
    }
    expect(frames).toBe(6);
    expect(swarm.equal).toBe(true);
  });

  it('come back to their owner from others: it may be a copy of its data that signed them', () => {
    const swarm = new Swarm(3, 12);
    swarm.run(2_000);
    const fields = { kind: 'budget' as const, key: 'team', sequence: 2_000_000_000_000 };
    const copied = swarm.sign(swarm.keys[0]!, { ...fields, body: Uint8Array.of(1) });
    swarm.push(1, swarm.id(2), [copied]);
    swarm.live(3_000);
    expect(swarm.marks('records.returned')).toBe(1);
  });
});

describe('records that ride along, where their owner went back in time', () => {
  /** The first of three forgot what it told last, and has signed something else under a higher number before it met anybody. */
  function forgetful(size: number, seed: number): { readonly swarm: Swarm; readonly since: number } {
    const swarm = new Swarm(size, seed);
    swarm.live(1_000);
    swarm.publish(0, 'budget', 'team', { spent: 1 });
    swarm.live(5_000);
    const image = swarm.journalOf(0);
    swarm.publish(0, 'budget', 'team', { spent: 2 });
    swarm.live(5_000);
    swarm.crash(0);
    swarm.boot(0, image);
    swarm.publish(0, 'budget', 'team', { spent: 3 });
    return { swarm, since: swarm.effects.length };
  }

  /** Each once: what neighbours compare may bring it as well. */
  function returned(swarm: Swarm, since: number): readonly unknown[] {
    const bodies = swarm.effects
      .slice(since)
      .filter(({ node, effect }) => node === swarm.id(0) && effect.kind === 'ownReturned')
      .map(({ effect }) => JSON.stringify((effect as { readonly body?: unknown }).body));
    return [...new Set(bodies)].map((body) => JSON.parse(body) as unknown);
  }

  it.each([{ size: 2 }, { size: 3 }, { size: 10 }])(
    'come back to it from others at once where there are $size nodes, although it holds newer ones (B10)',
    ({ size }) => {
      const { swarm, since } = forgetful(size, 20 + size);
      swarm.connectAll();
      swarm.run(50);
      expect(returned(swarm, since)).toEqual([{ spent: 2 }]);
      expect(swarm.records(0).body(swarm.id(0), 'budget', 'team')).toEqual({ spent: 3 });
    },
  );

  it('do not where nothing was forgotten', () => {
    const swarm = new Swarm(3, 31);
    swarm.publish(0, 'budget', 'team', { spent: 1 });
    swarm.live(5_000);
    const image = swarm.journalOf(0);
    swarm.crash(0);
    swarm.boot(0, image);
    const since = swarm.effects.length;
    swarm.connectAll();
    swarm.live(5_000);
    expect(returned(swarm, since)).toEqual([]);
  });

  it('are not believed to be its own without its signature, and of kinds that do not ride along none is handed on', () => {
    const { swarm, since } = forgetful(2, 32);
    swarm.connectAll();
    swarm.run(50);
    const fields = { key: 'team', sequence: 5, body: new Uint8Array(encode({ spent: 9 })) };
    swarm.push(0, swarm.id(1), [swarm.sign(swarm.keys[1]!, { kind: 'budget', ...fields }, swarm.id(0))]);
    swarm.publish(0, 'agent', 'team', { lastSeen: 1 });
    swarm.push(0, swarm.id(1), [swarm.sign(swarm.keys[0]!, { kind: 'agent', ...fields })]);
    swarm.run(50);
    expect(returned(swarm, since)).toEqual([{ spent: 2 }]);
  });
});

describe('a frame with cargo', () => {
  const carrier = encodeMessage({ kind: 'gossip', incarnation: 1, updates: [] });
  const cargo = Uint8Array.of(7, 8, 9, 10);
  const target = nodeId(1);
  const messages: readonly Message[] = [
    { kind: 'gossip', incarnation: 1, updates: [{ member: target, incarnation: 2, state: 'alive' }] },
    { kind: 'left', incarnation: 1, updates: [] },
    { kind: 'ping', incarnation: 1, updates: [], seq: 5 },
    { kind: 'ack', incarnation: 1, updates: [], seq: 5 },
    { kind: 'pingRequest', incarnation: 1, updates: [], seq: 5, target },
    { kind: 'nack', incarnation: 1, updates: [], seq: 5, target },
    { kind: 'relayedAck', incarnation: 1, updates: [], seq: 5, target, targetIncarnation: 9 },
  ];

  it.each(messages)('$kind says what it said without, and gives the cargo back', (message) => {
    const frame = loaded(encodeMessage(message), cargo);
    expect(parseMessage(frame)).toEqual(message);
    expect(cargoOf(frame)).toEqual(cargo);
    expect(cargoOf(encodeMessage(message))).toBe(undefined);
  });

  it('that is cut anywhere, or holds something else there, has no cargo', () => {
    const frame = loaded(carrier, cargo);
    for (let length = 0; length < frame.length; length++)
      expect(cargoOf(frame.subarray(0, length))).toBe(undefined);
    expect(cargoOf(new Uint8Array(encode([6, 1, [], null, null, null, 'text'])))).toBe(undefined);
  });

  it('is one for each neighbour that is owed something, and one for the others together', () => {
    const [one, two, three] = [1, 2, 3].map(nodeId) as [NodeId, NodeId, NodeId];
    const send = (channel: 'mesh' | 'call') =>
      ({ kind: 'send', stream: 'membership', to: [one, two, three], channel, bytes: carrier }) as const;
    const effects = withCargo([send('mesh'), send('call')], (peer) => (peer === two ? cargo : undefined));
    expect(effects).toEqual([
      { ...send('mesh'), to: [two], bytes: loaded(carrier, cargo) },
      { ...send('mesh'), to: [one, three] },
      send('call'),
    ]);
  });
});
