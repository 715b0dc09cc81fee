/**
 * Named places where a node can be made to die, before and after each durable step, so that tests prove what a
 * crash there leaves behind. `SKEIN_CRASH_AT=name` ends the process at the first passage, `name:n` at the n-th,
 * with SIGKILL to itself: no handler runs and nothing is flushed.
 *
 * Without the variable a passage costs one comparison.
 */
import { SkeinError } from '../../kernel/errors.ts';

/** Every crash point, with what is true when the process dies there. */
export const CRASH_POINTS = {
  'directory.after-create': 'the data directory exists and is empty',
  'directory.after-lock': 'the data directory is locked; its format is not yet written',
  'directory.after-format': 'the format file is in place',
  'keys.before-write': 'a new private key exists in memory only',
  'keys.after-write': 'the private key is on disk under a temporary name',
  'keys.after-rename': 'the private key is in place',
  'journal.before-write': 'records are buffered; none of this batch is in the file',
  'journal.mid-write': 'half of a batch is in the file, cut inside a record',
  'journal.after-write': 'the batch is in the file, not yet forced to disk',
  'journal.after-sync': 'the batch is on disk; nobody has been told',
  'segment.before-create': 'a new log segment is wanted; its file does not exist',
  'segment.after-create': 'the segment file exists; its directory entry may not be on disk',
  'segment.after-directory-sync': 'the new segment and its directory entry are on disk',
  'failure.after-abandon': 'a write failed and its segment was cut back to what is durable',
  'failure.after-probe': 'a probe write succeeded; no fresh segment exists yet',
  'checkpoint.before-create': 'the log has a new segment; the checkpoint file does not exist',
  'checkpoint.mid-write': 'half of a batch of the checkpoint is in its temporary file',
  'checkpoint.after-write': 'a batch of the checkpoint is in its temporary file',
  'checkpoint.before-sync': 'the temporary checkpoint is complete, not forced to disk',
  'checkpoint.after-sync': 'the temporary checkpoint is on disk under its temporary name',
  'checkpoint.after-rename': 'the checkpoint has its name; its directory entry may not be on disk',
  'checkpoint.after-directory-sync': 'the checkpoint is in place; the files that it replaces still exist',
  'checkpoint.after-first-removal': 'one of the files that the checkpoint replaces is gone',
  'checkpoint.after-removal': 'only the new checkpoint and the segments behind it remain',
  'load.before-cut': 'a torn tail was found and is still there',
  'load.after-cut': 'the torn tail is cut',
  'load.after-salvage': 'the readable records of a corrupt file are on disk under a temporary name',
  'load.after-aside': 'the corrupt file has its new name; its salvaged copy is not yet in place',
  'load.after-replace': 'the salvaged copy is in place of the corrupt file',
} as const;

export type CrashPoint = keyof typeof CRASH_POINTS;

const setting = process.env.SKEIN_CRASH_AT;
const [armedName, armedCount] = setting === undefined ? [] : setting.split(':', 2);
let passagesLeft = armedCount === undefined ? 1 : Number(armedCount);

/** Ends the process here if `SKEIN_CRASH_AT` says so. */
export function crashPoint(name: CrashPoint): void {
  if (armedName === undefined || armedName !== name) return;
  passagesLeft -= 1;
  if (passagesLeft === 0) process.kill(process.pid, 'SIGKILL');
}

/** Whether the next passage of `name` ends the process: lets a half-done write be staged just before it. */
export function crashesNext(name: CrashPoint): boolean {
  return armedName !== undefined && armedName === name && passagesLeft === 1;
}

/** Refuses a setting that no crash point answers to, so that a misspelt test cannot pass by never crashing. */
export function checkCrashSetting(): void {
  if (armedName === undefined) return;
  if (Object.hasOwn(CRASH_POINTS, armedName) && (armedCount === undefined || /^[1-9]\d*$/.test(armedCount)))
    return;
  throw SkeinError.of(
    'INVALID_ARGUMENT',
    `SKEIN_CRASH_AT is "${setting}", which names no crash point.`,
    'Use name or name:n with a name that `skein doctor --crash-points` lists, or unset the variable.',
  );
}
