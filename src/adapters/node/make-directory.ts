import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/**
 * Makes a directory and the parents that it lacks; one that is there stays as it is. Tries each once: Node's recursive
 * `mkdirSync` does not return where a parent is there and yet nothing can be made in it (`/proc`, Node 24).
 *
 * @throws the system's error, such as EEXIST where a file has the name.
 */
export function makeDirectory(path: string, mode: number): void {
  const missing: string[] = [];
  let above = resolve(path);
  for (; !existsSync(above) && dirname(above) !== above; above = dirname(above)) missing.push(above);
  if (missing.length === 0 && !isDirectory(path)) mkdirSync(path, { mode });
  for (const directory of missing.reverse()) {
    try {
      mkdirSync(directory, { mode });
    } catch (error) {
      // Another process may have made it just now.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isDirectory(directory)) throw error;
    }
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
