import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DATA_FORMAT, openDataDirectory } from '../../src/adapters/node/data-directory.ts';
import { loadIdentity } from '../../src/adapters/node/keys.ts';
import { SkeinError } from '../../src/kernel/errors.ts';
import { contentsOf, temporaryDirectory } from './journal-support.ts';

const child = join(import.meta.dirname, 'data-directory-child.ts');
const options = { version: '0.1.0' };

let home: { path: string; dispose: () => Promise<void> };
let path: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  home = await temporaryDirectory();
  path = join(home.path, 'data');
});
afterEach(async () => {
  for (const running of children.splice(0)) running.kill('SIGKILL');
  await home.dispose();
});

/** Starts a process that opens the directory; resolves with its first line. */
function opener(
  args: readonly string[],
  env = {},
): Promise<{ said: string; process: ChildProcess; ended: Promise<void> }> {
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, [child, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    children.push(running);
    const ended = new Promise<void>((done) => running.on('close', () => done()));
    let said = '';
    running.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk;
      if (said.includes('\n')) resolve({ said: said.trim(), process: running, ended });
    });
    running.on('error', reject);
    running.on('close', () => resolve({ said: said.trim(), process: running, ended }));
  });
}

function refusal(open: () => unknown): SkeinError['body'] {
  try {
    open();
  } catch (error) {
    expect(error).toBeInstanceOf(SkeinError);
    return (error as SkeinError).body;
  }
  throw new Error('it was not refused');
}

describe('data directory', () => {
  it('is made with everything in it for its owner only', async () => {
    const directory = openDataDirectory(path, options);
    expect(directory.created).toBe(true);
    for (const made of [path, directory.journalPath]) expect((await stat(made)).mode & 0o777).toBe(0o700);
    for (const file of ['node.lock', 'node.pid', 'format.json'])
      expect((await stat(join(path, file))).mode & 0o077).toBe(0);
    directory.close();
    const again = openDataDirectory(path, options);
    expect(again.created).toBe(false);
    again.close();
  });

  it('is refused to a second process, with the pid of the first', async () => {
    const first = await opener([path]);
    expect(first.said).toBe('held');
    const body = refusal(() => openDataDirectory(path, options));
    expect(body).toMatchObject({ code: 'CONFLICT', details: { pid: first.process.pid } });
    expect(body.message).toContain(`process ${first.process.pid}`);
    expect(body.hint).toContain(`kill ${first.process.pid}`);
  });

  it('is refused to a second opening by the same process', () => {
    const first = openDataDirectory(path, options);
    expect(refusal(() => openDataDirectory(path, options)).code).toBe('CONFLICT');
    first.close();
    openDataDirectory(path, options).close();
  });

  it('is free again at once after its holder was killed with -9', async () => {
    const first = await opener([path]);
    first.process.kill('SIGKILL');
    await first.ended;
    openDataDirectory(path, options).close();
  });

  it('goes to exactly one of many that start at once (n=6), also where a dead holder left its files', async () => {
    const dead = await opener([path]);
    dead.process.kill('SIGKILL');
    await dead.ended;
    const openers = await Promise.all(Array.from({ length: 6 }, () => opener([path])));
    expect(openers.filter(({ said }) => said === 'held').length).toBe(1);
    for (const { said } of openers) if (said !== 'held') expect(JSON.parse(said).code).toBe('CONFLICT');
  });

  it('of a newer version is refused, named, and left untouched', async () => {
    openDataDirectory(path, options).close();
    const file = join(path, 'format.json');
    const text = JSON.stringify({ format: DATA_FORMAT + 1, writtenBy: '9.8.7' });
    await writeFile(file, text);
    const body = refusal(() => openDataDirectory(path, options));
    expect(body.code).toBe('UNSUPPORTED');
    expect(body.message).toContain('9.8.7');
    expect(await readFile(file, 'utf8')).toBe(text);
    await writeFile(file, JSON.stringify({ format: DATA_FORMAT }));
    openDataDirectory(path, options).close();
  });

  it('with a damaged format file is refused with what to do', async () => {
    openDataDirectory(path, options).close();
    await writeFile(join(path, 'format.json'), '{"form');
    expect(refusal(() => openDataDirectory(path, options))).toMatchObject({
      code: 'INTERNAL',
      hint: expect.stringContaining('remove that file'),
    });
  });

  it('that is a file, or lies below one, is refused with what to do', async () => {
    await writeFile(path, 'a file');
    expect(refusal(() => openDataDirectory(path, options)).hint).toContain('--data DIR');
    expect(refusal(() => openDataDirectory(join(path, 'below'), options)).hint).toContain('--data DIR');
  });

  const root = process.getuid?.() === 0;
  it('that this user may not read or write is refused with what to do', async () => {
    await mkdir(path);
    await chmod(path, 0o500);
    await chmod(home.path, 0o755);
    // Root may do everything, so another user tries.
    const { said } = await opener(root ? [path, '65534'] : [path]);
    expect(JSON.parse(said)).toMatchObject({ code: 'DENIED', hint: expect.stringContaining('--data DIR') });
    await chmod(path, 0o700);
  });

  for (const point of ['directory.after-create', 'directory.after-lock', 'directory.after-format']) {
    it(`a crash at ${point} leaves a directory that opens again (K07)`, async () => {
      const { process: died, said, ended } = await opener([path], { SKEIN_CRASH_AT: point });
      await ended;
      expect(said).toBe('');
      expect(died.signalCode).toBe('SIGKILL');
      const directory = openDataDirectory(path, options);
      expect((await contentsOf(directory.journalPath)).records).toEqual([]);
      directory.close();
    });
  }

  for (const point of ['keys.before-write', 'keys.after-write', 'keys.after-rename']) {
    it(`a crash at ${point} leaves a whole key or none, never half of one (K07)`, async () => {
      const { process: died, ended } = await opener([path], { SKEIN_CRASH_AT: point });
      await ended;
      expect(died.signalCode).toBe('SIGKILL');
      expect(loadIdentity(path).created).toBe(point !== 'keys.after-rename');
      expect(loadIdentity(path).created).toBe(false);
    });
  }

  it('a crash setting that names no crash point is refused', async () => {
    for (const setting of ['journal.befor-write', 'journal.before-write:0', 'journal.before-write:x']) {
      const { said } = await opener([path], { SKEIN_CRASH_AT: setting });
      expect(JSON.parse(said)).toMatchObject({
        code: 'INVALID_ARGUMENT',
        hint: expect.stringContaining('--crash-points'),
      });
    }
  });
});

describe('a data directory and its swarm', () => {
  it('stays with the swarm that it was made for, over restarts', () => {
    const first = openDataDirectory(path, options);
    first.bindSwarm('0123456789abcdef');
    first.bindSwarm('0123456789abcdef');
    first.close();
    const second = openDataDirectory(path, options);
    expect(() => second.bindSwarm('fedcba9876543210')).toThrow(/belongs to the swarm 0123456789abcdef/);
    second.bindSwarm('0123456789abcdef');
    second.close();
  });
});
