/** The store as people and reports see it. */
import type { NodeId } from '../kernel/ids.ts';
import type { ServerId } from './raft/types.ts';
import { nodeOf, storeName } from './server.ts';
import type { Carrier } from './store/carrier.ts';
import { EMPTY_POINT } from './store/storage.ts';
import type { Neighbours } from './voters/neighbours.ts';
import { type Wish, wishesOf } from './voters/voter-wishes.ts';

interface ServerInfo {
  readonly server: ServerId;
  readonly node: NodeId;
  readonly role: 'leader' | 'voter' | 'learner';
  readonly isReachable: boolean;
  /** By its node's role; `undefined` where that is not known here. */
  readonly mayVote: boolean | undefined;
  /** What a person wants of its node. */
  readonly wish: Wish | undefined;
}

export interface QuorumStatus {
  /** `undefined` where this node carries none. */
  readonly store: string | undefined;
  /** A client wrote to it. */
  readonly hasData: boolean;
  readonly role: 'leader' | 'follower' | 'none';
  readonly term: number;
  readonly leader: NodeId | undefined;
  readonly revision: number;
  /** Sorted by node. */
  readonly servers: readonly ServerInfo[];
  readonly format: {
    /** Of the store, as far as this node knows; of any around here where it carries none; 0 for none. */
    readonly store: number;
    /** The newest that this node's program understands. */
    readonly newest: number;
    /** Members that cannot follow the store for the age of their program; this one may be among them. */
    readonly tooOld: readonly NodeId[];
  };
  /** Voters that cannot be reached from here. */
  readonly missing: readonly NodeId[];
  /** Stores of other members. Where these and this one hold data, a person must choose. */
  readonly others: readonly {
    readonly store: string;
    readonly hasData: boolean;
    readonly nodes: readonly NodeId[];
  }[];
}

/** `mayVote`: this node itself. */
export function statusOf(
  self: NodeId,
  mayVote: boolean,
  carrier: Carrier,
  neighbours: Neighbours,
): QuorumStatus {
  const { replica, store, hasData } = carrier;
  const raft = replica?.raft;
  const configuration = raft?.configuration ?? EMPTY_POINT.configuration;
  return {
    store: store === undefined ? undefined : storeName(store),
    hasData,
    role: replica === undefined ? 'none' : replica.isLeader ? 'leader' : 'follower',
    term: raft?.term ?? 0,
    leader: replica?.leader,
    revision: replica?.register.revision ?? 0,
    servers: serversOf(self, mayVote, carrier, neighbours),
    format: formatOf(self, carrier, neighbours),
    missing: neighbours.missing(configuration, replica?.server),
    others: [...neighbours.otherStores(store)].map(([other, { hasData, nodes }]) => ({
      store: storeName(other),
      hasData,
      nodes: nodes.sort(),
    })),
  };
}

function formatOf(self: NodeId, carrier: Carrier, neighbours: Neighbours): QuorumStatus['format'] {
  const { store } = carrier;
  const { newest, store: format } = carrier.format;
  if (store === undefined) return { store: neighbours.newestStoreFormat, newest, tooOld: [] };
  const others = neighbours.tooOld(store, format);
  return { store: format, newest, tooOld: format > newest ? [self, ...others] : others };
}

export interface Unavailability {
  readonly what: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Why a call had to wait so long, for its caller: above all which voters are missing. */
export function whyUnavailable(
  { replica, neededFormat }: Carrier,
  neighbours: Neighbours,
  isDiskBroken: boolean,
): Unavailability {
  if (neededFormat !== undefined)
    return {
      what: `The quorum store has format ${neededFormat}, which this version of skein does not understand.`,
      details: { missing: [], format: neededFormat },
    };
  if (replica === undefined)
    return { what: 'This node has found no quorum store yet.', details: { missing: [] } };
  const { configuration } = replica.raft;
  const missing = neighbours.missing(configuration, replica.server);
  const voters = configuration.incoming.length;
  const details = { missing, voters, ...(replica.leader === undefined ? {} : { leader: replica.leader }) };
  if (isDiskBroken) return { what: 'The disk of this node fails.', details };
  if (missing.length > 0)
    return { what: `${missing.length} of ${voters} voters cannot be reached.`, details };
  if (replica.leader === undefined) return { what: 'The voters have no leader yet.', details };
  return { what: 'The voters did not answer in time.', details };
}

function serversOf(
  self: NodeId,
  mayVote: boolean,
  { replica }: Carrier,
  neighbours: Neighbours,
): readonly ServerInfo[] {
  if (replica === undefined) return [];
  const { configuration, leader } = replica.raft;
  const voters = new Set([...configuration.incoming, ...configuration.outgoing]);
  const reachable = [...neighbours.servers].filter(([, { isReachable }]) => isReachable);
  const known = new Set([replica.server, ...voters, ...reachable.map(([server]) => server)]);
  const wishes = wishesOf(replica.register);
  return [...known].sort().map((server) => ({
    mayVote: nodeOf(server) === self ? mayVote : neighbours.greetings.get(nodeOf(server))?.mayVote,
    wish: wishes.get(nodeOf(server)),
    server,
    node: nodeOf(server),
    role: server === leader ? 'leader' : voters.has(server) ? 'voter' : 'learner',
    isReachable: nodeOf(server) === self || neighbours.servers.get(server)?.isReachable === true,
  }));
}
