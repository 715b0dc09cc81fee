/**
 * The wire between nodes over libp2p 3: TCP and WebSocket, Noise, Yamux.
 *
 * Each channel has one long-lived stream in each direction, opened by the sender. On a fresh connection only `hello`
 * is served. When a node admits its peer it says so by an empty frame on `hello`, and the peer opens its other
 * streams on that sign: so no honest stream is ever refused for having come a moment too early.
 */
import { peerIdFromString } from '@libp2p/peer-id';
import { multiaddr } from '@multiformats/multiaddr';
import { CHANNELS, type Channel } from '../../kernel/effects.ts';
import { type NodeId, parseNodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Wire, WireEvent } from '../../kernel/ports.ts';
import { DIAL_SELF, DIAL_TWIN } from '../../mesh/links/links.ts';
import { bestFirst } from './addresses.ts';
import { FrameReader } from './frames.ts';
import { protocolOf } from './lane.ts';
import { updateWindowLazily } from './muxer-guard.ts';
import { type Link, Peer } from './peer.ts';
import { drain } from './shortcuts.ts';
import {
  type Connection,
  createStack,
  onceClosed,
  type Stack,
  type StackConfig,
  type Stream,
  startStack,
} from './stack.ts';

type Libp2pWireConfig = StackConfig;

/** How long a closing connection may take: for its last words to leave, for the other side to hang up, to close. */
const LAST_WORDS_MS = 500;
const HANG_UP_MS = 250;
const CLOSE_MS = 500;
const STOP_MS = 3_000;
/** Two sides that dial each other at once get two connections; one of them is given up after this. */
const SETTLE_MS = 2_000;
/** Connections further apart in age than this were not made by dialling each other at once. */
const SIMULTANEOUS_MS = 5_000;
const CONNECTIONS_PER_PEER = 4;
const STREAMS_PER_CHANNEL = 4;

export function libp2pWire(config: Libp2pWireConfig): Wire {
  return new Libp2pWire(config);
}

class Libp2pWire implements Wire {
  readonly #config: Libp2pWireConfig;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #links = new Map<string, Link>();
  /** Texts that are being dialled, by what libp2p makes of them. */
  readonly #dialling = new Map<string, string>();
  readonly #lost = new Map<NodeId, Map<Channel, number>>();
  #lostAsked = false;
  #stack: Stack | undefined;
  #sink: (event: WireEvent) => void = () => undefined;
  #openings = 0;
  #closed = false;

  constructor(config: Libp2pWireConfig) {
    this.#config = config;
  }

  async listen(sink: (event: WireEvent) => void): Promise<void> {
    this.#sink = sink;
    const stack = await createStack(this.#config);
    stack.libp2p.addEventListener('connection:open', (event) => this.#onOpen(event.detail));
    await Promise.all(
      CHANNELS.map((channel) =>
        stack.libp2p.handle(
          protocolOf(channel),
          (stream, connection) => this.#onStream(channel, stream, connection),
          { maxInboundStreams: STREAMS_PER_CHANNEL },
        ),
      ),
    );
    await startStack(stack);
    this.#stack = stack;
  }

  addresses(): readonly string[] {
    if (this.#stack === undefined) return [];
    const id = this.#stack.libp2p.peerId.toString();
    return bestFirst(this.#stack.listenAddresses()).map((address) => `${address}/p2p/${id}`);
  }

  dial(address: string): void {
    const stack = this.#stack;
    if (stack === undefined || this.#closed) return;
    let target: ReturnType<typeof multiaddr>;
    try {
      target = multiaddr(address);
    } catch {
      this.#dialFailed(address, 'not a multiaddr');
      return;
    }
    const key = withoutPeer(target.toString());
    const openingsBefore = this.#openings;
    const startedMs = performance.now();
    this.#dialling.set(key, address);
    // Not before libp2p has forgotten a connection that is closing right now.
    Promise.resolve()
      .then(() => stack.libp2p.dial(target, { signal: AbortSignal.timeout(limits.dialMs) }))
      .then(
        (connection) => this.#onDialled(address, connection, openingsBefore),
        (cause) => {
          this.#forgetNamed(target.toString());
          this.#dialFailed(address, this.#dialProblem(cause, target.toString(), startedMs));
        },
      )
      .finally(() => {
        if (this.#dialling.get(key) === address) this.#dialling.delete(key);
      });
  }

  send(to: NodeId, channel: Channel, bytes: Uint8Array): void {
    const peer = this.#peers.get(to);
    const most = channel === 'hello' ? limits.helloBytes : limits.frameBytes;
    if (peer === undefined || peer.closing !== undefined || bytes.length === 0 || bytes.length > most) {
      this.#countLost(to, channel, 1);
    } else peer.send(channel, bytes);
  }

  admit(peer: NodeId): void {
    this.#peers.get(peer)?.admit();
  }

  disconnect(peer: NodeId, reason: string): void {
    const found = this.#peers.get(peer);
    if (found !== undefined) this.#close(found, reason);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const stack = this.#stack;
    if (stack === undefined) return;
    for (const peer of [...this.#peers.values()]) this.#close(peer, 'this node stops');
    const goodbye = [...this.#links.values()].map((link) => closed(link.connection));
    await within(
      STOP_MS,
      Promise.all(goodbye).then(() => stack.libp2p.stop()),
    );
    this.#stack = undefined;
  }

  #onOpen(connection: Connection): void {
    if (connection.status !== 'open') return;
    const id = parseNodeId(connection.remotePeer.toString());
    const direction = connection.direction === 'inbound' ? 'in' : 'out';
    const known = id === undefined ? undefined : this.#peers.get(id);
    if (id === undefined || this.#closed || !this.#hasRoomFor(known, direction)) {
      void hangUp(connection);
      return;
    }
    // What is being given up must be gone before its successor is announced.
    if (known?.closing !== undefined) {
      for (const link of [...known.links]) {
        link.connection.abort(new Error('replaced'));
        this.#onClosed(link, known.closing);
      }
    }
    const peer =
      this.#peers.get(id) ?? new Peer(id, (channel, frames) => this.#countLost(id, channel, frames));
    this.#peers.set(id, peer);
    const remote = connection.remoteAddr.toString();
    const address = direction === 'out' ? (this.#dialling.get(withoutPeer(remote)) ?? remote) : remote;
    const link = peer.addLink({ connection, address, direction, opening: ++this.#openings }, Date.now());
    this.#links.set(connection.id, link);
    const onClosed = (error: Error | undefined) =>
      this.#onClosed(link, peer.closing ?? error?.message ?? 'closed by the peer');
    if (!onceClosed(connection, onClosed))
      connection.addEventListener('close', ({ error }) => onClosed(error), { once: true });
    if (peer.links.length > 1) setTimeout(() => this.#settle(peer), SETTLE_MS).unref();
    this.#sink({ kind: 'connected', peer: id, address, direction });
  }

  #hasRoomFor(known: Peer | undefined, direction: 'in' | 'out'): boolean {
    if (known !== undefined) return known.links.length < CONNECTIONS_PER_PEER;
    if (direction === 'out') return true;
    let strangers = 0;
    for (const peer of this.#peers.values()) if (!peer.admitted) strangers++;
    return strangers < limits.strangers;
  }

  /**
   * Of several connections to one peer the newest stays. Where they were made at the same moment the two sides may
   * disagree which one that is, so only the one with the smaller id decides.
   */
  #settle(peer: Peer): void {
    const newest = peer.links.at(-1);
    if (newest === undefined || peer.closing !== undefined || this.#peers.get(peer.id) !== peer) return;
    const decides = (this.#stack?.libp2p.peerId.toString() ?? '') < peer.id;
    for (const link of peer.links.slice(0, -1)) {
      if (decides || newest.openedMs - link.openedMs > SIMULTANEOUS_MS) void hangUp(link.connection);
    }
  }

  #onClosed(link: Link, reason: string): void {
    if (!this.#links.delete(link.connection.id)) return;
    const { peer } = link;
    peer.removeLink(link);
    if (peer.links.length > 0) return;
    peer.drop();
    this.#peers.delete(peer.id);
    this.#forget(link.connection.remotePeer);
    this.#reportLost();
    this.#sink({ kind: 'disconnected', peer: peer.id, reason });
  }

  /** libp2p keeps a book of every peer it ever saw or dialled; ours is elsewhere, and strangers must not fill it. */
  #forget(peer: Connection['remotePeer']): void {
    this.#stack?.libp2p.peerStore.delete(peer).catch(() => undefined);
  }

  #forgetNamed(address: string): void {
    const [, named] = /\/p2p\/([^/]+)$/.exec(address) ?? [];
    const id = parseNodeId(named);
    if (id !== undefined && !this.#peers.has(id)) this.#forget(peerIdFromString(id));
  }

  #onStream(channel: Channel, stream: Stream, connection: Connection): void {
    const link = this.#links.get(connection.id);
    if (
      link === undefined ||
      link.peer.closing !== undefined ||
      (channel !== 'hello' && !link.peer.admitted)
    ) {
      stream.abort(new Error('not admitted'));
      return;
    }
    updateWindowLazily(stream);
    const { peer } = link;
    const reader = new FrameReader(channel === 'hello' ? limits.helloBytes : limits.frameBytes, (bytes) => {
      if (peer.closing !== undefined) return;
      if (bytes.length > 0) this.#sink({ kind: 'frame', from: peer.id, channel, bytes });
      else if (channel === 'hello') peer.markReady(link);
    });
    drain(stream, (chunk) => {
      if (peer.closing === undefined && !reader.read(chunk)) {
        this.#close(peer, `it announced a frame larger than allowed on ${channel}`);
        connection.abort(new Error('frame too large'));
      }
      return reader.lent;
    });
    stream.addEventListener('remoteCloseWrite', () => {
      stream.close().catch(() => stream.abort(new Error('not closed in time')));
    });
  }

  #onDialled(address: string, connection: Connection, openingsBefore: number): void {
    const link = this.#links.get(connection.id);
    if (link === undefined || link.peer.closing !== undefined) {
      this.#dialFailed(address, 'closed at once');
    } else if (link.opening <= openingsBefore || link.address !== address) {
      // No new connection, so `connected` was not reported for this dial.
      this.#sink({ kind: 'connected', peer: link.peer.id, address, direction: 'out' });
    }
  }

  #dialFailed(address: string, reason: string): void {
    // Never inside the call to `dial`: its caller has not finished its own turn.
    queueMicrotask(() => {
      if (!this.#closed) this.#sink({ kind: 'dialFailed', address, reason });
    });
  }

  #dialProblem(cause: unknown, target: string, startedMs: number): string {
    const stack = this.#stack;
    const message = cause instanceof Error ? cause.message || cause.name : String(cause);
    if (stack === undefined || !/dial self/i.test(message)) return message;
    const named = target.endsWith(`/p2p/${stack.libp2p.peerId}`);
    // Somebody holds our key at that address. If it was this node, it has accepted a connection from itself.
    const isSelf = stack.lastSelfDialMs() >= startedMs || this.#isOwnAddress(target);
    return isSelf || named ? DIAL_SELF : DIAL_TWIN;
  }

  #isOwnAddress(target: string): boolean {
    return this.#stack?.listenAddresses().includes(withoutPeer(target)) === true;
  }

  /** Lets the last words on `hello` leave and the other side act on them, then closes; each step is bounded. */
  #close(peer: Peer, reason: string): void {
    if (peer.closing !== undefined) return;
    const speaking = peer.links.filter((link) => !link.hello.isEmpty);
    peer.closing = reason;
    for (const link of peer.links) {
      if (speaking.includes(link)) void sayGoodbye(link);
      else void hangUp(link.connection);
    }
  }

  #countLost(peer: NodeId, channel: Channel, frames: number): void {
    let channels = this.#lost.get(peer);
    if (channels === undefined) {
      channels = new Map();
      this.#lost.set(peer, channels);
    }
    channels.set(channel, (channels.get(channel) ?? 0) + frames);
    if (this.#lostAsked) return;
    this.#lostAsked = true;
    process.nextTick(() => {
      this.#lostAsked = false;
      this.#reportLost();
    });
  }

  /** One event for each peer and channel, however many frames of a tick were lost. */
  #reportLost(): void {
    const lost = [...this.#lost];
    this.#lost.clear();
    if (this.#closed) return;
    for (const [peer, channels] of lost)
      for (const [channel, frames] of channels) this.#sink({ kind: 'dropped', peer, channel, frames });
  }
}

async function sayGoodbye(link: Link): Promise<void> {
  const { connection, hello } = link;
  const deadlineMs = Date.now() + LAST_WORDS_MS;
  while (!hello.isEmpty && connection.status === 'open' && Date.now() < deadlineMs) await delay(5);
  await within(HANG_UP_MS, closed(connection));
  await hangUp(connection);
}

async function hangUp(connection: Connection): Promise<void> {
  if (connection.status !== 'open') return;
  try {
    await connection.close({ signal: AbortSignal.timeout(CLOSE_MS) });
  } catch (cause) {
    connection.abort(cause instanceof Error ? cause : new Error('not closed in time'));
  }
}

function closed(connection: Connection): Promise<void> {
  if (connection.status !== 'open' && connection.status !== 'closing') return Promise.resolve();
  return new Promise((resolve) => connection.addEventListener('close', () => resolve(), { once: true }));
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for the work, but not longer. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
}

function withoutPeer(address: string): string {
  return address.replace(/\/p2p\/[^/]+$/, '');
}
