/** The examples that users copy must hold. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/node/config/load.ts';
import { ROLES } from '../src/node/config/options.ts';

const folder = resolve(import.meta.dirname, '../configs');
const examples = readdirSync(folder).filter((name) => name.endsWith('.yaml'));

it('there is an example for every role and every kind of network', () => {
  expect(examples).toEqual([...ROLES, 'lan', 'wan', 'local'].map((name) => `${name}.yaml`).sort());
});

describe.each(examples)('configs/%s', (name) => {
  const file = join(folder, name);
  const text = readFileSync(file, 'utf8');

  it('is accepted without a warning', async () => {
    expect((await loadConfig({ file, environment: {} })).warnings).toEqual([]);
  });

  it('is accepted with every suggestion in its comments taken up', async () => {
    const uncommented = text.replace(/^(\s*)# (\s*(?:[a-zA-Z]+:(?: \S.*)?|- \S+))$/gm, '$1$2');
    const { readConfigText } = await import('../src/node/config/file.ts');
    expect(readConfigText(name, uncommented).problems).toEqual([]);
  });

  it('explains itself and points editors to the schema', () => {
    expect(text.split('\n')[0]).toBe('# yaml-language-server: $schema=./skein.schema.json');
    expect(text.split('\n').filter((line) => line.includes('# ')).length).toBeGreaterThan(3);
  });
});

it.each(ROLES)('configs/%s.yaml gives its role, which nodes/%s.ts starts', async (role) => {
  const { config } = await loadConfig({ file: join(folder, `${role}.yaml`), environment: {} });
  expect(config.node.roles).toContain(role);
  const preset = readFileSync(resolve(folder, `../nodes/${role}.ts`), 'utf8');
  expect(preset).toContain(`'--role', '${role}'`);
  expect(preset.split('\n').length).toBeLessThan(30);
});
