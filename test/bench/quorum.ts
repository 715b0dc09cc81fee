/** The quorum store beside a real etcd, both durable, beside NATS JetStream, and beside what disk and machine need at least. */

import { type Options, wanted } from './lib/options.ts';
import type { Cluster } from './lib/quorum-clusters.ts';
import { type Engine, MEMBERS, openCluster, places } from './lib/quorum-clusters.ts';
import type { Remote } from './lib/remote.ts';
import type { Goal, Report, Unit } from './lib/report.ts';
import { Samples } from './lib/stats.ts';
import type { Load, LoadRequest } from './quorum-driver.ts';
import { FAULTS, quorumFaults } from './quorum-faults.ts';
import { quorumSize, SIZES } from './quorum-size.ts';

const SECTION = 'Quorum store';
const ENGINES: readonly Engine[] = ['disk', 'bare', 'nats', 'etcd', 'skein'];
const CLIENTS = [1, 16, 128] as const;
const PLACES = ['leader', 'follower'] as const;
/** Calls of agents come now and then, not as fast as a loop can make them; here all three come at once. */
const HOT_EVERY_MS = 20;
/** They are few: of a hundred the second longest would be p99. */
const PACED_TIMES = 5;
const HOT = 'hot key';
const PACED = `${HOT}, 3 nodes, paced ${1000 / HOT_EVERY_MS}/s each`;
const CLOSED = `${HOT}, 3 nodes, closed loop`;
const SLOWEST_P50 = ', p50 of the slowest node';
const SLOWEST_P99 = ', p99 of the slowest node';
const SHARE = ', share of the node with the fewest';
const TRIES = ', tries each';

/** Goals for Skein; bounds on ratios are on those to the etcd of the same run. */
const GOALS: Readonly<Record<string, Goal>> = {
  'put, 1 client, p50': { direction: 'at most', bound: 0.9, peer: 'etcd' },
  'put, 16 clients': { direction: 'at least', bound: 3, peer: 'etcd' },
  'put, 128 clients': { direction: 'at least', bound: 5, peer: 'etcd' },
  'strong read, 1 client': { direction: 'at least', bound: 2, peer: 'etcd' },
  'strong read, 16 clients': { direction: 'at least', bound: 2, peer: 'etcd' },
  'strong read, 128 clients': { direction: 'at least', bound: 2, peer: 'etcd' },
  [PACED + SLOWEST_P99]: { direction: 'at most', bound: 6000 },
  [CLOSED + SLOWEST_P99]: { direction: 'at most', bound: 6000 },
};

export async function quorum(options: Options, report: Report): Promise<void> {
  const named = ENGINES.filter((engine) => wanted(options, engine));
  const isHotOnly = options.only.length > 0 && wanted(options, HOT);
  const engines = isHotOnly && named.length === 0 ? ENGINES : named;
  if (engines.length > 0) await loads(options, report, engines, isHotOnly);
  if (wanted(options, ...FAULTS)) await quorumFaults(options, report);
  if (wanted(options, ...SIZES)) await quorumSize(options, report);
}

async function loads(
  options: Options,
  report: Report,
  engines: readonly Engine[],
  isHotOnly: boolean,
): Promise<void> {
  const samples = new Samples();
  for (let round = 1; round <= options.rounds; round++) {
    for (const engine of engines) {
      console.error(`quorum: round ${round}/${options.rounds}, ${engine}`);
      await measure(engine, options, report, samples, isHotOnly).catch((error: unknown) => {
        report.failed(SECTION, engine, error);
      });
    }
  }
  addRows(report, samples, engines);
  report.remark(
    `${SECTION}: three members on loopback, values of 200 B. Clients of etcd and NATS are in a process beside each member ` +
      'and speak its own protocol; those of Skein are within the node, as its tools are. Skein and etcd sync before they ' +
      'acknowledge; NATS JetStream (3 copies) does not, and its reads are those of its leader alone. `disk` is one ' +
      'write of 280 B with O_DSYNC, calls that wait meanwhile sharing the next. Hot key: read-modify-writes of one key by a ' +
      'client at each member, paced (all three at the same moments) or one after the other (closed loop); of Skein and etcd the ' +
      'first try rests on the copy of the member at hand (etcd: a serializable read), later ones on the answer before; ' +
      '`disk` takes three clients in turn, each writing to three files until two of them are on disk; `bare` is three processes that ' +
      'do no more than take turns: plain TCP, the messages that every store needs, one such write on each.',
  );
}

async function measure(
  engine: Engine,
  options: Options,
  report: Report,
  samples: Samples,
  isHotOnly: boolean,
): Promise<void> {
  const cluster = await openCluster(engine);
  const forMs = options.quick ? 400 : 2000;
  try {
    for (const [place, driver] of await places(cluster.drivers)) {
      if (engine === 'bare') break;
      await driver.ask<Load>('load', { kind: 'put', clients: 64, forMs } satisfies LoadRequest);
      await driver.ask<Load>('load', { kind: 'read', clients: 64, forMs: forMs / 2 } satisfies LoadRequest);
      if (isHotOnly) continue;
      for (const clients of CLIENTS) {
        await one(cluster, driver, { kind: 'put', clients, forMs }, samples, `${engine}, ${place}`);
        if (engine !== 'disk')
          await one(cluster, driver, { kind: 'read', clients, forMs }, samples, `${engine}, ${place}`);
      }
    }
    await hotKey(engine, cluster, forMs, report, samples);
  } finally {
    await cluster.close();
  }
}

async function one(
  cluster: Cluster,
  driver: Remote,
  request: LoadRequest,
  samples: Samples,
  who: string,
): Promise<void> {
  const what = nameOf(request.kind === 'put' ? 'put' : 'strong read', request.clients);
  const beforeMs = cluster.cpuMs();
  const load = await cluster.phase(`${who} ${what}`, () => driver.ask<Load>('load', request));
  const cpuUs = ((cluster.cpuMs() - beforeMs) * 1000) / load.ops;
  samples.add(`${who}, ${what}`, load.perSecond);
  samples.add(`${who}, ${what}, p50`, load.p50Us);
  samples.add(`${who}, ${what}, p99`, load.p99Us);
  samples.add(`${who}, ${what}, processor per op`, cpuUs);
}

/** One client at each of three members, paced and then as fast as they can; on the disk alone three in one place. */
async function hotKey(
  engine: Engine,
  cluster: Cluster,
  forMs: number,
  report: Report,
  samples: Samples,
): Promise<void> {
  const request: LoadRequest = { kind: 'increment', clients: engine === 'disk' ? MEMBERS : 1, forMs };
  await increments(cluster, request);
  for (const [what, pace] of [
    [PACED, { everyMs: HOT_EVERY_MS, forMs: forMs * PACED_TIMES }],
    [CLOSED, {}],
  ] as const) {
    const { loads, done, counted } = await cluster.phase(`${engine} ${what}`, () =>
      increments(cluster, { ...request, ...pace }),
    );
    if (counted !== done) {
      const lost = `of ${done} read-modify-writes that were acknowledged, ${counted} took effect`;
      if (engine !== 'nats') throw new Error(lost);
      // Known of the version that Debian has: nats-io/nats-server#4320.
      report.remark(`${SECTION}: NATS JetStream lost updates (${lost}), so their speed is not shown.`);
      return;
    }
    const all = loads.map(({ ops }) => ops).reduce((sum, ops) => sum + ops, 0);
    const add = (name: string, figure: number) => samples.add(`${engine}, ${what}${name}`, figure);
    add(
      '',
      loads.reduce((sum, { perSecond }) => sum + perSecond, 0),
    );
    add(SLOWEST_P99, Math.max(...loads.map(({ p99Us }) => p99Us)));
    // What all have together is neither a node's nor a share of theirs.
    if (engine === 'disk') continue;
    add(SLOWEST_P50, Math.max(...loads.map(({ p50Us }) => p50Us)));
    add(SHARE, (100 * Math.min(...loads.map(({ ops }) => ops))) / all);
    // Its clients are told before they write.
    if (engine === 'bare') continue;
    add(TRIES, loads.reduce((sum, { tries }) => sum + tries, 0) / all);
  }
}

/** What was counted must be what was done. */
async function increments({ drivers }: Cluster, request: LoadRequest) {
  const total = () => drivers[0]?.ask<number>('total') ?? Promise.resolve(Number.NaN);
  const before = await total();
  const loads = await Promise.all(drivers.map((driver) => driver.ask<Load>('load', request)));
  const done = loads.reduce((sum, { ops }) => sum + ops, 0);
  return { loads, done, counted: (await total()) - before };
}

function nameOf(what: string, clients: number): string {
  return `${what}, ${clients} client${clients === 1 ? '' : 's'}`;
}

function addRows(report: Report, samples: Samples, engines: readonly Engine[]): void {
  for (const place of PLACES) {
    for (const kind of ['put', 'strong read']) {
      for (const clients of CLIENTS) {
        const what = nameOf(kind, clients);
        const latencies =
          kind === 'put'
            ? ([
                [', p50', 'us'],
                [', p99', 'us'],
              ] as const)
            : [];
        for (const [suffix, unit] of [['', 'ops/s'], ...latencies, [', processor per op', 'us']] as const)
          addRow(report, samples, engines, `${what}${suffix}`, unit, place);
      }
    }
  }
  for (const what of [PACED, CLOSED]) {
    addRow(report, samples, engines, what, 'ops/s');
    addRow(report, samples, engines, what + SLOWEST_P50, 'us');
    addRow(report, samples, engines, what + SLOWEST_P99, 'us');
    addRow(report, samples, engines, what + SHARE, '% of all');
    addRow(report, samples, engines, what + TRIES, 'x');
  }
}

/** `place`: beside which member the clients are; all of them where it is left out. */
function addRow(
  report: Report,
  samples: Samples,
  engines: readonly Engine[],
  what: string,
  unit: Unit,
  place?: (typeof PLACES)[number],
): void {
  const at = (engine: Engine) =>
    samples.spread(place === undefined ? `${engine}, ${what}` : `${engine}, ${place}, ${what}`);
  const etcd = at('etcd')?.median;
  for (const engine of engines) {
    const spread = at(engine);
    if (spread === undefined) continue;
    const goal = engine === 'skein' ? GOALS[what] : undefined;
    report.add({
      section: SECTION,
      what: place === undefined || engine === 'disk' ? what : `${what}, at the ${place}`,
      who: engine,
      unit,
      spread,
      ...(etcd === undefined || engine === 'etcd' ? {} : { ratio: spread.median / etcd }),
      ...(goal === undefined ? {} : { goal }),
    });
  }
}
