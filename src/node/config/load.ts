/**
 * From flags, environment, file and defaults to one checked `Config`.
 *
 * Flags beat the environment, the environment beats the file, the file beats the defaults. Every value is checked
 * even where a stronger one hides it, and all problems are reported at once.
 */
import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { SkeinError } from '../../kernel/errors.ts';
import { type Config, options } from './options.ts';
import { type ConfigProblem, keyText } from './problem.ts';
import { type FileContents, type FlagValues, type Loaded, settle } from './settle.ts';

/** Far beyond any real file; keeps a wrong path (a database, a log) from being parsed. */
const MAX_CONFIG_BYTES = 1024 * 1024;

export interface LoadInput {
  /** Default: none, or what `SKEIN_CONFIG` names. */
  readonly file?: string;
  readonly flags?: FlagValues;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads the file, if any, and settles every option.
 *
 * @throws ConfigError with every problem found.
 */
export async function loadConfig(input: LoadInput = {}): Promise<Loaded> {
  const environment = input.environment ?? process.env;
  const file = input.file ?? environment.SKEIN_CONFIG;
  const contents = file === undefined || file === '' ? undefined : await readingOf(await textOf(file), file);
  return settle({ contents, flags: input.flags ?? {}, environment, hostname: hostname() });
}

/** A complete configuration from a few values, the rest defaults; for embedding and for tests. Same checks. */
export function configWith(values: PartialConfig = {}): Config {
  if (typeof values !== 'object' || (values as unknown) === null)
    throw SkeinError.of('INVALID_ARGUMENT', 'The values are not an object.', 'Pass sections, or nothing.');
  const flat = new Map<string, unknown>();
  for (const option of options) {
    const value = option.path
      .split('.')
      .reduce<unknown>((node, key) => (node as Readonly<Record<string, unknown>> | undefined)?.[key], values);
    if (value !== undefined) flat.set(option.path, value);
  }
  const contents: FileContents = {
    values: options
      .filter((option) => flat.has(option.path))
      .map((option) => ({
        option,
        value: flat.get(option.path),
        problem: (path, message) => ({ place: 'configuration', key: keyText(option.path, path), message }),
      })),
    problems: [],
  };
  return settle({ contents, flags: {}, environment: {}, hostname: hostname() }).config;
}

type PartialOf<T> = T extends readonly unknown[] | string | number | boolean
  ? T
  : { readonly [Key in keyof T]?: PartialOf<T[Key]> | undefined };
/** Times are given with their unit, as in a file. */
interface QuorumTimes {
  readonly foundAfter?: string;
  readonly voters?: { readonly target?: number; readonly replaceAfter?: string };
}
type PartialConfig = PartialOf<Omit<Config, 'boards' | 'budgets' | 'guard' | 'quorum'>> & {
  readonly budgets?: {
    readonly prices?: Config['budgets']['prices'];
    readonly reserveTtl?: string;
    readonly expiry?: Config['budgets']['expiry'];
    readonly thresholds?: readonly number[];
  };
  readonly quorum?: Omit<PartialOf<Config['quorum']>, 'foundAfter' | 'voters'> & QuorumTimes;
  readonly boards?: Readonly<
    Record<
      string,
      {
        readonly mode?: 'crdt' | 'quorum';
        readonly quota?: { readonly keys?: number; readonly bytes?: number };
      }
    >
  >;
  readonly guard?: {
    readonly keys?: readonly {
      readonly principal: string;
      readonly zone?: 'local' | 'trusted' | 'external';
      readonly secret?: string;
      readonly secretHash?: string;
    }[];
  };
};

async function textOf(file: string): Promise<string | ConfigProblem> {
  try {
    const { size } = await stat(file);
    if (size > MAX_CONFIG_BYTES)
      return {
        place: file,
        file,
        message: `is larger than ${MAX_CONFIG_BYTES} bytes: not a configuration file`,
      };
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    return { place: file, file, message: readFault(cause) };
  }
}

function readFault(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES' || code === 'EPERM') return 'this user may not read the file';
  if (code === 'EISDIR') return 'is a directory, not a configuration file';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'is not UTF-8 text';
  return `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
}

async function readingOf(text: string | ConfigProblem, file: string): Promise<FileContents> {
  if (typeof text !== 'string') return { values: [], problems: [text] };
  // The YAML parser takes 40 ms to load: a start without a file goes without.
  const { readConfigText } = await import('./file.ts');
  return readConfigText(file, text);
}
