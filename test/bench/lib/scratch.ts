/** Child processes and temporary directories of a run: none outlives it, Ctrl-C included. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const children = new Set<ChildProcess>();
const directories = new Set<string>();

function clean(): void {
  for (const child of children) {
    // A frozen child takes SIGKILL all the same, so no SIGCONT is needed first.
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  }
  for (const directory of directories) {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

/** Call once in the coordinator. */
export function cleanUpAlways(): void {
  process.on('exit', clean);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => process.exit(130));
  }
}

export function track(child: ChildProcess): ChildProcess {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

export function start(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return track(spawn(command, args, options));
}

export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  directories.add(directory);
  return directory;
}

export function removeScratch(directory: string): void {
  directories.delete(directory);
  rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/** Asks with SIGTERM, then insists. */
export async function stop(child: ChildProcess, graceMs = 3000): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const insist = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await gone;
  clearTimeout(insist);
}
