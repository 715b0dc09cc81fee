import type { Channel } from '../kernel/effects.ts';
import { type NodeId, parseNodeId } from '../kernel/ids.ts';
import type { Wire, WireEvent } from '../kernel/ports.ts';
import type { Connection, SimulatedNetwork } from './network.ts';
import type { SimulatedProcess } from './process.ts';

/** What a connection holds of a wire. */
export interface WireEnd {
  readonly self: NodeId;
  readonly wire: SimulatedWire;
}

interface SimulatedWireOptions {
  readonly self: NodeId;
  readonly host: string;
  readonly process: SimulatedProcess;
  readonly network: SimulatedNetwork;
  readonly selfDialReason: string;
}

const ADDRESS = /^(\/ip4\/[\d.]+\/tcp\/\d+)(?:\/ws)?(?:\/p2p\/(\w+))?$/;

/** One run's door to the network; everything it tells passes through the run's process. */
export class SimulatedWire implements Wire {
  readonly end: WireEnd;
  readonly #options: SimulatedWireOptions;
  /** Open connections of each peer, oldest first. */
  readonly #connections = new Map<NodeId, Connection[]>();
  readonly #admitted = new Set<NodeId>();
  #sink: ((event: WireEvent) => void) | undefined;
  #state: 'new' | 'listening' | 'closed' = 'new';

  constructor(options: SimulatedWireOptions) {
    this.#options = options;
    this.end = { self: options.self, wire: this };
  }

  get self(): NodeId {
    return this.#options.self;
  }

  get host(): string {
    return this.#options.host;
  }

  get isListening(): boolean {
    return this.#state === 'listening' && this.#options.process.state !== 'dead';
  }

  listen(sink: (event: WireEvent) => void): Promise<void> {
    this.listenNow(sink);
    return Promise.resolve();
  }

  /** As `listen`, within the call: virtual time does not pass. */
  listenNow(sink: (event: WireEvent) => void): void {
    this.#sink = sink;
    this.#state = 'listening';
    this.#options.network.listen(this, this.host);
  }

  addresses(): readonly string[] {
    return this.#state === 'listening' ? [`${this.host}/p2p/${this.self}`] : [];
  }

  dial(address: string): void {
    if (!this.isListening) return;
    const { network, selfDialReason } = this.#options;
    const [, host, id] = ADDRESS.exec(address) ?? [];
    const wanted = id === undefined ? undefined : parseNodeId(id);
    if (host === undefined || (id !== undefined && wanted === undefined))
      this.#tell({ kind: 'dialFailed', address, reason: 'not an address that this wire can dial' });
    else if (host === this.host || wanted === this.self)
      this.#tell({ kind: 'dialFailed', address, reason: selfDialReason });
    else if (wanted !== undefined && this.#connections.has(wanted))
      this.#tell({ kind: 'connected', peer: wanted, address, direction: 'out' });
    else network.dial(this, address, host, wanted);
  }

  send(to: NodeId, channel: Channel, bytes: Uint8Array): void {
    if (!this.isListening) return;
    const connection = this.#connections.get(to)?.at(-1);
    if (connection === undefined) this.#tell({ kind: 'dropped', peer: to, channel, frames: 1 });
    else this.#options.network.send(this, connection, channel, bytes);
  }

  admit(peer: NodeId): void {
    if (this.#connections.has(peer)) this.#admitted.add(peer);
  }

  disconnect(peer: NodeId, reason: string): void {
    const connections = this.#connections.get(peer);
    if (connections === undefined) return;
    for (const connection of connections)
      this.#options.network.closeEnd(this, connection, 'closed by the peer');
    this.#forget(peer, reason);
  }

  close(): Promise<void> {
    this.closeNow();
    return Promise.resolve();
  }

  /** Closes every connection; also what the operating system does for a process that died. */
  closeNow(): void {
    this.#end((connection) => this.#options.network.closeEnd(this, connection, 'closed by the peer'));
  }

  /** The machine lost power: nobody is told. */
  vanish(): void {
    this.#end((connection) => this.#options.network.loseEnd(this, connection));
  }

  #end(each: (connection: Connection) => void): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#options.network.unlisten(this, this.host);
    for (const connections of this.#connections.values()) connections.forEach(each);
    this.#connections.clear();
    this.#admitted.clear();
  }

  // What the network tells.

  onConnected(connection: Connection, peer: NodeId, address: string, direction: 'in' | 'out'): void {
    const side = connection.ends[0] === this.end ? 0 : 1;
    if (!connection.open[side]) return;
    if (!this.isListening) {
      this.#options.network.closeEnd(this, connection, 'closed by the peer');
      return;
    }
    const held = this.#connections.get(peer);
    if (held === undefined) this.#connections.set(peer, [connection]);
    else held.push(connection);
    this.#deliver({ kind: 'connected', peer, address, direction });
  }

  onClosed(connection: Connection, peer: NodeId, reason: string): void {
    const left = (this.#connections.get(peer) ?? []).filter((other) => other !== connection);
    if (left.length > 0) this.#connections.set(peer, left);
    else if (this.#connections.has(peer)) this.#forget(peer, reason);
  }

  onDialFailed(address: string, reason: string): void {
    this.#deliver({ kind: 'dialFailed', address, reason });
  }

  onDropped(peer: NodeId, channel: Channel, frames: number): void {
    this.#deliver({ kind: 'dropped', peer, channel, frames });
  }

  /** Calls `leave` once the frame has left the queue, which for a paused process is late. */
  onFrame(from: NodeId, channel: Channel, bytes: Uint8Array, leave: () => void): void {
    const { process } = this.#options;
    if (process.state === 'dead') {
      leave();
      return;
    }
    process.enter(() => {
      leave();
      const passes = channel === 'hello' ? this.#connections.has(from) : this.#admitted.has(from);
      if (passes && this.#state === 'listening') this.#sink?.({ kind: 'frame', from, channel, bytes });
    });
  }

  #forget(peer: NodeId, reason: string): void {
    this.#connections.delete(peer);
    this.#admitted.delete(peer);
    this.#deliver({ kind: 'disconnected', peer, reason });
  }

  /** An answer to a call must not come within the call. */
  #tell(event: WireEvent): void {
    this.#options.network.soon(() => this.#deliver(event));
  }

  #deliver(event: WireEvent): void {
    this.#options.process.enter(() => {
      if (this.#state === 'listening') this.#sink?.(event);
    });
  }
}
