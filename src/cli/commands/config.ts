import { Command } from 'commander';
import { loadConfig } from '../../node/config/load.ts';
import { options } from '../../node/config/options.ts';
import type { Loaded } from '../../node/config/settle.ts';
import { alone, type CommonFlags, type Session, withJson } from '../context.ts';
import type { Io } from '../io.ts';
import { settingsGiven, withSettings } from '../settings.ts';
import { printable, table } from '../text.ts';

interface ConfigFlags extends CommonFlags {
  readonly config?: string;
}

const REDACTED = '(set, not shown)';

export function configCommand(io: Io): Command {
  return new Command('config').addCommand(showCommand(io)).addCommand(validateCommand(io));
}

function showCommand(io: Io): Command {
  const command = withSettings(withJson(new Command('show'))).description(
    'print every setting, its value, and where the value comes from',
  );
  return command.action(
    alone(io, async ({ flags, out }: Session<ConfigFlags>) => {
      const loaded = await load(command, io, flags.config);
      const settings = options.map(({ path }) => ({
        path,
        value: shownValue(loaded, path),
        origin: loaded.origins.get(path) ?? 'default',
      }));
      await out.result({ settings }, () =>
        table(
          ['SETTING', 'VALUE', 'FROM'],
          settings.map(({ path, value, origin }) => [path, valueText(value), origin]),
        ),
      );
      for (const warning of loaded.warnings) out.warn(warning);
    }),
  );
}

function validateCommand(io: Io): Command {
  const command = withSettings(withJson(new Command('validate')))
    .argument('[file]', 'configuration file')
    .description('check a configuration without starting a node');
  return command.action(
    alone(io, async ({ flags, out }: Session<ConfigFlags>, file: string | undefined) => {
      const { warnings } = await load(command, io, file ?? flags.config);
      await out.result({ valid: true, warnings }, () =>
        ['The configuration is valid.', ...warnings].join('\n'),
      );
    }),
  );
}

function load(command: Command, io: Io, file: string | undefined): Promise<Loaded> {
  return loadConfig({
    flags: settingsGiven(command),
    environment: io.environment,
    ...(file === undefined ? {} : { file }),
  });
}

/** Secrets, and the hashes of keys, are told only to be there. */
function shownValue({ config }: Loaded, path: string): unknown {
  const option = options.find((candidate) => candidate.path === path);
  const value = path
    .split('.')
    .reduce<unknown>((node, key) => (node as Record<string, unknown>)[key], config);
  if (path === 'guard.keys')
    return config.guard.keys.map(({ principal, zone }) => ({ principal, zone, secretHash: REDACTED }));
  if (option?.secret && value !== undefined) return REDACTED;
  return value ?? null;
}

function valueText(value: unknown): string {
  if (value === null || (Array.isArray(value) && value.length === 0)) return '-';
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value.join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : printable(String(value));
}
