/**
 * Time as the pure cores see it: given, never read.
 *
 * `monoMs` only grows while a process runs and drives timers; `wallMs` is what people call the time, may jump
 * either way, and serves for stamps that cross machines.
 */
export interface Instant {
  /** Milliseconds on a clock that never goes back within one run; its zero means nothing. */
  readonly monoMs: number;
  /** Milliseconds since 1970-01-01 UTC, as the machine believes. */
  readonly wallMs: number;
}

/** When a machine wants `expire` called, on the monotonic clock, and why: a trace then says why the node woke. */
export interface Deadline {
  readonly atMs: number;
  readonly reason: string;
  /** It may be honoured so much earlier by who is awake then for another reason: a wake costs more than most of what calls for it. */
  readonly earlyMs?: number;
}

/** The nearest of several deadlines; `undefined` where there is none. */
export function earliest(deadlines: Iterable<Deadline | undefined>): Deadline | undefined {
  let nearest: Deadline | undefined;
  // By index: asked at every event of a node that mostly sleeps, whose loops stay uncompiled and then make an object a step.
  const all = Array.isArray(deadlines) ? (deadlines as readonly (Deadline | undefined)[]) : [...deadlines];
  for (let at = 0; at < all.length; at++) {
    const deadline = all[at];
    if (deadline !== undefined && (nearest === undefined || deadline.atMs < nearest.atMs)) nearest = deadline;
  }
  return nearest;
}

export function isDue(deadline: Deadline | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline.atMs <= now.monoMs;
}

/** Whether who is awake may honour it now, for whatever reason it is awake. */
export function mayBeDue(deadline: Deadline | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline.atMs - (deadline.earlyMs ?? 0) <= now.monoMs;
}
