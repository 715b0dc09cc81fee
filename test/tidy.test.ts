/** The house rules, derived from the imports and the text of every file: a wrong arrow fails here. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const src = join(root, 'src');

function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesUnder(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

/** What each part of `src` may import of ours; every part may import itself. */
const ALLOWED: Record<string, readonly string[]> = {
  kernel: [],
  mesh: ['kernel'],
  guard: ['kernel'],
  replication: ['kernel'],
  blackboard: ['kernel', 'mesh', 'guard', 'replication', 'quorum'],
  quorum: ['kernel', 'mesh', 'guard', 'replication'],
  budget: ['kernel', 'mesh', 'guard', 'replication', 'blackboard', 'quorum'],
  agents: ['kernel', 'mesh', 'guard', 'replication', 'blackboard', 'quorum'],
  events: ['kernel', 'mesh', 'guard', 'replication', 'blackboard', 'quorum'],
  mcp: ['kernel', 'mesh', 'guard', 'replication', 'blackboard', 'quorum', 'budget', 'agents', 'events'],
  modules: [
    'kernel',
    'mesh',
    'guard',
    'replication',
    'blackboard',
    'quorum',
    'budget',
    'agents',
    'events',
    'mcp',
  ],
  /** An adapter implements a port of one of these; nothing of ours but `node` may import it. */
  adapters: ['kernel', 'mesh', 'replication', 'blackboard', 'quorum', 'agents', 'mcp'],
  sim: ['kernel'],
  node: [
    'kernel',
    'mesh',
    'guard',
    'replication',
    'blackboard',
    'quorum',
    'budget',
    'agents',
    'events',
    'mcp',
    'modules',
    'adapters',
  ],
  cli: ['kernel', 'node'],
  dashboard: ['kernel', 'node'],
};

const PURE = [
  'kernel',
  'mesh',
  'guard',
  'replication',
  'blackboard',
  'quorum',
  'budget',
  'agents',
  'events',
  'mcp',
  'sim',
];
const BANNED_IN_PURE = [
  /\bDate\.now\b/,
  /\bnew Date\(\)/,
  /\bMath\.random\b/,
  /\bsetTimeout\b/,
  /\bsetInterval\b/,
  /\bsetImmediate\b/,
  /\brandomUUID\b/,
  /\bperformance\.now\b/,
  /from 'node:/,
  /(?<![.#\w])process\.(?:env|argv|hrtime|memoryUsage|cwd|pid|platform|nextTick|stdin|stdout|stderr|exit|on)\b/,
];

function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] as string);
}

const files = filesUnder(src).map((path) => ({
  path,
  name: relative(src, path),
  text: readFileSync(path, 'utf8'),
}));
const partOf = (name: string) => (name.includes('/') ? (name.split('/')[0] as string) : undefined);

describe('tidy', () => {
  it('every import follows an allowed arrow', () => {
    const wrong: string[] = [];
    for (const file of files) {
      const part = partOf(file.name);
      if (part === undefined) continue;
      for (const specifier of importsOf(file.text)) {
        if (!specifier.startsWith('.')) continue;
        const target = relative(src, resolve(dirname(file.path), specifier));
        const targetPart = partOf(target);
        if (targetPart === part) continue;
        if (targetPart === undefined || !(ALLOWED[part] ?? []).includes(targetPart)) {
          wrong.push(`${file.name} -> ${target}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('every part of src has its place in the layers', () => {
    expect(readdirSync(src).filter((name) => !name.endsWith('.ts') && ALLOWED[name] === undefined)).toEqual(
      [],
    );
  });

  it('the MCP SDK is imported in its adapter only, libp2p in its own', () => {
    const wrong = files.flatMap((file) =>
      importsOf(file.text)
        .filter(
          (specifier) =>
            (specifier.startsWith('@modelcontextprotocol/') && !file.name.startsWith('adapters/mcp-sdk/')) ||
            (/^(@libp2p\/|libp2p$|@multiformats\/multiaddr)/.test(specifier) &&
              !file.name.startsWith('adapters/libp2p/')) ||
            specifier.startsWith('@modelcontextprotocol/sdk'),
        )
        .map((specifier) => `${file.name} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it('the run-time dependencies are the packages that src imports, no more and no fewer', () => {
    const imported = new Set(
      files
        .flatMap((file) => importsOf(file.text))
        .filter((specifier) => /^(?:@[\w.-]+\/)?[a-z][\w.-]*(?:\/|$)/.test(specifier))
        .map((specifier) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')),
    );
    const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect([...imported].sort()).toEqual(Object.keys(dependencies).sort());
  });

  it('pure parts read no clock, roll no dice and touch no socket', () => {
    const wrong = files
      .filter((file) => PURE.includes(partOf(file.name) ?? ''))
      .flatMap((file) => {
        const code = file.text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
        return BANNED_IN_PURE.filter((pattern) => pattern.test(code)).map(
          (pattern) => `${file.name}: ${pattern.source}`,
        );
      });
    expect(wrong).toEqual([]);
  });

  it('no file is longer than 600 lines, no function than 70', () => {
    const wrong: string[] = [];
    for (const file of files) {
      const lines = file.text.split('\n');
      if (lines.length > 600) wrong.push(`${file.name}: ${lines.length} lines`);
      for (const [start, length] of longFunctions(lines))
        wrong.push(`${file.name}:${start} has ${length} lines`);
    }
    expect(wrong).toEqual([]);
  });

  it('there are no barrels inside src', () => {
    expect(
      files.filter((file) => file.name !== 'index.ts' && file.name.endsWith('/index.ts')).map((f) => f.name),
    ).toEqual([]);
  });
});

/** Functions and methods by their indentation, which the formatter guarantees: from a line that opens one to its closing brace. */
function longFunctions(lines: readonly string[]): [start: number, length: number][] {
  const opens =
    /^(\s*)(?:export )?(?:default )?(?:(?:async )?function\b|(?:(?:public |private |static |override |async |get |set )*#?[A-Za-z_$][\w$]*\s*(?:<[^>]*>)?\([^;]*|.*=> )\{$)/;
  const found: [number, number][] = [];
  lines.forEach((line, index) => {
    const match = opens.exec(line);
    if (match === null || /^\s*(if|for|while|switch|return|else|catch|describe|it)\b/.test(line)) return;
    const indent = match[1] ?? '';
    const end = lines.findIndex((other, at) => at > index && other.startsWith(`${indent}}`));
    if (end > 0 && end - index + 1 > 70) found.push([index + 1, end - index + 1]);
  });
  return found;
}
