/** Bytes for a small write, time to take over a large board, and what catching up does to a node meanwhile. */
import { join } from 'node:path';
import * as Y from 'yjs';
import { sleep } from './lib/clock.ts';
import { countingProxy } from './lib/counting-proxy.ts';
import type { LoopHold } from './lib/loop-hold.ts';
import { type Options, wanted } from './lib/options.ts';
import { phase, Remote } from './lib/remote.ts';
import type { Goal, Report, Unit } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { startSkein } from './lib/skein-process.ts';
import { Samples } from './lib/stats.ts';

const SECTION = 'Cost';
const PARTICIPANT = new URL('./participant.ts', import.meta.url);
const VALUE_BYTES = 200;

export async function cost(options: Options, report: Report): Promise<void> {
  const samples = new Samples();
  const part = async (name: string, run: () => Promise<void>) => {
    if (!wanted(options, name)) return;
    for (let round = 1; round <= options.rounds; round++) {
      console.error(`cost: ${name}, round ${round}/${options.rounds}`);
      await run().catch((error: unknown) => report.failed(SECTION, name, error));
    }
  };
  await part('wire', () => wireBytes(options, samples));
  await part('join', () => takeOver(options, samples));
  addRows(samples, report, options.quick ? 10_000 : 100_000);
}

interface Joined {
  readonly fromDialMs: number;
  readonly fromLinkMs: number;
  readonly hold: LoopHold;
}

/** One node of a pair, whose process is also asked for what only Skein can tell. */
class Node {
  readonly remote: Remote;
  readonly directory: string;
  address = '';

  constructor(name: string, directory: string) {
    this.remote = new Remote(PARTICIPANT, [], name);
    this.directory = directory;
  }

  async open(index: number): Promise<void> {
    this.address = await this.remote.ask<string>('open', {
      candidate: 'skein',
      setup: { hub: undefined, directory: this.directory, group: 'bench', index },
    });
  }

  connect(addresses: readonly string[]): Promise<void> {
    return this.remote.ask('connect', { addresses, participants: 2 });
  }

  probe<T>(question: string, argument?: unknown): Promise<T> {
    return this.remote.ask<T>('probe', { question, argument });
  }
}

/** The bytes of a link while one node writes at 200/s, less those of the same link at rest. */
async function wireBytes(options: Options, samples: Samples): Promise<void> {
  const directory = scratchDirectory();
  const nodes = [new Node('wire-0', join(directory, '0')), new Node('wire-1', join(directory, '1'))] as const;
  const [writer, reader] = nodes;
  await writer.open(0);
  const proxy = await countingProxy(portOf(writer.address));
  try {
    await reader.open(1);
    await reader.connect([withPort(writer.address, proxy.port)]);
    await writer.connect([]);
    await reader.remote.ask('expect', { ops: 200 });
    await writer.remote.ask('pace', { ops: 200, perSecond: 200, valueBytes: VALUE_BYTES });
    await reader.remote.ask('arrivals', { deadlineMs: 10_000 });
    const ops = options.quick ? 400 : 2000;
    const ms = (ops / 200) * 1000;
    const atRest = await countedDuring(proxy.counts, () => sleep(ms));
    for (const valueBytes of [32, VALUE_BYTES]) {
      const busy = await countedDuring(proxy.counts, async () => {
        await writer.remote.ask('pace', { ops, perSecond: 200, valueBytes });
      });
      const bare = bareUpdateBytes(valueBytes);
      const name = `small write of ${valueBytes} B at 200/s`;
      samples.add(`${name}: bare Yjs update`, bare);
      samples.add(`${name}: to the neighbour`, (busy.fromTarget - atRest.fromTarget) / ops);
      samples.add(`${name}: both ways`, (busy.both - atRest.both) / ops);
    }
    samples.add('link at rest, both ways', (atRest.both / ms) * 1000);
  } finally {
    proxy.close();
    await Promise.all(nodes.map((node) => node.remote.end()));
    removeScratch(directory);
  }
}

async function countedDuring(
  counts: () => { readonly fromTarget: number; readonly toTarget: number },
  run: () => Promise<void>,
): Promise<{ readonly fromTarget: number; readonly both: number }> {
  const before = counts();
  await run();
  await sleep(200);
  const after = counts();
  const fromTarget = after.fromTarget - before.fromTarget;
  return { fromTarget, both: fromTarget + after.toTarget - before.toTarget };
}

/** What Yjs alone would send for the same entry: one `set` on a Y.Map that already has the key. */
function bareUpdateBytes(valueBytes: number): number {
  const doc = new Y.Doc();
  const map = doc.getMap<string>('entries');
  for (let index = 0; index < 1000; index++) map.set(`key-${index}`, '');
  let bytes = 0;
  doc.on('update', (update: Uint8Array) => {
    bytes = update.length;
  });
  map.set('key-617', '1:'.padEnd(valueBytes, '.'));
  return bytes;
}

/** A multiaddr's TCP port. */
function portOf(address: string): number {
  return Number(/\/tcp\/(\d+)/.exec(address)?.[1]);
}

function withPort(address: string, port: number): string {
  return address.replace(/\/tcp\/\d+/, `/tcp/${port}`);
}

/** A large board: taken over by a fresh node, caught up with by a lagging one, and loaded at the next start. */
async function takeOver(options: Options, samples: Samples): Promise<void> {
  const keys = options.quick ? 10_000 : 100_000;
  const directory = scratchDirectory();
  const holder = new Node('holder', join(directory, 'holder'));
  const joiner = new Node('joiner', join(directory, 'joiner'));
  try {
    await holder.open(0);
    await holder.probe('fill', { prefix: 'key', keys, valueBytes: VALUE_BYTES });
    samples.add('encode and apply here', await holder.probe<number>('encodeAndApplyMs'));
    await holder.probe('watchLoop');
    await joiner.open(1);
    const joined = await phase('take over', [holder.remote, joiner.remote], () =>
      joiner.probe<Joined>('join', { addresses: [holder.address], keys }),
    );
    samples.add('link up to all keys', joined.fromLinkMs);
    samples.add('dial to all keys', joined.fromDialMs);
    addHold(samples, 'giving a board away', await holder.probe<LoopHold>('loopHold'));
    addHold(samples, 'taking a board over', joined.hold);
    await joiner.remote.ask('close');
    await restart(holder, samples);
    await lag(holder, joiner, keys, samples);
  } finally {
    await Promise.all([holder, joiner].map((node) => node.remote.end()));
    removeScratch(directory);
  }
}

/** The joiner is away for as many new entries as the board has, and comes back. */
async function lag(holder: Node, joiner: Node, keys: number, samples: Samples): Promise<void> {
  await holder.open(0);
  await holder.probe('fill', { prefix: 'late', keys, valueBytes: VALUE_BYTES });
  await holder.probe('watchLoop');
  await joiner.open(1);
  const caughtUp = await phase('catch up', [holder.remote, joiner.remote], () =>
    joiner.probe<Joined>('join', { addresses: [holder.address], keys: 2 * keys }),
  );
  samples.add('catch up', caughtUp.fromLinkMs);
  addHold(samples, 'helping a lagging peer', await holder.probe<LoopHold>('loopHold'));
  addHold(samples, 'catching up', caughtUp.hold);
}

async function restart(holder: Node, samples: Samples): Promise<void> {
  await holder.remote.ask('close');
  const skein = await startSkein(holder.directory, ['--no-mdns']);
  samples.add('start to ready with the board', skein.readyMs);
  await skein.stop();
}

function addHold(samples: Samples, what: string, hold: LoopHold): void {
  samples.add(`loop held, ${what}`, hold.longestMs);
  samples.add(`loop held, ${what}, processor time`, hold.cpuMs);
}

function addRows(samples: Samples, report: Report, keys: number): void {
  const add = (what: string, name: string, unit: Unit, peer?: string, goal?: Goal, note?: string) => {
    const spread = samples.spread(name);
    if (spread === undefined) return;
    const beside = peer === undefined ? undefined : samples.spread(peer)?.median;
    report.add({
      section: SECTION,
      what,
      who: name.includes('bare Yjs') || name.startsWith('encode') ? 'Yjs' : 'skein',
      unit,
      spread,
      ...(beside === undefined ? {} : { ratio: spread.median / beside }),
      ...(goal === undefined ? {} : { goal }),
      ...(note === undefined ? {} : { note }),
    });
  };
  for (const valueBytes of [32, VALUE_BYTES]) {
    const name = `small write of ${valueBytes} B at 200/s`;
    const bare = `${name}: bare Yjs update`;
    add(bare, bare, 'bytes');
    const goal: Goal = { direction: 'at most', bound: 1.5, peer: 'bare update' };
    add(`${name}: to the neighbour, on TCP`, `${name}: to the neighbour`, 'bytes', bare, goal);
    add(`${name}: both ways, on TCP`, `${name}: both ways`, 'bytes', bare);
  }
  add('link at rest, both ways, per second', 'link at rest, both ways', 'bytes');
  const board = `${keys.toLocaleString('en')} keys of ${VALUE_BYTES} B`;
  const local = 'encode and apply here';
  add(`${board}: encode and apply the same update`, local, 'ms');
  add(`${board}: link up to all visible on a fresh node`, 'link up to all keys', 'ms', local, {
    direction: 'at most',
    bound: 2,
    peer: 'encode and apply',
  });
  add(`${board}: dial to all visible on a fresh node`, 'dial to all keys', 'ms', local);
  add(`${board}: start to ready with it`, 'start to ready with the board', 'ms', undefined, {
    direction: 'at most',
    bound: 2000,
  });
  add(`${board}: as many writes missed, link up to caught up`, 'catch up', 'ms');
  for (const what of [
    'giving a board away',
    'taking a board over',
    'helping a lagging peer',
    'catching up',
  ]) {
    const cpu = samples.spread(`loop held, ${what}, processor time`)?.median ?? Number.NaN;
    const goal: Goal = { direction: 'at most', bound: 100 };
    const note = `${Math.round(cpu)} ms of it on the processor`;
    add(`event loop held, ${what}`, `loop held, ${what}`, 'ms', undefined, goal, note);
  }
}
