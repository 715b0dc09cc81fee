/** Voters of the embedded engine, by the names of their machines; and what to say where etcd keeps the store. */
import { STORE_ID_KEY } from '../blackboard/quorum-keys.ts';
import { failWith, ok, type Result } from '../kernel/errors.ts';
import { type NodeId, parseNodeId } from '../kernel/ids.ts';
import type { PeerInfo, QuorumView } from '../mesh/view.ts';
import type { QuorumCall } from '../quorum/messages.ts';
import type { QuorumStore } from '../quorum/port.ts';
import type { QuorumStatus } from '../quorum/status.ts';
import { type Wish, wishKey, wishValue } from '../quorum/voters/voter-wishes.ts';
import type { VoterInfo, Voters, VotersView } from '../quorum/voters/voters-api.ts';

interface EmbeddedVotersOptions {
  readonly status: () => QuorumStatus;
  readonly peers: () => readonly PeerInfo[];
  readonly store: QuorumStore;
  readonly freshStoreId: () => Uint8Array;
  readonly ask: (call: QuorumCall, signal?: AbortSignal) => Promise<Result<unknown>>;
}

export function embeddedVoters({ status, peers, store, freshStoreId, ask }: EmbeddedVotersOptions): Voters {
  const list = () => votersView(status(), peers());
  const done = async (call: QuorumCall, signal?: AbortSignal): Promise<Result<VotersView>> => {
    const answer = await ask(call, signal);
    return answer.ok ? ok(list()) : answer;
  };
  // What a person wants of a member is kept in the store itself, where every leader finds it.
  const wish = async (text: string, wanted: Wish, signal?: AbortSignal): Promise<Result<VotersView>> => {
    const node = memberOf(text, peers(), list().voters);
    if (!node.ok) return node;
    const wrong = cannotBe(wanted, text, node.value, status());
    if (wrong !== undefined) return wrong;
    const put = { op: 'put', key: wishKey(node.value), value: wishValue(wanted) } as const;
    const answer = await store.transact({ compares: [], then: [put], otherwise: [] }, signal);
    return answer.ok ? ok(list()) : answer;
  };
  return {
    list,
    add: (node, signal) => wish(node, 'always', signal),
    remove: (node, signal) => wish(node, 'never', signal),
    found: (signal) => done({ op: 'found' }, signal),
    recover: async (request, signal) => {
      const { storeId } = list();
      if (storeId === undefined || request?.confirm !== storeId) return notConfirmed(storeId);
      const recovered = await done({ op: 'recover' }, signal);
      if (!recovered.ok) return recovered;
      // Tokens and cursors may name revisions that were lost and will be used anew: they are of another store now.
      const renamed = await store.transact(
        { compares: [], then: [{ op: 'put', key: STORE_ID_KEY, value: freshStoreId() }], otherwise: [] },
        signal,
      );
      return renamed.ok ? ok(list()) : renamed;
    },
    merge: async (request, signal) => {
      const keep = request?.keep;
      if (list().storeId === keep) return keepsItself(keep);
      return done({ op: 'abandon', keep }, signal);
    },
  };
}

/** etcd has its own voters. */
export function etcdVoters(): Voters {
  const refuse = () =>
    Promise.resolve(
      failWith(
        'UNSUPPORTED',
        'etcd keeps the quorum store, and its own members are the voters.',
        'Use etcdctl member list, add and remove.',
      ),
    );
  return {
    list: () => ({ storeId: undefined, leader: undefined, voters: [] }),
    add: refuse,
    remove: refuse,
    found: refuse,
    recover: refuse,
    merge: refuse,
  };
}

/** The store as `status` and `mesh_status` show it. */
export function quorumViewOf(status: QuorumStatus, peers: readonly PeerInfo[]): QuorumView {
  const { storeId, leader, voters } = votersView(status, peers);
  return {
    engine: 'embedded',
    ...(storeId === undefined ? {} : { storeId }),
    ...(leader === undefined ? {} : { leader }),
    voters: voters
      .filter(({ role }) => role !== 'learner')
      .map(({ nodeId, name, role, state }) => ({ nodeId, name, role, state })),
    missing: status.missing,
  };
}

function votersView(status: QuorumStatus, peers: readonly PeerInfo[]): VotersView {
  const { tooOld } = status.format;
  const voters = status.servers.map(({ server, node, role, isReachable }): VoterInfo => {
    const peer = peers.find(({ nodeId }) => nodeId === node);
    return {
      nodeId: node,
      name: peer?.name ?? node.slice(-8),
      serverId: server,
      role,
      state: peer?.state ?? (isReachable ? 'alive' : 'unknown'),
      ...(tooOld.includes(node) ? { isTooOld: true as const } : {}),
    };
  });
  return {
    storeId: status.store,
    leader: status.leader,
    voters: voters.sort(
      (left, right) => compare(left.name, right.name) || compare(left.serverId, right.serverId),
    ),
  };
}

function memberOf(text: string, peers: readonly PeerInfo[], voters: readonly VoterInfo[]): Result<NodeId> {
  if (typeof text !== 'string')
    return failWith('INVALID_ARGUMENT', 'The member is not a text.', 'Pass its node id or its name.');
  const known = [...peers, ...voters];
  const ids = new Set(
    known.filter(({ nodeId, name }) => nodeId === text || name === text).map(({ nodeId }) => nodeId),
  );
  const [id] = ids;
  if (id !== undefined && ids.size === 1) return ok(id);
  const given = JSON.stringify(text.slice(0, 64));
  if (id !== undefined)
    return failWith(
      'CONFLICT',
      `Several members are called ${given}.`,
      'Name it by its node id: skein peers.',
    );
  // A voter may be long gone and known by nothing but its id.
  const nodeId = parseNodeId(text);
  return nodeId === undefined
    ? failWith('NOT_FOUND', `No member is called ${given}.`, 'skein peers lists the members.')
    : ok(nodeId);
}

/** Why the leader would not do what is wanted, now or ever; a wish that nothing comes of is not taken. */
function cannotBe(
  wanted: Wish,
  text: string,
  node: NodeId,
  { servers }: QuorumStatus,
): Result<never> | undefined {
  const name = JSON.stringify(text.slice(0, 64));
  if (wanted === 'always') {
    const own = servers.filter((server) => server.node === node && server.isReachable);
    if (own.length === 0 || own.some(({ mayVote }) => mayVote !== false)) return undefined;
    return failWith(
      'CONFLICT',
      `The role of ${name} is observer, and observers do not vote.`,
      'Restart it with another role, then add it.',
      { details: { outcome: 'not-done' } },
    );
  }
  const voters = servers.filter(({ role }) => role !== 'learner');
  const isOther = (server: (typeof servers)[number]) => server.node !== node && server.wish !== 'never';
  const rest = voters.filter(isOther);
  const canTakeItsPlace = servers.some(
    (server) =>
      server.role === 'learner' && server.isReachable && server.mayVote !== false && isOther(server),
  );
  const votes = voters.some((server) => server.node === node);
  if (!votes || canTakeItsPlace || rest.length % 2 === 1) return undefined;
  return failWith(
    'CONFLICT',
    `No other member can take the place of ${name}: ${rest.length === 0 ? 'it is the only voter' : `${rest.length} voters would be left, and the loss of one disk could stop the store for good`}.`,
    'Start another member that may vote, and remove this one then. It may stay in the list until that time, also where it is gone.',
    { details: { outcome: 'not-done', voters: voters.length } },
  );
}

function notConfirmed(storeId: string | undefined): Result<never> {
  if (storeId === undefined)
    return failWith(
      'CONFLICT',
      'This node carries no quorum store, so there is nothing to go on with.',
      'Recover on the node that has the newest copy: skein voters list shows the revision there.',
    );
  return failWith(
    'INVALID_ARGUMENT',
    'Recovering gives up whatever only the lost voters knew, and must be confirmed with the id of the store.',
    `If a majority of the voters is lost for good: skein voters recover --confirm ${storeId}`,
    { details: { storeId } },
  );
}

function keepsItself(keep: string): Result<never> {
  return failWith(
    'CONFLICT',
    `This node carries the store ${keep} itself: there is nothing that it would give up.`,
    'Run the command on a node of the other store; skein doctor names it.',
  );
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
