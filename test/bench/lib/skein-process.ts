/** `skein up` as a user starts it: a whole process of its own. */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { nowUs } from './clock.ts';
import { profileArguments } from './remote.ts';
import { start, stop } from './scratch.ts';

export const SKEIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url));
/** Long enough that no warning is due; the same for every node of a benchmark. */
export const SECRET = 'bench-secret-of-more-than-sixteen-characters';

/** The line that `skein up --json` prints once ready. */
export interface ReadyLine {
  readonly ready: true;
  readonly nodeId: string;
  readonly httpUrl: string;
  readonly mcpUrl: string;
  readonly meshAddresses: readonly string[];
}

export interface SkeinProcess {
  readonly child: ChildProcess;
  readonly line: ReadyLine;
  /** From the start of the process to its ready line. */
  readonly readyMs: number;
  stop(): Promise<void>;
}

const READY_DEADLINE_MS = 30_000;

export async function startSkein(directory: string, flags: readonly string[] = []): Promise<SkeinProcess> {
  const startUs = nowUs();
  const args = [
    ...profileArguments('skein-up'),
    SKEIN,
    'up',
    '--json',
    '--data',
    directory,
    '--mesh-port',
    '0',
    '--http-port',
    '0',
    ...flags,
  ];
  const child = start(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, SKEIN_SWARM_SECRET: SECRET, SKEIN_MESH_LISTEN: '127.0.0.1' },
  });
  let complaints = '';
  child.stderr?.on('data', (part: Buffer) => {
    complaints = (complaints + part.toString()).slice(-2000);
  });
  const text = await new Promise<string>((resolve, reject) => {
    if (child.stdout === null) throw new Error('no pipe');
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`skein up ended with code ${code}: ${complaints}`)));
    setTimeout(() => reject(new Error(`skein up not ready: ${complaints}`)), READY_DEADLINE_MS).unref();
  }).catch(async (error: unknown) => {
    await stop(child);
    throw error;
  });
  const readyMs = (nowUs() - startUs) / 1000;
  return { child, line: JSON.parse(text) as ReadyLine, readyMs, stop: () => stop(child) };
}

export interface Usage {
  readonly rssMb: number;
  readonly cpuMs: number;
}

/** From `/proc`; throws where there is none. */
export function usageOf(pid: number): Usage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const rssKb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // utime and stime (proc(5), fields 14 and 15), in ticks of 10 ms.
  const ticks = Number(fields[11]) + Number(fields[12]);
  return { rssMb: rssKb / 1024, cpuMs: ticks * 10 };
}
