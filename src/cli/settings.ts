/** The flags of settings, made from their declarations. */
import { type Command, Option } from 'commander';
import { flagsOf, formOf, options, type PlacedOption } from '../node/config/options.ts';
import type { FlagValues } from '../node/config/settle.ts';
import { repeated } from './context.ts';

/** Adds `--config` and a flag for every setting that has one. */
export function withSettings(command: Command): Command {
  command.option('--config <file>', 'configuration file (YAML); environment: SKEIN_CONFIG');
  for (const setting of options) {
    flagsOf(setting).forEach((flag, index) => {
      for (const option of optionsFor(setting, flag))
        command.addOption(index === 0 ? option : option.hideHelp());
    });
  }
  return command;
}

function optionsFor(setting: PlacedOption, flag: string): Option[] {
  const help = `${setting.help} [${defaultOf(setting)}]`;
  if (formOf(setting) === 'boolean') {
    const on = new Option(`--${flag}`, help);
    const off = new Option(`--no-${flag}`, `Turn off: ${help}`);
    return setting.fallback === true ? [on.hideHelp(), off] : [on, off.hideHelp()];
  }
  const option = new Option(`--${flag} <${setting.argument?.toLowerCase() ?? 'value'}>`, help);
  return [formOf(setting) === 'list' ? option.argParser(repeated) : option];
}

function defaultOf(setting: PlacedOption): string {
  if (setting.defaultText !== undefined) return setting.defaultText;
  if (setting.fallback === undefined) return 'none';
  const { fallback } = setting;
  if (Array.isArray(fallback)) return fallback.length === 0 ? 'none' : fallback.join(', ');
  return typeof fallback === 'boolean' ? (fallback ? 'on' : 'off') : String(fallback);
}

/** The settings given as flags, by path. */
export function settingsGiven(command: Command): FlagValues {
  const given: Record<string, string | boolean | readonly string[]> = {};
  for (const setting of options) {
    for (const flag of flagsOf(setting)) {
      const name = flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
      if (command.getOptionValueSource(name) === 'cli') given[setting.path] = command.getOptionValue(name);
    }
  }
  return given;
}
