import { performance } from 'node:perf_hooks';
import type { Clock } from '../../kernel/ports.ts';
import type { Instant } from '../../kernel/time.ts';

/** The longest delay that Node's timers take; a later date is reached in several steps. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** The machine's clocks. Its timers do not keep the process alive by themselves: listening sockets do. */
export function nodeClock(): Clock {
  return {
    now(): Instant {
      return { monoMs: performance.now(), wallMs: Date.now() };
    },
    callAt(atMs, callback) {
      let timer: NodeJS.Timeout;
      const arm = () => {
        const delayMs = atMs - performance.now();
        if (delayMs > LONGEST_DELAY_MS) timer = setTimeout(arm, LONGEST_DELAY_MS);
        // Node rounds down, and a timer that fires early would find its deadline not yet due.
        else timer = setTimeout(callback, Math.max(0, Math.ceil(delayMs)));
        timer.unref();
      };
      arm();
      return () => clearTimeout(timer);
    },
  };
}
