/**
 * What the system was really asked for: every acknowledged record was written, then forced to disk, then acknowledged.
 * A simulated disk cannot tell whether the real one is asked at all, so the system calls of a process are watched.
 */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from './journal-support.ts';

const child = join(import.meta.dirname, 'journal-child.ts');

/** Lines of the trace at which it began and ended. */
interface SystemCall {
  readonly name: string;
  readonly file: number;
  /** Of the file that it is about. */
  readonly path: string;
  readonly text: string;
  readonly beganAt: number;
  endedAt: number;
  result: number;
}

const BEGAN = /^(\d+)\s+(\w+)\((\d+)<([^>]*)>(.*)$/;
const ENDED = /^(\d+)\s+<\.\.\. (\w+) resumed>.*= (-?\d+)/;

function callsOf(trace: string): readonly SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string | undefined, SystemCall>();
  for (const [line, text] of trace.split('\n').entries()) {
    const began = BEGAN.exec(text);
    const ended = ENDED.exec(text);
    if (began !== null) {
      const [, thread = '', name = '', file = '', path = '', rest = ''] = began;
      const call = {
        name,
        file: Number(file),
        path,
        text: rest,
        beganAt: line,
        endedAt: Number.POSITIVE_INFINITY,
        result: -1,
      };
      calls.push(call);
      const result = /= (-?\d+)[^=]*$/.exec(rest);
      if (rest.endsWith('<unfinished ...>')) unfinished.set(thread, call);
      else if (result !== null) Object.assign(call, { endedAt: line, result: Number(result[1]) });
    } else if (ended !== null) {
      const [, thread = '', name, result] = ended;
      const call = unfinished.get(thread);
      if (call !== undefined && call.name === name)
        Object.assign(call, { endedAt: line, result: Number(result) });
    }
  }
  return calls;
}

/** Descriptors on which every write is forced to the disk before it returns, each with its path. */
function throughOf(trace: string): ReadonlySet<string> {
  const found = new Set<string>();
  const unfinished = new Set<string | undefined>();
  for (const line of trace.split('\n')) {
    const [, thread, rest = ''] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    const isResumed = rest.startsWith('<... openat resumed>') && unfinished.delete(thread);
    if (!isResumed && !/^openat\(.*\bO_DSYNC\b/.test(rest)) continue;
    const [, file, path] = /= (\d+)<([^>]*)>$/.exec(rest) ?? [];
    if (file !== undefined) found.add(`${file} ${path}`);
    else unfinished.add(thread);
  }
  return found;
}

function whyNot(): string | undefined {
  const { status, error, stderr } = spawnSync('strace', ['-f', '-o', '/dev/null', 'true'], {
    encoding: 'utf8',
  });
  if (status === 0) return undefined;
  return `strace does not run here: ${error?.message ?? stderr.trim()}`;
}

describe('journal: the system calls', () => {
  it('every record is written and forced to disk before it is acknowledged (20 batches, checkpoints in between)', {
    timeout: 60_000,
  }, async ({ skip }) => {
    const missing = whyNot();
    if (missing !== undefined) {
      console.warn(`skipped: ${missing}`);
      skip();
    }
    const [data, traced] = [await temporaryDirectory(), await temporaryDirectory()];
    onTestFinished(async () => {
      await data.dispose();
      await traced.dispose();
    });
    const log = join(traced.path, 'trace');
    const watched = 'trace=openat,write,pwrite64,pwritev,fsync,fdatasync';
    const command = [process.execPath, child, data.path, '20'];
    const options = ['-f', '-y', '-s', '65536', '-e', watched, '-o', log];
    const { stdout } = spawnSync('strace', [...options, ...command], { encoding: 'utf8' });
    const acknowledged = stdout.split('\n').filter(Boolean).map(Number);
    expect(acknowledged.length).toBeGreaterThan(120);

    const trace = await readFile(log, 'utf8');
    const calls = callsOf(trace);
    const through = throughOf(trace);
    const isThrough = ({ file, path }: SystemCall) => through.has(`${file} ${path}`);
    const inJournal = ({ path }: SystemCall) => /\/journal-\d+\.log$/.test(path);
    const writes = calls.filter((call) => call.name.startsWith('pwrite') && inJournal(call));
    const syncs = calls.filter((call) => /^f(data)?sync$/.test(call.name) && inJournal(call));
    const told = calls.filter(({ name, file }) => name === 'write' && file === 1);
    for (const number of acknowledged) {
      const answer = told.find(({ text }) => new RegExp(`["n]${number}\\\\n`).test(text));
      const written = writes.find(({ text }) => text.includes(`\\"number\\":${number},`));
      expect(answer, `${number} is told`).toBeDefined();
      if (written === undefined) throw new Error(`${number} is not written`);
      const forced = isThrough(written)
        ? written
        : syncs.find((sync) => sync.path === written.path && sync.beganAt > written.endedAt);
      expect(forced?.result, `${number} is forced to disk`).toBeGreaterThanOrEqual(0);
      expect(forced?.endedAt, `${number} is forced to disk before it is told`).toBeLessThan(
        answer?.beganAt ?? 0,
      );
    }
  });
});
