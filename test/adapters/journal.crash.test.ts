/** Processes that really die: at every named point of the journal, and at random under load. */
import { spawn } from 'node:child_process';
import { cp, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CRASH_POINTS } from '../../src/adapters/node/crash-points.ts';
import { contentsOf, fileImage, lastSegment, temporaryDirectory } from './journal-support.ts';

const child = join(import.meta.dirname, 'journal-child.ts');

interface Ended {
  readonly acknowledged: readonly number[];
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
}

/** Runs the child until it ends; with `killAfter`, kills it once so many records are acknowledged. */
function run(
  args: readonly string[],
  options: { crashAt?: string; killAfter?: number } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env };
    if (options.crashAt !== undefined) env.SKEIN_CRASH_AT = options.crashAt;
    const running = spawn(process.execPath, [child, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    running.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      if (options.killAfter !== undefined && output.split('\n').length > options.killAfter)
        running.kill('SIGKILL');
    });
    running.on('error', reject);
    running.on('close', (code, signal) => {
      const whole = output.slice(0, output.lastIndexOf('\n') + 1);
      resolve({ acknowledged: whole.split('\n').filter(Boolean).map(Number), signal, code });
    });
  });
}

async function numbersIn(directory: string): Promise<Set<number>> {
  const { records, quarantined } = await contentsOf(directory);
  expect(quarantined).toEqual([]);
  return new Set(
    records.map((record) => {
      const { number, filling } = JSON.parse(Buffer.from(record).toString());
      expect(filling).toBe('x'.repeat((number * 37) % 400));
      return number as number;
    }),
  );
}

function missing(acknowledged: readonly number[], held: ReadonlySet<number>): number[] {
  return acknowledged.filter((number) => !held.has(number));
}

let directory: { path: string; dispose: () => Promise<void> };
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.dispose());

const passages: Record<string, readonly number[]> = {
  'journal.before-write': [1, 9],
  'journal.mid-write': [1, 9],
  'journal.after-write': [1, 9],
  'journal.after-sync': [1, 9],
  'segment.before-create': [1, 3],
  'segment.after-create': [1, 3],
  'segment.after-directory-sync': [1, 3],
  'checkpoint.before-create': [1, 2],
  'checkpoint.mid-write': [1, 2],
  'checkpoint.after-write': [1, 2],
  'checkpoint.before-sync': [1, 2],
  'checkpoint.after-sync': [1, 2],
  'checkpoint.after-rename': [1, 2],
  'checkpoint.after-directory-sync': [1, 2],
  'checkpoint.after-first-removal': [1, 2],
  'checkpoint.after-removal': [1, 2],
};

describe('journal crashes', () => {
  for (const [name, counts] of Object.entries(passages)) {
    it(`${name}: every acknowledged record is there after a restart, none by half (passages=${counts.join(',')}) (K07)`, async () => {
      for (const count of counts) {
        const ended = await run([directory.path, '40'], { crashAt: `${name}:${count}` });
        expect(ended.signal).toBe('SIGKILL');
        const held = await numbersIn(directory.path);
        expect(missing(ended.acknowledged, held)).toEqual([]);
        const again = await run([directory.path, '5']);
        expect(again.code).toBe(0);
        expect(missing([...held, ...again.acknowledged], await numbersIn(directory.path))).toEqual([]);
      }
    });
  }

  for (const name of ['failure.after-abandon', 'failure.after-probe']) {
    it(`${name}: a crash while recovering from a failed sync loses nothing acknowledged (B29, K07)`, async () => {
      const ended = await run([directory.path, '40', 'fault'], { crashAt: name });
      expect(ended.signal).toBe('SIGKILL');
      expect(missing(ended.acknowledged, await numbersIn(directory.path))).toEqual([]);
    });
  }

  it('a failed sync in the middle of the load loses nothing that was acknowledged (B29)', async () => {
    const ended = await run([directory.path, '40', 'fault']);
    expect(ended.code).toBe(0);
    expect(ended.acknowledged.length).toBeGreaterThan(200);
    expect(missing(ended.acknowledged, await numbersIn(directory.path))).toEqual([]);
  });

  for (const name of ['load.before-cut', 'load.after-cut']) {
    it(`${name}: a crash while a torn tail is cut is repeated harmlessly (K07)`, async () => {
      const before = await run([directory.path, '3']);
      const segment = await lastSegment(directory.path);
      await truncate(segment, (await stat(segment)).size - 5);
      expect((await run([directory.path, '3'], { crashAt: name })).signal).toBe('SIGKILL');
      expect(missing(before.acknowledged.slice(0, -1), await numbersIn(directory.path))).toEqual([]);
    });
  }

  for (const name of ['load.after-salvage', 'load.after-aside', 'load.after-replace']) {
    it(`${name}: a crash while a corrupt file is set aside loses none of its readable records (K38)`, async () => {
      const before = await run([directory.path, '3']);
      const segment = await lastSegment(directory.path);
      const image = await fileImage(segment);
      image[20] = (image[20] as number) ^ 0xff;
      await writeFile(segment, image);
      const copy = await temporaryDirectory();
      await cp(directory.path, copy.path, { recursive: true });
      const expected = (await contentsOf(copy.path)).records.length;
      await copy.dispose();
      expect(expected).toBe(before.acknowledged.length - 1);
      expect((await run([directory.path, '3'], { crashAt: name })).signal).toBe('SIGKILL');
      const { records } = await contentsOf(directory.path);
      expect(records.length).toBe(expected);
    });
  }

  for (const killAfter of [50, 400, 900]) {
    it(`kill -9 under load loses nothing acknowledged (after=${killAfter} records)`, async () => {
      const ended = await run([directory.path, '100000'], { killAfter });
      expect(ended.signal).toBe('SIGKILL');
      expect(missing(ended.acknowledged, await numbersIn(directory.path))).toEqual([]);
    });
  }

  it('every crash point of the journal is exercised here', () => {
    const journal = Object.keys(CRASH_POINTS).filter((name) =>
      /^(journal|segment|checkpoint|failure|load)\./.test(name),
    );
    const exercised = [
      ...Object.keys(passages),
      'failure.after-abandon',
      'failure.after-probe',
      'load.before-cut',
      'load.after-cut',
      'load.after-salvage',
      'load.after-aside',
      'load.after-replace',
    ];
    expect(exercised.sort()).toEqual(journal.sort());
  });
});
