/**
 * Gives memory back while nobody uses the node.
 *
 * V8 lets the space for young objects grow while much is made (a start, a burst of calls) and keeps it, garbage
 * included: a third of an idle node's memory. Only a collection of last resort shrinks it. That stops the process
 * for about three milliseconds per megabyte in use, so it happens only at rest, and only while little is in use.
 */
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What the watch needs of the process; tests give their own. */
export interface Process {
  /** Busy share of the event loop since the last call, 0 to 1. */
  busy(): number;
  residentBytes(): number;
  /** Live objects and garbage. */
  heapBytes(): number;
  collect(): void;
}

const LOOK_MS = 2_000;
/** At rest with nothing to give back: to look wakes a node that has nothing to do. */
const SELDOM_MS = 15_000;
/** At rest: this busy at most, at so many looks in a row. */
const REST_SHARE = 0.05;
const REST_LOOKS = 2;
/** Less than this is not worth a pause. */
const WORTH_BYTES = 8 * 1024 * 1024;
/** Above this the pause would be felt. */
const HEAP_BYTES = 96 * 1024 * 1024;

/** Looks every other second, and less often at rest, until the returned function is called; keeps no process alive. */
export function spareMemory(process: Process = thisProcess()): () => void {
  let looks = 0;
  let leastBytes = 0;
  const isWorth = () =>
    process.heapBytes() <= HEAP_BYTES && process.residentBytes() >= leastBytes + WORTH_BYTES;
  const look = () => {
    looks = process.busy() <= REST_SHARE ? looks + 1 : 0;
    const isAtRest = looks >= REST_LOOKS;
    const collects = isAtRest && isWorth();
    if (collects) {
      looks = 0;
      process.collect();
      leastBytes = process.residentBytes();
    }
    timer = setTimeout(look, isAtRest && !collects ? SELDOM_MS : LOOK_MS).unref();
  };
  let timer = setTimeout(look, LOOK_MS).unref();
  return () => clearTimeout(timer);
}

export function thisProcess(): Process {
  let last: EventLoopUtilization = performance.eventLoopUtilization();
  return {
    busy: () => {
      const now = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(now, last);
      last = now;
      return utilization;
    },
    residentBytes: () => process.memoryUsage.rss(),
    heapBytes: () => getHeapStatistics().used_heap_size,
    collect: () => {
      // The only door to V8's collector from within; no flag that changes how V8 works otherwise.
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as (options: { type: string; flavor: string }) => void;
      collect({ type: 'major', flavor: 'last-resort' });
    },
  };
}
