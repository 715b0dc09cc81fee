/** One process of the benchmark of budgets: spenders in it, and the nodes that they spend on. */
import type { RunningNode } from '../../src/index.ts';
import { nowUs, sleep, until } from './lib/clock.ts';
import {
  BUDGET,
  createBudget,
  diskMoney,
  type MoneyClient,
  nodeMoney,
  type Purse,
  redisMoney,
  taken,
} from './lib/money.ts';
import { serve } from './lib/remote.ts';
import { addressOf, met, type NodeSetup, startBenchNode } from './lib/skein-node.ts';
import { percentile } from './lib/stats.ts';

export interface SpendRequest {
  readonly callers: number;
  readonly forMs: number;
}

export interface Spending {
  /** Reserved and settled. */
  readonly perSecond: number;
  readonly reserveP50Us: number;
  readonly reserveP99Us: number;
  readonly settleP50Us: number;
  /** Of the thread of the callers, for each reservation and its settlement. */
  readonly processorUs: number;
}

/** One reservation of a steady spender. */
export interface SpendStamp {
  readonly startUs: number;
  readonly endUs: number;
}

const AMOUNT = 10;
const READY_MS = 30_000;

const nodes: RunningNode[] = [];
let client: MoneyClient | undefined;
let steady: { isEnded: boolean; readonly done: Promise<readonly SpendStamp[]> } | undefined;

async function open({ purse, directory }: { purse: Purse; directory: string }): Promise<void> {
  if (purse === 'skein') {
    const limit = 1e15;
    const address = await join({ directory, name: 'alone', peers: [] });
    if (address === '') throw new Error('the node listens nowhere');
    await createBudget(at(0), limit);
    await taken(at(0), { op: 'request', budget: BUDGET, amount: limit });
    client = nodeMoney(at(0));
  } else if (purse === 'disk') client = diskMoney(directory);
  else client = await redisMoney(directory, purse === 'redis, pipelined');
}

/** Each caller reserves, settles with all of it, and begins again. */
async function spend({ callers, forMs }: SpendRequest): Promise<Spending> {
  const money = client;
  if (money === undefined) throw new Error('nothing was opened');
  const reserves: number[] = [];
  const settles: number[] = [];
  const before = process.threadCpuUsage();
  const startUs = nowUs();
  const endUs = startUs + forMs * 1000;
  const caller = async () => {
    while (nowUs() < endUs) {
      const beforeUs = nowUs();
      const id = await money.reserve(AMOUNT);
      const betweenUs = nowUs();
      await money.settle(id, AMOUNT);
      reserves.push(betweenUs - beforeUs);
      settles.push(nowUs() - betweenUs);
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const used = process.threadCpuUsage(before);
  return {
    processorUs: (used.user + used.system) / settles.length,
    perSecond: settles.length / ((nowUs() - startUs) / 1e6),
    reserveP50Us: percentile(reserves, 0.5),
    reserveP99Us: percentile(reserves, 0.99),
    settleP50Us: percentile(settles, 0.5),
  };
}

async function join(setup: NodeSetup): Promise<string> {
  const node = await startBenchNode(setup);
  nodes.push(node);
  return addressOf(node);
}

function at(index: number): RunningNode {
  const node = nodes[index];
  if (node === undefined) throw new Error(`no node ${index} runs here`);
  return node;
}

/** Until it is told otherwise: 1 reserved and settled at a time, from the rights that the node has. */
function beginSteady(index: number): void {
  const run = { isEnded: false };
  const money = nodeMoney(at(index));
  const done = (async () => {
    const stamps: SpendStamp[] = [];
    while (!run.isEnded) {
      const startUs = nowUs();
      await money.settle(await money.reserve(1), 1);
      stamps.push({ startUs, endUs: nowUs() });
      await sleep(2);
    }
    return stamps;
  })();
  steady = Object.assign(run, { done });
}

serve({
  open,
  spend,
  close: () => client?.close(),
  join,
  meet: (members: number) => Promise.all(nodes.map((node) => met(node, members, READY_MS))),
  create: (limit: number) => createBudget(at(0), limit),
  /** Until this node has heard of the budget. */
  known: (index: number) => until('the budget is known', () => at(index).budgets.status(BUDGET).ok, READY_MS),
  request: async ({ index, amount }: { index: number; amount: number }) => {
    const startUs = nowUs();
    await taken(at(index), { op: 'request', budget: BUDGET, amount });
    return nowUs() - startUs;
  },
  /** Microseconds until one reservation was held and settled. */
  once: async ({ index, amount }: { index: number; amount: number }) => {
    const money = nodeMoney(at(index));
    const startUs = nowUs();
    const id = await money.reserve(amount);
    const heldUs = nowUs();
    await money.settle(id, amount);
    return heldUs - startUs;
  },
  /** All that is left, in pieces, from one node; gives what was spent. */
  drain: async ({ index, piece }: { index: number; piece: number }) => {
    const money = nodeMoney(at(index));
    let spent = 0;
    for (;;) {
      const id = await money.reserve(piece).catch((error: Error) => {
        if (error.message.includes('BUDGET_EXHAUSTED')) return undefined;
        throw error;
      });
      if (id === undefined) return spent;
      await money.settle(id, piece);
      spent += piece;
    }
  },
  remaining: (index: number) => {
    const status = at(index).budgets.status(BUDGET);
    return status.ok ? status.value.remaining : undefined;
  },
  voters: () =>
    at(0)
      .quorum.status()
      ?.servers.filter(({ role }) => role !== 'learner').length ?? 0,
  isOrchestrator: (index: number) => at(index).budgets.orchestrator === at(index).ready.nodeId,
  beginSteady,
  endSteady: async () => {
    if (steady !== undefined) steady.isEnded = true;
    return steady?.done;
  },
});
