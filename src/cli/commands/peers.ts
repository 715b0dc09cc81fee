import { Command } from 'commander';
import type { PeerInfo } from '../../node/answers.ts';
import { type NodeFlags, type NodeSession, onNode, wholeNumber, withNode } from '../context.ts';
import type { Io } from '../io.ts';
import { table } from '../text.ts';

interface PeersFlags extends NodeFlags {
  readonly limit?: number;
  readonly cursor?: string;
}

export function peersCommand(io: Io): Command {
  return withNode(new Command('peers'), io)
    .option('--limit <n>', 'at most so many', wholeNumber(1, 1_000))
    .option('--cursor <cursor>', 'continue where an earlier answer ended')
    .action(
      onNode(io, async ({ client, out, flags }: NodeSession<PeersFlags>) => {
        const answer = await client.call<{ peers: readonly PeerInfo[]; cursor?: string }>(
          'GET',
          '/v1/peers',
          {
            query: { limit: flags.limit ?? 1_000, cursor: flags.cursor },
          },
        );
        await out.result(answer, () => peersText(answer.peers));
        if (answer.cursor !== undefined) out.note(`There are more: --cursor ${answer.cursor}`);
        if (answer.peers.length === 1 && flags.cursor === undefined && answer.cursor === undefined)
          out.note('Alone so far. `skein up` printed the command that joins a second machine.');
      }),
    );
}

function peersText(peers: readonly PeerInfo[]): string {
  return table(
    ['NAME', 'STATE', 'ROLES', 'RTT', 'NODE', 'ADDRESS'],
    peers.map((peer) => [
      peer.self ? `${peer.name} (this node)` : peer.name,
      peer.state,
      peer.roles.join(','),
      peer.rttMs === undefined ? '-' : `${peer.rttMs.toFixed(1)} ms`,
      peer.nodeId,
      peer.addresses[0] ?? '-',
    ]),
  );
}
