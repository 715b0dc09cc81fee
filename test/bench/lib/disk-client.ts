/**
 * The disk alone, in the place of a strong store: three files for three members. Increments of one key come one after
 * the other, each on two of the files before the next begins: no store can be faster that shows nobody what a
 * majority might still lose.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { diskFloor } from './disk-floor.ts';
import type { Caller } from './mcp-client.ts';
import type { QuorumClient } from './quorum-client.ts';

const MEMBERS = 3;
const MAJORITY = 2;

export function diskClient(directory: string): QuorumClient {
  const disks = Array.from({ length: MEMBERS }, (_, member) => {
    const folder = join(directory, `${member}`);
    mkdirSync(folder);
    return diskFloor(folder);
  });
  const [first] = disks as [Caller, ...Caller[]];
  let turn: Promise<void> = Promise.resolve();
  let total = 0;
  return {
    put: () => first.call('', {}),
    read: async () => undefined,
    increment: async () => {
      turn = turn.then(() => onMajority(disks));
      await turn;
      total++;
      return 1;
    },
    total: async () => total,
    isLeader: async () => true,
    close: async () => {
      for (const disk of disks) await disk.close();
    },
  };
}

/** Who is slowest goes on with the next write, as a member that is behind does. */
function onMajority(disks: readonly Caller[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    for (const disk of disks)
      disk.call('', {}).then(() => {
        if (++done === MAJORITY) resolve();
      }, reject);
  });
}
