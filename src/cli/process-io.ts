import { once } from 'node:events';
import type { Io } from './io.ts';

/** Under npm one Ctrl-C comes twice: from the terminal, and passed on by npm. */
const SAME_PRESS_MS = 500;

/** The real terminal. The first SIGINT, SIGTERM or SIGHUP aborts `signal`; a second one ends the process at once. */
export function processIo(): Io {
  const interrupt = new AbortController();
  let firstMs = 0;
  const onSignal = (name: NodeJS.Signals) => {
    if (!interrupt.signal.aborted) {
      firstMs = performance.now();
      interrupt.abort(name);
    } else if (name !== interrupt.signal.reason || performance.now() - firstMs > SAME_PRESS_MS) {
      process.exit(exitCodeOfSignal(name));
    }
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal);
  // A reader that has seen enough (`skein board list main | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  return {
    environment: process.env,
    async writeOut(text) {
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
    },
    writeError: (text) => void process.stderr.write(text),
    errorIsTerminal: process.stderr.isTTY === true,
    input: () => process.stdin,
    signal: interrupt.signal,
  };
}

/** As shells have it: 128 and the number of the signal. */
export function exitCodeOfSignal(name: unknown): number {
  return 128 + (name === 'SIGHUP' ? 1 : name === 'SIGINT' ? 2 : 15);
}
