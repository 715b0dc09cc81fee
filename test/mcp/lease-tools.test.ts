import { describe, expect, it } from 'vitest';
import { Catalogue } from '../../src/mcp/catalogue.ts';
import { localPrincipal, type Principal } from '../../src/mcp/principal.ts';
import { MEMORY_NODE_ID, memoryNode } from '../support/memory-node.ts';

function open() {
  const catalogue = new Catalogue(memoryNode(), (error) => {
    throw error;
  });
  return async (tool: string, args: unknown, principal: Principal = localPrincipal()) => {
    const answer = await catalogue.call(tool, args, { principal });
    return answer.ok ? answer.value : answer.error;
  };
}

describe('lease tools', () => {
  it('an agent acquires, another hears who holds it, and after the release gets a greater token', async () => {
    const run = open();
    const first = await run('lease_acquire', { name: 'deploy', ttl_seconds: 30, agent_id: 'one' });
    expect(first).toMatchObject({ held: true, holder: 'one', machine_id: MEMORY_NODE_ID, name: 'deploy' });
    expect(await run('lease_acquire', { name: 'deploy', agent_id: 'two' })).toMatchObject({
      held: false,
      fencing_token: null,
      holder: 'one',
      expiresAt: expect.stringMatching(/^\d{4}-/),
    });
    const { fencing_token } = first as { fencing_token: number };
    expect(await run('lease_acquire', { name: 'deploy', agent_id: 'one' })).toMatchObject({
      held: true,
      already: true,
      fencing_token,
    });
    expect(await run('lease_renew', { name: 'deploy', agent_id: 'two' })).toMatchObject({ held: false });
    expect(await run('lease_renew', { name: 'deploy', agent_id: 'one', fencing_token })).toMatchObject({
      held: true,
      fencing_token,
    });
    expect(await run('lease_release', { name: 'deploy', agent_id: 'one' })).toMatchObject({
      held: false,
      holder: null,
      expiresAt: null,
    });
    const second = await run('lease_acquire', { name: 'deploy', agent_id: 'two' });
    expect((second as { fencing_token: number }).fencing_token).toBeGreaterThan(fencing_token);
  });

  it('a key acts as its own agent, and the zone external may hold nothing', async () => {
    const run = open();
    const keyed = (zone: 'trusted' | 'external') =>
      ({ name: 'robot', agent: 'robot', zone, actsForAnyone: false }) as unknown as Principal;
    expect(await run('lease_acquire', { name: 'a' }, keyed('trusted'))).toMatchObject({ holder: 'robot' });
    expect(await run('lease_acquire', { name: 'a', agent_id: 'two' }, keyed('trusted'))).toMatchObject({
      code: 'DENIED',
    });
    expect(await run('lease_acquire', { name: 'a' }, keyed('external'))).toMatchObject({ code: 'DENIED' });
  });

  it('a node without a quorum store says so', async () => {
    const { leases: _, ...bare } = memoryNode();
    const catalogue = new Catalogue(bare, () => {});
    expect(
      await catalogue.call('lease_acquire', { name: 'a' }, { principal: localPrincipal() }),
    ).toMatchObject({
      error: { code: 'UNSUPPORTED' },
    });
  });
});
