/**
 * Where others may be found, and whom to dial next.
 *
 * Intuition. Static configuration, multicast DNS, gossip and registries all say the same kind of thing: "that node is
 * at these addresses". None of them is to be trusted, and none needs to be: a dial either ends in a verified greeting
 * or it does not. So everything they say goes into one table of addresses, and one loop dials.
 *
 * Method. An address is dialled unless its node is up, one dial at a time for each node, the likelier addresses first: those that
 * once worked, then configured ones, then the rest, loopback last. Failures back off from 250 ms to 30 s with jitter. A
 * node that goes down is dialled again after 250 to 500 ms. A claim that names its node replaces what the same source
 * claimed of that node before; addresses that nobody claims any more are forgotten, those that have worked after five
 * failures in a row, so that a false `withdrawn` cuts off nobody.
 *
 * Limits. A source that lies costs dials (16 at a time, each address at most every 30 s in the long run), never trust. Each source has its own
 * share of the table, so none can crowd out another; static addresses are never displaced.
 */
import type { Mark, PeerDown, PeerUp } from '../../kernel/effects.ts';
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Machine } from '../../kernel/machine.ts';
import type { WireEvent } from '../../kernel/ports.ts';
import type { Rng } from '../../kernel/rng.ts';
import type { Deadline, Instant } from '../../kernel/time.ts';
import { DIAL_SELF } from '../links/links.ts';
import type { Problem } from '../view.ts';
import { type Address, isLoopback, parseAddress } from './address.ts';

export const SOURCES = ['static', 'mdns', 'registry', 'gossip'] as const;
export type Source = (typeof SOURCES)[number];

export interface Claim {
  readonly nodeId?: NodeId;
  readonly addresses: readonly string[];
}

/** Somebody says where nodes are. A claim with a node id is all that this source now says of that node. */
export interface Claimed {
  readonly kind: 'claimed';
  readonly source: Source;
  readonly claims: readonly Claim[];
}

/** The source no longer claims anything of the node, or no longer claims these addresses. */
export interface Withdrawn {
  readonly kind: 'withdrawn';
  readonly source: Source;
  readonly nodeId?: NodeId;
  readonly addresses?: readonly string[];
}

/** Own addresses, which are never dialled. */
export interface Listening {
  readonly kind: 'listening';
  readonly addresses: readonly string[];
}

/** `connected` tells which node an address leads to; without a following `peerUp` it counts as a failure. */
export type DiscoveryEvent =
  | Claimed
  | Withdrawn
  | Listening
  | PeerUp
  | PeerDown
  | Extract<WireEvent, { kind: 'connected' | 'disconnected' | 'dialFailed' }>;

interface Dial {
  readonly kind: 'dial';
  readonly address: string;
}

export type DiscoveryEffect = Dial | Mark;

interface KnownAddress {
  readonly address: string;
  /** As claimed, or as found by dialling. */
  readonly nodeId?: NodeId;
  readonly sources: readonly Source[];
  readonly state: 'up' | 'dialling' | 'waiting';
  /** In a row. */
  readonly failures: number;
  readonly lastFailure?: string;
}

interface Entry {
  readonly address: Address;
  readonly order: number;
  readonly sources: Set<Source>;
  /** Claimed by the address itself or by a source; replaced by what a dial found. */
  nodeId: NodeId | undefined;
  phase: 'waiting' | 'dialling' | 'greeting';
  /** When to dial, or when to give up on the outcome. */
  dueMs: number;
  failures: number;
  lastFailure: string | undefined;
  /** Failures that an address which has worked survives without a source. */
  credit: number;
  hasAnswered: boolean;
  isSelf: boolean;
}

interface DiscoveryConfig {
  /** The first retry comes after this and up to half as much again; each further one after twice as long. */
  readonly firstRetryMs: number;
  /** The longest, with up to half as much again. */
  readonly lastRetryMs: number;
}

const discoveryDefaults: DiscoveryConfig = { firstRetryMs: 250, lastRetryMs: 20_000 };

/** Longer than any dial and greeting take to fail by themselves. */
const OUTCOME_MS = 15_000;
const CREDIT = 5;
const PER_SOURCE = limits.discoveryAddresses / SOURCES.length;

export class Discovery implements Machine<DiscoveryEvent, DiscoveryEffect> {
  readonly #self: NodeId;
  readonly #config: DiscoveryConfig;
  readonly #rng: Rng;
  readonly #entries = new Map<string, Entry>();
  readonly #up = new Set<NodeId>();
  readonly #malformed = new Map<string, string>();
  #own: ReadonlySet<string> = new Set();
  #order = 0;
  #effects: DiscoveryEffect[] = [];
  #deadline: Deadline | undefined;
  #isStale = true;

  constructor(options: {
    readonly self: NodeId;
    readonly config?: Partial<DiscoveryConfig>;
    readonly rng: Rng;
    readonly now?: Instant;
  }) {
    this.#self = options.self;
    this.#config = { ...discoveryDefaults, ...options.config };
    this.#rng = options.rng;
  }

  handle(event: DiscoveryEvent, now: Instant): readonly DiscoveryEffect[] {
    switch (event.kind) {
      case 'claimed':
        for (const claim of event.claims.slice(0, PER_SOURCE)) this.#claim(claim, event.source, now);
        break;
      case 'withdrawn':
        this.#withdraw(event);
        break;
      case 'listening':
        this.#own = new Set(event.addresses.flatMap((text) => this.#endpointOf(text)));
        break;
      case 'connected':
        this.#handleConnected(event.address, event.peer, now);
        break;
      case 'dialFailed': {
        const entry = this.#entries.get(event.address);
        if (entry === undefined) break;
        if (event.reason === DIAL_SELF) this.#isSelfAt(entry);
        else this.#fail(entry, event.reason, now);
        break;
      }
      case 'disconnected':
        this.#failGreetings(event.peer, event.reason, now);
        break;
      case 'peerUp':
        this.#handlePeerUp(event.peer);
        break;
      case 'peerDown':
        this.#handlePeerDown(event.peer, now);
        break;
    }
    return this.#takeEffects();
  }

  expire(now: Instant): readonly DiscoveryEffect[] {
    for (const entry of this.#entries.values()) {
      if (entry.phase === 'waiting' || entry.dueMs > now.monoMs) continue;
      this.#fail(entry, entry.phase === 'dialling' ? 'no answer' : 'no valid greeting', now);
    }
    let room = limits.dialsUnderWay - this.#underWay().length;
    const busy = new Set(this.#underWay().map((entry) => entry.nodeId));
    for (const entry of this.#waiting().sort(byPromise)) {
      if (room === 0) break;
      if (entry.dueMs > now.monoMs || (entry.nodeId !== undefined && busy.has(entry.nodeId))) continue;
      entry.phase = 'dialling';
      entry.dueMs = now.monoMs + OUTCOME_MS;
      busy.add(entry.nodeId);
      room--;
      this.#effects.push({ kind: 'dial', address: entry.address.text });
    }
    return this.#takeEffects();
  }

  deadline(): Deadline | undefined {
    if (this.#isStale) {
      this.#deadline = this.#nearestDeadline();
      this.#isStale = false;
    }
    return this.#deadline;
  }

  /** Sorted by address. */
  known(): readonly KnownAddress[] {
    return [...this.#entries.values()]
      .map((entry) => ({
        address: entry.address.text,
        ...(entry.nodeId === undefined ? {} : { nodeId: entry.nodeId }),
        sources: SOURCES.filter((source) => entry.sources.has(source)),
        state: this.#isUp(entry)
          ? ('up' as const)
          : entry.phase === 'waiting'
            ? ('waiting' as const)
            : ('dialling' as const),
        failures: entry.failures,
        ...(entry.lastFailure === undefined ? {} : { lastFailure: entry.lastFailure }),
      }))
      .sort((a, b) => (a.address < b.address ? -1 : 1));
  }

  /** Configured addresses that are malformed or have never answered. */
  problems(): readonly Problem[] {
    const malformed = [...this.#malformed].map(([message, hint]) => ({
      code: 'PEER_ADDRESS_INVALID',
      message,
      hint,
    }));
    const silent = [...this.#entries.values()]
      .filter((entry) => entry.sources.has('static') && !entry.hasAnswered && !this.#isUp(entry))
      .filter((entry) => entry.failures > 0 && !this.#isOwn(entry))
      .map((entry) => ({
        code: 'PEER_UNREACHABLE',
        message: `The configured peer ${entry.address.text} has not answered: ${entry.lastFailure ?? 'no answer'}.`,
        hint: 'Check that a node of the same swarm runs there, that host and port are right (its `skein status` shows them), and that no firewall is in between.',
      }));
    return [...malformed, ...silent];
  }

  // Claims

  #claim(claim: Claim, source: Source, now: Instant): void {
    if (claim.nodeId === this.#self) return;
    const perClaim = source === 'static' ? PER_SOURCE : limits.addressesPerClaim;
    const claimed = new Set<string>();
    for (const text of claim.addresses.slice(0, perClaim)) {
      const parsed = parseAddress(text);
      if (!parsed.ok) {
        this.#refuse(source, parsed.error.message, parsed.error.hint);
        continue;
      }
      const address = parsed.value;
      const nodeId = address.nodeId ?? claim.nodeId;
      if (nodeId === this.#self || (claim.nodeId !== undefined && nodeId !== claim.nodeId)) continue;
      const full =
        nodeId === undefined ? address : { ...address, text: `${address.endpoint}/p2p/${nodeId}`, nodeId };
      claimed.add(full.text);
      this.#add(full, source, now);
    }
    if (claim.nodeId === undefined || source === 'static') return;
    for (const [text, entry] of this.#entries) {
      if (entry.nodeId === claim.nodeId && !claimed.has(text)) this.#unclaim(entry, source);
    }
  }

  #add(address: Address, source: Source, now: Instant): void {
    const known = this.#entries.get(address.text);
    if (known?.sources.has(source)) return;
    if (source !== 'static' && !this.#makeRoom(source)) return;
    if (known !== undefined) {
      known.sources.add(source);
      return;
    }
    this.#entries.set(address.text, {
      address,
      order: this.#order++,
      sources: new Set([source]),
      nodeId: address.nodeId,
      phase: 'waiting',
      dueMs: now.monoMs,
      failures: 0,
      lastFailure: undefined,
      credit: 0,
      hasAnswered: false,
      isSelf: false,
    });
    this.#mark('info', 'discovery.found', { address: address.text, source });
  }

  /** A full source gives up its least promising address for a new one. */
  #makeRoom(source: Source): boolean {
    let count = 0;
    let worst: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (!entry.sources.has(source)) continue;
      count++;
      if (entry.phase !== 'waiting' || entry.credit > 0 || this.#isUp(entry)) continue;
      if (worst === undefined || entry.failures > worst.failures) worst = entry;
    }
    if (count < PER_SOURCE) return true;
    if (worst === undefined || worst.failures === 0) return false;
    this.#unclaim(worst, source);
    return true;
  }

  #withdraw(event: Withdrawn): void {
    const endpoints = event.addresses?.flatMap((text) => this.#endpointOf(text));
    for (const entry of [...this.#entries.values()]) {
      if (event.nodeId !== undefined && entry.nodeId !== event.nodeId) continue;
      if (endpoints !== undefined && !endpoints.includes(entry.address.endpoint)) continue;
      if (event.nodeId !== undefined || endpoints !== undefined) this.#unclaim(entry, event.source);
    }
  }

  #unclaim(entry: Entry, source: Source): void {
    entry.sources.delete(source);
    this.#forgetUnclaimed(entry);
  }

  #forgetUnclaimed(entry: Entry): void {
    if (entry.sources.size === 0 && entry.credit === 0 && entry.phase === 'waiting') {
      this.#entries.delete(entry.address.text);
    }
  }

  #refuse(source: Source, message: string, hint: string): void {
    this.#mark(source === 'static' ? 'warn' : 'debug', 'discovery.malformed', { source, message });
    if (source === 'static' && this.#malformed.size < limits.addressesPerMember)
      this.#malformed.set(message, hint);
  }

  // Outcomes

  #handleConnected(address: string, peer: NodeId, now: Instant): void {
    const entry = this.#entries.get(address);
    // An incoming connection tells a port of the moment, not where its node listens.
    if (entry === undefined) return;
    entry.nodeId = peer;
    if (peer === this.#self) this.#isSelfAt(entry);
    else if (this.#up.has(peer)) this.#succeed(entry);
    else {
      entry.phase = 'greeting';
      entry.dueMs = now.monoMs + OUTCOME_MS;
    }
  }

  #handlePeerUp(peer: NodeId): void {
    this.#up.add(peer);
    for (const entry of this.#entries.values()) {
      if (entry.nodeId !== peer) continue;
      entry.hasAnswered = true;
      if (entry.phase === 'greeting') this.#succeed(entry);
    }
  }

  #handlePeerDown(peer: NodeId, now: Instant): void {
    this.#up.delete(peer);
    for (const entry of [...this.#entries.values()]) {
      if (entry.nodeId !== peer) continue;
      entry.phase = 'waiting';
      entry.failures = 0;
      entry.dueMs = now.monoMs + this.#config.firstRetryMs * (1 + this.#rng.float());
      this.#forgetUnclaimed(entry);
    }
  }

  #isSelfAt(entry: Entry): void {
    entry.isSelf = true;
    entry.phase = 'waiting';
  }

  #succeed(entry: Entry): void {
    entry.phase = 'waiting';
    entry.failures = 0;
    entry.lastFailure = undefined;
    entry.hasAnswered = true;
    entry.credit = CREDIT;
  }

  #failGreetings(peer: NodeId, reason: string, now: Instant): void {
    for (const entry of [...this.#entries.values()]) {
      if (entry.nodeId === peer && entry.phase === 'greeting') this.#fail(entry, reason, now);
    }
  }

  #fail(entry: Entry, reason: string, now: Instant): void {
    entry.failures++;
    entry.lastFailure = reason.slice(0, limits.addressBytes);
    entry.credit = Math.max(0, entry.credit - 1);
    const { firstRetryMs, lastRetryMs } = this.#config;
    const retryMs = Math.min(lastRetryMs, firstRetryMs * 2 ** Math.min(entry.failures - 1, 16));
    entry.phase = 'waiting';
    entry.dueMs = now.monoMs + retryMs * (1 + 0.5 * this.#rng.float());
    this.#mark('debug', 'discovery.dialFailed', {
      address: entry.address.text,
      failures: entry.failures,
      reason: entry.lastFailure,
    });
    this.#forgetUnclaimed(entry);
  }

  // What to dial

  #isUp(entry: Entry): boolean {
    if (entry.nodeId !== undefined) return this.#up.has(entry.nodeId);
    // The same door under a node's name: whoever is behind it is up already.
    for (const other of this.#entries.values()) {
      if (other.address.endpoint !== entry.address.endpoint || other.nodeId === undefined) continue;
      if (other.credit > 0 && this.#up.has(other.nodeId)) return true;
    }
    return false;
  }

  #isOwn(entry: Entry): boolean {
    return entry.isSelf || this.#own.has(entry.address.endpoint);
  }

  #waiting(): Entry[] {
    return [...this.#entries.values()].filter(
      (entry) => entry.phase === 'waiting' && !this.#isOwn(entry) && !this.#isUp(entry),
    );
  }

  #underWay(): readonly Entry[] {
    return [...this.#entries.values()].filter((entry) => entry.phase !== 'waiting');
  }

  #nearestDeadline(): Deadline | undefined {
    const underWay = this.#underWay();
    const busy = new Set(underWay.map((entry) => entry.nodeId));
    const waiting =
      underWay.length >= limits.dialsUnderWay
        ? []
        : this.#waiting().filter((entry) => entry.nodeId === undefined || !busy.has(entry.nodeId));
    let atMs = Number.POSITIVE_INFINITY;
    for (const entry of [...underWay, ...waiting]) atMs = Math.min(atMs, entry.dueMs);
    return atMs === Number.POSITIVE_INFINITY ? undefined : { atMs, reason: 'discovery: dial' };
  }

  #endpointOf(text: string): readonly string[] {
    const parsed = parseAddress(text);
    return parsed.ok ? [parsed.value.endpoint] : [];
  }

  #takeEffects(): readonly DiscoveryEffect[] {
    this.#isStale = true;
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  #mark(level: Mark['level'], name: string, fields: Readonly<Record<string, unknown>>): void {
    this.#effects.push({ kind: 'mark', level, name, fields });
  }
}

/** Which of the due addresses to dial first. */
function byPromise(a: Entry, b: Entry): number {
  return rank(a) - rank(b) || a.failures - b.failures || a.order - b.order;
}

function rank(entry: Entry): number {
  if (entry.credit > 0) return 0;
  if (entry.sources.has('static')) return 1;
  return isLoopback(entry.address) ? 3 : 2;
}
