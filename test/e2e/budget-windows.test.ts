/** Budgets by the hour and the day in real processes, whose clocks are set to seconds before an hour ends (B28). */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CallOutcome, TestClient } from '../support/mcp-clients.ts';
import { eventually } from '../support/node-process.ts';
import { WholeNodes } from '../support/whole-nodes.ts';

const FAKETIME = [
  '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1',
  '/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1',
].find((path) => existsSync(path));
if (FAKETIME === undefined)
  console.warn('skipped: budgets by the hour in real processes: the Debian package faketime is not here');

const HOUR_MS = 3_600_000;
const NAMES = ['a', 'b', 'c'] as const;
/** So far into the hour the nodes start, and so long before its end they are set. */
const INTO_MS = HOUR_MS / 2;
const BEFORE_MS = 4_000;
const OF_AN_HOUR = 300;
const OF_THE_DAY = 500;

const world = new WholeNodes('budget-windows');
/** Ten in the morning of today: no day ends meanwhile. */
const firstHourMs = Math.floor(Date.now() / (24 * HOUR_MS)) * 24 * HOUR_MS + 10 * HOUR_MS;
let clients: readonly TestClient[] = [];

/** All clocks of the machines, in this moment. */
function setClocks(wallMs: number): void {
  const offset = ((wallMs - Date.now()) / 1_000).toFixed(3);
  const text = `${offset.startsWith('-') ? '' : '+'}${offset} x1\n`;
  for (const name of NAMES) writeFileSync(world.path(`${name}.clock`), text);
}

const errorOf = ({ structured }: CallOutcome) =>
  structured.error as { readonly code: string; readonly details?: Readonly<Record<string, unknown>> };

const statusOf = async (client: TestClient, task_id: string) =>
  (await client.call('budget_status', { task_id })).structured as {
    limit: number;
    spent: number;
    held: number;
    overrun: number;
    remaining: number;
    periodEnd: string;
    problems: string[];
  };

/** Spends 10 at a time on its machine until there is no more; what was spent. */
async function spendAll(client: TestClient, agent_id: string): Promise<number> {
  for (let spent = 0; ; spent += 10) {
    const reserved = await client.call('budget_reserve', { task_id: 'hourly', tokens: 10, agent_id });
    if (reserved.isError) {
      const { code } = errorOf(reserved);
      if (code === 'BUDGET_EXHAUSTED') return spent;
      throw new Error(JSON.stringify(reserved.structured));
    }
    const { reservation_id } = reserved.structured;
    const settled = await client.call('budget_settle', { reservation_id, tokens: 10 });
    expect(settled.structured).toMatchObject({ tokens: 10, overrun: 0 });
  }
}

async function allSpend(): Promise<number> {
  const spent = await Promise.all(clients.map((client, index) => spendAll(client, `agent-${index}`)));
  return spent.reduce((sum, each) => sum + each, 0);
}

describe.skipIf(FAKETIME === undefined)(
  'budgets by the hour, on three machines',
  { timeout: 120_000 },
  () => {
    beforeAll(async () => {
      mkdirSync(world.path(), { recursive: true });
      setClocks(firstHourMs + INTO_MS);
      const envOf = (name: string) => ({
        LD_PRELOAD: FAKETIME as string,
        FAKETIME_TIMESTAMP_FILE: world.path(`${name}.clock`),
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      });
      const readyMs = 40_000;
      const a = await world.start('a', { env: envOf('a'), readyMs });
      const [b, c] = await Promise.all([
        world.start('b', { peers: [a], env: envOf('b'), readyMs }),
        world.start('c', { peers: [a], env: envOf('c'), readyMs }),
      ]);
      clients = [await world.client(a), await world.client(b), await world.client(c)];
      const [first] = clients as [TestClient];
      await eventually(
        'the budgets are made',
        async () => {
          const day = { task_id: 'daily', limit: OF_THE_DAY, window: 'day' };
          await first.call('budget_create', day);
          const hour = { task_id: 'hourly', limit: OF_AN_HOUR, window: 'hour', parent: 'daily' };
          await first.call('budget_create', hour);
          const known = await Promise.all(
            clients.map((client) => client.call('budget_status', { task_id: 'hourly' })),
          );
          return known.some(({ isError }) => isError) ? undefined : true;
        },
        30_000,
      );
    }, 90_000);
    afterAll(() => world.end());

    it('each hour has its own limit, the day one for all of them, and what was reserved in one hour is settled in it (B28)', async () => {
      const [first, second] = clients as [TestClient, TestClient];
      const late = await first.call('budget_reserve', {
        ...{ task_id: 'hourly', tokens: 50, agent_id: 'late', ttl_seconds: 3_600 },
      });
      expect(late.isError).toBe(false);
      expect(await allSpend()).toBe(OF_AN_HOUR - 50);
      const before = await statusOf(second, 'hourly');
      expect(before.periodEnd).toBe(new Date(firstHourMs + HOUR_MS).toISOString());

      // The hour ends while all of them try on.
      const endsAtMs = Date.now() + BEFORE_MS;
      setClocks(firstHourMs + HOUR_MS - BEFORE_MS);
      const inTheOld = await first.call('budget_reserve', { task_id: 'hourly', tokens: 300 });
      expect(inTheOld.isError).toBe(true);
      let spent = 0;
      await eventually(
        'the next hour is spent from until the day has no more',
        async () => {
          spent += await allSpend();
          return Date.now() > endsAtMs + 1_000 && spent > 0 ? true : undefined;
        },
        60_000,
      );
      spent += await allSpend();
      expect(spent).toBe(OF_THE_DAY - OF_AN_HOUR);
      const refused = await second.call('budget_reserve', { task_id: 'hourly', tokens: 10 });
      expect(errorOf(refused)).toMatchObject({ code: 'BUDGET_EXHAUSTED', details: { budget: 'daily' } });

      // Ten more than reserved: of the former hour nothing is left to pay for them, and this one is not touched.
      const { reservation_id } = late.structured;
      const settled = await second.call('budget_settle', { reservation_id, tokens: 60 });
      expect(settled.structured).toMatchObject({ tokens: 60, ending: 'settled', overrun: 10 });
      await eventually('all machines show the same', async () => {
        for (const client of clients) {
          const hour = await statusOf(client, 'hourly');
          const day = await statusOf(client, 'daily');
          expect(hour).toMatchObject({ limit: OF_AN_HOUR, overrun: 0, problems: [] });
          expect(hour.periodEnd).toBe(new Date(firstHourMs + 2 * HOUR_MS).toISOString());
          expect(day).toMatchObject({ limit: OF_THE_DAY, problems: [] });
          const isSame = hour.spent === spent && hour.held === 0;
          if (!isSame || day.spent !== OF_THE_DAY || day.overrun !== 10 || day.remaining !== 0)
            return undefined;
        }
        return true;
      });
    });
  },
);
