import { join, relative, resolve } from 'node:path';
import { SkeinError } from '../../kernel/errors.ts';

/** What the kernel takes as the path of a socket, less its closing zero. */
const LONGEST_PATH = process.platform === 'linux' ? 107 : 103;

/**
 * Where a socket of a data directory is, as this process can name it: relative where the absolute path is longer
 * than a socket's may be. Throws a `SkeinError` where both are.
 */
export function socketPath(dataDirectory: string, name: 'control.sock' | 'mcp.sock'): string {
  const absolute = resolve(dataDirectory, name);
  if (Buffer.byteLength(absolute) <= LONGEST_PATH) return absolute;
  const short = relative(process.cwd(), absolute);
  if (Buffer.byteLength(short) <= LONGEST_PATH) return short;
  throw SkeinError.of(
    'INVALID_ARGUMENT',
    `The path ${join(dataDirectory, name)} is too long for a socket (${LONGEST_PATH} bytes).`,
    'Choose a data directory with a shorter path with --data.',
  );
}
