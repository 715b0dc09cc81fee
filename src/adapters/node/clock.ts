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
        const delayMs = Math.min(LONGEST_DELAY_MS, Math.max(0, Math.ceil(atMs - performance.now())));
        timer = setTimeout(fire, delayMs).unref();
      };
      // Node counts from the start of its turn, so that a timer may fire a little early; its deadline would not be due.
      const fire = () => (performance.now() < atMs ? arm() : callback());
      arm();
      return () => clearTimeout(timer);
    },
  };
}
