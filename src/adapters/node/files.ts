/**
 * The few file operations that the journal needs, off the event loop. A port of its own so that tests can make any
 * one of them fail; every failure is a `DiskError`.
 */
import {
  close,
  constants,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  open,
  read,
  readdir,
  rename,
  unlink,
  write,
} from 'node:fs';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { DiskError } from '../../kernel/ports.ts';

export interface Files {
  /** Creates or empties the file; mode 0600. */
  create(path: string): Promise<number>;
  openExisting(path: string): Promise<number>;
  /** Writes all of `bytes` at `position`. */
  write(file: number, bytes: Uint8Array, position: number): Promise<void>;
  /** Fills as much of `into` as the file has from `position`; returns how much. */
  read(file: number, into: Uint8Array, position: number): Promise<number>;
  /** Forces content and length to disk. */
  sync(file: number): Promise<void>;
  /** The same file once more, for `writeThrough` alone; `undefined` where the system has nothing of the kind. */
  openThrough(path: string): Promise<number | undefined>;
  /** `write` and `sync` in one, as far as `bytes` are concerned. */
  writeThrough(file: number, bytes: Uint8Array, position: number): Promise<void>;
  truncate(file: number, bytes: number): Promise<void>;
  sizeOf(file: number): Promise<number>;
  close(file: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  list(directory: string): Promise<readonly string[]>;
  /** Forces creations, renames and removals in the directory to disk. */
  syncDirectory(directory: string): Promise<void>;
}

const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** What the operating system said, as the port's error. */
export function diskError(doing: string, cause: unknown): DiskError {
  if (cause instanceof DiskError) return cause;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? '';
  const full = FULL.has(code);
  const reason = full
    ? `no space left on the device (${code})`
    : ((cause as Error)?.message ?? String(cause));
  return new DiskError(`${doing}: ${reason}`, full);
}

async function attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw diskError(doing, cause);
  }
}

const calls = {
  close: promisify(close),
  fdatasync: promisify(fdatasync),
  fstat: promisify(fstat),
  fsync: promisify(fsync),
  ftruncate: promisify(ftruncate),
  open: promisify(open),
  read: promisify(read),
  readdir: promisify(readdir),
  rename: promisify(rename),
  unlink: promisify(unlink),
  write: promisify(write),
};

const CREATE = constants.O_CREAT | constants.O_TRUNC | constants.O_RDWR;
/** Elsewhere than on Linux such writes may end in the memory of the drive, which `fdatasync` empties. */
const THROUGH = process.platform === 'linux' ? constants.O_WRONLY | constants.O_DSYNC : undefined;

async function writeAll(file: number, bytes: Uint8Array, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await calls.write(
      file,
      bytes,
      written,
      bytes.length - written,
      position + written,
    );
    if (bytesWritten === 0) throw new Error('the system wrote nothing');
    written += bytesWritten;
  }
}

/** One promise and one trip to another thread: a write that somebody waits for is little else. */
function writeThrough(file: number, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    write(file, bytes, 0, bytes.length, position, (error, written) => {
      if (error !== null) reject(error);
      else if (written === bytes.length) resolve();
      else if (written === 0) reject(new Error('the system wrote nothing'));
      else resolve(writeThrough(file, bytes.subarray(written), position + written));
    });
  });
}

async function readUpTo(file: number, into: Uint8Array, position: number): Promise<number> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await calls.read(file, into, filled, into.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await calls.open(directory, constants.O_RDONLY);
  try {
    await calls.fsync(handle);
  } finally {
    await calls.close(handle);
  }
}

export const nodeFiles: Files = {
  create: (path) => attempt(`cannot create ${basename(path)}`, () => calls.open(path, CREATE, 0o600)),
  openExisting: (path) => attempt(`cannot open ${basename(path)}`, () => calls.open(path, constants.O_RDWR)),
  write: (file, bytes, position) => attempt('cannot write', () => writeAll(file, bytes, position)),
  read: (file, into, position) => attempt('cannot read', () => readUpTo(file, into, position)),
  sync: (file) => attempt('cannot force data to disk', () => calls.fdatasync(file)),
  openThrough: async (path) =>
    THROUGH === undefined
      ? undefined
      : attempt(`cannot open ${basename(path)}`, () => calls.open(path, THROUGH)),
  writeThrough: (file, bytes, position) =>
    attempt('cannot write to the disk', () => writeThrough(file, bytes, position)),
  truncate: (file, bytes) => attempt('cannot cut a file', () => calls.ftruncate(file, bytes)),
  sizeOf: (file) => attempt('cannot stat', async () => (await calls.fstat(file)).size),
  close: (file) => attempt('cannot close', () => calls.close(file)),
  rename: (from, to) => attempt(`cannot rename ${basename(from)}`, () => calls.rename(from, to)),
  remove: (path) => attempt(`cannot remove ${basename(path)}`, () => calls.unlink(path)),
  list: (directory) => attempt(`cannot list ${directory}`, () => calls.readdir(directory)),
  syncDirectory: (directory) => attempt(`cannot sync ${directory}`, () => syncDirectory(directory)),
};
