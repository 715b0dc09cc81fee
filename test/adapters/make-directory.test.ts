import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectory } from '../../src/adapters/node/make-directory.ts';

let place: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'skein-make-'));
});
afterEach(() => rmSync(place, { recursive: true, force: true }));

const code = (act: () => void): string | undefined => {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
};

describe('making a directory', () => {
  it('makes the parents that are missing, and leaves what is there', () => {
    const path = join(place, 'a/b/c');
    makeDirectory(path, 0o700);
    makeDirectory(path, 0o700);
    expect(statSync(path).isDirectory()).toBe(true);
    if (process.platform !== 'win32') expect(statSync(join(place, 'a')).mode & 0o777).toBe(0o700);
  });

  it('takes a link to a directory for one', () => {
    symlinkSync(place, join(place, 'link'));
    makeDirectory(join(place, 'link/a'), 0o700);
    expect(statSync(join(place, 'a')).isDirectory()).toBe(true);
  });

  it('refuses a file in the place of the directory, of a parent, and a link to nothing', () => {
    writeFileSync(join(place, 'file'), '');
    symlinkSync(join(place, 'nothing'), join(place, 'dangling'));
    expect(code(() => makeDirectory(join(place, 'file'), 0o700))).toBe('EEXIST');
    expect(code(() => makeDirectory(join(place, 'file/a'), 0o700))).toBe('ENOTDIR');
    expect(code(() => makeDirectory(join(place, 'dangling'), 0o700))).toBe('EEXIST');
  });

  it.runIf(process.platform === 'linux')('ends where nothing can be made (/proc; Linux only)', () => {
    expect(code(() => makeDirectory('/proc/skein/data', 0o700))).toBe('ENOENT');
  });
});
