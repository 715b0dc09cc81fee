/** A large quorum store: how soon a new voter has all of it, and what it takes on disk. */
import { sleep } from './lib/clock.ts';
import { type Options, wanted } from './lib/options.ts';
import { FILLED, VALUE_BYTES } from './lib/quorum-client.ts';
import { type ClientSetup, driverFor, skeinSetup, startMember, votersAre } from './lib/quorum-clusters.ts';
import type { Remote } from './lib/remote.ts';
import type { Report } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Quorum store: size';
const LOOK_EVERY_MS = 50;
/** The log is judged while everything is written anew so often. */
const REWRITES = 5;

export const SIZES = ['new voter', 'log on disk'] as const;

interface Size {
  readonly keys: number;
  readonly revision: number;
}

export async function quorumSize(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  const keys = options.quick ? 10_000 : 100_000;
  for (let round = 1; round <= Math.min(options.rounds, 3); round++) {
    console.error(`quorum: ${keys} keys, round ${round}`);
    await measure(options, keys, samples).catch((error: unknown) => report.failed(SECTION, 'keys', error));
  }
  const rows = [
    ['new voter, caught up', 's', 5],
    ['new voter, of that the start of its node', 's', undefined],
    ['new voter, votes', 's', undefined],
    ['log on disk at most, to the live data', 'x', 3],
    ['log and checkpoints on disk at most, to the live data', 'x', undefined],
  ] as const;
  for (const [name, unit, bound] of rows) {
    const spread = samples.spread(name);
    if (spread === undefined) continue;
    const what = `${keys.toLocaleString('en')} keys: ${name}`;
    const goal = bound === undefined ? {} : { goal: { direction: 'at most', bound } as const };
    report.add({ section: SECTION, what, who: 'skein', unit, spread, ...goal });
  }
}

/** Two members hold everything; a third comes, and with it the store gets three voters. */
async function measure(options: Options, keys: number, samples: Samples): Promise<void> {
  const directory = scratchDirectory();
  const drivers: Remote[] = [];
  try {
    const addresses: string[] = [];
    for (let member = 0; member < 2; member++) {
      const { driver, address } = await startMember(skeinSetup(directory, member, addresses));
      drivers.push(driver);
      addresses.push(address);
    }
    const [writer] = drivers;
    if (writer === undefined) throw new Error('no member');
    await votersAre(drivers, 1);
    await writer.ask('fill', { keys, round: 0 });
    if (wanted(options, 'log on disk')) await rewrite(writer, keys, samples);
    if (wanted(options, 'new voter')) await join(drivers, skeinSetup(directory, 2, addresses), keys, samples);
  } finally {
    await Promise.all(drivers.map((driver) => driver.end()));
    removeScratch(directory);
  }
}

/** The most that the writer's directory took, over the bytes of keys and values. */
async function rewrite(writer: Remote, keys: number, samples: Samples): Promise<void> {
  const most = { all: 0, log: 0 };
  let isDone = false;
  const look = async () => {
    while (!isDone) {
      const { all, log } = await writer.ask<typeof most>('diskBytes');
      most.all = Math.max(most.all, all);
      most.log = Math.max(most.log, log);
      await sleep(LOOK_EVERY_MS);
    }
  };
  const looking = look();
  for (let round = 1; round <= REWRITES; round++) await writer.ask('fill', { keys, round });
  isDone = true;
  await looking;
  const liveBytes = keys * (FILLED.length + String(keys - 1).length + VALUE_BYTES);
  samples.add('log on disk at most, to the live data', most.log / liveBytes);
  samples.add('log and checkpoints on disk at most, to the live data', most.all / liveBytes);
}

async function join(drivers: Remote[], setup: ClientSetup, keys: number, samples: Samples): Promise<void> {
  const size = await drivers[0]?.ask<Size>('size');
  if (size?.keys !== keys) throw new Error(`${size?.keys} keys were kept, not ${keys}`);
  const driver = driverFor('skein');
  drivers.push(driver);
  const joined = await driver.ask<{ readyMs: number; caughtUpMs: number; voterMs: number }>('join', {
    setup,
    revision: size.revision,
  });
  const copied = await driver.ask<Size>('size');
  if (copied.keys !== keys) throw new Error(`${copied.keys} keys arrived, not ${keys}`);
  samples.add('new voter, caught up', joined.caughtUpMs / 1000);
  samples.add('new voter, of that the start of its node', joined.readyMs / 1000);
  samples.add('new voter, votes', joined.voterMs / 1000);
}
