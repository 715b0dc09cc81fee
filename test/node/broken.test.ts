import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/adapters/node/log.ts';
import type { AgentId, BoardName } from '../../src/kernel/ids.ts';
import { NodeBroken } from '../../src/node/broken.ts';
import { configWith } from '../../src/node/config/load.ts';
import { type RunningNode, startNode } from '../../src/node/node.ts';

const BOARD = 'main' as BoardName;
const WRITER = { agent: 'tester' as AgentId };
const directory = mkdtempSync(join(tmpdir(), 'skein-broken-'));
const running: RunningNode[] = [];

afterEach(async () => {
  for (const node of running.splice(0)) await node.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** A node that breaks when a listener throws: then its log, which must not, throws in turn. */
async function start(): Promise<RunningNode> {
  const config = configWith({
    node: { name: 'one', data: directory },
    mesh: { listen: ['127.0.0.1'], port: 0, wsPort: 0, mdns: false },
    http: { enabled: false },
  });
  const inner = createLogger({ level: 'error', base: {} });
  const logger: typeof inner = Object.create(inner, {
    log: {
      value: (_level: string, name: string) => {
        if (name === 'node.listenerFailed') throw new Error('the log is broken');
      },
    },
    hide: { value: () => undefined },
  });
  const node = await startNode(config, { logger });
  running.push(node);
  return node;
}

const write = (node: RunningNode, key: string) =>
  node.blackboard.call({ op: 'write', board: BOARD, key, value: 1 }, WRITER);

describe('a node whose core breaks an invariant', () => {
  it('answers who waits, lets go of its directory, says so, and leaves the process that it is part of alone', async () => {
    const node = await start();
    expect((await write(node, 'before')).ok).toBe(true);
    node.blackboard.watch(BOARD, () => {
      throw new Error('a bad listener');
    });
    const answer = await write(node, 'breaks');
    expect(answer.ok).toBe(false);
    await expect(node.closed).rejects.toBeInstanceOf(NodeBroken);
    expect((await write(node, 'after')).ok).toBe(false);
    const again = await start();
    const before = await again.blackboard.call({ op: 'read', board: BOARD, key: 'before' }, WRITER);
    expect(before).toMatchObject({ ok: true, value: { found: true, value: 1 } });
    await again.stop();
    await expect(again.closed).resolves.toBeUndefined();
  });
});
