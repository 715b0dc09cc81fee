/** What becomes of money when a disk, a process or a copy of a node goes wrong. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { BudgetStatus } from '../../src/budget/api.ts';
import type { AgentId } from '../../src/kernel/ids.ts';
import { type BudgetNode, type BudgetNodeSetting, BudgetNodes, eventually } from './budget-node.ts';

const AGENT = 'tester' as AgentId;
const LIMIT = 10_000;
let nodes: BudgetNodes;
afterEach(() => nodes.end());

/** `keeper` has the quorum store to itself; the other only spends, so that no fault of its disk is one of the store. */
async function pair(setting: Partial<BudgetNodeSetting> = {}): Promise<readonly [BudgetNode, BudgetNode]> {
  nodes = new BudgetNodes();
  const keeper = await nodes.start('keeper');
  await eventually(
    () => keeper.call({ op: 'create', budget: 'b', limit: LIMIT }),
    ({ ok }) => ok,
    30_000,
  );
  const spender = await nodes.start('spender', { config: { node: SPENDER }, ...setting });
  return [keeper, spender];
}

const SPENDER = { roles: ['observer'] };

function reserve(on: BudgetNode, amount: number, waitMs = 2_000) {
  return on.call({ op: 'reserve', budget: 'b', agent: AGENT, amount, waitMs });
}

async function knows(on: BudgetNode): Promise<void> {
  await eventually(
    () => on.status('b'),
    ({ ok }) => ok,
    30_000,
  );
}

/** Rights for the spender, some of them spent and some held. */
async function spendSome(spender: BudgetNode): Promise<string> {
  await knows(spender);
  await eventually(
    () => spender.call({ op: 'request', budget: 'b', amount: 1_000 }),
    ({ ok }) => ok,
  );
  const used = await reserve(spender, 300);
  const held = await reserve(spender, 200);
  if (!used.ok || !held.ok) throw new Error(JSON.stringify([used, held]));
  await spender.call({ op: 'settle', id: used.value.reservationId, amount: 300 });
  return held.value.reservationId;
}

/** As soon as it holds on the node; what it says then. */
async function statusWhere(on: BudgetNode, holds: (status: BudgetStatus) => boolean): Promise<BudgetStatus> {
  const seen = await eventually(
    () => on.status('b'),
    (status) => status.ok && holds(status.value),
    30_000,
  );
  if (!seen.ok) throw new Error(seen.error.message);
  return seen.value;
}

/** Takes all that is left, from any node, a piece at a time. */
async function takeAll(on: BudgetNode, piece: number): Promise<number> {
  let taken = 0;
  for (;;) {
    const result = await reserve(on, piece, 3_000);
    if (!result.ok) {
      expect(result.error.code).toBe('BUDGET_EXHAUSTED');
      return taken;
    }
    taken += piece;
  }
}

/** The directory stays, with all that it is: only what is in it goes back. */
function restoreInPlace(data: string, from: string): void {
  for (const name of readdirSync(data)) rmSync(join(data, name), { recursive: true });
  cpSync(from, data, { recursive: true });
}

describe('a spender that dies', { timeout: 120_000 }, () => {
  it.each([
    ['journal.before-write', 40],
    ['journal.mid-write', 40],
    ['journal.after-write', 40],
    ['journal.after-sync', 40],
  ] as const)(
    'B07, B19 at %s (passage %i) forgets nothing that it answered for, and frees no hold',
    async (point, passage) => {
      const [keeper, spender] = await pair({ env: { SKEIN_CRASH_AT: `${point}:${passage}` } });
      const held: string[] = [];
      /** Settled with 6 when it died, or not. */
      const cut: string[] = [];
      let settled = 0;
      await eventually(
        () => spender.status('b'),
        (status) => status.ok || spender.isGone,
      );
      for (let round = 0; !spender.isGone && round < 500; round++) {
        const result = await reserve(spender, 10);
        if (!result.ok) continue;
        held.push(result.value.reservationId);
        if (round % 2 === 1) continue;
        const end = await spender.call({ op: 'settle', id: result.value.reservationId, amount: 6 });
        held.pop();
        if (end.ok) settled++;
        else cut.push(result.value.reservationId);
      }
      expect(spender.isGone, 'it died').toBe(true);
      const returned = nodes.own(await spender.again({ env: {}, peers: keeper.ready.meshAddresses }));
      await knows(returned);
      for (const id of held) {
        const end = await returned.call({ op: 'settle', id, amount: 10 });
        expect(end).toMatchObject({ ok: true, value: { amount: 10, freed: 0, overrun: 0 } });
      }
      for (const id of cut)
        expect(await returned.call({ op: 'settle', id, amount: 6 })).toMatchObject({
          ok: true,
          value: { amount: 6 },
        });
      const least = (settled + cut.length) * 6 + held.length * 10;
      const { spent, held: left, problems } = await statusWhere(keeper, (status) => status.spent >= least);
      // One call was under way when it died.
      expect(spent + left).toBeLessThanOrEqual(least + 10);
      expect(problems).toEqual([]);
      expect((await takeAll(returned, 100)) + spent + left).toBeLessThanOrEqual(LIMIT);
    },
  );
});

describe('data that are not what they were', { timeout: 120_000 }, () => {
  it('B10 an older state spends nothing while it is alone, and ends as an account once the store is heard', async () => {
    const [keeper, spender] = await pair();
    await spendSome(spender);
    const { data } = spender.setting;
    await spender.stop();
    const old = join(nodes.directory, 'old');
    cpSync(data, old, { recursive: true });
    const second = nodes.own(await spender.again({ peers: keeper.ready.meshAddresses }));
    await knows(second);
    const more = await eventually(
      () => reserve(second, 400),
      ({ ok }) => ok,
    );
    expect(more.ok).toBe(true);
    await statusWhere(keeper, ({ held }) => held === 600);
    await second.kill();
    restoreInPlace(data, old);

    const alone = nodes.own(await second.again({ peers: [] }));
    expect(await reserve(alone, 1, 0)).toMatchObject({ ok: false });
    await alone.kill();

    const back = nodes.own(await second.again({ peers: keeper.ready.meshAddresses }));
    await knows(back);
    const status = await statusWhere(keeper, ({ stranded }) => stranded > 0);
    expect(status).toMatchObject({ spent: 300, held: 600, stranded: 700 });
    expect(await takeAll(back, 100)).toBe(LIMIT - 1_000);
  });

  it('B11 a copy of the directory has no rights, and needs no network to know it', async () => {
    const [keeper, spender] = await pair();
    await spendSome(spender);
    await spender.stop();
    const copy = join(nodes.directory, 'copy');
    cpSync(spender.setting.data, copy, { recursive: true });
    const copied = nodes.own(await spender.again({ data: copy, peers: [] }));
    expect(await reserve(copied, 1, 0)).toMatchObject({ ok: false });
    await copied.kill();
    const original = nodes.own(await spender.again({ peers: keeper.ready.meshAddresses }));
    await knows(original);
    expect(
      await eventually(
        () => reserve(original, 500),
        ({ ok }) => ok,
      ),
    ).toMatchObject({ ok: true });
    const { stranded } = await statusWhere(keeper, ({ held }) => held === 700);
    expect(stranded).toBe(0);
  });

  it('B12 without its disk a node has none of its rights, and they stay charged until they are written off', async () => {
    const [keeper, spender] = await pair();
    await spendSome(spender);
    await statusWhere(keeper, ({ held, spent }) => held === 200 && spent === 300);
    await spender.kill();
    rmSync(join(spender.setting.data, 'journal'), { recursive: true });
    const back = nodes.own(await spender.again({ peers: keeper.ready.meshAddresses }));
    await knows(back);
    // Its first reservation opens its new account.
    expect(
      await eventually(
        () => reserve(back, 9_000),
        ({ ok }) => ok,
      ),
    ).toMatchObject({ ok: true });
    expect(await reserve(back, 1)).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
    const status = await statusWhere(keeper, ({ stranded, held }) => stranded === 700 && held === 9_200);
    const former = status.machines.find(({ stranded }) => stranded > 0)?.accounts[0] as string;
    expect(await keeper.call({ op: 'writeOff', budget: 'b', account: former })).toEqual({
      ok: true,
      value: { writtenOff: 500, lost: 200 },
    });
    expect(await reserve(back, 500)).toMatchObject({ ok: true });
    expect(await reserve(back, 1)).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
  });
});

describe('a spender that stands still', { timeout: 120_000 }, () => {
  it('B15 loses no right while it is stopped; what was reserved before and served after counts, though its time was up, and with what others took meanwhile is the limit', async () => {
    const [keeper, spender] = await pair();
    const held = await spendSome(spender);
    const ttlMs = 1_000;
    const brief = await spender.call({ op: 'reserve', budget: 'b', agent: AGENT, amount: 100, ttlMs });
    if (!brief.ok) throw new Error(brief.error.message);
    await statusWhere(keeper, (status) => status.held === 300);
    spender.signal('SIGSTOP');
    try {
      expect(await takeAll(keeper, 1_000)).toBe(9_000);
      await statusWhere(keeper, ({ stranded }) => stranded === 700);
    } finally {
      spender.signal('SIGCONT');
    }
    // Both were checked before the stop, and are served only now.
    const settle = (id: string, amount: number) => spender.call({ op: 'settle', id, amount });
    expect(await settle(brief.value.reservationId, 100)).toMatchObject({ ok: true, value: { amount: 100 } });
    expect(await settle(held, 200)).toMatchObject({ ok: true, value: { amount: 200, overrun: 0 } });
    expect(await reserve(spender, 400)).toMatchObject({ ok: true });
    expect(await reserve(spender, 1)).toMatchObject({ ok: false, error: { code: 'BUDGET_EXHAUSTED' } });
    const { spent, held: open } = await statusWhere(keeper, (status) => status.held === 9_400);
    expect([spent, open]).toEqual([600, 9_400]);
  });
});

const mayMount = process.getuid?.() === 0 && process.platform === 'linux';
if (!mayMount) console.warn('skipped: a full disk: mounting a small file system needs root and Linux');

describe.skipIf(!mayMount)('a full disk', { timeout: 120_000 }, () => {
  it('B29 refuses to spend, counts nothing twice, and goes on without a restart once there is space', async () => {
    nodes = new BudgetNodes();
    const mount = join(nodes.directory, 'small');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'tmpfs', mount]);
    try {
      const node = await nodes.start('one', { data: join(mount, 'data') });
      await eventually(
        () => node.call({ op: 'create', budget: 'b', limit: LIMIT }),
        ({ ok }) => ok,
        30_000,
      );
      const before = await reserve(node, 100);
      if (!before.ok) throw new Error(before.error.message);
      fill(mount);
      let unknown = 0;
      await eventually(
        async () => {
          const refused = await reserve(node, 100, 0);
          if (refused.ok || refused.error.details?.outcome !== 'not-done') unknown++;
          return refused;
        },
        (result) =>
          !result.ok && result.error.code === 'INTERNAL' && result.error.details?.outcome === 'not-done',
      );
      rmSync(join(mount, 'filler'));
      const after = await eventually(
        () => reserve(node, 100),
        ({ ok }) => ok,
      );
      expect(after.ok).toBe(true);
      const settled = await node.call({ op: 'settle', id: before.value.reservationId, amount: 100 });
      expect(settled).toMatchObject({ ok: true, value: { amount: 100 } });
      const status = await statusWhere(node, ({ spent }) => spent === 100);
      expect(status.held).toBeGreaterThanOrEqual(100);
      expect(status.held).toBeLessThanOrEqual(100 * (unknown + 1));
      expect(status.reserve + status.allocated).toBe(LIMIT);
    } finally {
      await nodes.killAll();
      execFileSync('umount', [mount]);
    }
  });
});

/** Not a byte is left. */
function fill(mount: string): void {
  for (let bytes = 1 << 20; bytes >= 1; bytes >>= 1) {
    try {
      for (;;) writeFileSync(join(mount, 'filler'), Buffer.alloc(bytes), { flag: 'a' });
    } catch {}
  }
}
