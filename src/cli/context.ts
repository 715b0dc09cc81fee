/** What every command is given, and the flags that commands share. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { SkeinError } from '../kernel/errors.ts';
import { ControlClient } from './client.ts';
import { exitCodeOf, Reported, UsageError } from './exit.ts';
import { type Io, Output } from './io.ts';
import { printable } from './text.ts';

export interface CommonFlags {
  readonly json?: boolean;
}

export interface NodeFlags extends CommonFlags {
  readonly data: string;
  readonly url?: string;
  readonly key?: string;
}

export interface Session<Flags> {
  readonly io: Io;
  readonly flags: Flags;
  readonly out: Output;
}

export interface NodeSession<Flags> extends Session<Flags> {
  readonly client: ControlClient;
}

export const DEFAULT_DATA = './.skein';

export function withJson(command: Command): Command {
  return command.option('--json', 'print one JSON document and nothing else');
}

/** `--data`, `--url` and `--key`: which node to talk to. */
export function withNode(command: Command, io: Io): Command {
  const { SKEIN_NODE_DATA, SKEIN_URL, SKEIN_KEY } = io.environment;
  const url = new Option(
    '--url <url>',
    'a node elsewhere, such as http://10.0.0.5:7330; environment: SKEIN_URL',
  );
  const key = new Option('--key <key>', 'API key for --url; better in the environment: SKEIN_KEY');
  url.argParser(parseUrl);
  if (SKEIN_URL) url.default(parseUrl(SKEIN_URL), SKEIN_URL);
  if (SKEIN_KEY) key.default(SKEIN_KEY, 'from SKEIN_KEY');
  return withJson(command)
    .option('--data <dir>', 'data directory of the node on this machine', SKEIN_NODE_DATA || DEFAULT_DATA)
    .addOption(url)
    .addOption(key);
}

function parseUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new InvalidArgumentError('It must be an http or https URL, such as http://10.0.0.5:7330.');
  return text;
}

/** For flags that take a whole number. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,15}$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return value;
  };
}

export function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('It must be a number from 0 to 1.');
  return value;
}

export function repeated(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Runs a command that talks to a node: opens the control interface and closes it whatever happens. */
export function onNode<Flags extends NodeFlags, Args extends unknown[]>(
  io: Io,
  run: (session: NodeSession<Flags>, ...args: Args) => Promise<void>,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const { flags, args } = split<Flags, Args>(given);
    if (flags.key !== undefined && flags.url === undefined && flags.key !== io.environment.SKEIN_KEY)
      throw new UsageError(
        '--key is given without --url.',
        'Add --url, or leave --key out: the socket needs none.',
      );
    const client = new ControlClient({ ...flags, signal: io.signal });
    try {
      await run({ io, flags, out: new Output(io, flags.json === true), client }, ...args);
    } finally {
      client.close();
    }
  };
}

/**
 * Prints the error, and below it what of its details people should see: programs read them there.
 *
 * @throws Reported with the error's exit code.
 */
export async function refuse(out: Output, error: SkeinError, notes: readonly string[]): Promise<never> {
  await out.error(error.body);
  for (const note of notes) out.note(printable(note));
  throw new Reported(exitCodeOf(error));
}

/** Runs a command that needs no node. */
export function alone<Flags extends CommonFlags, Args extends unknown[]>(
  io: Io,
  run: (session: Session<Flags>, ...args: Args) => Promise<void>,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const { flags, args } = split<Flags, Args>(given);
    await run({ io, flags, out: new Output(io, flags.json === true) }, ...args);
  };
}

/** Commander calls an action with the arguments, the flags and the command itself. */
function split<Flags, Args extends unknown[]>(given: readonly unknown[]): { flags: Flags; args: Args } {
  return { flags: given.at(-2) as Flags, args: given.slice(0, -2) as Args };
}
