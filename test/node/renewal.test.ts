/** A node's own certificate: issued anew by the wall clock, which may jump, and told to the others without a link that breaks. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '../../src/adapters/node/log.ts';
import { CERTIFICATE_SKEW_MS, CERTIFICATE_VALIDITY_MS } from '../../src/mesh/identity/certificate.ts';
import { configWith } from '../../src/node/config/load.ts';
import { type RunningNode, startNode } from '../../src/node/node.ts';
import { eventually } from '../support/node-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'skein-renewal-'));
const running: RunningNode[] = [];

afterEach(async () => {
  vi.useRealTimers();
  for (const node of running.splice(0)) await node.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function start(name: string, peers: readonly string[], told: string[]): Promise<RunningNode> {
  const config = configWith({
    node: { name, data: join(directory, name) },
    swarm: { secret: 'a secret that only this test knows' },
    mesh: { listen: ['127.0.0.1'], port: 0, wsPort: 0, mdns: false, peers: [...peers] },
    http: { enabled: false },
  });
  const logger = createLogger({
    level: 'debug',
    readable: false,
    write: (line) => told.push((JSON.parse(line) as { name: string }).name),
  });
  const node = await startNode(config, { logger });
  running.push(node);
  return node;
}

const linked = ({ mesh }: RunningNode) =>
  mesh.peers().filter(({ state, self }) => state === 'alive' && !self).length === 1 || undefined;

describe('the certificate of a running node', () => {
  it.each([
    ['a third of its time is over', CERTIFICATE_VALIDITY_MS / 3 + 1_000, true],
    ['a third of its time is nearly over', CERTIFICATE_VALIDITY_MS / 3 - 120_000, false],
    ['the clock, which had been ahead, is set back', -CERTIFICATE_SKEW_MS - 70_000, true],
    ['the clock is set back by less than the allowed skew', -CERTIFICATE_SKEW_MS + 120_000, false],
  ])('once %s: is issued anew and told to the peer within a minute: %s', async (_, jumpMs, isRenewed) => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    const told: string[][] = [[], []];
    const one = await start('one', [], told[0] as string[]);
    const other = await start('other', [one.ready.meshAddresses[0] as string], told[1] as string[]);
    await eventually('linked', () => linked(one) && linked(other));
    vi.setSystemTime(Date.now() + jumpMs);
    vi.advanceTimersByTime(60_000);
    const renewed = () => told.filter((names) => names.includes('link.renewed')).length;
    if (isRenewed) await eventually('each heard of the other’s', () => renewed() === 2 || undefined);
    // The link is used meanwhile: what was sent would have come before this.
    const agent = { agentId: 'a' as never, capabilities: ['x'] };
    expect((await one.agents.register(agent)).ok).toBe(true);
    await eventually('the other lists it', async () => {
      const found = await other.agents.discover({});
      return JSON.stringify(found).includes('"a"') || undefined;
    });
    expect(renewed()).toBe(isRenewed ? 2 : 0);
    expect(told.flat()).not.toContain('link.down');
    expect([linked(one), linked(other)]).toEqual([true, true]);
  });
});
