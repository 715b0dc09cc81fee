/**
 * What the disk alone takes to make a small record safe: one write that is forced to it, calls that wait meanwhile
 * sharing the next. No write that is acknowledged only once it is on disk can be faster.
 */
import { closeSync, constants, openSync, write } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Caller } from './mcp-client.ts';

/** About what the journal keeps of a `board_write` of 200 bytes. */
const RECORD_BYTES = 280;
let opened = 0;

const writeThrough = promisify(write);
const { O_CREAT, O_TRUNC, O_WRONLY, O_DSYNC } = constants;

export function diskFloor(directory: string): Caller {
  const file = openSync(
    join(directory, `disk-floor-${process.pid}-${opened++}`),
    O_CREAT | O_TRUNC | O_WRONLY | O_DSYNC,
  );
  let position = 0;
  let waiting: (() => void)[] = [];
  let failed: (error: unknown) => void = () => undefined;
  let running = false;
  const work = async () => {
    running = true;
    while (waiting.length > 0) {
      const served = waiting;
      waiting = [];
      const bytes = Buffer.alloc(RECORD_BYTES * served.length, 0x5a);
      await writeThrough(file, bytes, 0, bytes.length, position);
      position += bytes.length;
      for (const done of served) done();
    }
    running = false;
  };
  return {
    call: () =>
      new Promise((resolve, reject) => {
        failed = reject;
        waiting.push(resolve);
        // Calls of one turn share a write, as in the journal.
        if (!running) queueMicrotask(() => running || work().catch((error: unknown) => failed(error)));
      }),
    close: async () => closeSync(file),
  };
}
