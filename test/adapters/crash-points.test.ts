import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CRASH_POINTS } from '../../src/adapters/node/crash-points.ts';

it('crash points: each name is passed somewhere in the sources, and there are at least 25', () => {
  const src = join(import.meta.dirname, '../../src');
  const text = readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(src, name), 'utf8'))
    .join('\n');
  const names = Object.keys(CRASH_POINTS);
  expect(names.filter((name) => !text.includes(`crashPoint('${name}')`))).toEqual([]);
  expect(names.length).toBeGreaterThanOrEqual(25);
});
