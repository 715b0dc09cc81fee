/**
 * A node's data directory: made where there is none, held by one process at a time, and refused where it was made
 * by a version that this one does not understand.
 *
 * The lock is an exclusive transaction on an empty SQLite file (`node.lock`), which SQLite keeps as a lock of the
 * operating system on that file. Nothing else that Node offers without native packages will do: a pid file cannot be
 * taken over from a dead process without a race, and its pid means nothing in another container; a listening socket in
 * the directory is left behind by kill -9 and taken over with the same race; an abstract socket is blind to
 * other network namespaces. The operating system drops this lock with the process, however it ends, and sees every
 * process of the machine. Nobody else in this process may open the lock file: closing it would drop the lock.
 */
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SkeinError } from '../../kernel/errors.ts';
import { checkCrashSetting, crashPoint } from './crash-points.ts';
import { makeDirectory } from './make-directory.ts';

/** Grows when an older version could no longer read what a newer one wrote. */
export const DATA_FORMAT = 1;

const LOCK_FILE = 'node.lock';
const PID_FILE = 'node.pid';
const FORMAT_FILE = 'format.json';
/** Id of the swarm that the directory belongs to, written at its first start. */
export const SWARM_FILE = 'swarm.id';
const JOURNAL_DIRECTORY = 'journal';
/** SQLite's SQLITE_BUSY. */
const BUSY = 5;

interface DataDirectory {
  /** Absolute. */
  readonly path: string;
  /** Where the journal lives; exists. */
  readonly journalPath: string;
  /** True where this call made the directory. */
  readonly created: boolean;
  /**
   * Ties the directory to a swarm, for good. Boards and records of one swarm would leak into another, and what its
   * members signed would be believed by nobody there. Throws `CONFLICT` where it belongs to another.
   */
  bindSwarm(swarm: string): void;
  /** Lets the next process in. */
  close(): void;
}

interface DataDirectoryOptions {
  /** Told to whoever meets this directory with an older version. */
  readonly version: string;
}

/**
 * Makes the directory (mode 0700) where it is missing, and holds it until `close` or the end of the process.
 *
 * Throws `SkeinError`: `CONFLICT` where another process holds it (its pid in `details.pid`), `DENIED` where this user
 * may not use it, `UNSUPPORTED` where a newer version made it, `INTERNAL` where the disk refuses.
 */
export function openDataDirectory(directory: string, options: DataDirectoryOptions): DataDirectory {
  checkCrashSetting();
  const path = resolve(directory);
  const created = make(path);
  crashPoint('directory.after-create');
  const lock = acquire(path);
  try {
    crashPoint('directory.after-lock');
    writeDurably(join(path, PID_FILE), `${process.pid}\n`);
    checkFormat(path, options.version);
    crashPoint('directory.after-format');
    const journalPath = join(path, JOURNAL_DIRECTORY);
    make(journalPath);
    return {
      path,
      journalPath,
      created,
      bindSwarm: (swarm) => bindSwarm(path, swarm),
      close: () => release(path, lock),
    };
  } catch (error) {
    release(path, lock);
    throw error;
  }
}

/** The process that holds the directory, as far as its pid file tells; for messages only. */
function holderOf(directory: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(directory, PID_FILE), 'utf8').trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function make(path: string): boolean {
  try {
    const created = !existsSync(path);
    if (created) {
      makeDirectory(path, 0o700);
      // The mode above is narrowed by the umask only; a parent that hands down wider rights is overruled here.
      chmodSync(path, 0o700);
    }
    if (!statSync(path).isDirectory())
      throw Object.assign(new Error('it is a file, not a directory'), { code: 'ENOTDIR' });
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    return created;
  } catch (cause) {
    throw unusable(path, cause);
  }
}

function acquire(path: string): DatabaseSync {
  let lock: DatabaseSync | undefined;
  try {
    const file = join(path, LOCK_FILE);
    if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600));
    lock = new DatabaseSync(file, { timeout: 0 });
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (cause) {
    lock?.close();
    throw isBusy(cause) ? held(path) : unusable(path, cause);
  }
}

function isBusy(cause: unknown): boolean {
  return (cause as { errcode?: unknown }).errcode === BUSY;
}

function held(path: string): SkeinError {
  const pid = holderOf(path);
  const holder = pid === undefined ? 'another process' : `process ${pid}`;
  const stop = pid === undefined ? 'stop it' : `stop it (kill ${pid})`;
  return SkeinError.of(
    'CONFLICT',
    `The data directory ${path} is in use by ${holder}.`,
    `A node already runs there: talk to it (skein status --data ${path}), ${stop}, or choose another directory with --data DIR.`,
    { details: { directory: path, ...(pid === undefined ? {} : { pid }) } },
  );
}

/** The lock file stays: removing it would let two processes lock two different files of one name. */
function release(path: string, lock: DatabaseSync): void {
  rmSync(join(path, PID_FILE), { force: true });
  if (lock.isOpen) lock.close();
}

function checkFormat(path: string, version: string): void {
  const file = join(path, FORMAT_FILE);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(file, cause);
    writeDurably(file, `${JSON.stringify({ format: DATA_FORMAT, writtenBy: version })}\n`);
    return;
  }
  const { format, writtenBy } = parseFormat(text);
  if (format === DATA_FORMAT) return;
  if (format === undefined)
    throw SkeinError.of(
      'INTERNAL',
      `The file ${file} is damaged, so it is not known which version wrote this data directory.`,
      `If this version (${version}) wrote it, remove that file and start again; otherwise start the version that did.`,
    );
  throw SkeinError.of(
    'UNSUPPORTED',
    `The data directory ${path} has format ${format}${writtenBy === undefined ? '' : `, written by Skein ${writtenBy}`}; this is Skein ${version}, which reads format ${DATA_FORMAT}.`,
    `Start ${writtenBy === undefined ? 'a newer Skein' : `Skein ${writtenBy} or newer`}, or choose another directory with --data DIR. Nothing was changed.`,
  );
}

function bindSwarm(path: string, swarm: string): void {
  const file = join(path, SWARM_FILE);
  let bound: string;
  try {
    bound = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(file, cause);
    writeDurably(file, `${swarm}\n`);
    return;
  }
  if (bound === swarm) return;
  throw SkeinError.of(
    'CONFLICT',
    `The data directory ${path} belongs to the swarm ${bound}, and the secret given is that of the swarm ${swarm}.`,
    'Start with the secret that it was made with, or choose another directory with --data DIR; to take a board along, skein board export it first.',
    { details: { directory: path, swarm: bound } },
  );
}

function parseFormat(text: string): { format?: number; writtenBy?: string } {
  try {
    const { format, writtenBy } = JSON.parse(text) as Record<string, unknown>;
    return {
      ...(Number.isSafeInteger(format) && (format as number) > 0 ? { format: format as number } : {}),
      ...(typeof writtenBy === 'string' && /^[\w.+-]{1,64}$/.test(writtenBy) ? { writtenBy } : {}),
    };
  } catch {
    return {};
  }
}

/** All of the text or none of it, also over a crash. */
function writeDurably(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (cause) {
    throw unusable(path, cause);
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EACCES: 'Give this user the right to read and write it, or choose another with --data DIR.',
  EPERM: 'Give this user the right to read and write it, or choose another with --data DIR.',
  EROFS: 'Choose a directory on a disk that can be written: --data DIR.',
  ENOSPC: 'Free space on that disk, then start again.',
  EDQUOT: 'Free space within your quota, then start again.',
  ENOENT: 'Nothing can be made there: choose another directory with --data DIR.',
  ENOTDIR: 'Part of the path is a file: move it away, or choose another directory with --data DIR.',
  EEXIST: 'There is a file where the directory should be: move it away, or choose another with --data DIR.',
  ENAMETOOLONG: 'Choose a shorter path with --data DIR.',
};

function unusable(path: string, cause: unknown): SkeinError {
  const { code = '', message = String(cause) } = cause as NodeJS.ErrnoException;
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  return SkeinError.of(
    denied ? 'DENIED' : 'INTERNAL',
    `Cannot use the data directory: ${path}: ${message}`,
    HINTS[code] ?? 'Mend what the message says, or choose another directory with --data DIR.',
  );
}
