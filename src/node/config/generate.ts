/**
 * Writes `configs/skein.schema.json` and `docs/CONFIGURATION.md` from the declarations:
 * `node src/node/config/generate.ts`. A test fails where they are stale.
 */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import {
  declaration,
  environmentNameOf,
  flagsOf,
  formOf,
  type Option,
  options,
  type PlacedOption,
} from './options.ts';

type JsonSchema = Record<string, unknown>;

/** JSON Schema (draft 7, which editors know best) of the configuration file. */
export function schemaText(): string {
  const properties: JsonSchema = {};
  for (const [section, node] of Object.entries(declaration)) {
    const own = options.filter((option) => option.section === section);
    properties[section] = 'schema' in node ? schemaOf(node as Option<unknown>) : mappingOf(own, '');
  }
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Skein configuration',
    type: 'object',
    properties,
    additionalProperties: false,
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Of the options below `prefix`, which is empty or ends with a dot. */
function mappingOf(own: readonly PlacedOption[], prefix: string): JsonSchema {
  const names = [...new Set(own.map(({ key }) => key.slice(prefix.length).split('.', 1)[0] as string))];
  const properties = names.map((name) => {
    const option = own.find(({ key }) => key === `${prefix}${name}`);
    const below = `${prefix}${name}.`;
    return [
      name,
      option === undefined
        ? mappingOf(
            own.filter(({ key }) => key.startsWith(below)),
            below,
          )
        : schemaOf(option),
    ];
  });
  return {
    type: ['object', 'null'],
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  };
}

function schemaOf(option: Option<unknown>): JsonSchema {
  const { $schema: _, ...schema } = z.toJSONSchema(option.schema, {
    io: 'input',
    target: 'draft-7',
    unrepresentable: 'any',
    // Lists are read-only in the program, not in the file.
    override: ({ jsonSchema }) => {
      delete jsonSchema.readOnly;
    },
  });
  return {
    ...schema,
    description: option.help,
    ...(option.fallback === undefined ? {} : { default: option.fallback }),
  };
}

/** The reference of all settings, in Markdown. */
export function documentText(): string {
  const rows = options.map((option) => {
    const cells = [
      code(option.path),
      typeText(option),
      defaultText(option),
      flagText(option),
      environmentText(option),
      option.help,
    ];
    return row(cells);
  });
  return `${[
    INTRODUCTION,
    '| setting | type | default | flag | environment | what it does |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    structureText('boards', 'Settings of a board, under `boards.NAME`', 'boards.NAME'),
    '',
    structureText('budgets.prices', 'Price of a model, under `budgets.prices.MODEL`', 'budgets.prices.MODEL'),
    '',
    structureText('guard.keys', 'Settings of an API key, in the list `guard.keys`', 'guard.keys[]'),
  ].join('\n')}\n`;
}

const INTRODUCTION = `# Configuration

<!-- Made by \`node src/node/config/generate.ts\`; a test keeps it in step. Do not edit. -->

A node needs no configuration. Where it has one, flags beat environment variables, these beat the file, and the file
beats the defaults. The file is YAML, named by \`--config FILE\` or \`SKEIN_CONFIG\`; \`configs/\` has commented examples, and
\`configs/skein.schema.json\` lets an editor complete and check it. A key that is not a setting, or a value that does not
fit, is an error that names the file, the line and the nearest right key; all problems are reported at once, with exit
code 2. \`skein config show\` prints every setting with its origin and no secret; \`skein config validate FILE\` checks a file.

Lists are written \`--peer A --peer B\` as flags and \`A,B\` in the environment. A stronger source replaces a list whole.
Relative paths start at the working directory.
`;

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function code(text: string): string {
  return `\`${text}\``;
}

function typeText(option: PlacedOption): string {
  return nameOfType(schemaOf(option));
}

function nameOfType(schema: JsonSchema): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => code(String(value))).join(', ');
  if (schema.type === 'array') return `list of ${nameOfType((schema.items ?? {}) as JsonSchema)}`;
  if (schema.type === 'integer') return `integer, ${schema.minimum} to ${schema.maximum}`;
  if (schema.type === 'object') return 'mapping';
  return schema.type === 'boolean' ? 'true or false' : 'text';
}

function defaultText(option: PlacedOption): string {
  if (option.defaultText !== undefined) return option.defaultText;
  const { fallback } = option;
  if (fallback === undefined) return 'none';
  const empty = typeof fallback === 'object' && fallback !== null && Object.keys(fallback).length === 0;
  if (empty) return 'none';
  return Array.isArray(fallback)
    ? fallback.map((item) => code(String(item))).join(', ')
    : code(String(fallback));
}

function flagText(option: PlacedOption): string {
  const negated = formOf(option) === 'boolean' && option.fallback === true;
  const flags = flagsOf(option).map((flag) => code(`--${negated ? 'no-' : ''}${flag}`));
  return flags.length === 0 ? '-' : flags.join(', ');
}

function environmentText(option: PlacedOption): string {
  const name = environmentNameOf(option);
  return name === undefined ? '-' : code(name);
}

/** The parts of a setting that has some, as a table. */
function structureText(path: string, title: string, shown: string): string {
  const option = options.find((candidate) => candidate.path === path);
  const schema = option === undefined ? {} : schemaOf(option);
  const part = (schema.additionalProperties ?? schema.items) as JsonSchema;
  return [
    `## ${title}`,
    '',
    '| setting | type | default | what it is |',
    '|---|---|---|---|',
    ...partRows(part, shown),
  ].join('\n');
}

function partRows(schema: JsonSchema, path: string): string[] {
  return Object.entries((schema.properties ?? {}) as Record<string, JsonSchema>).flatMap(([key, part]) => {
    const here = `${path}.${key}`;
    if (part.type === 'object') return partRows(part, here);
    const fallback = part.default === undefined ? 'none' : code(String(part.default));
    return [row([code(here), nameOfType(part), fallback, String(part.description ?? '')])];
  });
}

if (import.meta.main) {
  const root = new URL('../../../', import.meta.url);
  writeFileSync(new URL('configs/skein.schema.json', root), schemaText());
  writeFileSync(new URL('docs/CONFIGURATION.md', root), documentText());
}
