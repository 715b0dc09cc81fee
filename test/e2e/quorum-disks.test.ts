/** Real disks that fail, take long, or lose what was not forced down: nothing is acknowledged that is not on a majority of them. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Tampering, Tracer } from '../../simulations/live/tracer.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { jsonRequest } from '../support/raw-http.ts';
import { controlOf, entriesOf, WholeNodes } from '../support/whole-nodes.ts';

const SLOW_MS = 400;

/** Where it was, so that the others find it. */
function again(voter: NodeProcess): Promise<NodeProcess> {
  const [, port = '0'] = /\/tcp\/(\d+)/.exec(voter.ready.meshAddresses[0] ?? '') ?? [];
  return voter.again({ args: [...(voter.setting.args ?? []), '--mesh-port', port] });
}

const missing = Tracer.whyNot();
if (missing !== undefined) console.warn(`skipped: disks of real nodes: ${missing}`);

describe.runIf(missing === undefined)('three voters on real disks', { timeout: 120_000 }, () => {
  const nodes = new WholeNodes('disks');
  const tracers: Tracer[] = [];
  let voters: NodeProcess[];
  let written = 0;
  const acknowledged = new Map<string, number>();

  beforeAll(async () => {
    const first = await nodes.start('m1', { readyMs: 60_000 });
    const others = await Promise.all(
      ['m2', 'm3'].map((name) => nodes.start(name, { peers: [first], readyMs: 60_000 })),
    );
    voters = [first, ...others];
    await eventually('three voters', whole, 60_000);
  }, 120_000);
  afterEach(async () => {
    for (const tracer of tracers.splice(0)) await tracer.detach();
  });
  afterAll(() => nodes.end());

  const votersOf = async (on: NodeProcess) =>
    (await jsonRequest(controlOf(on), 'GET', '/v1/voters')).json as {
      leader: string | null;
      voters: { role: string; state: string; nodeId: string }[];
    };

  async function whole(): Promise<true | undefined> {
    const views = await Promise.all(voters.map(votersOf));
    const isWhole = views.every(
      ({ leader, voters: seen }) =>
        leader !== null &&
        seen.filter(({ role, state }) => role !== 'learner' && state === 'alive').length === 3,
    );
    return isWhole || undefined;
  }

  async function leader(): Promise<NodeProcess> {
    const { leader: id } = await votersOf(voters[0] as NodeProcess);
    return voters.find(({ ready }) => ready.nodeId === id) ?? (voters[0] as NodeProcess);
  }

  const tamper = async (on: NodeProcess, tampering: Tampering) => {
    tracers.push(await Tracer.attach(on.pid, tampering));
  };

  /** How long it took, or how it was refused. */
  async function write(on: NodeProcess): Promise<{ readonly ms: number; readonly code?: string }> {
    const value = ++written;
    const key = `k${value}`;
    const startMs = performance.now();
    const answer = await jsonRequest(controlOf(on), 'PUT', `/v1/boards/tasks/entries/${key}`, { value });
    const ms = performance.now() - startMs;
    if (answer.status < 300) acknowledged.set(key, value);
    return answer.status < 300
      ? { ms }
      : { ms, code: (answer.json as { error: { code: string } }).error.code };
  }

  async function everythingIsThere(): Promise<void> {
    for (const voter of voters) {
      await eventually('the copy has all', async () => {
        const entries = await entriesOf(voter, 'tasks');
        return [...acknowledged].every(([key, value]) => entries.get(key) === value) || undefined;
      });
    }
  }

  it('a write waits for the disks of a majority, and for no more: a sync that was left out would show (K33)', async () => {
    const leading = await leader();
    const [one, other] = voters.filter((voter) => voter !== leading) as [NodeProcess, NodeProcess];
    await tamper(one, { kind: 'syncIsSlow', ms: SLOW_MS });
    const fast = [await write(leading), await write(leading), await write(leading)];
    expect(Math.min(...fast.map(({ ms }) => ms))).toBeLessThan(SLOW_MS);
    await tamper(other, { kind: 'syncIsSlow', ms: SLOW_MS });
    const slow = [await write(leading), await write(leading), await write(leading)];
    const answered = slow.filter(({ code }) => code === undefined);
    expect(answered.length).toBeGreaterThan(0);
    for (const { ms } of answered) expect(ms).toBeGreaterThanOrEqual(SLOW_MS);
    await everythingIsThere();
  });

  it.each(['the leader', 'a follower'])(
    'the disk of %s fails a sync: the others go on, it acknowledges nothing by itself, and all that was acknowledged is there after kill -9 of all (K32, K33)',
    async (which) => {
      await eventually('three voters', whole, 60_000);
      const leading = await leader();
      const failing =
        which === 'the leader' ? leading : (voters.find((voter) => voter !== leading) as NodeProcess);
      const healthy = voters.filter((voter) => voter !== failing);
      await tamper(failing, { kind: 'syncFails' });
      const refused = await write(failing);
      for (const voter of healthy)
        await eventually(
          'a write through a healthy one',
          async () => {
            const { code } = await write(voter);
            return code === undefined || undefined;
          },
          20_000,
        );
      // Through the failing one nothing is promised, or the majority without it has it.
      if (refused.code !== undefined) expect(['QUORUM_UNAVAILABLE', 'UNREACHABLE']).toContain(refused.code);
      await Promise.all(voters.map((voter) => voter.end('SIGKILL')));
      for (const tracer of tracers.splice(0)) await tracer.detach();
      voters = await Promise.all(voters.map(async (voter) => nodes.own(await again(voter))));
      await eventually('three voters', whole, 60_000);
      await everythingIsThere();
    },
  );

  it('where the disks of a majority fail nothing is acknowledged, and all goes on once they are well (K32)', async () => {
    const leading = await leader();
    for (const voter of voters.filter((each) => each !== leading)) await tamper(voter, { kind: 'syncFails' });
    // What was under way before the disks failed may come through.
    await write(leading);
    for (let count = 0; count < 2; count++)
      expect(await write(leading)).toMatchObject({ code: 'QUORUM_UNAVAILABLE' });
    for (const tracer of tracers.splice(0)) await tracer.detach();
    await eventually('a write', async () => (await write(leading)).code === undefined || undefined, 30_000);
    await everythingIsThere();
  });
});
