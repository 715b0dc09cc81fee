import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { versionProblem } from '../../src/cli/version.js';

describe('the Node version', () => {
  it.each(['22.18.0', '22.20.1', '23.0.0', '24.21.0', '26.0.0'])('%s will do', (version) => {
    expect(versionProblem(version)).toBeUndefined();
  });

  it.each(['18.20.0', '20.20.2', '22.17.9', '22.6.0'])('%s is refused with what to do', (version) => {
    expect(versionProblem(version)).toMatch(new RegExp(`this is Node ${version.replaceAll('.', '\\.')}`));
    expect(versionProblem(version)).toMatch(/npm ci && npm start/);
  });
});

const oldNode = [...new Set((process.env.PATH ?? '').split(':').concat('/usr/bin'))]
  .map((folder) => join(folder, 'node'))
  .filter((file) => existsSync(file))
  .find((file) =>
    versionProblem(execFileSync(file, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()),
  );

it.skipIf(oldNode === undefined)(
  `an old Node (${oldNode ?? 'skipped: this machine has none'}) gets that message not a syntax error`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-old-'));
    try {
      writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
      for (const name of ['main', 'version']) {
        copyFileSync(resolve(import.meta.dirname, `../../src/cli/${name}.js`), join(folder, `${name}.js`));
      }
      const ended = spawnSync(oldNode ?? '', [join(folder, 'main.js'), 'up'], { encoding: 'utf8' });
      expect(ended.stderr).toMatch(/^Skein needs Node 22\.18 or newer/);
      expect([ended.status, ended.stdout]).toEqual([1, '']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
