/** When subscribers of a resource are told, on a clock that the test moves. */
import { describe, expect, it } from 'vitest';
import type { AgentId, BoardName } from '../../src/kernel/ids.ts';
import { limits } from '../../src/kernel/limits.ts';
import type { Clock } from '../../src/kernel/ports.ts';
import { ResourceUpdates } from '../../src/mcp/updates.ts';
import { memoryNode } from '../support/memory-node.ts';

class HandClock implements Clock {
  nowMs = 1_000;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();

  now() {
    return { monoMs: this.nowMs, wallMs: this.nowMs };
  }

  callAt(atMs: number, callback: () => void): () => void {
    const timer = { atMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get waiting(): number {
    return this.#timers.size;
  }

  advance(byMs: number): void {
    const untilMs = this.nowMs + byMs;
    for (;;) {
      const due = [...this.#timers].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.nowMs = Math.max(this.nowMs, due.atMs);
      due.callback();
    }
    this.nowMs = untilMs;
  }
}

function open() {
  const clock = new HandClock();
  const node = { ...memoryNode(), clock };
  const updates = new ResourceUpdates(node);
  const told: string[] = [];
  const watch = (uri: string) => {
    const watched = updates.watch(uri, (changed) => told.push(changed));
    if (!watched.ok) throw new Error(watched.error.message);
    return watched.value;
  };
  const write = (key: string, value = 0, board = 'main') =>
    node.blackboard.call({ op: 'write', board: board as BoardName, key, value }, { agent: 'a' as AgentId });
  return { clock, node, updates, told, watch, write };
}

describe('resource updates', () => {
  it('tell of the first change at once and of a burst once more, at its end', async () => {
    const { clock, told, watch, write } = open();
    watch('board://main/k');
    await write('k');
    expect(told).toHaveLength(1);
    for (let at = 0; at < 1_000; at++) await write('k', at);
    expect(told).toHaveLength(1);
    clock.advance(limits.resourceUpdateMs);
    expect(told).toHaveLength(2);
    clock.advance(10 * limits.resourceUpdateMs);
    expect(told).toHaveLength(2);
    await write('k');
    expect(told).toHaveLength(3);
  });

  it('tell each entry of its own changes and the board of all', async () => {
    const { told, watch, write } = open();
    watch('board://main/a%2Fb');
    watch('board://main/c');
    watch('board://main');
    watch('board://other');
    await write('a/b');
    expect(told.sort()).toEqual(['board://main', 'board://main/a%2Fb']);
  });

  it('tell of deletions', async () => {
    const { node, told, watch, write } = open();
    await write('k');
    watch('board://main/k');
    await node.blackboard.call(
      { op: 'delete', board: 'main' as BoardName, key: 'k' },
      { agent: 'a' as AgentId },
    );
    expect(told).toEqual(['board://main/k']);
  });

  it('tell of nodes and agents that come, go or change, but not of heartbeats', async () => {
    const { clock, node, told, watch } = open();
    watch('mesh://nodes');
    watch('mesh://agents');
    expect(clock.waiting).toBe(0);
    node.mesh.members = node.mesh.members.map((peer) => ({ ...peer, state: 'suspect' }));
    expect(told).toEqual(['mesh://nodes']);
    node.mesh.members = node.mesh.members.map((peer) => ({ ...peer, rttMs: 5 }));
    clock.advance(limits.resourceUpdateMs);
    await node.agents.register({ agentId: 'x' as AgentId, capabilities: ['y'] });
    expect(told).toEqual(['mesh://nodes', 'mesh://agents']);
    await node.agents.heartbeat('x' as AgentId);
    clock.advance(10_000);
    expect(told).toEqual(['mesh://nodes', 'mesh://agents']);
  });

  it('compare a list that is announced 1,000 times in a burst once at its beginning and once at its end', () => {
    const { clock, node, told, watch } = open();
    watch('mesh://nodes');
    let compared = 0;
    const { peers } = node.mesh;
    node.mesh.peers = () => {
      compared++;
      return peers.call(node.mesh);
    };
    for (let at = 0; at < 1_000; at++) {
      node.mesh.members = node.mesh.members.map((peer) => ({ ...peer, name: `renamed-${at}` }));
    }
    expect([compared, told.length]).toEqual([1, 1]);
    clock.advance(10_000);
    expect([compared, told.length, clock.waiting]).toEqual([2, 2, 0]);
  });

  it('hold nothing once everyone has gone', async () => {
    const { clock, node, updates, told, watch, write } = open();
    const stops = ['board://main', 'board://main/k', 'board://main/k', 'mesh://nodes', 'mesh://agents'].map(
      watch,
    );
    await write('k');
    await write('k');
    expect(clock.waiting).toBeGreaterThan(0);
    const before = told.length;
    for (const stop of stops) stop();
    for (const stop of stops) stop();
    expect([updates.size, clock.waiting, node.blackboard.listenersOf('main')]).toEqual([0, 0, 0]);
    await write('k');
    clock.advance(10_000);
    expect(told).toHaveLength(before);
  });

  it('refuse what names nothing, and more than the bound', () => {
    const { updates } = open();
    expect(updates.watch('file:///etc/passwd', () => {}).ok).toBe(false);
    for (let at = 0; at < limits.subscriptions; at++) updates.watch(`board://main/${at}`, () => {});
    const over = updates.watch('board://main/more', () => {});
    expect(over).toMatchObject({ ok: false, error: { code: 'RATE_LIMITED' } });
    updates.close();
    expect(updates.size).toBe(0);
  });
});
