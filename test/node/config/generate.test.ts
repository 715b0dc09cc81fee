import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { documentText, schemaText } from '../../../src/node/config/generate.ts';

const root = resolve(import.meta.dirname, '../../..');

it.each([
  ['configs/skein.schema.json', schemaText],
  ['docs/CONFIGURATION.md', documentText],
])('%s is what the declarations make (node src/node/config/generate.ts)', (file, text) => {
  expect(readFileSync(join(root, file), 'utf8')).toBe(text());
});
