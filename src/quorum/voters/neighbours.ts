/** What the members that can be reached say of their stores, and since when which servers can be reached. */
import type { NodeId } from '../../kernel/ids.ts';
import { limits } from '../../kernel/limits.ts';
import type { Instant } from '../../kernel/time.ts';
import type { Greeting } from '../frames.ts';
import type { Configuration, ServerId } from '../raft/types.ts';
import { FIRST_FORMAT, isTooOld } from '../register/format.ts';
import { nodeOf, type StorageId, type StoreId, serverIdOf } from '../server.ts';

interface ServerReach {
  readonly isReachable: boolean;
  /** On the monotonic clock. */
  readonly sinceMs: number;
}

/** What a node says of itself, but for what is each receiver's own. */
export type OwnGreeting = Omit<Greeting, 'kind' | 'version' | 'heard' | 'doubted'>;

interface Greeted {
  /** Own version that the peer has. */
  confirmed: number;
  sentMs: number;
  /** Its storage that went back in time. */
  doubted: StorageId | undefined;
}

const NO_FORMAT = { newest: FIRST_FORMAT, store: 0 };
/** A greeting that was not confirmed for so long was lost. */
const REGREET_MS = 400;

export class Neighbours {
  /** `undefined` until they have greeted. */
  readonly #greetings = new Map<NodeId, Greeting | undefined>();
  readonly #told = new Map<NodeId, Greeted>();
  /** Last run seen of each node. */
  readonly #boots = new Map<NodeId, number>();
  /** What others confirm of an earlier run is below it, or above all that this run said. */
  readonly #firstVersion: number;
  #version: number;
  #said = '';
  readonly #servers = new Map<ServerId, ServerReach>();

  readonly #isDoubtful: (node: NodeId) => boolean;

  /** `firstVersion`: random for each run, at most 2 ** 52, so that nobody takes what an earlier run said for what this one does. */
  constructor(isDoubtful: (node: NodeId) => boolean, firstVersion: number) {
    this.#isDoubtful = isDoubtful;
    this.#firstVersion = firstVersion;
    this.#version = firstVersion;
  }

  get greetings(): ReadonlyMap<NodeId, Greeting | undefined> {
    return this.#greetings;
  }

  get servers(): ReadonlyMap<ServerId, ServerReach> {
    return this.#servers;
  }

  up(peer: NodeId): void {
    this.#greetings.set(peer, undefined);
    this.#told.set(peer, { confirmed: 0, sentMs: Number.NEGATIVE_INFINITY, doubted: undefined });
  }

  down(peer: NodeId): void {
    this.#greetings.delete(peer);
    this.#told.delete(peer);
  }

  /** Where its greeting is news, or shows that it lacks the own one, an answer is due. */
  greeted(peer: NodeId, greeting: Greeting, now: Instant): void {
    const told = this.#told.get(peer);
    if (told === undefined) return;
    told.confirmed = greeting.heard;
    const isNews = this.#greetings.get(peer)?.version !== greeting.version;
    // Who says the same again may not know that it was heard: what told it so was lost.
    if (isNews || now.monoMs - told.sentMs >= REGREET_MS) told.sentMs = Number.NEGATIVE_INFINITY;
    this.#greetings.set(peer, greeting);
  }

  /** True for the first greeting of a run of the peer. */
  isNewRun(peer: NodeId, greeting: Greeting): boolean {
    if (this.#boots.get(peer) === greeting.boot) return false;
    this.#boots.set(peer, greeting.boot);
    if (this.#boots.size > limits.members * 2) {
      const oldest = this.#boots.keys().next();
      if (oldest.done !== true) this.#boots.delete(oldest.value);
    }
    return true;
  }

  doubt(peer: NodeId, storage: StorageId): void {
    const told = this.#told.get(peer);
    if (told === undefined) return;
    told.doubted = storage;
    told.sentMs = Number.NEGATIVE_INFINITY;
  }

  /** Nodes that have the own greeting as it is now, or as it was since the node started. */
  confirmers(): ReadonlySet<NodeId> {
    const isOfThisRun = (version: number) => version > this.#firstVersion && version <= this.#version;
    return new Set(
      [...this.#told].filter(([, { confirmed }]) => isOfThisRun(confirmed)).map(([node]) => node),
    );
  }

  /** Everybody has greeted, and has the own greeting as it was last given out. */
  get isSettled(): boolean {
    for (const [peer, { confirmed, sentMs }] of this.#told)
      if (confirmed !== this.#version || sentMs === Number.NEGATIVE_INFINITY || !this.hasGreeted(peer))
        return false;
    return true;
  }

  /** Greetings that are due: to who was not told yet, or heard what is no longer so, or may not have heard. */
  takeGreetings(
    own: OwnGreeting,
    now: Instant,
  ): readonly { readonly peer: NodeId; readonly greeting: Greeting }[] {
    const said = JSON.stringify(own);
    if (said !== this.#said) {
      this.#said = said;
      this.#version++;
      for (const told of this.#told.values()) told.sentMs = Number.NEGATIVE_INFINITY;
    }
    const due: { peer: NodeId; greeting: Greeting }[] = [];
    for (const [peer, told] of this.#told) {
      const isFirst = told.sentMs === Number.NEGATIVE_INFINITY;
      if (!isFirst && (told.confirmed === this.#version || now.monoMs - told.sentMs < REGREET_MS)) continue;
      told.sentMs = now.monoMs;
      const heard = this.#greetings.get(peer)?.version ?? 0;
      const { doubted } = told;
      due.push({ peer, greeting: { kind: 'greeting', version: this.#version, heard, doubted, ...own } });
    }
    return due;
  }

  /** Another store from here on. */
  forgetServers(): void {
    this.#servers.clear();
  }

  hasGreeted(node: NodeId): boolean {
    return this.#greetings.get(node) !== undefined;
  }

  /** `format`: of the store in which it would vote. */
  mayVote(node: NodeId, format: number): boolean {
    const greeting = this.#greetings.get(node);
    return greeting?.mayVote === true && !isTooOld(greeting.format, format);
  }

  /** Carriers of the store whose program is too old to follow it at this format. */
  tooOld(store: StoreId | undefined, format: number): readonly NodeId[] {
    return [...this.#greetings]
      .filter(([, greeting]) => greeting?.store === store && isTooOld(greeting?.format ?? NO_FORMAT, format))
      .map(([node]) => node)
      .sort();
  }

  /** The newest format of a store around here, 0 where there is none. */
  get newestStoreFormat(): number {
    return Math.max(0, ...[...this.#greetings.values()].map((greeting) => greeting?.format.store ?? 0));
  }

  /** The newest format that every voter and every other copy that can be reached understands; `undefined` where a voter cannot be asked. */
  commonFormat(newest: number, own: ServerId, configuration: Configuration): number | undefined {
    let common = newest;
    const voters = new Set([...configuration.incoming, ...configuration.outgoing]);
    for (const voter of voters)
      if (voter !== own && this.#servers.get(voter)?.isReachable !== true) return undefined;
    for (const [server, { isReachable }] of this.#servers)
      if (isReachable)
        common = Math.min(common, this.#greetings.get(nodeOf(server))?.format.newest ?? FIRST_FORMAT);
    return common;
  }

  /** Servers of the store, of this format, on members that can be reached and can follow it; notes which came and went. */
  reach(
    store: StoreId,
    format: number,
    own: ServerId,
    configuration: Configuration,
    now: Instant,
  ): readonly ServerId[] {
    const reachable = new Set<ServerId>();
    for (const [node, greeting] of this.#greetings) {
      if (greeting?.storage === undefined || greeting.store !== store) continue;
      if (isTooOld(greeting.format, format)) continue;
      reachable.add(serverIdOf(node, greeting.storage));
    }
    for (const server of [...reachable, ...configuration.incoming, ...configuration.outgoing])
      if (server !== own) this.#note(server, reachable.has(server), now);
    for (const server of this.#servers.keys()) if (!reachable.has(server)) this.#note(server, false, now);
    return [...reachable].sort();
  }

  /** Voters that cannot be reached, or only as long as nobody looks closer. */
  missing(configuration: Configuration, own: ServerId | undefined): readonly NodeId[] {
    const voters = new Set([...configuration.incoming, ...configuration.outgoing]);
    return [...voters]
      .filter(
        (voter) =>
          voter !== own &&
          (this.#servers.get(voter)?.isReachable !== true || this.#isDoubtful(nodeOf(voter))),
      )
      .map(nodeOf)
      .sort();
  }

  /** Other stores that are carried around here, and by whom. */
  otherStores(own: StoreId | undefined): ReadonlyMap<StoreId, { hasData: boolean; nodes: NodeId[] }> {
    const others = new Map<StoreId, { hasData: boolean; nodes: NodeId[] }>();
    for (const [node, greeting] of this.#greetings) {
      if (greeting?.store === undefined || greeting.store === own) continue;
      const other = others.get(greeting.store) ?? { hasData: false, nodes: [] };
      other.hasData ||= greeting.hasData;
      other.nodes.push(node);
      others.set(greeting.store, other);
    }
    return others;
  }

  #note(server: ServerId, isReachable: boolean, now: Instant): void {
    if (this.#servers.get(server)?.isReachable === isReachable) return;
    this.#servers.set(server, { isReachable, sinceMs: now.monoMs });
    if (this.#servers.size <= limits.members * 2) return;
    for (const [old, { isReachable: isUp }] of this.#servers) {
      if (isUp || old === server) continue;
      this.#servers.delete(old);
      return;
    }
  }
}
