/**
 * Ten nodes in processes of their own, each with a tenth of the limit: what one of them can have, and what it takes when all want it
 * at once. A provider outside counts what is served, and what passed from node to node is read from their disks.
 */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Provider, serve } from '../../simulations/live/budget/provider.ts';
import { Journal } from '../../src/adapters/node/journal.ts';
import { readChanges } from '../../src/budget/change.ts';
import { type PurseKey, splitPurseKey } from '../../src/budget/names.ts';
import { ControlClient } from '../../src/cli/client.ts';
import { decode } from '../../src/kernel/codec.ts';
import { JOURNAL_TAGS } from '../../src/kernel/effects.ts';
import { SkeinError } from '../../src/kernel/errors.ts';
import { eventually, type NodeProcess } from '../support/node-process.ts';
import { WholeNodes } from '../support/whole-nodes.ts';

const NODES = 10;
const SPENDERS = 8;
/** Each start takes a whole core for a while. */
const READY_MS = 60_000;
const WITHIN_MS = 2_000;
/** Other things may run on this machine: one round of so many within the time will do, and all are printed. */
const ROUNDS = 3;

const world = new WholeNodes('budget-ten');
let nodes: readonly NodeProcess[] = [];
let controls: readonly ControlClient[] = [];
let provider: Provider;
let served = 0;

beforeAll(async () => {
  provider = await Provider.start(world.path('provider.sock'), ({ tokens }) => {
    served += tokens;
  });
  const first = await world.start('n0', { readyMs: READY_MS });
  const more = [];
  for (let index = 1; index < NODES; index += 3) {
    const names = [0, 1, 2].map((place) => `n${index + place}`);
    const start = (name: string) => world.start(name, { peers: [first], readyMs: READY_MS });
    more.push(...(await Promise.all(names.map(start))));
  }
  nodes = [first, ...more];
  controls = nodes.map(({ setting: { data } }) => new ControlClient({ data }));
  await eventually('all know of all, and three of them vote', areTogether, 60_000);
}, 240_000);

afterAll(async () => {
  for (const control of controls) control.close();
  provider?.kill();
  await world.end();
});

async function areTogether(): Promise<true | undefined> {
  for (const control of controls) {
    const { members } = await control.call<{ members: { alive: number } }>('GET', '/v1/status');
    const { voters } = await control.call<{ voters: { role: string }[] }>('GET', '/v1/voters');
    const voting = voters.filter(({ role }) => role !== 'learner');
    if (members.alive !== NODES || voting.length !== 3) return undefined;
  }
  return true;
}

interface Status {
  readonly limit: number;
  readonly spent: number;
  readonly reserve: number;
  readonly remaining: number;
  readonly machines: readonly { readonly rights: number }[];
  readonly problems: readonly string[];
}

const statusOf = (control: ControlClient, budget: string) =>
  control.call<Status>('GET', `/v1/budgets/${budget}`);

/** Each node has a tenth of it on its disk, and all know that. */
async function scattered(budget: string, limit: number): Promise<void> {
  const [first] = controls as readonly [ControlClient];
  await first.call('POST', '/v1/budgets', { body: { task_id: budget, limit } });
  for (const control of controls) {
    const tenth = { tokens: limit / NODES };
    const request = () =>
      control
        .call<{ granted: number }>('POST', `/v1/budgets/${budget}/requests`, { body: tenth })
        .catch((error) => {
          // It has not heard of the budget yet.
          if (error instanceof SkeinError && error.body.code === 'NOT_FOUND') return undefined;
          throw error;
        });
    expect(await eventually(`${budget} is known`, request)).toMatchObject({ granted: limit / NODES });
  }
  await eventually(`all know where the rights of ${budget} are`, async () => {
    for (const control of controls) {
      const { reserve, remaining, machines } = await statusOf(control, budget);
      if (reserve !== 0 || remaining !== limit || machines.length !== NODES) return undefined;
    }
    return true;
  });
}

/** The id of the reservation; `undefined` where the budget is exhausted. */
async function reserve(control: ControlClient, budget: string, tokens: number): Promise<string | undefined> {
  try {
    const body = { tokens };
    const path = `/v1/budgets/${budget}/reservations`;
    return (await control.call<{ reservation_id: string }>('POST', path, { body })).reservation_id;
  } catch (error) {
    if (error instanceof SkeinError && error.body.code === 'BUDGET_EXHAUSTED') return undefined;
    throw error;
  }
}

/** Reserves, has it served, settles, one after the other, until it is refused. */
async function spendAll(control: ControlClient, budget: string, piece: number): Promise<void> {
  for (;;) {
    const reservationId = await reserve(control, budget, piece);
    if (reservationId === undefined) return;
    await serve(provider.socketPath, { budget, reservationId, tokens: piece });
    const path = `/v1/reservations/${encodeURIComponent(reservationId)}/settle`;
    await control.call('POST', path, { body: { tokens: piece } });
  }
}

/** How often something of it went from node to node, as the disks of the senders say. Read from copies: the nodes run. */
async function transfersOf(budget: string): Promise<number> {
  let count = 0;
  for (const { setting } of nodes) {
    const copy = world.path('copy');
    cpSync(join(setting.data, 'journal'), copy, { recursive: true });
    const { records } = await new Journal({ directory: copy }).load();
    rmSync(copy, { recursive: true });
    for (const record of records) if (record[0] === JOURNAL_TAGS.budget) count += sentIn(record, budget);
  }
  return count;
}

function sentIn(record: Uint8Array, budget: string): number {
  const [, , forms, fields] = decode(record.subarray(1)) as readonly unknown[];
  const changes = Array.isArray(forms) ? (readChanges(forms, fields) ?? []) : [];
  const isOfIt = (purse: PurseKey) => splitPurseKey(purse)[0].startsWith(`${budget}/`);
  return changes.filter((change) => change.kind === 'sent' && isOfIt(change.purse)).length;
}

/** Until it takes less than it may; prints how long each round took. */
async function best(round: (round: number) => Promise<number>): Promise<void> {
  const times: number[] = [];
  while (times.length < ROUNDS && !times.some((tookMs) => tookMs < WITHIN_MS))
    times.push(await round(times.length));
  console.info(`from one of ten nodes: ${times.map(Math.round).join(', ')} ms`);
  expect(Math.min(...times)).toBeLessThan(WITHIN_MS);
}

const BEGGED = [
  { amount: 120, most: 8 },
  { amount: 150, most: 6 },
  { amount: 220, most: 4 },
  { amount: 290, most: 3 },
] as const;

describe('ten nodes with a tenth of the limit each', { timeout: 120_000 }, () => {
  it(`all of it is spent from one of them within ${WITHIN_MS} ms, ${SPENDERS} agents at a time, and not one token more (B23, I2)`, async () => {
    await best(async (round) => {
      const budget = `drained-${round}`;
      const before = served;
      await scattered(budget, 10_000);
      await provider.agree({ budget, limit: 10_000 });
      const startMs = performance.now();
      const spenders = Array.from({ length: SPENDERS }, () => spendAll(controls[4]!, budget, 500));
      await eventually('all of it is served', () => (served - before >= 10_000 ? true : undefined));
      const tookMs = performance.now() - startMs;
      await Promise.all(spenders);
      expect(served - before).toBe(10_000);
      await eventually('all know that it is spent', async () => {
        const all = await Promise.all(controls.map((control) => statusOf(control, budget)));
        for (const { problems } of all) expect(problems).toEqual([]);
        return all.every(({ spent, remaining }) => spent === 10_000 && remaining === 0) ? true : undefined;
      });
      return tookMs;
    });
  });

  it(`one reservation of all of it is granted within ${WITHIN_MS} ms (B23)`, async () => {
    await best(async (round) => {
      const budget = `whole-${round}`;
      await scattered(budget, 10_000);
      const startMs = performance.now();
      expect(await reserve(controls[7]!, budget, 10_000)).toBeDefined();
      const tookMs = performance.now() - startMs;
      expect(await reserve(controls[2]!, budget, 1)).toBeUndefined();
      return tookMs;
    });
  });

  it('all of them ask for more than they have at once: as many as can be are granted it, with at most three transfers for each (B24)', async () => {
    let transfers = 0;
    let granted = 0;
    for (const { amount, most } of BEGGED) {
      const made: number[] = [];
      for (let round = 0; round < 2; round++) {
        const budget = `begged-${amount}-${round}`;
        await scattered(budget, 1_000);
        const before = await transfersOf(budget);
        const ids = await Promise.all(controls.map((control) => reserve(control, budget, amount)));
        made.push((await transfersOf(budget)) - before);
        expect(ids.filter((id) => id !== undefined)).toHaveLength(most);
        granted += most;
      }
      console.info(`${most} of ten that had 100 were granted ${amount}: ${made.join(', ')} transfers`);
      transfers += made.reduce((sum, count) => sum + count, 0);
    }
    expect(transfers).toBeLessThanOrEqual(3 * granted);
  });
});
