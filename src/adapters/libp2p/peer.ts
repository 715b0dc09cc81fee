import { CHANNELS, type Channel } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import { Lane, Quota } from './lane.ts';
import type { Connection } from './stack.ts';

/** One connection to a peer. */
export interface Link {
  readonly peer: Peer;
  readonly connection: Connection;
  readonly hello: Lane;
  /** As the caller knows it: the very text that was dialled. */
  readonly address: string;
  readonly direction: 'in' | 'out';
  readonly openedMs: number;
  /** Counts connections of this node, so that a dial can tell a new one from an old one. */
  readonly opening: number;
  /** The other side has admitted this node: its other channels may be opened on this connection. */
  ready: boolean;
  /** This node has said on this connection that it admitted the other side. */
  announced: boolean;
}

/** Channels whose streams are opened at once, since the first frame on them should not wait for a round trip. */
const EAGER: ReadonlySet<Channel> = new Set(['mesh', 'records', 'board']);

/**
 * What the wire knows of one peer: its connections, whether it is admitted, and a lane for each channel.
 *
 * The lanes use the newest connection on which the other side has admitted this node; before that they only queue.
 */
export class Peer {
  readonly id: NodeId;
  /** Newest last. */
  readonly links: Link[] = [];
  admitted = false;
  /** Set once the connection is being given up: nothing is heard from it any more. */
  closing: string | undefined;
  readonly #lanes = new Map<Channel, Lane>();
  readonly #onLost: (channel: Channel, frames: number) => void;
  readonly #bulk = new Quota(limits.peerQueueBytes, limits.peerQueueFrames);
  readonly #control = new Quota(limits.controlQueueBytes, limits.controlQueueFrames);

  constructor(id: NodeId, onLost: (channel: Channel, frames: number) => void) {
    this.id = id;
    this.#onLost = onLost;
  }

  addLink(link: Omit<Link, 'peer' | 'hello' | 'ready' | 'announced' | 'openedMs'>, nowMs: number): Link {
    const hello = new Lane(
      'hello',
      new Quota(limits.controlQueueBytes, limits.controlQueueFrames),
      this.#onLost,
    );
    hello.attach(link.connection, true);
    const added: Link = { ...link, peer: this, hello, openedMs: nowMs, ready: false, announced: false };
    this.links.push(added);
    if (this.admitted) this.#announce(added);
    return added;
  }

  removeLink(link: Link): void {
    const at = this.links.indexOf(link);
    if (at >= 0) this.links.splice(at, 1);
    link.hello.detach();
    link.hello.drop();
    for (const lane of this.#lanes.values()) if (lane.connection === link.connection) lane.detach();
    this.#route();
  }

  send(channel: Channel, frame: Uint8Array): void {
    if (channel === 'hello') this.links.at(-1)?.hello.send(frame);
    else if (this.admitted) this.#laneOf(channel).send(frame);
    else this.#onLost(channel, 1);
  }

  admit(): void {
    this.admitted = true;
    for (const link of this.links) this.#announce(link);
    this.#route();
  }

  /** The other side has admitted this node. */
  markReady(link: Link): void {
    link.ready = true;
    this.#route();
  }

  /** Everything queued is lost. */
  drop(): void {
    for (const lane of this.#lanes.values()) {
      lane.detach();
      lane.drop();
    }
  }

  #announce(link: Link): void {
    if (link.announced) return;
    link.announced = true;
    link.hello.announce();
  }

  #route(): void {
    if (!this.admitted || this.closing !== undefined) return;
    const link = this.links.findLast(
      (candidate) => candidate.ready && candidate.connection.status === 'open',
    );
    if (link === undefined) return;
    for (const channel of CHANNELS) {
      if (channel === 'hello') continue;
      const eager = EAGER.has(channel);
      if (eager || this.#lanes.has(channel)) this.#laneOf(channel).attach(link.connection, eager);
    }
  }

  #laneOf(channel: Channel): Lane {
    let lane = this.#lanes.get(channel);
    if (lane === undefined) {
      lane = new Lane(channel, channel === 'mesh' ? this.#control : this.#bulk, this.#onLost);
      this.#lanes.set(channel, lane);
      const link = this.links.findLast((candidate) => candidate.ready);
      if (link !== undefined) lane.attach(link.connection, false);
    }
    return lane;
  }
}
