import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAgentBody } from '../../src/agents/registration.ts';
import { limits } from '../../src/kernel/limits.ts';
import { seededRng } from '../../src/kernel/rng.ts';
import { CALM, WALL_MS } from '../replication/network.ts';
import { AgentMesh } from './agent-mesh.ts';

const HOUR_MS = 3_600_000;

describe('agents: registration', () => {
  it('an agent registered on one node is discoverable on every node, with all that it said', () => {
    const mesh = new AgentMesh(3, 1);
    mesh.run(1_000);
    const registered = mesh.register(1, 'alice', {
      capabilities: ['write', 'review', 'write'],
      trustLevel: 0.6,
      endpoint: 'http://10.0.0.2:9000/a',
      description: 'reviews',
    });
    mesh.run(10);
    const expected = {
      agentId: 'alice',
      machineId: mesh.id(1),
      machineName: 'machine-3',
      capabilities: ['review', 'write'],
      trustLevel: 0.6,
      lastSeen: new Date(WALL_MS + 2_000).toISOString(),
      endpoint: 'http://10.0.0.2:9000/a',
      description: 'reviews',
    };
    expect(registered).toEqual({ ok: true, value: expected });
    for (let index = 0; index < 3; index++)
      expect(mesh.node(index).discover({}, mesh.now)).toEqual([expected]);
  });

  it('discovers by capability and trust, sorted by agent, then machine', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(1, 'b', { capabilities: ['gpu'], trustLevel: 0.5 });
    mesh.register(0, 'b', { capabilities: ['gpu', 'review'], trustLevel: 0.8 });
    mesh.register(0, 'a', { capabilities: ['review'] });
    mesh.run(100);
    for (const index of [0, 1]) {
      expect(
        mesh
          .node(index)
          .discover({}, mesh.now)
          .map(({ agentId, machineId }) => [agentId, machineId]),
      ).toEqual([
        ['a', mesh.id(0)],
        ['b', mesh.id(0)],
        ['b', mesh.id(1)],
      ]);
      expect(mesh.listed(index, { capability: 'gpu' })).toEqual(['b', 'b']);
      expect(mesh.listed(index, { capability: 'gpu', minTrust: 0.7 })).toEqual(['b']);
      expect(mesh.listed(index, { capability: 'gp' })).toEqual([]);
    }
  });

  it('nobody is trusted beyond 0.9, whatever it or its node says', () => {
    const mesh = new AgentMesh(2, 1);
    expect(mesh.register(0, 'a', { trustLevel: 1 })).toMatchObject({ value: { trustLevel: 0.9 } });
    expect(mesh.register(0, 'b')).toMatchObject({ value: { trustLevel: 0.9 } });
    const { records } = mesh.node(0);
    const body = { capabilities: ['x'], trustLevel: 1, ttlSeconds: 60, lastSeen: mesh.now.wallMs };
    mesh.carry(mesh.id(0), records.publish('agent', 'liar', body, mesh.now));
    mesh.run(10);
    expect(
      mesh
        .node(1)
        .discover({ minTrust: 0.9 }, mesh.now)
        .map(({ trustLevel }) => trustLevel),
    ).toEqual([0.9, 0.9, 0.9]);
  });

  it.each([
    ['no agent id', { agentId: undefined }],
    ['white space in the id', { agentId: 'a b' }],
    ['an id of too many bytes', { agentId: '\u{1F600}'.repeat(128) }],
    ['no capabilities', { capabilities: [] }],
    ['too many capabilities', { capabilities: Array.from({ length: 65 }, (_, item) => `${item}`) }],
    ['a capability too long', { capabilities: ['x'.repeat(65)] }],
    ['a capability that is no text', { capabilities: [7] }],
    ['a line break in a capability', { capabilities: ['a\nb'] }],
    ['trust above 1', { trustLevel: 1.1 }],
    ['trust that is no number', { trustLevel: Number.NaN }],
    ['a time to live too short', { ttlSeconds: 4 }],
    ['a time to live of half seconds', { ttlSeconds: 10.5 }],
    ['an endpoint that is no URL', { endpoint: 'over there' }],
    ['an endless description', { description: 'x'.repeat(1_025) }],
  ])('refuses %s with a hint, and changes nothing', (_, fields) => {
    const mesh = new AgentMesh(1, 1);
    const answer = mesh.register(0, 'a', fields);
    expect(answer).toMatchObject({
      ok: false,
      error: { code: 'INVALID_ARGUMENT', hint: expect.stringMatching(/.{10}/) },
    });
    expect(mesh.listed(0)).toEqual([]);
    expect(mesh.count('agentsChanged')).toBe(0);
  });

  it('a node has at most 1,000 agents', () => {
    const mesh = new AgentMesh(1, 1);
    for (let agent = 0; agent < limits.agentsPerNode; agent++) mesh.register(0, `agent-${agent}`);
    expect(mesh.register(0, 'one-more')).toMatchObject({ ok: false, error: { code: 'QUOTA_EXCEEDED' } });
    expect(mesh.register(0, 'agent-0', { capabilities: ['other'] }).ok).toBe(true);
  });

  it('a registration that changes something is published, one that does not is a heartbeat', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'a');
    mesh.run(100);
    mesh.effects.length = 0;
    for (let time = 0; time < 10; time++) mesh.register(0, 'a');
    expect(mesh.count('persist')).toBe(0);
    expect(mesh.changes(0)).toBe(0);
    mesh.register(0, 'a', { capabilities: ['write'] });
    mesh.run(100);
    expect(mesh.listed(1, { capability: 'write' })).toEqual(['a']);
    expect([mesh.changes(0), mesh.changes(1)]).toEqual([1, 1]);
  });

  it('bodies of other nodes that are no agents are not listed and harm nobody', () => {
    fc.assert(fc.property(fc.anything(), (body) => void parseAgentBody(body)));
    const mesh = new AgentMesh(2, 1);
    const good = { capabilities: ['x'], trustLevel: 1, ttlSeconds: 60, lastSeen: mesh.now.wallMs };
    const bad = [
      7,
      {},
      { ...good, lastSeen: 1e300 },
      { ...good, lastSeen: -1 },
      { ...good, capabilities: 'x' },
    ];
    for (const [index, body] of bad.entries()) {
      mesh.carry(mesh.id(0), mesh.node(0).records.publish('agent', `bad-${index}`, body, mesh.now));
    }
    mesh.run(100);
    expect(mesh.listed(1)).toEqual([]);
  });
});

describe('agents: heartbeats', () => {
  it('an agent that stops is gone everywhere when its time to live is over, and everybody is told', () => {
    const mesh = new AgentMesh(3, 1);
    mesh.register(0, 'a', { ttlSeconds: 30 });
    mesh.run(29_000);
    expect([0, 1, 2].map((index) => mesh.listed(index))).toEqual([['a'], ['a'], ['a']]);
    mesh.effects.length = 0;
    mesh.run(1_010);
    expect([0, 1, 2].map((index) => mesh.listed(index))).toEqual([[], [], []]);
    expect([0, 1, 2].map((index) => mesh.changes(index))).toEqual([1, 1, 1]);
    expect(mesh.heartbeat(0, 'a')).toMatchObject({ ok: false, error: { code: 'NOT_FOUND' } });
  });

  it.each([1, 5, 10, 19.9, 29])(
    'an agent that beats every %s s of a time to live of 30 s stays listed everywhere',
    (seconds) => {
      const mesh = new AgentMesh(2, 1);
      mesh.register(0, 'a', { ttlSeconds: 30 });
      for (let beat = 0; beat * seconds < 600; beat++) {
        mesh.run(seconds * 1_000 - 1, () => mesh.listed(1).length === 0 && beat > 0);
        expect(mesh.listed(1)).toEqual(['a']);
        expect(mesh.heartbeat(0, 'a').ok).toBe(true);
        mesh.run(1);
      }
    },
  );

  it('heartbeats are published at most once in a third of the time to live (100 a second for a minute: 6 at most)', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'a', { ttlSeconds: 30 });
    mesh.run(100);
    const before = mesh.sent.filter(({ bytes }) => bytes[0] === 1).length;
    for (let beat = 0; beat < 6_000; beat++) {
      mesh.heartbeat(0, 'a');
      mesh.run(10);
    }
    expect(mesh.sent.filter(({ bytes }) => bytes[0] === 1).length - before).toBeLessThanOrEqual(6);
    const [here, there] = [0, 1].map((index) =>
      Date.parse(mesh.node(index).discover({}, mesh.now)[0]!.lastSeen),
    );
    expect(here! - there!).toBeLessThanOrEqual(10_100);
    expect(mesh.changes(1)).toBe(1);
  });

  it('knows no agent of another node', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'a');
    mesh.run(100);
    expect(mesh.heartbeat(1, 'a')).toMatchObject({
      ok: false,
      error: { code: 'NOT_FOUND', hint: expect.stringContaining('agent_register') },
    });
    expect(mesh.call(1, { op: 'heartbeat', agentId: undefined }).ok).toBe(false);
  });
});

describe('agents: nodes that die, return, or have wrong clocks', () => {
  it('the agents of a dead node vanish at once, and are there again when it is alive', () => {
    const mesh = new AgentMesh(3, 1);
    mesh.register(0, 'a', { ttlSeconds: 3_600 });
    mesh.run(100);
    mesh.effects.length = 0;
    mesh.declare(0, 'dead');
    expect(mesh.listed(1)).toEqual([]);
    expect([mesh.changes(1), mesh.changes(2)]).toEqual([1, 1]);
    mesh.declare(0, 'alive');
    expect(mesh.listed(1)).toEqual(['a']);
    mesh.declare(2, 'dead');
    expect(mesh.changes(1)).toBe(2);
  });

  it('a node that is silent but not declared dead: readers stop listing its agents soon after the time to live', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'a', { ttlSeconds: 30 });
    mesh.run(100);
    mesh.crash(0);
    mesh.run(30_000);
    expect(mesh.listed(1)).toEqual(['a']);
    mesh.effects.length = 0;
    mesh.run(6_000);
    expect(mesh.listed(1)).toEqual([]);
    expect(mesh.changes(1)).toBe(1);
  });

  it('after a restart its agents may go on with heartbeats, and those that do not vanish', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'goes-on', { ttlSeconds: 60 });
    mesh.register(0, 'is-gone', { ttlSeconds: 60 });
    mesh.run(100);
    const journal = mesh.crash(0);
    mesh.run(20_000);
    mesh.boot(0, journal);
    mesh.connectAll();
    expect(mesh.heartbeat(0, 'goes-on').ok).toBe(true);
    mesh.run(50_000);
    expect(mesh.listed(0)).toEqual(['goes-on']);
    expect(mesh.listed(1)).toEqual(['goes-on']);
  });

  it('a restart after a long time lists nobody, here or elsewhere', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'a');
    mesh.run(100);
    const journals = [mesh.crash(0), mesh.crash(1)];
    mesh.run(2 * HOUR_MS);
    for (const [index, journal] of journals.entries()) mesh.boot(index, journal);
    expect([mesh.listed(0), mesh.listed(1)]).toEqual([[], []]);
    mesh.connectAll();
    mesh.run(10_000);
    expect(mesh.node(1).records.ofKind('agent')).toEqual([]);
  });

  it('a node whose disk was lost withdraws what it registered before', () => {
    const mesh = new AgentMesh(2, 1);
    mesh.register(0, 'a', { ttlSeconds: 30 });
    mesh.run(100);
    mesh.crash(0);
    mesh.boot(0, []);
    mesh.connectAll();
    mesh.run(1_000);
    expect(mesh.listed(0)).toEqual(['a']);
    mesh.run(31_000);
    expect([mesh.listed(0), mesh.listed(1)]).toEqual([[], []]);
    expect(mesh.node(1).records.ofKind('agent')).toEqual([]);
  });

  it.each([-HOUR_MS, HOUR_MS])(
    'a clock that is off by %s ms: agents are listed once their node was seen to refresh them',
    (skewMs) => {
      const mesh = new AgentMesh(2, 1, [skewMs, 0]);
      mesh.register(0, 'theirs', { ttlSeconds: 60 });
      mesh.register(1, 'ours', { ttlSeconds: 60 });
      for (let second = 0; second < 120; second++) {
        mesh.run(1_000);
        for (const [index, agent] of ['theirs', 'ours'].entries()) mesh.heartbeat(index, agent);
        if (second > 30)
          expect([mesh.listed(0), mesh.listed(1)]).toEqual([
            ['ours', 'theirs'],
            ['ours', 'theirs'],
          ]);
      }
      mesh.run(61_000);
      expect([mesh.listed(0), mesh.listed(1)]).toEqual([[], []]);
    },
  );

  it('nodes list what a naive twin lists (loss, crashes with their disk; random agents and heartbeats)', {
    timeout: 60_000,
  }, () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 }), (seed) => {
        const rng = seededRng(seed);
        const mesh = new AgentMesh(3, seed);
        const expiry = new Map<string, number>();
        mesh.faults = { loss: 0.2, duplicate: 0.2, minDelayMs: 1, maxDelayMs: 50 };
        for (let round = 0; round < 60; round++) {
          const index = rng.below(3);
          const name = `${index}-${rng.below(3)}`;
          if (rng.chance(0.05)) {
            const journal = mesh.crash(index);
            mesh.boot(index, journal);
            mesh.connectAll();
          } else if (rng.chance(0.3)) {
            expect(mesh.register(index, name, { ttlSeconds: 20 }).ok).toBe(true);
            expiry.set(name, mesh.nowMs + 20_000);
          } else {
            if (mesh.heartbeat(index, name).ok) expiry.set(name, mesh.nowMs + 20_000);
          }
          mesh.run(rng.below(4_000));
        }
        mesh.faults = CALM;
        mesh.run(5_000);
        for (let index = 0; index < 3; index++) {
          for (const agent of mesh.listed(index))
            expect(expiry.get(agent)).toBeGreaterThan(mesh.nowMs - 5_100);
        }
        mesh.run(26_000);
        for (let index = 0; index < 3; index++) expect(mesh.listed(index)).toEqual([]);
      }),
      { numRuns: 25, seed: 7 },
    );
  });
});
