/** Opens a data directory, makes its identity where there is none, says `held` or the error's code on stdout, and keeps it until stdin ends. Arguments: directory, user id. */
import { writeSync } from 'node:fs';
import { openDataDirectory } from '../../src/adapters/node/data-directory.ts';
import { loadIdentity } from '../../src/adapters/node/keys.ts';
import { SkeinError } from '../../src/kernel/errors.ts';

const [path = '', user] = process.argv.slice(2);
if (user !== undefined) process.setuid?.(Number(user));
try {
  const directory = openDataDirectory(path, { version: '0.1.0' });
  loadIdentity(path);
  writeSync(1, 'held\n');
  process.stdin.resume();
  process.stdin.on('end', () => directory.close());
} catch (error) {
  if (!(error instanceof SkeinError)) throw error;
  writeSync(1, `${JSON.stringify(error.body)}\n`);
}
