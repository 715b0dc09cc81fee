import type { Clock } from '../kernel/ports.ts';
import type { Instant } from '../kernel/time.ts';
import type { SimulatedProcess } from './process.ts';
import type { Scheduler } from './scheduler.ts';

/** True time 0 on a right wall clock: 2026-01-01. */
export const EPOCH_MS = Date.UTC(2026, 0, 1);

/** The oscillator and the wall clock of one machine: they go wrong in their own way, and outlive its processes. */
export class MachineTime {
  /** By how much the time of day passes faster than durations: long times in short runs. */
  readonly wallRate: number;
  readonly #scheduler: Scheduler;
  #baseMs: number;
  #baseTicksMs: number;
  #rate = 1;
  #offsetMs = 0;

  constructor(scheduler: Scheduler, wallRate = 1) {
    this.wallRate = wallRate;
    this.#scheduler = scheduler;
    this.#baseMs = scheduler.nowMs;
    this.#baseTicksMs = scheduler.nowMs;
  }

  get rate(): number {
    return this.#rate;
  }

  /** From now on so many ticks for one true one; 1.0001 gains 0.1 ms a second. Moves the monotonic clock too. */
  setRate(rate: number): void {
    this.#baseTicksMs = this.ticksMs();
    this.#baseMs = this.#scheduler.nowMs;
    this.#rate = rate;
  }

  /** Somebody sets the wall clock, forward or back. */
  step(byMs: number): void {
    this.#offsetMs += byMs;
  }

  /** The wall clock is set right, as by NTP. */
  correct(): void {
    this.#offsetMs = (this.#scheduler.nowMs - this.ticksMs()) * this.wallRate;
  }

  ticksMs(): number {
    return this.#baseTicksMs + (this.#scheduler.nowMs - this.#baseMs) * this.#rate;
  }

  wallMs(): number {
    return Math.floor(EPOCH_MS + this.ticksMs() * this.wallRate + this.#offsetMs);
  }
}

/** The clock of one run: its monotonic time starts at zero, its timers die with the process. */
export class SimulatedClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #process: SimulatedProcess;
  readonly #time: MachineTime;
  readonly #startMs: number;

  constructor(scheduler: Scheduler, process: SimulatedProcess, time: MachineTime) {
    this.#scheduler = scheduler;
    this.#process = process;
    this.#time = time;
    this.#startMs = time.ticksMs();
  }

  now(): Instant {
    return { monoMs: this.#time.ticksMs() - this.#startMs, wallMs: this.#time.wallMs() };
  }

  callAt(atMs: number, callback: () => void): () => void {
    let cancelled = false;
    let cancelTimer = () => {};
    const arm = (leastMs: number) => {
      const leftMs = atMs - this.now().monoMs;
      const delayMs = Math.max(leastMs, leftMs / this.#time.rate);
      cancelTimer = this.#scheduler.after(delayMs, () => this.#process.enter(ring));
    };
    const ring = () => {
      if (cancelled) return;
      // The clock may have been slowed since, or the division above rounded down: never early.
      if (this.now().monoMs < atMs) arm(STEP_MS);
      else callback();
    };
    arm(0);
    return () => {
      cancelled = true;
      cancelTimer();
    };
  }
}

/** Least wait for the rest of a delay; shorter ones could vanish in the rounding of large times. */
const STEP_MS = 0.001;
