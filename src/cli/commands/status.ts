import { Command } from 'commander';
import type { MeshStatus, Problem } from '../../node/answers.ts';
import type { NodeFlags, NodeSession } from '../context.ts';
import { onNode, withNode } from '../context.ts';
import type { Io } from '../io.ts';
import { ago, count, printable } from '../text.ts';

interface Status extends MeshStatus {
  readonly members: { readonly alive: number; readonly suspect: number; readonly dead: number };
  readonly boards: number;
  readonly agents: number;
  /** A node without a quorum store has none; null as long as it has not read it. */
  readonly budgets?: number | null;
  /** Id of the node that shares them out. */
  readonly orchestrator?: string | null;
  /** Null also where that node is not among the members that this one sees. */
  readonly orchestratorName?: string | null;
}

export function statusCommand(io: Io): Command {
  return withNode(new Command('status'), io).action(
    onNode(io, async ({ client, out }: NodeSession<NodeFlags>) => {
      const status = await client.call<Status>('GET', '/v1/status');
      await out.result(status, () => statusText(status));
      if (status.problems.length > 0)
        out.note(`${count(status.problems.length, 'problem')}; mend with: skein doctor`);
    }),
  );
}

function statusText(status: Status): string {
  const lines = [
    `${status.name} (${status.roles.join(', ')}), Skein ${status.version}, started ${ago(status.startedAt, Date.now())}`,
    `  node    ${status.nodeId}`,
    `  swarm   ${status.swarm}`,
    `  members ${status.members.alive} alive, ${status.members.suspect} suspect, ${status.members.dead} dead; ${count(status.links, 'link')}`,
    `  holds   ${count(status.boards, 'board')}, ${count(status.agents, 'agent')} in the mesh`,
    ...quorumLines(status),
    ...budgetLines(status),
    ...status.meshAddresses.map((address, index) => `  ${index === 0 ? 'mesh' : '    '}    ${address}`),
  ];
  return lines.map((line) => printable(line)).join('\n');
}

function quorumLines({ quorum }: Status): string[] {
  if (quorum === undefined) return [];
  if (quorum.engine === 'etcd') return ['  quorum  kept by etcd'];
  if (quorum.storeId === undefined) return ['  quorum  no store yet'];
  const leader = quorum.voters.find(({ nodeId }) => nodeId === quorum.leader)?.name ?? 'nobody';
  const missing = quorum.missing.length === 0 ? '' : `, ${quorum.missing.length} out of reach`;
  return [
    `  quorum  store ${quorum.storeId}, ${count(quorum.voters.length, 'voter')}${missing}, led by ${leader}`,
  ];
}

function budgetLines({ budgets = 0, orchestrator = null, orchestratorName = null }: Status): string[] {
  if (budgets === null) return ['  budgets not known yet: the quorum store was not read'];
  if (budgets === 0) return [];
  const by =
    orchestrator === null
      ? 'shared out by each node itself'
      : `shared out by ${orchestratorName ?? orchestrator}`;
  return [`  budgets ${budgets}, ${by}`];
}

export function problemsText(problems: readonly Problem[]): string {
  return problems
    .map(({ code, message, hint }) => `${printable(code)}: ${printable(message)}\n  ${printable(hint)}`)
    .join('\n');
}
