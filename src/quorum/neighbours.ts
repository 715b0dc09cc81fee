/** What the members that can be reached say of their stores, and since when which servers can be reached. */
import type { NodeId } from '../kernel/ids.ts';
import { limits } from '../kernel/limits.ts';
import type { Instant } from '../kernel/time.ts';
import type { Greeting } from './frames.ts';
import type { Configuration, ServerId } from './raft/types.ts';
import { nodeOf, type StoreId, serverIdOf } from './server.ts';

export interface ServerReach {
  readonly isReachable: boolean;
  /** On the monotonic clock. */
  readonly sinceMs: number;
}

export class Neighbours {
  /** `undefined` until they have greeted. */
  readonly #greetings = new Map<NodeId, Greeting | undefined>();
  readonly #servers = new Map<ServerId, ServerReach>();

  get nodes(): readonly NodeId[] {
    return [...this.#greetings.keys()];
  }

  get greetings(): ReadonlyMap<NodeId, Greeting | undefined> {
    return this.#greetings;
  }

  get servers(): ReadonlyMap<ServerId, ServerReach> {
    return this.#servers;
  }

  up(peer: NodeId): void {
    if (!this.#greetings.has(peer)) this.#greetings.set(peer, undefined);
  }

  down(peer: NodeId): void {
    this.#greetings.delete(peer);
  }

  greeted(peer: NodeId, greeting: Greeting): void {
    if (this.#greetings.has(peer)) this.#greetings.set(peer, greeting);
  }

  /** Another store from here on. */
  forgetServers(): void {
    this.#servers.clear();
  }

  mayVote(node: NodeId): boolean {
    return this.#greetings.get(node)?.mayVote === true;
  }

  /** Servers of the store on members that can be reached; notes which came and went. */
  reach(store: StoreId, own: ServerId, configuration: Configuration, now: Instant): readonly ServerId[] {
    const reachable = new Set<ServerId>();
    for (const [node, greeting] of this.#greetings) {
      if (greeting?.storage === undefined || greeting.store !== store) continue;
      reachable.add(serverIdOf(node, greeting.storage));
    }
    for (const server of [...reachable, ...configuration.incoming, ...configuration.outgoing])
      if (server !== own) this.#note(server, reachable.has(server), now);
    for (const server of this.#servers.keys()) if (!reachable.has(server)) this.#note(server, false, now);
    return [...reachable].sort();
  }

  /** Voters that cannot be reached. */
  missing(configuration: Configuration, own: ServerId | undefined): readonly NodeId[] {
    const voters = new Set([...configuration.incoming, ...configuration.outgoing]);
    return [...voters]
      .filter((voter) => voter !== own && this.#servers.get(voter)?.isReachable !== true)
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
