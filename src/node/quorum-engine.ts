/** The engine that keeps the quorum store, as the node's other parts hold it. */
import type { EtcdStore } from '../adapters/etcd/store.ts';
import { nodeEntropy } from '../adapters/node/entropy.ts';
import { STORE_ID_BYTES } from '../blackboard/quorum-keys.ts';
import type { Result } from '../kernel/errors.ts';
import type { PeerInfo, Problem, QuorumView } from '../mesh/view.ts';
import type { QuorumCall } from '../quorum/messages.ts';
import type { QuorumStore } from '../quorum/port.ts';
import type { Quorum } from '../quorum/quorum.ts';
import type { QuorumStatus } from '../quorum/status.ts';
import type { Voters } from '../quorum/voters/voters-api.ts';
import type { FaceParts } from './faces.ts';
import { embeddedStoreOf } from './quorum-face.ts';
import { etcdProblems, quorumProblems } from './quorum-problems.ts';
import { embeddedVoters, etcdVoters, quorumViewOf } from './quorum-voters.ts';

export interface QuorumFace {
  readonly store: QuorumStore;
  readonly voters: Voters;
  /** Of the embedded engine; `undefined` where etcd keeps the store. */
  status(): QuorumStatus | undefined;
  view(): QuorumView;
  problems(upForMs: number, foundAfterMs: number): readonly Problem[];
}

/** The embedded engine where the core carries one, else etcd. */
export function quorumFaceOf(
  parts: FaceParts,
  peers: () => readonly PeerInfo[],
  etcd: EtcdStore | undefined,
): QuorumFace {
  const { quorum } = parts.core;
  if (quorum !== undefined) return embeddedFace(parts, quorum, peers);
  if (etcd === undefined) throw new Error('a node needs one engine of the quorum store');
  return {
    store: etcd,
    voters: etcdVoters(),
    status: () => undefined,
    view: () => ({ engine: 'etcd', voters: [], missing: [] }),
    problems: () => etcdProblems(etcd.failure),
  };
}

function embeddedFace(parts: FaceParts, quorum: Quorum, peers: () => readonly PeerInfo[]): QuorumFace {
  const ask = (call: QuorumCall, signal?: AbortSignal): Promise<Result<unknown>> =>
    parts.calls.ask(
      (id) => parts.deliver({ kind: 'quorumRequested', id, call }),
      (id) => parts.deliver({ kind: 'quorumCancelled', id }),
      signal,
    );
  const view = () => quorumViewOf(quorum.status(), peers());
  const store = embeddedStoreOf(parts, quorum);
  const freshStoreId = () => nodeEntropy().bytes(STORE_ID_BYTES);
  return {
    store,
    voters: embeddedVoters({ status: () => quorum.status(), peers, store, freshStoreId, ask }),
    status: () => quorum.status(),
    view,
    problems: (upForMs, foundAfterMs) => quorumProblems(quorum.status(), view(), { upForMs, foundAfterMs }),
  };
}
