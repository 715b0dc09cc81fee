/** Skein nodes within a child process of a benchmark, started as any embedding program would. */
import type { AgentId, BoardName } from '../../../src/kernel/ids.ts';
import { configWith } from '../../../src/node/config/load.ts';
import { type RunningNode, type StartOptions, startNode } from '../../../src/node/node.ts';
import { nowUs, until } from './clock.ts';
import { SECRET } from './skein-process.ts';

export const BOARD = 'main' as BoardName;
export const WRITER = { agent: 'bench' as AgentId };
const PAGE = 1000;

export interface NodeSetup {
  readonly directory: string;
  readonly name: string;
  readonly peers: readonly string[];
}

/** Everything at its default but what keeps it on this machine: loopback, any free port, no multicast. */
export function startBenchNode(setup: NodeSetup, options: StartOptions = {}): Promise<RunningNode> {
  const config = configWith({
    node: { name: setup.name, data: setup.directory },
    swarm: { secret: SECRET },
    mesh: { listen: ['127.0.0.1'], port: 0, wsPort: 0, mdns: false, peers: setup.peers },
    http: { enabled: false },
  });
  return startNode(config, options);
}

/** The address over plain TCP. */
export function addressOf(node: RunningNode): string {
  const address = node.ready.meshAddresses.find((text) => !/\/ws(\/|$)/.test(text));
  if (address === undefined) throw new Error('the node listens nowhere');
  return address;
}

/** Linked with all others, and all of them known to live. */
export function met(node: RunningNode, members: number, deadlineMs = 30_000): Promise<void> {
  return until(
    `${members} members`,
    () =>
      node.mesh.status().links >= members - 1 &&
      node.mesh.peers().filter((peer) => peer.state === 'alive').length >= members,
    deadlineMs,
  );
}

export async function writeEntry(node: RunningNode, key: string, value: string): Promise<void> {
  const answer = await node.blackboard.call({ op: 'write', board: BOARD, key, value }, WRITER);
  if (!answer.ok) throw new Error(`${answer.error.code}: ${answer.error.message}`);
}

export async function listEntries(node: RunningNode): Promise<(readonly [key: string, value: string])[]> {
  const entries: (readonly [string, string])[] = [];
  let cursor: string | undefined;
  do {
    const page = await node.blackboard.call(
      { op: 'list', board: BOARD, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) },
      WRITER,
    );
    if (!page.ok) throw new Error(`${page.error.code}: ${page.error.message}`);
    for (const { key, value } of page.value.entries) entries.push([key, String(value)]);
    cursor = page.value.cursor;
  } while (cursor !== undefined);
  return entries;
}

export function keysOf(node: RunningNode): number {
  return node.blackboard.boards().find((board) => board.name === BOARD)?.keys ?? 0;
}

/** Milliseconds since `startUs`. */
export function msSince(startUs: number): number {
  return (nowUs() - startUs) / 1000;
}
