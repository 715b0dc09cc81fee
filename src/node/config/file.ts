/** The configuration file: YAML read into values that remember their lines. */
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument, type YAMLMap } from 'yaml';
import { nearestWord } from '../../kernel/nearest.ts';
import { options, type PlacedOption } from './options.ts';
import { type ConfigProblem, keyText } from './problem.ts';
import type { FileContents, GivenValue } from './settle.ts';

/** Never throws: whatever is wrong with the text comes back as problems. */
export function readConfigText(file: string, text: string): FileContents {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: 'silent' });
  const locate = placer(file, lines);
  const problems = [...document.errors, ...document.warnings].map((fault) =>
    locate(fault.pos[0], undefined, `is not valid YAML: ${firstLine(fault.message)}`),
  );
  if (problems.length > 0) return { values: [], problems };
  if (document.contents === null || isNothing(document.contents)) return { values: [], problems };
  return new Reader(document, locate).read();
}

type Locate = (
  offset: number | undefined,
  key: string | undefined,
  message: string,
  suggestion?: string,
) => ConfigProblem;

function placer(file: string, lines: LineCounter): Locate {
  return (offset, key, message, suggestion) => {
    const position = offset === undefined ? undefined : lines.linePos(offset);
    return {
      place: position === undefined ? file : `${file}:${position.line}:${position.col}`,
      file,
      ...(position === undefined ? {} : { line: position.line, column: position.col }),
      ...(key === undefined ? {} : { key }),
      message,
      ...(suggestion === undefined ? {} : { suggestion }),
    };
  };
}

const sections: readonly string[] = [...new Set(options.map((option) => option.section))];

class Reader {
  readonly #document: Document;
  readonly #locate: Locate;
  readonly #values: GivenValue[] = [];
  readonly #problems: ConfigProblem[] = [];

  constructor(document: Document, locate: Locate) {
    this.#document = document;
    this.#locate = locate;
  }

  read(): FileContents {
    const root = this.#document.contents;
    if (!isMap(root)) {
      this.#problems.push(
        this.#locate(offsetOf(root), undefined, `must be a mapping of sections: ${sections.join(', ')}`),
      );
    } else {
      for (const { name, offset, value } of pairsOf(root)) this.#readSection(name, offset, value);
    }
    return { values: this.#values, problems: this.#problems };
  }

  #readSection(section: string, offset: number | undefined, node: Node | null): void {
    const whole = options.find((option) => option.path === section);
    if (whole !== undefined) {
      this.#readValue(whole, node);
      return;
    }
    const known = options.filter((option) => option.section === section);
    if (known.length === 0) {
      this.#problems.push(this.#locate(offset, section, unknownSection(section), suggestSection(section)));
      return;
    }
    this.#readKeys(section, '', known, offset, node);
  }

  /** The keys below `prefix`, which is empty or ends with a dot. */
  #readKeys(
    section: string,
    prefix: string,
    known: readonly PlacedOption[],
    offset: number | undefined,
    node: Node | null,
  ): void {
    if (isNothing(node)) return;
    if (!isMap(node)) {
      const here = `${section}.${prefix}`.slice(0, -1);
      const names = new Set(known.map(({ key }) => key.slice(prefix.length).split('.', 1)[0]));
      const message = `must be a mapping of: ${[...names].join(', ')}`;
      this.#problems.push(this.#locate(offsetOf(node) ?? offset, here, message));
      return;
    }
    for (const pair of pairsOf(node)) {
      const key = `${prefix}${pair.name}`;
      const option = known.find((candidate) => candidate.key === key);
      const below = known.filter((candidate) => candidate.key.startsWith(`${key}.`));
      if (option !== undefined) this.#readValue(option, pair.value);
      else if (below.length > 0) this.#readKeys(section, `${key}.`, below, pair.offset, pair.value);
      else this.#unknownKey(section, known, key, pair.offset);
    }
  }

  #unknownKey(
    section: string,
    known: readonly PlacedOption[],
    key: string,
    offset: number | undefined,
  ): void {
    const elsewhere = options.filter((option) => option.key === key).map((option) => option.path);
    const suggestion =
      nearestWord(
        key,
        known.map((option) => option.key),
      ) ?? elsewhere[0];
    const message =
      suggestion === undefined
        ? `is not a setting; ${section} has ${known.map((option) => option.key).join(', ')}`
        : 'is not a setting';
    this.#problems.push(this.#locate(offset, `${section}.${key}`, message, suggestion));
  }

  #readValue(option: PlacedOption, node: Node | null): void {
    // A key whose value is commented out is a key left at its default.
    if (isNothing(node)) return;
    const problem = (path: readonly PropertyKey[], message: string, suggestion?: string) =>
      this.#locate(this.#offsetAt(node, path), keyText(option.path, path), message, suggestion);
    try {
      const value: unknown = node?.toJS(this.#document);
      const poisoned = pathToPrototype(value);
      if (poisoned === undefined) this.#values.push({ option, value, problem });
      else this.#problems.push(problem(poisoned, 'is not allowed as a key'));
    } catch (cause) {
      const reason = cause instanceof Error ? firstLine(cause.message) : String(cause);
      this.#problems.push(problem([], `cannot be read: ${reason}`));
    }
  }

  /** Of the deepest node on the way to `path` that the file has; of a key rather than its value. */
  #offsetAt(start: Node | null, path: readonly PropertyKey[]): number | undefined {
    let node: unknown = start;
    let offset = offsetOf(start);
    for (const step of path) {
      if (isMap(node)) {
        const pair = pairsOf(node).find((candidate) => candidate.name === String(step));
        if (pair === undefined) break;
        offset = pair.offset ?? offset;
        node = pair.value;
      } else {
        node = this.#document.contents === null ? null : itemOf(node, step);
        if (node === null || node === undefined) break;
        offset = offsetOf(node) ?? offset;
      }
    }
    return offset;
  }
}

function itemOf(node: unknown, step: PropertyKey): unknown {
  const items = (node as { readonly items?: readonly unknown[] } | null)?.items;
  return Array.isArray(items) ? items[Number(step)] : undefined;
}

function pairsOf(map: YAMLMap): { name: string; offset: number | undefined; value: Node | null }[] {
  return map.items.map((pair) => ({
    name: isScalar(pair.key) ? String(pair.key.value) : String(pair.key),
    offset: offsetOf(pair.key),
    value: pair.value as Node | null,
  }));
}

function offsetOf(node: unknown): number | undefined {
  return (node as { readonly range?: readonly [number, number, number] | null } | null)?.range?.[0];
}

function isNothing(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null);
}

/** Deeper than any setting, and reached at once by an alias that contains itself. */
const MAX_DEPTH = 16;

/**
 * Validators drop a key `__proto__` in silence, which would make a setting seem to be accepted.
 *
 * @throws Error for a value that is nested without end.
 */
function pathToPrototype(value: unknown, depth = 0): readonly string[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth > MAX_DEPTH) throw new Error('it is nested too deep, or contains itself');
  for (const [key, child] of Object.entries(value)) {
    const below = key === '__proto__' ? [] : pathToPrototype(child, depth + 1);
    if (below !== undefined) return [key, ...below];
  }
  return undefined;
}

function unknownSection(section: string): string {
  const holders = options.filter((option) => option.key === section);
  if (holders.length > 0) return 'is not a section';
  return suggestSection(section) === undefined
    ? `is not a section; there are ${sections.join(', ')}`
    : 'is not a section';
}

function suggestSection(section: string): string | undefined {
  return nearestWord(section, sections) ?? options.find((option) => option.key === section)?.path;
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? text;
}
