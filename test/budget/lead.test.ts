import { describe, expect, it } from 'vitest';
import { worldWith } from './world.ts';

describe('budgets: who shares them out, as a node tells it', () => {
  const leading = () => {
    const world = worldWith(2, {}, { isOrchestrator: true });
    world.pass(5_000);
    const lead = world.nodes.find(({ self }) => self === world.one.budgets.orchestrator);
    const other = world.nodes.find((node) => node !== lead);
    expect(other?.budgets.orchestrator).toBe(lead?.self);
    return { world, lead: lead!, other: other! };
  };

  it('a node that cannot reach the one in its copy of the store names nobody', () => {
    const { world, lead, other } = leading();
    world.behind.add(other);
    other.tell({ kind: 'peerDown', peer: lead.self, reason: 'cut off' });
    other.tell({ kind: 'memberChanged', member: lead.self, state: 'dead' });
    expect(other.budgets.orchestrator).toBeUndefined();
    other.tell({ kind: 'memberChanged', member: lead.self, state: 'alive' });
    expect(other.budgets.orchestrator).toBe(lead.self);
  });

  it('one that cannot renew its lease does not name itself any more', () => {
    const { world, lead } = leading();
    world.isStoreUp = false;
    world.pass(5_000);
    expect(lead.budgets.orchestrator).toBeUndefined();
  });
});
