/** How rights come to a node that has none, how a scattered remainder is gathered, and what a lost orchestrator costs. */
import { join } from 'node:path';
import type { SpendStamp } from './budget-driver.ts';
import { nowUs, sleep } from './lib/clock.ts';
import { type Options, wanted } from './lib/options.ts';
import { votersAre } from './lib/quorum-clusters.ts';
import { Remote } from './lib/remote.ts';
import type { Report } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { percentile, Samples } from './lib/stats.ts';

const SECTION = 'Budgets: between nodes';
export const MESH_PARTS = ['rights fetched', 'remainder gathered', 'orchestrator killed'] as const;
const [FETCHED, GATHERED, KILLED] = MESH_PARTS;
const LIMIT = 1_000_000;
const NODES = 10;

export async function budgetMesh(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  for (const [part, run] of [
    [FETCHED, fetched],
    [GATHERED, gathered],
    [KILLED, orchestratorKilled],
  ] as const) {
    if (!wanted(options, part)) continue;
    for (let round = 1; round <= options.rounds; round++) {
      console.error(`budget: ${part}, round ${round}/${options.rounds}`);
      await run(options, samples).catch((error: unknown) => report.failed(SECTION, part, error));
    }
  }
  for (const [what, bound] of ROWS) {
    const spread = samples.spread(what);
    if (spread === undefined) continue;
    const goal = bound === undefined ? {} : { goal: { direction: 'at most', bound } as const };
    report.add({ section: SECTION, what, who: 'skein', unit: 'ms', spread, ...goal });
  }
}

const FETCH_P = [0.5, 0.9, 0.99] as const;
const fetchName = (source: string, p: number) => `${FETCHED} from ${source}, p${p * 100}`;
const RESERVE = 'the reserve';
const PEERS = 'other nodes';
const ALL_SPENT = `${GATHERED} from ${NODES} nodes: all spent from one`;
const GRANTED = `${KILLED}: first grant after it`;
const PAUSE = `${KILLED}: longest pause of a node that spends its rights`;
const BEFORE = `${PAUSE}, the same before the kill`;
const ROWS: readonly (readonly [what: string, boundMs: number | undefined])[] = [
  ...FETCH_P.map((p) => [fetchName(RESERVE, p), undefined] as const),
  ...FETCH_P.map((p) => [fetchName(PEERS, p), undefined] as const),
  [ALL_SPENT, 2000],
  [GRANTED, 3000],
  [PAUSE, undefined],
  [BEFORE, undefined],
];

/** One process with so many nodes each, all linked. */
async function swarm(directory: string, counts: readonly number[]): Promise<readonly Remote[]> {
  const drivers: Remote[] = [];
  const peers: string[] = [];
  for (const count of counts) {
    const driver = new Remote(new URL('./budget-driver.ts', import.meta.url), [], `budget-${drivers.length}`);
    drivers.push(driver);
    for (let index = 0; index < count; index++) {
      const name = `node-${peers.length}`;
      peers.push(
        await driver.ask<string>('join', { directory: join(directory, name), name, peers: [...peers] }),
      );
    }
  }
  await Promise.all(drivers.map((driver) => driver.ask('meet', peers.length)));
  await first(drivers).ask('create', LIMIT);
  for (const [place, driver] of drivers.entries())
    for (let index = 0; index < (counts[place] ?? 0); index++) await driver.ask('known', index);
  return drivers;
}

function first(drivers: readonly Remote[]): Remote {
  const [driver] = drivers;
  if (driver === undefined) throw new Error('a swarm has members');
  return driver;
}

async function inSwarm(counts: readonly number[], run: (drivers: readonly Remote[]) => Promise<void>) {
  const directory = scratchDirectory();
  let drivers: readonly Remote[] = [];
  try {
    drivers = await swarm(directory, counts);
    await run(drivers);
  } finally {
    await Promise.all(drivers.map((driver) => driver.end()));
    removeScratch(directory);
  }
}

/** Reservations of a size that the node never has by chance: each needs rights from elsewhere. */
async function fetched(options: Options, samples: Samples): Promise<void> {
  const times = options.quick ? 10 : 50;
  await inSwarm([1, 1, 1], async (drivers) => {
    const [holder, , asker] = drivers;
    if (holder === undefined || asker === undefined) throw new Error('three nodes');
    const fromReserve: number[] = [];
    const size = Math.floor(LIMIT / 4 / times);
    for (let time = 0; time < times; time++)
      fromReserve.push(await asker.ask<number>('once', { index: 0, amount: size }));
    const left = (await holder.ask<number>('remaining', 0)) ?? 0;
    await holder.ask('request', { index: 0, amount: Math.floor(left * 0.98) });
    const fromPeers: number[] = [];
    for (let time = 0; time < times; time++)
      fromPeers.push(await asker.ask<number>('once', { index: 0, amount: Math.floor((left * 0.9) / times) }));
    for (const p of FETCH_P) {
      samples.add(fetchName(RESERVE, p), percentile(fromReserve, p) / 1000);
      samples.add(fetchName(PEERS, p), percentile(fromPeers, p) / 1000);
    }
  });
}

/** Every node has a tenth, and one spends it all, a hundredth of the limit at a time. */
async function gathered(_options: Options, samples: Samples): Promise<void> {
  await inSwarm([4, 3, 3], async (drivers) => {
    const counts = [4, 3, 3];
    for (const [place, driver] of drivers.entries())
      for (let index = 0; index < (counts[place] ?? 0); index++)
        await driver.ask('request', { index, amount: LIMIT / NODES });
    await sleep(2000);
    const startUs = nowUs();
    const spent = await first(drivers).ask<number>('drain', { index: 0, piece: LIMIT / 100 });
    const tookMs = (nowUs() - startUs) / 1000;
    if (spent !== LIMIT) throw new Error(`${spent} of ${LIMIT} could be spent, in ${Math.round(tookMs)} ms`);
    samples.add(ALL_SPENT, tookMs);
  });
}

async function orchestratorKilled(_options: Options, samples: Samples): Promise<void> {
  await inSwarm([1, 1, 1], async (drivers) => {
    // Else the one that is killed may have the only vote.
    await votersAre(drivers, drivers.length);
    const orchestrator = await found(drivers);
    const [spender, asker] = drivers.filter((driver) => driver !== orchestrator);
    if (spender === undefined || asker === undefined) throw new Error('three nodes');
    await spender.ask('request', { index: 0, amount: LIMIT / 10 });
    await spender.ask('beginSteady', 0);
    await sleep(2000);
    const killedUs = nowUs();
    orchestrator.process.kill('SIGKILL');
    await asker.ask('request', { index: 0, amount: LIMIT / 2 });
    samples.add(GRANTED, (nowUs() - killedUs) / 1000);
    await sleep(2000);
    const stamps = await spender.ask<SpendStamp[]>('endSteady');
    samples.add(BEFORE, longestMs(stamps.filter(({ endUs }) => endUs < killedUs)));
    samples.add(PAUSE, longestMs(stamps.filter(({ endUs }) => endUs >= killedUs)));
  });
}

async function found(drivers: readonly Remote[]): Promise<Remote> {
  for (let tries = 0; tries < 200; tries++) {
    for (const driver of drivers) if (await driver.ask<boolean>('isOrchestrator', 0)) return driver;
    await sleep(100);
  }
  throw new Error('nobody became orchestrator');
}

function longestMs(stamps: readonly SpendStamp[]): number {
  return Math.max(...stamps.map(({ startUs, endUs }) => endUs - startUs)) / 1000;
}
