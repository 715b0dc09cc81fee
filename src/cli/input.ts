/** What people hand in as files and on standard input: bounded, and UTF-8 or refused. */
import { createReadStream } from 'node:fs';
import { SkeinError } from '../kernel/errors.ts';
import { UsageError } from './exit.ts';
import type { Io } from './io.ts';

/**
 * The text of a file, or of standard input for `-`.
 *
 * @throws SkeinError `TOO_LARGE` beyond `maxBytes`, UsageError for what cannot be read or is not UTF-8.
 */
export async function inputText(io: Io, file: string, maxBytes: number): Promise<string> {
  const what = file === '-' ? 'Standard input' : file;
  const bytes = await collect(file === '-' ? io.input() : createReadStream(file), what, maxBytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(
      `${what} is not UTF-8 text.`,
      'Encode binary data as text first, for example with base64.',
    );
  }
}

async function collect(
  source: AsyncIterable<Uint8Array>,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of source) {
      bytes += chunk.length;
      if (bytes > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw new UsageError(
      `${what} cannot be read: ${(error as Error).message}.`,
      'Name a file that exists and that this user may read.',
    );
  }
  if (bytes > maxBytes)
    throw SkeinError.of(
      'TOO_LARGE',
      `${what} has more than the ${maxBytes} bytes that fit here.`,
      'Nothing was sent. Split large data over several keys, or keep it elsewhere and write where it is.',
    );
  return Buffer.concat(chunks);
}
