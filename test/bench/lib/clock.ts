/**
 * Microseconds on the machine's monotonic clock. Linux and macOS share its zero between processes, so a stamp
 * taken in one process and subtracted in another is a true latency.
 */
export function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves once `holds` does; checks every `everyMs`. Throws with `what` after `deadlineMs`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  deadlineMs: number,
  everyMs = 5,
): Promise<void> {
  const end = nowUs() + deadlineMs * 1000;
  while (!(await holds())) {
    if (nowUs() > end) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await sleep(everyMs);
  }
}
