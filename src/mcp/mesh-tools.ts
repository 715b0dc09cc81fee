/** Tools that show the mesh. */
import { z } from 'zod';
import { limits } from '../kernel/limits.ts';
import type { PeerInfo } from '../mesh/view.ts';
import { integer, list, text, textOrNull } from './board-arguments.ts';
import { allProblems } from './budget-problems.ts';
import type { NodeFaces } from './faces.ts';
import { pageOf } from './page.ts';
import { defineTool, type Tool } from './tool.ts';

export function meshTools(faces: NodeFaces): Tool[] {
  return [meshStatus(faces)];
}

/** Where a member stands in lists: by name, then by id. */
export function peerSortKey(peer: PeerInfo): string {
  return `${peer.name}\u0000${peer.nodeId}`;
}

export function sortedPeers(peers: readonly PeerInfo[]): readonly PeerInfo[] {
  return peers.toSorted((left, right) => (peerSortKey(left) < peerSortKey(right) ? -1 : 1));
}

function meshStatus(faces: NodeFaces): Tool {
  return defineTool(
    {
      name: 'mesh_status',
      title: 'Show the mesh',
      description:
        'Show this node, the nodes of the swarm and whether they are alive, and what is wrong. Use it when something cannot be reached.',
      effect: 'read',
      idempotent: true,
      input: {
        limit: z.int().min(1).max(limits.listPage).optional().describe('Nodes to show; default 100.'),
        cursor: z.string().optional(),
      },
      output: {
        self: { type: 'object' },
        nodes: list,
        links: integer,
        voters: { type: 'array' },
        leader: textOrNull,
        storeId: textOrNull,
        orchestrator: textOrNull,
        versions: { type: 'object' },
        problems: list,
        cursor: text,
      },
      always: [
        'self',
        'nodes',
        'links',
        'voters',
        'leader',
        'storeId',
        'orchestrator',
        'versions',
        'problems',
      ],
      run(input, _call, { mesh, budgets }) {
        const page = pageOf(sortedPeers(mesh.peers()), peerSortKey, input);
        if (!page.ok) return page;
        const { links, problems: _, version, quorum, ...self } = mesh.status();
        const { items, cursor } = page.value;
        return {
          ok: true,
          value: {
            self: { ...self, version },
            nodes: items,
            links,
            voters: quorum?.voters ?? [],
            leader: quorum?.leader ?? null,
            storeId: quorum?.storeId ?? null,
            orchestrator: budgets?.orchestrator ?? null,
            versions: { skein: version },
            problems: allProblems(faces),
            ...(cursor === undefined ? {} : { cursor }),
          },
        };
      },
    },
    faces,
  );
}
