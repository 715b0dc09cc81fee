/**
 * A network of wires that promises as little as the `Wire` port does: frames are lost, doubled, delayed and reordered,
 * directions are cut one by one, connections break.
 *
 * A connection stands between two runs of nodes. Killing one end is noticed by the other after a trip, as an
 * operating system's reset is; while a direction is cut nothing is noticed, until the connection is given up.
 */
import type { Channel } from '../kernel/effects.ts';
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Rng } from '../kernel/rng.ts';
import type { SimulatedProcess } from './process.ts';
import type { Scheduler } from './scheduler.ts';
import { SimulatedWire, type WireEnd } from './wire.ts';

/** Probabilities are 0 to 1. */
export interface NetworkConditions {
  loss: number;
  duplication: number;
  /** Chance that a frame takes up to ten times as long, and is overtaken. */
  reordering: number;
  minDelayMs: number;
  maxDelayMs: number;
  /** Of each direction of a connection. */
  bytesPerMs: number;
  /** A direction that was cut for this long breaks the connections over it. */
  breakAfterMs: number;
  dialTimeoutMs: number;
}

export const calmNetwork: NetworkConditions = {
  loss: 0,
  duplication: 0,
  reordering: 0,
  minDelayMs: 0.2,
  maxDelayMs: 1,
  bytesPerMs: 100_000,
  breakAfterMs: 15_000,
  dialTimeoutMs: 5_000,
};

interface NetworkOptions {
  readonly scheduler: Scheduler;
  readonly rng: Rng;
  /** Read at every use; change it at will. */
  readonly conditions: NetworkConditions;
  /** What a dial to a node's own address fails with. */
  readonly selfDialReason?: string;
}

/** One direction of a connection. */
interface Direction {
  /** When the line is free again: frames queue behind each other for their bytes. */
  freeAtMs: number;
  /** When the last frame of each channel arrives: later ones do not overtake it, unless reordered. */
  readonly lastArrival: Map<Channel, number>;
  queuedFrames: number;
  queuedBytes: number;
}

export interface Connection {
  readonly ends: readonly [WireEnd, WireEnd];
  readonly directions: readonly [Direction, Direction];
  open: [boolean, boolean];
}

/** The frame that a test or an adversary puts on a connection, as if `from` had sent it. */
export interface Forged {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly channel: Channel;
  readonly bytes: Uint8Array;
}

export class SimulatedNetwork {
  readonly #options: NetworkOptions;
  /** The listening wire at each host address. */
  readonly #listening = new Map<string, SimulatedWire>();
  readonly #connections = new Set<Connection>();
  readonly #cuts = new Map<string, number>();
  #frames = 0;
  #bytes = 0;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  get conditions(): NetworkConditions {
    return this.#options.conditions;
  }

  /** Frames handed to wires so far, and their bytes. */
  get traffic(): { readonly frames: number; readonly bytes: number } {
    return { frames: this.#frames, bytes: this.#bytes };
  }

  /** A wire for one run of a node; `host` is its address without the peer id, `/ip4/10.0.0.1/tcp/4001`. */
  wire(self: NodeId, host: string, process: SimulatedProcess): SimulatedWire {
    return new SimulatedWire({
      self,
      host,
      process,
      network: this,
      selfDialReason: this.#options.selfDialReason ?? 'the address is this node itself',
    });
  }

  /** From now on nothing of `from` reaches `to`. */
  cut(from: NodeId, to: NodeId): void {
    if (this.isCut(from, to)) return;
    const sinceMs = this.#options.scheduler.nowMs;
    this.#cuts.set(`${from}>${to}`, sinceMs);
    const { breakAfterMs } = this.conditions;
    this.#after(breakAfterMs * (0.5 + this.#options.rng.float()), () => {
      if (this.#cuts.get(`${from}>${to}`) === sinceMs) this.#breakBetween(from, to);
    });
  }

  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  mend(from: NodeId, to: NodeId): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  /** Cuts both directions between nodes of different groups. */
  partition(groups: readonly (readonly NodeId[])[]): void {
    for (const [index, group] of groups.entries())
      for (const other of groups.flatMap((members, at) => (at === index ? [] : members)))
        for (const member of group) this.cut(member, other);
  }

  mendAll(): void {
    this.#cuts.clear();
  }

  /** Breaks the connections between two nodes; both ends are told after a trip. */
  breakConnections(one: NodeId, other: NodeId): void {
    this.#breakBetween(one, other);
  }

  /** Puts a frame on an open connection between the two; false where there is none. */
  inject(forged: Forged): boolean {
    const connection = this.between(forged.from, forged.to);
    if (connection === undefined) return false;
    const side = connection.ends[0].self === forged.from ? 0 : 1;
    this.#carry(connection, side, forged.channel, forged.bytes);
    return true;
  }

  between(one: NodeId, other: NodeId): Connection | undefined {
    for (const connection of this.#connections) {
      const [left, right] = connection.ends;
      if (left.self === one && right.self === other && connection.open[0]) return connection;
      if (left.self === other && right.self === one && connection.open[1]) return connection;
    }
    return undefined;
  }

  // What wires ask of the network.

  listen(wire: SimulatedWire, host: string): void {
    this.#listening.set(host, wire);
  }

  /** Takes a dial as far as it gets; the outcome is told to both wires. */
  dial(from: SimulatedWire, address: string, host: string, wanted: NodeId | undefined): void {
    const fail = (reason: string) => this.#after(this.#delay(), () => from.onDialFailed(address, reason));
    const target = this.#listening.get(host);
    const timeout = () =>
      this.#after(this.conditions.dialTimeoutMs, () => from.onDialFailed(address, 'timed out'));
    if (target !== undefined && (this.isCut(from.self, target.self) || this.isCut(target.self, from.self))) {
      timeout();
      return;
    }
    if (target === undefined || !target.isListening) fail('connection refused');
    else if (wanted !== undefined && wanted !== target.self) fail('the peer there has another id');
    else
      this.#after(this.#delay(), () => {
        if (this.isCut(from.self, target.self) || this.isCut(target.self, from.self)) timeout();
        else if (!target.isListening || !from.isListening) fail('connection reset');
        else this.#connect(from, target, address);
      });
  }

  /** Sends over the newest open connection; false where there is none. */
  send(from: SimulatedWire, connection: Connection, channel: Channel, bytes: Uint8Array): void {
    const side = connection.ends[0] === from.end ? 0 : 1;
    const direction = connection.directions[side];
    if (
      bytes.length > limits.frameBytes ||
      direction.queuedFrames >= limits.peerQueueFrames ||
      direction.queuedBytes + bytes.length > limits.peerQueueBytes
    ) {
      const to = connection.ends[side === 0 ? 1 : 0].self;
      this.#after(0, () => from.onDropped(to, channel, 1));
      return;
    }
    this.#carry(connection, side, channel, bytes);
  }

  /** This end is closed on purpose, or its process died: the other end learns of it after a trip, if the way is free. */
  closeEnd(wire: SimulatedWire, connection: Connection, reason: string): void {
    const side = connection.ends[0] === wire.end ? 0 : 1;
    const other = connection.ends[side === 0 ? 1 : 0];
    connection.open[side] = false;
    if (!connection.open[0] && !connection.open[1]) this.#connections.delete(connection);
    this.#tellClosed(connection, wire.self, other, reason);
  }

  /** The machine lost power: the other end learns of it when the connection is given up, or the machine is back. */
  loseEnd(wire: SimulatedWire, connection: Connection): void {
    const side = connection.ends[0] === wire.end ? 0 : 1;
    const other = connection.ends[side === 0 ? 1 : 0];
    connection.open[side] = false;
    this.#after(this.conditions.breakAfterMs, () => this.#closed(connection, other, 'timed out'));
  }

  soon(callback: () => void): void {
    this.#after(0, callback);
  }

  unlisten(wire: SimulatedWire, host: string): void {
    if (this.#listening.get(host) === wire) this.#listening.delete(host);
  }

  #connect(from: SimulatedWire, target: SimulatedWire, address: string): void {
    const connection: Connection = {
      ends: [from.end, target.end],
      directions: [newDirection(), newDirection()],
      open: [true, true],
    };
    this.#connections.add(connection);
    // The acceptance travels ahead of the first frame, which the target may send at once.
    const acceptedMs = this.#options.scheduler.nowMs + this.#delay();
    connection.directions[1].freeAtMs = acceptedMs;
    this.#options.scheduler.at(acceptedMs, () => from.onConnected(connection, target.self, address, 'out'));
    target.onConnected(connection, from.self, `${from.host}/p2p/${from.self}`, 'in');
  }

  #breakBetween(one: NodeId, other: NodeId): void {
    for (const connection of [...this.#connections]) {
      const [left, right] = connection.ends;
      const isBetween =
        (left.self === one && right.self === other) || (left.self === other && right.self === one);
      if (!isBetween) continue;
      for (const end of connection.ends)
        this.#after(this.#delay(), () => this.#closed(connection, end, 'broken'));
    }
  }

  /** The news of a closed end comes behind the frames that were sent before it. */
  #tellClosed(connection: Connection, from: NodeId, other: WireEnd, reason: string): void {
    const direction = connection.directions[connection.ends[0] === other ? 1 : 0];
    const lastArrivalMs = Math.max(0, ...direction.lastArrival.values());
    const atMs = Math.max(this.#options.scheduler.nowMs + this.#delay(), lastArrivalMs);
    this.#options.scheduler.at(atMs, () => {
      // While the way is cut the news waits; the cut itself will break the connection if it lasts.
      if (this.isCut(from, other.self))
        this.#after(1_000, () => this.#tellClosed(connection, from, other, reason));
      else this.#closed(connection, other, reason);
    });
  }

  #closed(connection: Connection, end: WireEnd, reason: string): void {
    const side = connection.ends[0] === end ? 0 : 1;
    if (!connection.open[side]) return;
    connection.open[side] = false;
    if (!connection.open[0] && !connection.open[1]) this.#connections.delete(connection);
    end.wire.onClosed(connection, connection.ends[side === 0 ? 1 : 0].self, reason);
  }

  #carry(connection: Connection, side: 0 | 1, channel: Channel, sent: Uint8Array): void {
    const { rng, scheduler } = this.#options;
    const { loss, duplication, bytesPerMs } = this.conditions;
    const direction = connection.directions[side];
    const bytes = sent.slice();
    this.#frames += 1;
    this.#bytes += bytes.length;
    direction.freeAtMs = Math.max(direction.freeAtMs, scheduler.nowMs) + bytes.length / bytesPerMs;
    const copies = rng.chance(loss) ? 0 : rng.chance(duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const atMs = this.#arrival(direction, channel);
      direction.queuedFrames += 1;
      direction.queuedBytes += bytes.length;
      scheduler.at(atMs, () => this.#arrive(connection, side, channel, bytes));
    }
  }

  #arrival(direction: Direction, channel: Channel): number {
    const { rng } = this.#options;
    const { reordering, maxDelayMs } = this.conditions;
    const earliestMs = direction.freeAtMs + this.#delay();
    if (rng.chance(reordering)) return earliestMs + 10 * maxDelayMs * rng.float();
    const atMs = Math.max(earliestMs, direction.lastArrival.get(channel) ?? 0);
    direction.lastArrival.set(channel, atMs);
    return atMs;
  }

  #arrive(connection: Connection, side: 0 | 1, channel: Channel, bytes: Uint8Array): void {
    const direction = connection.directions[side];
    const sender = connection.ends[side];
    const receiver = connection.ends[side === 0 ? 1 : 0];
    const leave = () => {
      direction.queuedFrames -= 1;
      direction.queuedBytes -= bytes.length;
    };
    if (this.isCut(sender.self, receiver.self)) leave();
    else if (!connection.open[side === 0 ? 1 : 0]) {
      leave();
      // The machine is there and knows nothing of this connection: it says so, as TCP's reset does.
      if (this.#listening.get(receiver.wire.host)?.isListening === true)
        this.#tellClosed(connection, receiver.self, sender, 'connection reset');
    } else receiver.wire.onFrame(sender.self, channel, bytes, leave);
  }

  #delay(): number {
    const { minDelayMs, maxDelayMs } = this.conditions;
    return minDelayMs + this.#options.rng.float() * (maxDelayMs - minDelayMs);
  }

  #after(delayMs: number, callback: () => void): void {
    this.#options.scheduler.after(delayMs, callback);
  }
}

function newDirection(): Direction {
  return { freeAtMs: 0, lastArrival: new Map(), queuedFrames: 0, queuedBytes: 0 };
}
