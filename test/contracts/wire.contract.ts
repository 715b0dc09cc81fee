/** What every `Wire` must do on a calm network: run on libp2p and on the simulated one, so that the simulator cannot lie. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CHANNELS, type Channel } from '../../src/kernel/effects.ts';
import type { NodeId } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Wire, WireEvent } from '../../src/kernel/ports.ts';

export interface WireEnd {
  /** Not listening yet. */
  readonly wire: Wire;
  readonly nodeId: NodeId;
}

export interface WirePair {
  readonly left: WireEnd;
  readonly right: WireEnd;
  /** Where nobody listens, and where a dial fails at once. */
  readonly deadAddress: string;
  /** Lets time pass until the condition holds; fails, naming `what`, where it does not within a few seconds. */
  until(condition: () => boolean, what: string): Promise<void>;
  /** Closes both wires, if they are not, and whatever the pair holds. */
  dispose(): Promise<void>;
}

type EventOf<Kind extends WireEvent['kind']> = Extract<WireEvent, { kind: Kind }>;

/** One wire and all that it told. */
class Witness {
  readonly wire: Wire;
  readonly nodeId: NodeId;
  readonly events: WireEvent[] = [];

  constructor(end: WireEnd) {
    this.wire = end.wire;
    this.nodeId = end.nodeId;
  }

  listen(): Promise<void> {
    return this.wire.listen((event) => this.events.push(event));
  }

  of<Kind extends WireEvent['kind']>(kind: Kind): EventOf<Kind>[] {
    return this.events.filter((event): event is EventOf<Kind> => event.kind === kind);
  }

  frames(channel: Channel): Uint8Array[] {
    return this.of('frame')
      .filter((event) => event.channel === channel)
      .map((event) => event.bytes);
  }

  lost(channel: Channel): number {
    return this.of('dropped')
      .filter((event) => event.channel === channel)
      .reduce((sum, event) => sum + event.frames, 0);
  }

  get address(): string {
    const [best] = this.wire.addresses();
    if (best === undefined) throw new Error('no address');
    return best;
  }
}

const frame = (...bytes: number[]) => Uint8Array.from(bytes);

function filled(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + seed) & 0xff;
  return bytes;
}

export function wireContract(name: string, makePair: () => Promise<WirePair>): void {
  describe(`wire contract: ${name}`, () => {
    let pair: WirePair;
    let left: Witness;
    let right: Witness;

    beforeEach(async () => {
      pair = await makePair();
      left = new Witness(pair.left);
      right = new Witness(pair.right);
      await left.listen();
      await right.listen();
    });

    afterEach(() => pair.dispose());

    async function connect(): Promise<void> {
      left.wire.dial(right.address);
      await pair.until(
        () => left.of('connected').length > 0 && right.of('connected').length > 0,
        'both report the connection',
      );
    }

    async function admitted(): Promise<void> {
      await connect();
      left.wire.admit(right.nodeId);
      right.wire.admit(left.nodeId);
    }

    it('tells its addresses with its id once it listens', () => {
      expect(left.wire.addresses().length).toBeGreaterThan(0);
      for (const address of left.wire.addresses()) expect(address).toMatch(`/p2p/${left.nodeId}`);
    });

    it('a dial connects both sides: the dialler under the address as dialled, outgoing, the other incoming', async () => {
      const address = right.address;
      left.wire.dial(address);
      expect(left.events, 'nothing is told within the call').toEqual([]);
      await pair.until(
        () => right.of('connected').length > 0 && left.of('connected').length > 0,
        'connected',
      );
      expect(left.of('connected')).toEqual([
        { kind: 'connected', peer: right.nodeId, address, direction: 'out' },
      ]);
      expect(right.of('connected')).toMatchObject([{ peer: left.nodeId, direction: 'in' }]);
    });

    it('a dial to nobody, or to no address at all, fails and says which', async () => {
      left.wire.dial(pair.deadAddress);
      left.wire.dial('no address');
      expect(left.events).toEqual([]);
      await pair.until(() => left.of('dialFailed').length === 2, 'both dials fail');
      expect(
        left
          .of('dialFailed')
          .map((event) => event.address)
          .sort(),
      ).toEqual([pair.deadAddress, 'no address'].sort());
    });

    it('a dial that names one node and reaches another fails (S55)', async () => {
      const [host] = right.address.split('/p2p/');
      const address = `${host}/p2p/12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7`;
      left.wire.dial(address);
      await pair.until(() => left.of('dialFailed').length === 1, 'the dial fails');
      expect(left.of('dialFailed')).toMatchObject([{ address }]);
      expect(left.of('connected')).toEqual([]);
    });

    it('before admission hello passes and nothing else does (S57)', async () => {
      await connect();
      for (const channel of CHANNELS) left.wire.send(right.nodeId, channel, frame(1));
      right.wire.send(left.nodeId, 'hello', frame(2));
      await pair.until(() => right.frames('hello').length > 0 && left.frames('hello').length > 0, 'hellos');
      expect(right.of('frame')).toMatchObject([{ channel: 'hello', from: left.nodeId, bytes: frame(1) }]);
      expect(left.of('frame')).toMatchObject([{ channel: 'hello', bytes: frame(2) }]);
    });

    it('admission by one side alone lets nothing into the other', async () => {
      await connect();
      left.wire.admit(right.nodeId);
      left.wire.send(right.nodeId, 'board', frame(1));
      left.wire.send(right.nodeId, 'hello', frame(2));
      await pair.until(() => right.frames('hello').length === 1, 'the hello behind it');
      expect(right.frames('board')).toEqual([]);
    });

    it('after admission frames of every channel and size pass unchanged, both ways', async () => {
      await admitted();
      const sizes = [1, 127, 128, 16_383, 16_384, 70_000];
      const ends = [
        [left, right],
        [right, left],
      ] as const;
      for (const [from, to] of ends) {
        for (const channel of CHANNELS) {
          if (channel === 'hello') continue;
          for (const size of sizes) from.wire.send(to.nodeId, channel, filled(size, size));
          await pair.until(() => to.frames(channel).length === sizes.length, `all frames on ${channel}`);
          const bySize = to.frames(channel).sort((one, other) => one.length - other.length);
          for (const bytes of bySize)
            expect(Buffer.compare(bytes, filled(bytes.length, bytes.length))).toBe(0);
        }
      }
    });

    it('the largest frame passes; a larger one is dropped and said to be', async () => {
      await admitted();
      left.wire.send(right.nodeId, 'records', filled(limits.frameBytes, 3));
      await pair.until(() => right.frames('records').length === 1, 'the largest frame');
      expect(Buffer.compare(right.frames('records')[0]!, filled(limits.frameBytes, 3))).toBe(0);
      left.wire.send(right.nodeId, 'records', new Uint8Array(limits.frameBytes + 1));
      await pair.until(() => left.lost('records') === 1, 'the loss is told');
      left.wire.send(right.nodeId, 'records', frame(9));
      await pair.until(() => right.frames('records').length === 2, 'the wire goes on');
    });

    it('a queue has an end: of 64 MiB sent at once every frame arrives or is told lost (S52)', async () => {
      await admitted();
      const count = 64;
      const bytes = filled(limits.frameBytes, 1);
      for (let sent = 0; sent < count; sent++) left.wire.send(right.nodeId, 'board', bytes);
      await pair.until(
        () => right.frames('board').length + left.lost('board') === count,
        'all are accounted for',
      );
      expect(left.lost('board')).toBeGreaterThan(0);
      expect(right.frames('board').length).toBeGreaterThan(0);
      left.wire.send(right.nodeId, 'mesh', frame(1));
      await pair.until(() => right.frames('mesh').length === 1, 'the wire goes on');
    });

    it('frames to a stranger are told lost', async () => {
      left.wire.send(right.nodeId, 'mesh', frame(1));
      left.wire.send(right.nodeId, 'hello', frame(1));
      await pair.until(() => left.lost('mesh') === 1 && left.lost('hello') === 1, 'both are told');
    });

    it('dialling a connected peer again, by both at once too, is answered and breaks nothing', async () => {
      await admitted();
      left.wire.dial(right.address);
      right.wire.dial(left.address);
      await pair.until(
        () => left.of('connected').length >= 2 && right.of('connected').length >= 2,
        'both dials are answered',
      );
      left.wire.send(right.nodeId, 'mesh', frame(1));
      right.wire.send(left.nodeId, 'mesh', frame(2));
      await pair.until(() => right.frames('mesh').length === 1 && left.frames('mesh').length === 1, 'frames');
      expect([...left.of('disconnected'), ...right.of('disconnected')]).toEqual([]);
    });

    it('two that dial each other at the same moment end up connected', async () => {
      left.wire.dial(right.address);
      right.wire.dial(left.address);
      await pair.until(
        () => left.of('connected').length > 0 && right.of('connected').length > 0,
        'connected',
      );
      left.wire.admit(right.nodeId);
      right.wire.admit(left.nodeId);
      left.wire.send(right.nodeId, 'mesh', frame(1));
      right.wire.send(left.nodeId, 'mesh', frame(2));
      await pair.until(() => right.frames('mesh').length === 1 && left.frames('mesh').length === 1, 'frames');
      expect([...left.of('disconnected'), ...right.of('disconnected')]).toEqual([]);
    });

    it('disconnecting is told once to both sides, with the last words on hello before it', async () => {
      await admitted();
      right.wire.send(left.nodeId, 'hello', frame(7));
      right.wire.disconnect(left.nodeId, 'because');
      right.wire.disconnect(left.nodeId, 'because, again');
      await pair.until(
        () => left.of('disconnected').length > 0 && right.of('disconnected').length > 0,
        'both are told',
      );
      expect(right.of('disconnected')).toEqual([
        { kind: 'disconnected', peer: left.nodeId, reason: 'because' },
      ]);
      expect(left.of('disconnected')).toHaveLength(1);
      const kinds = left.events.map((event) => event.kind);
      expect(left.frames('hello')).toEqual([frame(7)]);
      expect(kinds.indexOf('frame')).toBeLessThan(kinds.indexOf('disconnected'));
    });

    it('admission ends with the connection', async () => {
      await admitted();
      left.wire.disconnect(right.nodeId, 'for now');
      await pair.until(
        () => left.of('disconnected').length === 1 && right.of('disconnected').length === 1,
        'disconnected',
      );
      right.wire.dial(left.address);
      await pair.until(
        () => left.of('connected').length === 2 && right.of('connected').length === 2,
        'connected again',
      );
      right.wire.send(left.nodeId, 'mesh', frame(1));
      right.wire.send(left.nodeId, 'hello', frame(2));
      await pair.until(() => left.frames('hello').length === 1, 'the hello behind it');
      expect(left.frames('mesh')).toEqual([]);
    });

    it('closing tells the other side, and nothing more comes from a closed wire', async () => {
      await admitted();
      await right.wire.close();
      await right.wire.close();
      const told = right.events.length;
      await pair.until(() => left.of('disconnected').length === 1, 'the other side is told');
      right.wire.send(left.nodeId, 'mesh', frame(1));
      right.wire.dial(left.address);
      left.wire.dial(pair.deadAddress);
      await pair.until(() => left.of('dialFailed').length === 1, 'time passes');
      expect(right.events.length).toBe(told);
      expect(left.frames('mesh')).toEqual([]);
    });
  });
}
