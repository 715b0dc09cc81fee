/** What is wrong with the quorum store as this node sees it, and how to mend it. */
import type { Problem, QuorumView } from '../mesh/view.ts';
import type { QuorumStatus } from '../quorum/status.ts';

/** After this long without a store its lack is news: a node that starts looks around first. */
const SETTLED_MS = 15_000;

export function quorumProblems(
  status: QuorumStatus,
  view: QuorumView,
  { upForMs, foundAfterMs }: { readonly upForMs: number; readonly foundAfterMs: number },
): readonly Problem[] {
  const format = formatProblems(status, view);
  if (status.format.store > status.format.newest) return format;
  if (status.store === undefined) return upForMs < foundAfterMs + SETTLED_MS ? [] : [noStore()];
  return [...format, ...voterProblems(status, view), ...rivalProblems(status, status.store)];
}

/** `failure`: why etcd, which keeps the store, does not serve this node. */
export function etcdProblems(failure: string | undefined): readonly Problem[] {
  if (failure === undefined) return [];
  return [
    {
      code: 'ETCD_UNREACHABLE',
      message: `etcd keeps the quorum store, and does not serve this node: ${failure}. Strong reads, writes to quorum boards, leases and the reserve of budgets are refused; reads at level eventual go on.`,
      hint: 'Start etcd or mend the network (etcdctl endpoint health), and check quorum.etcd in the configuration.',
    },
  ];
}

function noStore(): Problem {
  return {
    code: 'NO_QUORUM_STORE',
    message:
      'This node has found no quorum store: boards of mode quorum, leases and budgets do not work here.',
    hint: 'If there is one, start a node that has it, and check with skein peers that it can be reached. A node that was given peers or a registry, and an observer, founds none by itself, nor one whose empty store gave way to another: if there is none, run skein voters found on one of them, and the others join its store.',
  };
}

function formatProblems({ format }: QuorumStatus, view: QuorumView): readonly Problem[] {
  const { store, newest, tooOld } = format;
  if (store > newest)
    return [
      {
        code: 'QUORUM_FORMAT_TOO_NEW',
        message: `The quorum store has format ${store}; this version of skein understands no more than ${newest}. This node takes no part in it, and leaves what it has of it as it is.`,
        hint: 'Install the version that the other members run, and start this node again.',
      },
    ];
  if (tooOld.length === 0) return [];
  const names = tooOld.map((id) => view.voters.find(({ nodeId }) => nodeId === id)?.name ?? id).join(', ');
  return [
    {
      code: 'MEMBERS_TOO_OLD',
      message: `The quorum store has format ${store}, which the version of skein on ${names} does not understand: there is no vote and no copy there.`,
      hint: 'Install the version that this node runs there, and start it again.',
    },
  ];
}

function voterProblems(status: QuorumStatus, view: QuorumView): readonly Problem[] {
  const { missing } = status;
  if (missing.length === 0) return [];
  const voters = Math.max(view.voters.length, missing.length);
  const names = missing.map((id) => view.voters.find(({ nodeId }) => nodeId === id)?.name ?? id).join(', ');
  const message = `${missing.length} of ${voters} voters of the quorum store cannot be reached from here: ${names}.`;
  if (2 * (voters - missing.length) > voters) {
    return [
      {
        code: 'VOTERS_MISSING',
        message: `${message} A majority is left, so nothing is refused yet.`,
        hint: 'Start them again, or take them out: skein voters remove NAME.',
      },
    ];
  }
  return [
    {
      code: 'QUORUM_LOST',
      message: `${message} Strong reads, writes to quorum boards and leases are refused; reads at level eventual go on.`,
      hint: `Start the missing voters or mend the network. If they are lost for good: skein voters recover --confirm ${status.store} (docs/OPERATIONS.md).`,
    },
  ];
}

function rivalProblems({ hasData, others }: QuorumStatus, own: string): readonly Problem[] {
  return others
    .filter((other) => other.hasData && hasData)
    .map(({ store, nodes }) => ({
      code: 'TWO_QUORUM_STORES',
      message: `Two quorum stores met and both hold data: this node has ${own}, and ${nodes.length === 1 ? 'one member has' : `${nodes.length} members have`} ${store}. Neither was touched, and neither sees the other's entries.`,
      hint: `Choose one: skein voters merge --keep ${own} on a node of the other, or --keep ${store} here. What is given up is exported first.`,
    }));
}
