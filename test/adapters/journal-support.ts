/** A directory of its own for each test, files that can be made to fail, and waiting for a condition. */
import { mkdtemp, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Files, nodeFiles } from '../../src/adapters/node/files.ts';
import { Journal } from '../../src/adapters/node/journal.ts';
import { type Disk, DiskError, type JournalContents } from '../../src/kernel/ports.ts';
import type { DiskHarness } from '../contracts/disk.contract.ts';

export async function until(condition: () => boolean, deadlineMs = 10_000): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error('the condition did not come true in time');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export async function temporaryDirectory(): Promise<{ path: string; dispose: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'skein-test-'));
  return { path, dispose: () => rm(path, { recursive: true, force: true }) };
}

/** The two ways to force records to the disk; the second is that of systems which have nothing else. */
export const WAYS = ['write through', 'write, then sync'] as const;
export type Way = (typeof WAYS)[number];

/** The real files, of which any operation can be made to fail. */
export class FaultyFiles {
  fault: ((operation: keyof Files) => DiskError | undefined) | undefined;
  readonly #way: Way;

  constructor(way: Way = 'write through') {
    this.#way = way;
  }

  readonly files: Files = Object.fromEntries(
    Object.entries(nodeFiles).map(([operation, call]) => [
      operation,
      (...args: never[]) => {
        if (operation === 'openThrough' && this.#way === 'write, then sync')
          return Promise.resolve(undefined);
        const error = this.fault?.(operation as keyof Files);
        if (error === undefined) return (call as (...args: never[]) => Promise<unknown>)(...args);
        // The worst of its failures: all is in the file, and may be on the disk or not.
        const written =
          operation === 'writeThrough'
            ? (call as (...args: never[]) => Promise<unknown>)(...args)
            : Promise.resolve();
        return written.then(() => Promise.reject(error));
      },
    ]),
  ) as unknown as Files;
}

export function syncOf(disk: Disk): Promise<DiskError | undefined> {
  return new Promise((resolve) => disk.sync(resolve));
}

export async function checkpointOf(
  disk: Disk,
  records: readonly Uint8Array[],
): Promise<DiskError | undefined> {
  const steps = [
    (done: (error?: DiskError) => void) => disk.beginCheckpoint(done),
    (done: (error?: DiskError) => void) => disk.writeCheckpoint(records, done),
    (done: (error?: DiskError) => void) => disk.commitCheckpoint(done),
  ];
  for (const step of steps) {
    const error = await new Promise<DiskError | undefined>((resolve) => step(resolve));
    if (error !== undefined) return error;
  }
  return undefined;
}

/** Opens, reads and closes. */
export async function contentsOf(directory: string): Promise<JournalContents> {
  const journal = new Journal({ directory });
  const contents = await journal.load();
  await journal.close();
  return contents;
}

export async function lastSegment(directory: string): Promise<string> {
  const numbers = (await readdir(directory))
    .map((name) => Number(/^journal-(\d+)\.log$/.exec(name)?.[1] ?? 0))
    .filter((number) => number > 0);
  return join(directory, `journal-${Math.max(...numbers)}.log`);
}

export async function fileImage(path: string): Promise<Buffer> {
  return readFile(path);
}

export async function journalHarness(way: Way): Promise<DiskHarness> {
  const directory = await temporaryDirectory();
  const faulty = new FaultyFiles(way);
  return {
    open: () => new Journal({ directory: directory.path, files: faulty.files }),
    // What only memory held is gone once nobody uses the object; dying processes are tested with processes.
    crash: async () => {},
    until,
    breakWrites: (full) => {
      faulty.fault = (operation) =>
        ['write', 'sync', 'writeThrough'].includes(operation)
          ? new DiskError('broken by the test', full)
          : undefined;
    },
    repair: () => {
      faulty.fault = undefined;
    },
    tear: async (bytes) => {
      const path = await lastSegment(directory.path);
      await truncate(path, (await stat(path)).size - bytes);
    },
    dispose: directory.dispose,
  };
}
