/** Several Skein nodes in one process: the company that a measured node keeps. */
import type { RunningNode } from '../../../src/node/node.ts';
import { serve } from '../lib/remote.ts';
import { met, type NodeSetup, startBenchNode } from '../lib/skein-node.ts';

const nodes: RunningNode[] = [];

serve({
  start: async (setup: NodeSetup) => {
    nodes.push(await startBenchNode(setup));
  },
  meet: ({ members, deadlineMs }: { members: number; deadlineMs: number }) =>
    Promise.all(nodes.map((node) => met(node, members, deadlineMs))),
});
