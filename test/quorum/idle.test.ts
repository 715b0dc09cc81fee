/** What a store costs while nobody asks anything of it: turns of the machine, by what it is in the store. */
import { describe, expect, it } from 'vitest';
import type { QuorumMachine } from '../../simulations/quorum/machine.ts';
import { QuorumWorld } from '../../simulations/quorum/world.ts';
import { IDLE_MEMBERS, IDLE_SECONDS, idleQuorum, roleOf } from '../support/idle.ts';

const SETTLED_MS = 25_000;

describe('an idle store of eleven members', () => {
  const world = new QuorumWorld({
    seed: 1,
    nodes: IDLE_MEMBERS,
    breakAfterMs: 5_000,
    maxDelayMs: 1,
    configOf: ({ index }) => idleQuorum(index),
  });
  for (const machine of world.machines) machine.start();
  world.scheduler.runUntil(SETTLED_MS);
  const turns = new Map<QuorumMachine, number>();
  world.onStep.push((machine) => turns.set(machine, (turns.get(machine) ?? 0) + 1));
  world.scheduler.runUntil(SETTLED_MS + IDLE_SECONDS * 1_000);
  const mostOf = (role: ReturnType<typeof roleOf>) =>
    Math.max(
      ...world.machines
        .filter((machine) => roleOf(machine.quorum) === role)
        .map((machine) => (turns.get(machine) ?? 0) / IDLE_SECONDS),
    );

  it.each([
    ['leader', 13.5],
    ['voter', 3.7],
    ['learner', 0.4],
  ] as const)('its %s has at most %d turns a second', (role, most) => {
    expect(mostOf(role)).toBeGreaterThan(0);
    expect(mostOf(role)).toBeLessThanOrEqual(most);
  });

  it('is still led, followed by all, and answers', () => {
    const { leader } = world;
    expect(world.machines.map(({ quorum }) => quorum?.replica?.leader)).toEqual(
      world.machines.map(() => leader?.nodeId),
    );
    let isOk: boolean | undefined;
    world.machine(IDLE_MEMBERS - 1).call({ op: 'get', key: 'k' }, ({ ok }) => {
      isOk = ok;
    });
    world.scheduler.runUntil(world.nowMs + 100);
    expect(isOk).toBe(true);
  });

  it('its leader answers within 2 s when it is cut off, however long it had nothing to do (K39)', () => {
    const { leader } = world;
    if (leader === undefined) throw new Error('nobody leads');
    for (const { nodeId } of world.machines) {
      world.network.cut(leader.nodeId, nodeId);
      world.network.cut(nodeId, leader.nodeId);
    }
    const startMs = world.nowMs;
    let answeredMs = Number.POSITIVE_INFINITY;
    const then = [{ op: 'put', key: 'k', value: Uint8Array.of(1) }] as const;
    leader.call({ op: 'transact', transaction: { compares: [], then, otherwise: [] } }, ({ ok }) => {
      expect(ok).toBe(false);
      answeredMs = world.nowMs;
    });
    world.scheduler.runUntil(startMs + 5_000);
    expect(answeredMs - startMs).toBeLessThanOrEqual(2_000);
  });
});
