/** REST of leases and voters; what has no tool is answered from the faces. */
import { failWith, type Result } from '../../kernel/errors.ts';
import type { NodeFaces } from '../../mcp/faces.ts';
import { leaseListing, noQuorumStore } from '../../mcp/lease-tools.ts';
import { pageOf } from '../../mcp/page.ts';
import type { Principal } from '../../mcp/principal.ts';
import type { Structured } from '../../mcp/tool.ts';
import type { VotersView } from '../../quorum/voters/voters-api.ts';

interface PageQuery {
  readonly limit?: number;
  readonly cursor?: string;
}

/** Who holds which lease, a page at a time. */
export async function listLeases(
  { leases }: NodeFaces,
  page: PageQuery,
  signal: AbortSignal,
): Promise<Result<Structured>> {
  return leases === undefined ? noQuorumStore() : leaseListing(leases, page, signal);
}

export function listVoters({ voters }: NodeFaces, page: PageQuery): Result<Structured> {
  return voters === undefined ? noQuorumStore() : shown(voters.list(), page);
}

/** `PUT` and `DELETE /v1/voters/{node}`, `POST /v1/voters/found`, `/v1/voters/recover` and `/v1/voters/merge`. */
export async function changeVoters(
  { voters }: NodeFaces,
  change:
    | { readonly kind: 'add' | 'remove'; readonly node: string }
    | { readonly kind: 'found' }
    | { readonly kind: 'recover' | 'merge'; readonly id: unknown },
  principal: Principal,
  signal: AbortSignal,
): Promise<Result<Structured>> {
  if (voters === undefined) return noQuorumStore();
  if (principal.zone !== 'local') {
    return failWith(
      'DENIED',
      'Only an operator on the machine of a node may change the voters.',
      'Run skein voters on that machine.',
    );
  }
  if ('node' in change) {
    const { kind, node } = change;
    return answered(await (kind === 'add' ? voters.add(node, signal) : voters.remove(node, signal)));
  }
  if (change.kind === 'found') return answered(await voters.found(signal));
  const { kind, id } = change;
  if (typeof id !== 'string') {
    const field = kind === 'recover' ? 'confirm' : 'keep';
    return failWith(
      'INVALID_ARGUMENT',
      `"${field}" must be the id of a store.`,
      'skein doctor names the stores.',
    );
  }
  return answered(
    await (kind === 'recover' ? voters.recover({ confirm: id }, signal) : voters.merge({ keep: id }, signal)),
  );
}

function answered(view: Result<VotersView>): Result<Structured> {
  return view.ok ? shown(view.value, {}) : view;
}

function shown(view: VotersView, query: PageQuery): Result<Structured> {
  const page = pageOf(view.voters, ({ name, serverId }) => `${name}\0${serverId}`, {
    limit: 1_000,
    ...query,
  });
  if (!page.ok) return page;
  const { items, cursor } = page.value;
  return {
    ok: true,
    value: {
      voters: items,
      storeId: view.storeId ?? null,
      leader: view.leader ?? null,
      ...(cursor === undefined ? {} : { cursor }),
    },
  };
}
