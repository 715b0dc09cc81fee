/** One writer, forty-nine readers: one whole node that proves the contents, the others drain the wire. */
import { join } from 'node:path';
import { Group } from './lib/group.ts';
import type { Options } from './lib/options.ts';
import { phase, Remote } from './lib/remote.ts';
import type { Report } from './lib/report.ts';
import { usageOf } from './lib/skein-process.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Propagation';
const PEERS = 49;
const VALUE_BYTES = 200;
const IN_FLIGHT = 500;
const NAMES = ['single sets', 'batches of 100'] as const;

export async function fanOut(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  const rounds = Math.min(options.rounds, 3);
  for (let round = 1; round <= rounds; round++) {
    console.error(`fan-out: round ${round}/${rounds}`);
    await measure(options, samples).catch((error: unknown) => report.failed(SECTION, 'fan-out', error));
  }
  for (const name of NAMES) {
    const what = `1 to ${PEERS} peers, ${name}`;
    const toAll = samples.spread(name);
    const writer = samples.spread(`${name}, writer`);
    if (toAll === undefined || writer === undefined) continue;
    report.add({
      section: SECTION,
      what: `${what}, operations to all`,
      who: 'skein',
      unit: 'ops/s',
      spread: toAll,
      goal: { direction: 'at least', bound: 10_000 },
    });
    report.add({
      section: SECTION,
      what: `${what}, per second of the writer's processor`,
      who: 'skein',
      unit: 'ops/s',
      spread: writer,
    });
  }
}

async function measure(options: Options, samples: Samples): Promise<void> {
  const ops = options.quick ? 4000 : 20_000;
  const group = await Group.open('skein', 2);
  const drain = new Remote(new URL('./peers/skein-drain.ts', import.meta.url), [], 'skein-drain');
  try {
    const writer = await group.writer.ask<string>('probe', { question: 'address' });
    for (let index = 0; index < PEERS - 1; index++) {
      const directory = join(group.directory, `sink-${index}`);
      await drain.ask('start', { directory, name: `sink-${index}`, writer });
    }
    await drain.ask('linked', { deadlineMs: 60_000 });
    await burst(group, drain, ops / 4, 1);
    for (const name of NAMES) {
      const { perSecond, perCpuSecond } = await phase(`fan-out ${name}`, [group.writer, drain], () =>
        burst(group, drain, ops, name === 'single sets' ? 1 : 100),
      );
      samples.add(name, perSecond);
      samples.add(`${name}, writer`, perCpuSecond);
    }
  } finally {
    await drain.end();
    await group.close();
  }
}

let bursts = 0;

async function burst(group: Group, drain: Remote, ops: number, batch: number) {
  const label = `fan-out-burst-${++bursts}-end`;
  await drain.ask('expect', { label });
  const pid = group.writer.process.pid ?? 0;
  const before = usageOf(pid);
  const startUs = await group.writer.ask<number>('burst', {
    ops,
    batch,
    inFlight: IN_FLIGHT,
    valueBytes: VALUE_BYTES,
    label,
  });
  const deadlineMs = 60_000;
  const [{ doneUs, bytes }, ...seenUs] = await Promise.all([
    drain.ask<{ doneUs: number; bytes: number[] }>('done', { deadlineMs }),
    ...group.readers.map((reader) => reader.ask<number>('sawLast', { label, deadlineMs })),
  ]);
  const cpuMs = usageOf(pid).cpuMs - before.cpuMs;
  await group.converged();
  // A sink that got less than the operations weigh has lost frames, which only a whole node would ask for again.
  if (Math.min(...bytes) < ops * VALUE_BYTES) {
    throw new Error(
      `frames to a slow peer were dropped (${Math.min(...bytes)} of ${Math.max(...bytes)} bytes)`,
    );
  }
  const seconds = (Math.max(doneUs, ...seenUs) - startUs) / 1e6;
  return { perSecond: ops / seconds, perCpuSecond: ops / (cpuMs / 1000) };
}
