import { beforeEach, describe, expect, it } from 'vitest';
import type { NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { WireEvent } from '../../src/kernel/ports.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { nodeIdFromPublicKey } from '../../src/mesh/identity/peer-id.ts';
import { calmNetwork, type NetworkConditions, SimulatedNetwork } from '../../src/sim/network.ts';
import { SimulatedProcess } from '../../src/sim/process.ts';
import { Scheduler } from '../../src/sim/scheduler.ts';
import type { SimulatedWire } from '../../src/sim/wire.ts';
import { type WireEnd, wireContract } from '../contracts/wire.contract.ts';
import { until } from './support.ts';

interface Peer {
  readonly id: NodeId;
  readonly host: string;
  wire: SimulatedWire;
  process: SimulatedProcess;
  readonly events: WireEvent[];
}

let scheduler: Scheduler;
let network: SimulatedNetwork;
let conditions: NetworkConditions;
let peers: Peer[];

function start(peer: Peer): void {
  peer.process = new SimulatedProcess();
  peer.wire = network.wire(peer.id, peer.host, peer.process);
  peer.wire.listenNow((event) => peer.events.push(event));
}

beforeEach(() => {
  scheduler = new Scheduler();
  conditions = { ...calmNetwork };
  network = new SimulatedNetwork({ scheduler, rng: seededRng(9), conditions });
  peers = [1, 2, 3].map((number) => {
    const id = nodeIdFromPublicKey(new Uint8Array(32).fill(number));
    const peer = { id, host: `/ip4/10.0.0.${number}/tcp/4001`, events: [] } as unknown as Peer;
    start(peer);
    return peer;
  });
});

const pass = (ms: number) => scheduler.runUntil(scheduler.nowMs + ms);
const kinds = (peer: Peer) => peer.events.map((event) => event.kind);
const frames = (peer: Peer) =>
  peer.events.flatMap((event) => (event.kind === 'frame' ? [event.bytes[0] as number] : []));

function connected(from = 0, to = 1): [Peer, Peer] {
  const [one, other] = [peers[from] as Peer, peers[to] as Peer];
  one.wire.dial(other.wire.addresses()[0] as string);
  pass(10);
  one.wire.admit(other.id);
  other.wire.admit(one.id);
  for (const peer of [one, other]) peer.events.length = 0;
  return [one, other];
}

wireContract('simulated network', async () => {
  const end = (number: number): WireEnd => {
    const nodeId = nodeIdFromPublicKey(new Uint8Array(32).fill(100 + number));
    const wire = network.wire(nodeId, `/ip4/10.1.0.${number}/tcp/4001`, new SimulatedProcess());
    return { wire, nodeId };
  };
  return {
    left: end(1),
    right: end(2),
    deadAddress: '/ip4/10.9.9.9/tcp/4001',
    until: (condition) => until(scheduler, condition),
    dispose: async () => {},
  };
});

describe('simulated network: connections', () => {
  it('both ends of a dial are told, with the direction', () => {
    const [one, other] = [peers[0] as Peer, peers[1] as Peer];
    one.wire.dial(other.wire.addresses()[0] as string);
    expect(kinds(one), 'not within the call').toEqual([]);
    pass(10);
    expect(one.events).toMatchObject([{ kind: 'connected', peer: other.id, direction: 'out' }]);
    expect(other.events).toMatchObject([{ kind: 'connected', peer: one.id, direction: 'in' }]);
  });

  it('what the accepting side sends at once arrives after the connection, not before (n=50)', () => {
    const [one, other] = [peers[0] as Peer, peers[1] as Peer];
    for (let round = 0; round < 50; round++) {
      start(one);
      start(other);
      other.wire.listenNow((event) => {
        if (event.kind === 'connected') other.wire.send(one.id, 'hello', new Uint8Array([1]));
      });
      one.events.length = 0;
      one.wire.dial(other.wire.addresses()[0] as string);
      pass(20);
      expect(kinds(one)).toEqual(['connected', 'frame']);
    }
  });

  it('a dial to oneself, to nobody, to another id, to rubbish and over a cut fails', () => {
    const [one, other, third] = peers as [Peer, Peer, Peer];
    network.cut(one.id, third.id);
    const addresses = [
      one.wire.addresses()[0],
      '/ip4/10.9.9.9/tcp/1',
      `${other.host}/p2p/${third.id}`,
      'rubbish',
      third.wire.addresses()[0],
    ] as string[];
    for (const address of addresses) one.wire.dial(address);
    pass(100);
    expect(kinds(one)).toEqual(Array(4).fill('dialFailed'));
    pass(conditions.dialTimeoutMs);
    expect(kinds(one)).toEqual(Array(5).fill('dialFailed'));
  });

  it('before admission only the hello channel passes', () => {
    const [one, other] = [peers[0] as Peer, peers[1] as Peer];
    one.wire.dial(other.wire.addresses()[0] as string);
    pass(10);
    one.wire.send(other.id, 'hello', new Uint8Array([1]));
    one.wire.send(other.id, 'board', new Uint8Array([2]));
    pass(10);
    expect(frames(other)).toEqual([1]);
    other.wire.admit(one.id);
    one.wire.send(other.id, 'board', new Uint8Array([3]));
    pass(10);
    expect(frames(other)).toEqual([1, 3]);
  });

  it('admission ends with the last connection', () => {
    const [one, other] = connected();
    one.wire.disconnect(other.id, 'test');
    pass(10);
    expect([kinds(one), kinds(other)]).toEqual([['disconnected'], ['disconnected']]);
    one.wire.dial(other.wire.addresses()[0] as string);
    pass(10);
    one.wire.send(other.id, 'board', new Uint8Array([4]));
    pass(10);
    expect(frames(other)).toEqual([]);
  });

  it('a killed process is noticed after a trip; its successor starts unknown', () => {
    const [one, other] = connected();
    other.process.kill();
    other.wire.closeNow();
    pass(10);
    expect(kinds(one)).toEqual(['disconnected']);
    start(other);
    one.wire.send(other.id, 'board', new Uint8Array([1]));
    pass(10);
    expect(kinds(one)).toEqual(['disconnected', 'dropped']);
    expect(frames(other)).toEqual([]);
  });

  it('a machine that lost power is noticed when the connection is given up, or when it is back', () => {
    const [one, other] = connected();
    other.process.kill();
    other.wire.vanish();
    pass(conditions.breakAfterMs - 100);
    expect(kinds(one)).toEqual([]);
    pass(200);
    expect(kinds(one)).toEqual(['disconnected']);
    start(other);
    const [first, again] = connected();
    again.process.kill();
    again.wire.vanish();
    start(again);
    first.wire.send(again.id, 'board', new Uint8Array([1]));
    pass(10);
    expect(kinds(first)).toEqual(['disconnected']);
  });
});

describe('simulated network: frames', () => {
  it('in a calm network all frames of a channel arrive once and in order (n=500)', () => {
    const [one, other] = connected();
    for (let index = 0; index < 500; index++) one.wire.send(other.id, 'board', new Uint8Array([index & 255]));
    pass(100);
    expect(frames(other)).toEqual(Array.from({ length: 500 }, (_, index) => index & 255));
  });

  it('loss, duplication and reordering happen about as often as asked (n=4000)', () => {
    const [one, other] = connected();
    Object.assign(conditions, { loss: 0.3, duplication: 0.2, reordering: 0.1, maxDelayMs: 20 });
    for (let index = 0; index < 4_000; index++) {
      one.wire.send(other.id, 'board', new Uint8Array([index & 255, index >> 8]));
      pass(1);
    }
    pass(1_000);
    const numbers = other.events.flatMap((event) =>
      event.kind === 'frame' ? [(event.bytes[0] as number) + 256 * (event.bytes[1] as number)] : [],
    );
    const lost = 4_000 - new Set(numbers).size;
    expect(lost / 4_000).toBeGreaterThan(0.25);
    expect(lost / 4_000).toBeLessThan(0.35);
    expect((numbers.length - new Set(numbers).size) / 2_800).toBeGreaterThan(0.15);
    expect(
      numbers.filter((number, at) => at > 0 && number < (numbers[at - 1] as number)).length,
    ).toBeGreaterThan(100);
  });

  it('a one-way cut stops one way only, and a lasting one breaks the connection for both', () => {
    const [one, other] = connected();
    network.cut(one.id, other.id);
    one.wire.send(other.id, 'board', new Uint8Array([1]));
    other.wire.send(one.id, 'board', new Uint8Array([2]));
    pass(100);
    expect([frames(one), frames(other)]).toEqual([[2], []]);
    pass(2 * conditions.breakAfterMs);
    expect(kinds(one)).toContain('disconnected');
    expect(kinds(other)).toContain('disconnected');
  });

  it('a cut that heals in time breaks nothing', () => {
    const [one, other] = connected();
    network.partition([[one.id], [other.id]]);
    pass(conditions.breakAfterMs / 3);
    network.mendAll();
    pass(3 * conditions.breakAfterMs);
    one.wire.send(other.id, 'board', new Uint8Array([7]));
    pass(10);
    expect(frames(other)).toEqual([7]);
    expect(kinds(one)).toEqual([]);
  });

  it('a queue is bounded: what does not fit is dropped and told, a paused receiver included', () => {
    const [one, other] = connected();
    other.process.pause();
    const frame = new Uint8Array(limits.frameBytes);
    for (let index = 0; index < 20; index++) one.wire.send(other.id, 'board', frame);
    pass(1_000);
    const dropped = kinds(one).filter((kind) => kind === 'dropped').length;
    expect(dropped).toBe(20 - limits.peerQueueBytes / limits.frameBytes);
    other.process.resume();
    expect(frames(other).length).toBe(20 - dropped);
    one.wire.send(other.id, 'board', new Uint8Array(limits.frameBytes + 1));
    pass(10);
    expect(kinds(one).filter((kind) => kind === 'dropped').length).toBe(dropped + 1);
  });

  it('a sender that changes its bytes afterwards changes nothing on the way', () => {
    const [one, other] = connected();
    const bytes = new Uint8Array([1]);
    one.wire.send(other.id, 'board', bytes);
    bytes[0] = 9;
    pass(10);
    expect(frames(other)).toEqual([1]);
  });

  it('an adversary can put a frame on a connection that stands, and on no other', () => {
    const [one, other] = connected();
    const forged = { from: one.id, to: other.id, channel: 'mesh' as const, bytes: new Uint8Array([5]) };
    expect(network.inject(forged)).toBe(true);
    expect(network.inject({ ...forged, to: (peers[2] as Peer).id })).toBe(false);
    pass(10);
    expect(frames(other)).toEqual([5]);
  });
});
