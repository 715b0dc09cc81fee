/** How long the event loop is held: the longest time between two turns of a short timer. */
import { nowUs } from './clock.ts';

const EVERY_MS = 2;

export interface LoopHold {
  readonly longestMs: number;
  /** This thread's processor time within the longest hold; what is missing to it other processes took. */
  readonly cpuMs: number;
}

/** Starts at once; the returned function stops and tells. */
export function watchLoop(): () => LoopHold {
  let longest: LoopHold = { longestMs: 0, cpuMs: 0 };
  let lastUs = nowUs();
  let lastCpuUs = threadCpuUs();
  const look = () => {
    const atUs = nowUs();
    const cpuUs = threadCpuUs();
    const heldMs = (atUs - lastUs) / 1000 - EVERY_MS;
    if (heldMs > longest.longestMs) longest = { longestMs: heldMs, cpuMs: (cpuUs - lastCpuUs) / 1000 };
    lastUs = atUs;
    lastCpuUs = cpuUs;
  };
  const timer = setInterval(look, EVERY_MS);
  return () => {
    // A hold that has not ended counts too.
    look();
    clearInterval(timer);
    return longest;
  };
}

function threadCpuUs(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
