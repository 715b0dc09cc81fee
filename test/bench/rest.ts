/** What a node costs while nobody uses it, and how soon it can be used. */
import { join } from 'node:path';
import { sleep } from './lib/clock.ts';
import { type Options, wanted } from './lib/options.ts';
import { Remote } from './lib/remote.ts';
import type { Report } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { startSkein, usageOf } from './lib/skein-process.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Rest';
const PEERS = 10;
/** The peers share processes: only the measured node has one of its own. */
const PEERS_PER_PROCESS = 5;

export async function rest(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  if (wanted(options, 'start')) await starts(options, samples);
  if (wanted(options, 'idle')) await idles(options, samples);
  const add = (name: string, unit: 'ms' | 'MB' | '% of a core', bound: number) => {
    const spread = samples.spread(name);
    if (spread === undefined) return;
    report.add({
      section: SECTION,
      what: name,
      who: 'skein',
      unit,
      spread,
      goal: { direction: 'at most', bound },
    });
  };
  add('start to ready, new directory', 'ms', 1200);
  add('start to ready, again', 'ms', 1200);
  add(`idle with ${PEERS} peers, memory`, 'MB', 130);
  add(`idle with ${PEERS} peers, processor`, '% of a core', 1);
}

async function starts(options: Options, samples: Samples): Promise<void> {
  // The first start warms the file cache and the compile cache.
  for (let round = 0; round <= options.rounds; round++) {
    console.error(`rest: start, round ${round}/${options.rounds}`);
    const directory = scratchDirectory();
    const data = join(directory, 'data');
    for (const name of ['start to ready, new directory', 'start to ready, again']) {
      const skein = await startSkein(data, ['--no-mdns']);
      await skein.stop();
      if (round > 0) samples.add(name, skein.readyMs);
    }
    removeScratch(directory);
  }
}

async function idles(options: Options, samples: Samples): Promise<void> {
  for (let round = 1; round <= Math.min(options.rounds, 3); round++) {
    console.error(`rest: idle, round ${round}`);
    await idle(options, samples);
  }
}

async function idle(options: Options, samples: Samples): Promise<void> {
  const directory = scratchDirectory();
  // After a change of the sources the first start strips their types, and keeps what does that: 17 MB.
  await (await startSkein(join(directory, 'first'), ['--no-mdns'])).stop();
  const skein = await startSkein(join(directory, 'measured'), ['--no-mdns']);
  const hosts: Remote[] = [];
  try {
    const [address = ''] = skein.line.meshAddresses;
    for (let first = 0; first < PEERS; first += PEERS_PER_PROCESS) {
      const host = new Remote(new URL('./peers/skein-host.ts', import.meta.url), [], `skein-host-${first}`);
      hosts.push(host);
      for (let index = first; index < first + PEERS_PER_PROCESS; index++) {
        await host.ask('start', {
          directory: join(directory, `${index}`),
          name: `peer-${index}`,
          peers: [address],
        });
      }
    }
    await Promise.all(hosts.map((host) => host.ask('meet', { members: PEERS + 1, deadlineMs: 60_000 })));
    // Long enough that what the start and the meeting left behind has been collected, and what they made hot compiled.
    await sleep(options.quick ? 6_000 : 30_000);
    const pid = skein.child.pid ?? 0;
    const before = usageOf(pid);
    const seconds = options.quick ? 4 : 60;
    await sleep(seconds * 1000);
    const after = usageOf(pid);
    samples.add(`idle with ${PEERS} peers, memory`, after.rssMb);
    samples.add(`idle with ${PEERS} peers, processor`, (after.cpuMs - before.cpuMs) / (seconds * 10));
  } finally {
    await Promise.all(hosts.map((host) => host.end()));
    await skein.stop();
    removeScratch(directory);
  }
}
