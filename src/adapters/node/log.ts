/**
 * The log: JSON lines for machines, one readable line each for a person at a terminal, written by pino to stderr so
 * that stdout stays free for what commands print.
 *
 * Secrets: fields whose name says that they are secret are replaced whatever they hold, and so is every occurrence
 * of a text that was handed to `hide`. Bytes are told by their length. Control characters never reach a terminal:
 * a peer's text must not be able to write a second line or move the cursor.
 */
import { pino } from 'pino';
import type { Logger } from '../../kernel/ports.ts';

type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  /** Lines below it are not written. Default `info`. */
  readonly level?: LogLevel;
  /** Readable lines instead of JSON; default: whether stderr is a terminal. */
  readonly readable?: boolean;
  /** Takes whole lines, each with its newline; default stderr. */
  readonly write?: (line: string) => void;
  /** Fields of every line: the node's name and id. */
  readonly base?: Readonly<Record<string, unknown>>;
}

export interface NodeLogger extends Logger {
  /** From now on this text (at least 8 characters) is replaced wherever a line would hold it. */
  hide(secret: string): void;
  setLevel(level: LogLevel): void;
}

export function createLogger(options: LogOptions = {}): NodeLogger {
  const secrets = new Set<string>();
  const readable = options.readable ?? process.stderr.isTTY === true;
  const sink = options.write ?? ((line: string) => process.stderr.write(line));
  const lines = pino(
    {
      level: options.level ?? 'info',
      base: { ...options.base },
      messageKey: 'name',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => sink(readable ? readableLine(line) : line) },
  );
  return {
    log: (level, name, fields) => {
      if (lines.isLevelEnabled(level)) lines[level](clean(fields, secrets) as object, name);
    },
    hide: (secret) => {
      if (secret.length >= SECRET_CHARACTERS) secrets.add(secret);
    },
    setLevel: (level) => {
      lines.level = level;
    },
  };
}

const SECRET_CHARACTERS = 8;
const REMOVED = '[removed]';
const SECRET_NAME =
  /secret|password|passphrase|authorization|cookie|private_?key|api_?key|bearer|credential|token(?!s|_count|izer)|^seed$|^session$/i;
const DEPTH = 5;
const ITEMS = 50;
const CHARACTERS = 2_000;

function clean(value: unknown, secrets: ReadonlySet<string>, depth = 0): unknown {
  if (typeof value === 'string') return shorten(withoutSecrets(value, secrets));
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return `[${typeof value}]`;
  if (value === null || typeof value !== 'object') return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Error) return cleanError(value, secrets);
  if (depth >= DEPTH) return '[…]';
  if (Array.isArray(value)) return value.slice(0, ITEMS).map((item) => clean(item, secrets, depth + 1));
  const cleaned: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value).slice(0, ITEMS))
    cleaned[key] = holdsSecret(key, item) ? REMOVED : clean(item, secrets, depth + 1);
  return cleaned;
}

/** Numbers are amounts, not secrets: `fencingToken: 7`. */
function holdsSecret(key: string, value: unknown): boolean {
  return (
    SECRET_NAME.test(key) && (typeof value === 'string' || (typeof value === 'object' && value !== null))
  );
}

function cleanError(error: Error, secrets: ReadonlySet<string>): unknown {
  const { name, message, stack } = error;
  return {
    name,
    message: shorten(withoutSecrets(message, secrets)),
    ...(stack === undefined ? {} : { stack: shorten(withoutSecrets(stack, secrets)) }),
  };
}

function withoutSecrets(text: string, secrets: ReadonlySet<string>): string {
  let cleaned = text;
  for (const secret of secrets) cleaned = cleaned.replaceAll(secret, REMOVED);
  return cleaned;
}

function shorten(text: string): string {
  return text.length <= CHARACTERS ? text : `${text.slice(0, CHARACTERS)}… (${text.length} characters)`;
}

/** `12:34:56.789 warn  board.refused  peer=12D3… reason="bad lane"` */
function readableLine(line: string): string {
  const { time, level, name, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const clock = String(time).slice(11, 23);
  const shown = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${printable(key)}=${printable(plain(value))}`);
  return `${[clock, String(level).padEnd(5), printable(String(name)), ...shown].join(' ')}\n`;
}

function plain(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? String(value);
}

/** Control and invisible formatting characters as escapes: terminals obey them. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}
