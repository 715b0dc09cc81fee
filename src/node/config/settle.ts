/** One value for every option out of several sources, checked; all problems collected. */
import { z } from 'zod';
import { nearestWord } from '../../kernel/nearest.ts';
import { checkTogether, computeDefaults, warningsOf } from './checks.ts';
import { type Config, environmentNameOf, flagsOf, formOf, options, type PlacedOption } from './options.ts';
import { ConfigError, type ConfigProblem, keyText } from './problem.ts';

/** Where a setting's value came from. */
export type Origin = 'flag' | 'environment' | 'file' | 'default';

export interface Loaded {
  readonly config: Config;
  /** By path, such as `mesh.port`. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** Legal settings that their owner may regret. */
  readonly warnings: readonly string[];
}

/** What was given on the command line, by path; lists as lists, everything else as the text given. */
export type FlagValues = Readonly<Record<string, string | boolean | readonly string[]>>;

/** Makes a problem with the part of a setting under `path`, at the place where it was given. */
type MakeProblem = (path: readonly PropertyKey[], message: string, suggestion?: string) => ConfigProblem;

/** A setting that a file, or an embedding program, gives. */
export interface GivenValue {
  readonly option: PlacedOption;
  readonly value: unknown;
  readonly problem: MakeProblem;
}

export interface FileContents {
  readonly values: readonly GivenValue[];
  readonly problems: readonly ConfigProblem[];
}

interface SettleInput {
  readonly contents: FileContents | undefined;
  readonly flags: FlagValues;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
}

export class Settler {
  readonly values = new Map<string, unknown>();
  readonly origins = new Map<string, Origin>();
  readonly problems: ConfigProblem[] = [];
  /** Names a setting where it was given, for problems between several settings. */
  readonly places = new Map<string, MakeProblem>();
  /** Settings with a problem of their own: a problem between settings would only repeat it. */
  readonly refused = new Set<string>();

  /** Sources come weakest first. */
  take(option: PlacedOption, value: unknown, origin: Origin, problem: MakeProblem): void {
    const parsed = option.schema.safeParse(value);
    this.places.set(option.path, problem);
    if (parsed.success) {
      this.values.set(option.path, parsed.data);
      this.origins.set(option.path, origin);
      return;
    }
    this.refused.add(option.path);
    for (const issue of parsed.error.issues) this.#takeIssue(option, value, issue, problem);
  }

  #takeIssue(option: PlacedOption, value: unknown, issue: z.core.$ZodIssue, problem: MakeProblem): void {
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(option.schema, issue.path);
      for (const key of issue.keys) {
        const suggestion = nearestWord(key, known);
        const rest = suggestion === undefined ? `; there are ${known.join(', ')}` : '';
        this.problems.push(problem([...issue.path, key], `is not a setting${rest}`, suggestion));
      }
      return;
    }
    const message =
      issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
    const hidden = option.secret || option.path === 'guard.keys';
    const given = hidden ? '' : `, but is ${shown(valueAt(value, issue.path))}`;
    this.problems.push(problem(issue.path, message.startsWith('must be ') ? `${message}${given}` : message));
  }
}

export function settle(input: SettleInput): Loaded {
  const settler = new Settler();
  for (const option of options) {
    if (option.fallback !== undefined)
      settler.take(option, option.fallback, 'default', (path, message) => ({
        place: 'default',
        key: keyText(option.path, path),
        message,
      }));
  }
  settler.problems.push(...(input.contents?.problems ?? []));
  for (const { option, value, problem } of input.contents?.values ?? [])
    settler.take(option, value, 'file', problem);
  settler.problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  takeEnvironment(settler, input.environment);
  takeFlags(settler, input.flags);
  computeDefaults(settler, input.hostname);
  checkTogether(settler);
  if (settler.problems.length > 0) throw new ConfigError(settler.problems);
  return { config: assemble(settler.values), origins: settler.origins, warnings: warningsOf(settler) };
}

/** Read by other parts of the program, or by the command line before there is a configuration. */
const OTHER_VARIABLES = ['SKEIN_CONFIG', 'SKEIN_KEY', 'SKEIN_URL', 'SKEIN_CRASH_AT'];

function takeEnvironment(settler: Settler, environment: SettleInput['environment']): void {
  const known = new Map<string, PlacedOption>();
  for (const option of options) {
    const name = environmentNameOf(option);
    if (name !== undefined) known.set(name, option);
  }
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith('SKEIN_') || text === undefined || text === '') continue;
    const option = known.get(name);
    if (option !== undefined) {
      settler.take(option, valueOfText(option, text), 'environment', (path, message) => ({
        place: name,
        key: keyText(option.path, path),
        message,
      }));
      continue;
    }
    if (OTHER_VARIABLES.includes(name)) continue;
    // A name that resembles no setting is not ours: Kubernetes, for one, sets SKEIN_SERVICE_HOST for a service "skein".
    const suggestion = nearestVariable(name, [...known.keys()]);
    if (suggestion !== undefined)
      settler.problems.push({ place: name, message: 'is not a setting', suggestion });
  }
}

function nearestVariable(name: string, known: readonly string[]): string | undefined {
  const withoutPrefix = (variable: string) => variable.slice('SKEIN_'.length);
  const close = nearestWord(withoutPrefix(name), known.map(withoutPrefix));
  return close === undefined ? undefined : `SKEIN_${close}`;
}

function takeFlags(settler: Settler, flags: FlagValues): void {
  for (const [path, given] of Object.entries(flags)) {
    const option = options.find((candidate) => candidate.path === path);
    if (option === undefined) throw new Error(`no option ${path}`);
    const value = typeof given === 'string' ? valueOfText(option, given) : given;
    const place = `--${flagsOf(option)[0]}`;
    settler.take(option, value, 'flag', (_path, message) => ({ place, message }));
  }
}

/** Text that does not fit its form is passed on as it is, for the schema to refuse with its own words. */
function valueOfText(option: PlacedOption, text: string): unknown {
  switch (formOf(option)) {
    case 'number':
      return /^-?\d{1,15}$/.test(text.trim()) ? Number(text) : text;
    case 'boolean':
      return /^(true|1|yes|on)$/i.test(text) ? true : /^(false|0|no|off)$/i.test(text) ? false : text;
    case 'list':
      return text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '');
    default:
      return text;
  }
}

function assemble(values: ReadonlyMap<string, unknown>): Config {
  const config: Record<string, unknown> = {};
  for (const option of options) {
    const value = values.get(option.path);
    // Without a prototype, so that no board seems to be configured by being called "constructor".
    if (option.key === '') config[option.section] = Object.assign(Object.create(null), value);
    else setIn(config, option.path.split('.'), value);
  }
  return config as Config;
}

function setIn(node: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [key = '', ...rest] = path;
  if (rest.length === 0) node[key] = value;
  else {
    node[key] ??= {};
    setIn(node[key] as Record<string, unknown>, rest, value);
  }
}

/** Keys that a strict object somewhere inside `schema` takes. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: unknown = schema;
  for (const step of [...path, undefined]) {
    current = unwrapped(current);
    if (step === undefined) break;
    if (current instanceof z.ZodArray) current = current.element;
    else if (current instanceof z.ZodRecord) current = current.valueType;
    else if (current instanceof z.ZodObject) current = current.shape[String(step)];
  }
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  if (
    schema instanceof z.ZodReadonly ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional
  )
    return unwrapped(schema.def.innerType);
  return schema instanceof z.ZodPipe ? unwrapped(schema.def.in) : schema;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (current, step) =>
      typeof current === 'object' && current !== null && Object.hasOwn(current, step)
        ? (current as Readonly<Record<PropertyKey, unknown>>)[step]
        : undefined,
    value,
  );
}

const LONGEST_SHOWN = 60;

function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= LONGEST_SHOWN ? text : `${text.slice(0, LONGEST_SHOWN)}…`;
}
