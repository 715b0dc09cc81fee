/**
 * `board_read`, `board_write`, and spending within a budget beside the least MCP server that the SDK can make, on the same transports,
 * with the same clients, in the same run. A `board_write` is answered once it is on disk, as each step of a reservation, so
 * the bare server is measured as well with one write to the disk before it answers, and the disk alone. On stdio `skein mcp`
 * stands between the client and the node, so both are measured behind a forwarder too, `cat` in both directions: nothing
 * that is not the server itself can be faster than that.
 */
import { fileURLToPath } from 'node:url';
import { nowUs, until } from './lib/clock.ts';
import { diskFloor } from './lib/disk-floor.ts';
import { type Caller, type Command, rawHttp, rawStdio, sdkHttp, sdkStdio } from './lib/mcp-client.ts';
import { type Options, wanted } from './lib/options.ts';
import { Remote } from './lib/remote.ts';
import type { Goal, Report } from './lib/report.ts';
import { removeScratch, scratchDirectory } from './lib/scratch.ts';
import { SKEIN, type SkeinProcess, startSkein, usageOf } from './lib/skein-process.ts';
import { percentile, Samples } from './lib/stats.ts';

const SECTION = 'MCP';
const IN_FLIGHT = 64;
const KEYS = 64;
const TEXT = 'x'.repeat(200);
const BOARD = 'main';
const FORWARDED = 'bare behind a forwarder';
const ON_DISK = 'bare, on disk';
const FORWARDED_ON_DISK = 'bare, on disk, behind a forwarder';
const CALLS_GOAL: Goal = { direction: 'at least', bound: 0.8, peer: 'bare' };
const LATENCY_GOAL: Goal = { direction: 'at most', bound: 1.25, peer: 'bare' };

/** One server over one transport with one kind of client. */
interface Line {
  readonly transport: string;
  readonly who: string;
  open(): Promise<Caller>;
  readonly operations: readonly Operation[];
  /** The servers' processes that the client has not started itself. */
  readonly pids: readonly number[];
}

interface Operation {
  readonly name: string;
  /** How many calls of tools it is; default 1. Everything is given by call. */
  readonly calls?: number;
  call(caller: Caller, index: number): Promise<void>;
}

const ECHO: Operation = { name: 'echo', call: (caller) => caller.call('echo', { text: TEXT }) };
const SAFE: Operation = { name: 'write to the disk', call: (caller) => caller.call('', {}) };
const WRITE: Operation = {
  name: 'board_write',
  call: (caller, index) =>
    caller.call('board_write', { board: BOARD, key: `key-${index % KEYS}`, value: TEXT }),
};
const READ: Operation = {
  name: 'board_read',
  call: (caller, index) => caller.call('board_read', { board: BOARD, key: `key-${index % KEYS}` }),
};
const BUDGET = 'bench';
const READY_MS = 30_000;
let reservations = 0;
const SPEND: Operation = {
  name: 'budget_reserve + budget_settle',
  calls: 2,
  call: async (caller) => {
    const reservation_id = `bench-${reservations++}`;
    await caller.call('budget_reserve', { task_id: BUDGET, tokens: 10, reservation_id });
    await caller.call('budget_settle', { reservation_id, tokens: 10 });
  },
};

export async function mcp(options: Options, report: Report): Promise<void> {
  const directory = scratchDirectory();
  const echo = new Remote(new URL('./peers/echo-http.ts', import.meta.url), [], 'echo-http');
  let skein: SkeinProcess | undefined;
  try {
    const url = await echo.ask<string>('listen');
    skein = await startSkein(directory, ['--no-mdns']).catch((error: unknown) => {
      report.failed(SECTION, 'skein', error);
      return undefined;
    });
    const onDiskUrl = await echo.ask<string>('listen', directory);
    const lines = linesOf({ url, onDiskUrl, pid: echo.process.pid ?? 0 }, skein, directory).filter(
      (line) => wanted(options, line.transport, line.who) || line.who === 'bare',
    );
    if (skein !== undefined) await fillPurse(skein.line.mcpUrl ?? '');
    const samples = new Samples();
    await measureAll(lines, options, samples, report);
    addRows(lines, samples, report);
  } finally {
    await skein?.stop();
    await echo.end();
    removeScratch(directory);
  }
}

/** More than is spent, in rights of the node. */
async function fillPurse(mcpUrl: string): Promise<void> {
  const caller = rawHttp(mcpUrl);
  const tokens = 1e12;
  const create = () => caller.call('budget_create', { task_id: BUDGET, limit: tokens });
  const isMade = () =>
    create().then(
      () => true,
      () => false,
    );
  // A node that was just started has no quorum store yet.
  await until('a budget is made', isMade, READY_MS, 200);
  await caller.call('budget_request', { task_id: BUDGET, tokens });
  await caller.close();
}

interface EchoHttp {
  readonly url: string;
  readonly onDiskUrl: string;
  readonly pid: number;
}

function linesOf(echo: EchoHttp, skein: SkeinProcess | undefined, directory: string): readonly Line[] {
  const bare: Command = {
    command: process.execPath,
    args: [fileURLToPath(new URL('./peers/echo-stdio.ts', import.meta.url))],
  };
  const onDisk: Command = { ...bare, args: [...bare.args, directory] };
  const bridge: Command = { command: process.execPath, args: [SKEIN, 'mcp', '--data', directory] };
  const lines: Line[] = [];
  const add = (transport: string, who: string, open: () => Promise<Caller>) => {
    const isBare = who.startsWith('bare');
    const bareHttp = transport.startsWith('HTTP') ? [echo.pid] : [];
    const pids = isBare ? bareHttp : [skein?.child.pid ?? 0];
    lines.push({ transport, who, open, operations: isBare ? [ECHO] : [WRITE, READ, SPEND], pids });
  };
  const floor = async () => diskFloor(directory);
  lines.push({
    transport: 'no transport, disk alone',
    who: 'bare',
    open: floor,
    operations: [SAFE],
    pids: [],
  });
  const both = (transport: string, openBare: () => Promise<Caller>, openSkein: () => Promise<Caller>) => {
    add(transport, 'bare', openBare);
    if (skein !== undefined) add(transport, 'skein', openSkein);
  };
  const mcpUrl = skein?.line.mcpUrl ?? '';
  both(
    'stdio, raw client',
    async () => rawStdio(bare),
    async () => rawStdio(bridge),
  );
  add('stdio, raw client', FORWARDED, async () => rawStdio(forwarded(bare)));
  add('stdio, raw client', ON_DISK, async () => rawStdio(onDisk));
  add('stdio, raw client', FORWARDED_ON_DISK, async () => rawStdio(forwarded(onDisk)));
  both(
    'HTTP, raw client',
    async () => rawHttp(echo.url),
    async () => rawHttp(mcpUrl),
  );
  add('HTTP, raw client', ON_DISK, async () => rawHttp(echo.onDiskUrl));
  both(
    'stdio, SDK client',
    () => sdkStdio(bare),
    () => sdkStdio(bridge),
  );
  add('stdio, SDK client', FORWARDED, () => sdkStdio(forwarded(bare)));
  add('stdio, SDK client', ON_DISK, () => sdkStdio(onDisk));
  add('stdio, SDK client', FORWARDED_ON_DISK, () => sdkStdio(forwarded(onDisk)));
  both(
    'HTTP, SDK client',
    () => sdkHttp(echo.url),
    () => sdkHttp(mcpUrl),
  );
  add('HTTP, SDK client', ON_DISK, () => sdkHttp(echo.onDiskUrl));
  return lines;
}

/** The same server behind the least forwarder that there is. */
function forwarded({ command, args }: Command): Command {
  return { command: 'sh', args: ['-c', 'cat | "$0" "$@" | cat', command, ...args] };
}

async function measureAll(
  lines: readonly Line[],
  options: Options,
  samples: Samples,
  report: Report,
): Promise<void> {
  const callers = new Map<Line, Caller>();
  try {
    for (const line of lines) callers.set(line, await line.open());
    for (let round = 1; round <= options.rounds; round++) {
      for (const [line, caller] of callers) {
        console.error(`mcp: round ${round}/${options.rounds}, ${line.transport}, ${line.who}`);
        await measure(line, caller, options, samples).catch((error: unknown) => {
          report.failed(SECTION, `${line.transport}, ${line.who}`, error);
          callers.delete(line);
          return caller.close();
        });
      }
    }
  } finally {
    for (const caller of callers.values()) await caller.close();
  }
}

async function measure(line: Line, caller: Caller, options: Options, samples: Samples): Promise<void> {
  const warmCalls = options.quick ? 200 : 1000;
  const runMs = options.quick ? 500 : 3000;
  for (const operation of line.operations) {
    const { calls = 1 } = operation;
    await concurrent(operation, caller, (done) => done * calls >= warmCalls);
    const endUs = nowUs() + runMs * 1000;
    const startUs = nowUs();
    const cpuBeforeMs = cpuMsOf(line, caller);
    const done = calls * (await concurrent(operation, caller, () => nowUs() >= endUs));
    samples.add(nameOf(line, operation, 'calls'), done / ((nowUs() - startUs) / 1e6));
    const cpuMs = cpuMsOf(line, caller) - cpuBeforeMs;
    if (cpuMs > 0) samples.add(nameOf(line, operation, 'processor'), (cpuMs * 1000) / done);
    const times: number[] = [];
    for (let index = 0; index < (options.quick ? 200 : 1000); index++) {
      const before = nowUs();
      await operation.call(caller, index);
      times.push((nowUs() - before) / calls);
    }
    samples.add(nameOf(line, operation, 'latency'), percentile(times, 0.5));
  }
}

/** Of all processes that serve the line: the bridge and the node, for stdio. */
function cpuMsOf(line: Line, caller: Caller): number {
  const pids = caller.pid === undefined ? line.pids : [...line.pids, caller.pid];
  return pids.reduce((sum, pid) => sum + usageOf(pid).cpuMs, 0);
}

/** Keeps `IN_FLIGHT` calls under way until `enough`; gives how many were answered. */
async function concurrent(
  operation: Operation,
  caller: Caller,
  enough: (done: number) => boolean,
): Promise<number> {
  let next = 0;
  let done = 0;
  const lane = async () => {
    while (!enough(done)) {
      await operation.call(caller, next++);
      done++;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return done;
}

const MEASURES = {
  calls: { text: `${IN_FLIGHT} in flight`, unit: 'calls/s', goal: CALLS_GOAL },
  processor: { text: `${IN_FLIGHT} in flight, the server's processor per call`, unit: 'us', goal: undefined },
  latency: { text: 'one at a time, median', unit: 'us', goal: LATENCY_GOAL },
} as const;
type Measure = keyof typeof MEASURES;

function nameOf(line: Line, operation: Operation, measure: Measure): string {
  return `${line.transport}/${line.who}/${operation.name}/${measure}`;
}

function addRows(lines: readonly Line[], samples: Samples, report: Report): void {
  for (const line of lines) {
    for (const operation of line.operations) {
      for (const measure of Object.keys(MEASURES) as Measure[])
        addRow(line, operation, measure, samples, report);
    }
  }
}

function addRow(line: Line, operation: Operation, measure: Measure, samples: Samples, report: Report): void {
  const spread = samples.spread(nameOf(line, operation, measure));
  if (spread === undefined) return;
  const { text, unit, goal } = MEASURES[measure];
  const bare = samples.spread(`${line.transport}/bare/echo/${measure}`)?.median;
  const isPeer = line.who === 'bare';
  report.add({
    section: SECTION,
    what: `${line.transport}, ${text}`,
    who: `${line.who} ${operation.name}`,
    unit,
    spread,
    ...(isPeer || bare === undefined ? {} : { ratio: spread.median / bare }),
    ...(line.who === 'skein' && goal !== undefined ? { goal } : {}),
  });
}
