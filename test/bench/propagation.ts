/** How soon, and how much, a write on one node is visible on the others. */
import { fanOut } from './fan-out.ts';
import { Group } from './lib/group.ts';
import { type Options, wanted } from './lib/options.ts';
import type { Figure, Goal, Report, Unit } from './lib/report.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Propagation';
const CANDIDATES = ['tcp', 'star', 'hocuspocus', 'skein'] as const;
const SIZES = [2, 5] as const;
const VALUE_BYTES = 200;
/** Calls made and not yet answered. The same for all; only an API that answers later can make use of it. */
const IN_FLIGHT = 500;
/** Each alone in its frame, at 1,000/s. The same for all. */
const WARM_UP_OPS = 20_000;

/** Goals for Skein; the bound is on the ratio to the star server of the same run. */
const GOALS: Readonly<Record<string, Goal>> = {
  '2 nodes, 200 ops/s, p50': { direction: 'at most', bound: 0.8, peer: 'star' },
  '5 nodes, 200 ops/s, p50': { direction: 'at most', bound: 1, peer: 'star' },
  '5 nodes, 200 ops/s, p99': { direction: 'at most', bound: 0.65, peer: 'star' },
  '5 nodes, single sets': { direction: 'at least', bound: 3, peer: 'star' },
  '5 nodes, batches of 100': { direction: 'at least', bound: 0.7, peer: 'star' },
};

export async function propagation(options: Options, report: Report): Promise<void> {
  const chosen = CANDIDATES.filter((name) => wanted(options, name));
  const sizes = SIZES.filter((nodes) => wanted(options, `${nodes} nodes`));
  const onlyFanOut = chosen.length === 0 && sizes.length === 0 && wanted(options, 'fan-out');
  const names = chosen.length === 0 ? CANDIDATES : chosen;
  const samples = new Samples();
  for (const nodes of onlyFanOut ? [] : sizes.length === 0 ? SIZES : sizes) {
    for (let round = 1; round <= options.rounds; round++) {
      for (const name of names) {
        console.error(`propagation: ${nodes} nodes, round ${round}/${options.rounds}, ${name}`);
        await measure(name, nodes, options, samples).catch((error: unknown) => {
          report.failed(SECTION, `${nodes} nodes, ${name}`, error);
        });
      }
    }
    addRows(report, samples, names, nodes);
  }
  if (wanted(options, 'fan-out')) await fanOut(options, report);
}

async function measure(name: string, nodes: number, options: Options, samples: Samples): Promise<void> {
  const group = await Group.open(name, nodes);
  try {
    const scale = options.quick ? 0.2 : 1;
    const burst = { inFlight: IN_FLIGHT, valueBytes: VALUE_BYTES };
    // Warm-up: the just-in-time compiler and the sockets' windows. Frames of one operation each need as many as
    // bursts, which some candidates join into few. After a fourth of it, much of a node's code is still in the
    // compiler's first tier, and compiling takes a good part of the two cores: that is a start, not a running node.
    await group.throughput({ ...burst, ops: 5000 * scale, batch: 1 });
    await group.latencies({ ops: WARM_UP_OPS * scale, perSecond: 1000, valueBytes: VALUE_BYTES });
    const latencies = await group.phase(`${nodes} nodes latency`, () =>
      group.latencies({ ops: 2000 * scale, perSecond: 200, valueBytes: VALUE_BYTES }),
    );
    if (latencies.lost > 0) throw new Error(`${latencies.lost} operations were not visible in 10 s`);
    samples.add(`${name}, ${nodes} nodes, 200 ops/s, p50`, latencies.p50Us);
    samples.add(`${name}, ${nodes} nodes, 200 ops/s, p99`, latencies.p99Us);
    samples.add(`${name}, ${nodes} nodes, 200 ops/s, processor per op`, latencies.cpuUsPerOp);
    for (const [what, batch] of [
      ['single sets', 1],
      ['batches of 100', 100],
    ] as const) {
      const { perSecond, cpuUsPerOp } = await group.phase(`${nodes} nodes ${what}`, () =>
        group.throughput({ ...burst, ops: 20_000 * scale, batch }),
      );
      samples.add(`${name}, ${nodes} nodes, ${what}`, perSecond);
      samples.add(`${name}, ${nodes} nodes, ${what}, processor per op`, cpuUsPerOp);
    }
  } finally {
    await group.close();
  }
}

function addRows(report: Report, samples: Samples, names: readonly string[], nodes: number): void {
  const rows: readonly (readonly [string, Unit])[] = [
    [`${nodes} nodes, 200 ops/s, p50`, 'us'],
    [`${nodes} nodes, 200 ops/s, p99`, 'us'],
    [`${nodes} nodes, 200 ops/s, processor per op`, 'us'],
    [`${nodes} nodes, single sets`, 'ops/s'],
    [`${nodes} nodes, single sets, processor per op`, 'us'],
    [`${nodes} nodes, batches of 100`, 'ops/s'],
    [`${nodes} nodes, batches of 100, processor per op`, 'us'],
  ];
  for (const [what, unit] of rows) {
    for (const name of names) {
      const figure = figureOf(samples, name, what, unit);
      if (figure !== undefined) report.add(figure);
    }
  }
}

function figureOf(samples: Samples, name: string, what: string, unit: Unit): Figure | undefined {
  const spread = samples.spread(`${name}, ${what}`);
  if (spread === undefined) return undefined;
  const star = samples.spread(`star, ${what}`)?.median;
  const goal = name === 'skein' ? GOALS[what] : undefined;
  return {
    section: SECTION,
    what,
    who: name,
    unit,
    spread,
    ...(star === undefined || name === 'star' ? {} : { ratio: spread.median / star }),
    ...(goal === undefined ? {} : { goal }),
  };
}
