/** What a whole node costs while nobody asks anything of it: how often it is woken. */
import { beforeAll, describe, expect, it } from 'vitest';
import { Cluster } from '../../simulations/lib/cluster.ts';
import type { SimulatedMachine, Turn } from '../../simulations/lib/machine.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { earliest } from '../../src/kernel/time.ts';
import type { NodeCore } from '../../src/node/core.ts';
import { IDLE_MEMBERS, IDLE_SECONDS, idleQuorum, roleOf } from '../support/idle.ts';

const SETTLED_MS = 40_000;
/** Turns closer together than that are one wake. */
const ONE_WAKE_MS = 0.6;

function clusterOf(nodes: number): Cluster {
  return new Cluster({
    seed: 1,
    nodes,
    boards: { boards: [{ name: 'main', mode: 'crdt' }] },
    quorum: idleQuorum,
  });
}

function kindOf(event: Turn): string {
  if (event === 'expire') return event;
  return event.kind === 'frame' ? event.channel : event.kind;
}

describe('an idle node with ten peers', () => {
  /** Turns a second, by the role in the quorum store and by what they were for: of the busiest node. */
  const turns = new Map<string, Map<string, number>>();

  beforeAll(() => {
    const cluster = clusterOf(IDLE_MEMBERS);
    cluster.startAll();
    cluster.scheduler.runUntil(SETTLED_MS);
    const counts = new Map<SimulatedMachine, Map<string, number>>();
    const lastMs = new Map<SimulatedMachine, number>();
    cluster.onTurn.push((machine, event) => {
      const isWake = cluster.nowMs - (lastMs.get(machine) ?? 0) > ONE_WAKE_MS;
      lastMs.set(machine, cluster.nowMs);
      const count = counts.get(machine) ?? new Map<string, number>();
      counts.set(machine, count);
      for (const kind of [kindOf(event), 'all', ...(isWake ? ['wakes'] : [])])
        count.set(kind, (count.get(kind) ?? 0) + 1 / IDLE_SECONDS);
    });
    cluster.scheduler.runUntil(SETTLED_MS + IDLE_SECONDS * 1_000);
    for (const [machine, count] of counts) {
      const role = roleOf(machine.quorum);
      if ((count.get('all') ?? 0) > (turns.get(role)?.get('all') ?? 0)) turns.set(role, count);
    }
  });

  it.each([
    ['leader', 18.2, 10.3],
    ['voter', 9.5, 8.1],
    ['learner', 6.5, 5],
  ] as const)(
    'has so many turns a second at most as %s of the quorum store, %d, and so many wakes: %d',
    (role, mostTurns, mostWakes) => {
      const { all = 0, wakes = 0 } = Object.fromEntries(turns.get(role) ?? []);
      expect(wakes).toBeGreaterThan(0);
      expect(all).toBeLessThanOrEqual(mostTurns);
      expect(wakes).toBeLessThanOrEqual(mostWakes);
    },
  );
});

describe('the deadline of a node', () => {
  function deadlineOf({ links, discovery, membership, records, boards, agents, quorum, budgets }: NodeCore) {
    const machines = [links, discovery, membership, records, boards, agents, quorum, budgets];
    return earliest(machines.map((machine) => machine?.deadline()));
  }

  it('is the nearest of its machines after every turn, through a start, writes, a crash and a return', () => {
    const cluster = clusterOf(4);
    let turns = 0;
    cluster.onTurn.push((machine) => {
      turns++;
      if (machine.core !== undefined) expect(machine.core.deadline()).toEqual(deadlineOf(machine.core));
    });
    const write = (index: number, key: string) =>
      cluster
        .machine(index)
        .call(
          { op: 'write', board: 'main' as never, key: key as never, value: key },
          'a' as AgentId,
          () => {},
        );
    cluster.startAll();
    for (let round = 0; round < 20; round++) {
      cluster.scheduler.runUntil(cluster.nowMs + 500);
      for (let index = 0; index < 4; index++) write(index, `key-${round % 3}`);
      if (round === 8) cluster.machine(1).crash('power');
      if (round === 14) cluster.machine(1).start();
    }
    cluster.scheduler.runUntil(cluster.nowMs + 20_000);
    expect(cluster.violations).toEqual([]);
    expect(turns).toBeGreaterThan(1_000);
  });
});
